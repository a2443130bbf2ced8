"""One real Prefect server for the session, and a database in which two operations got slow."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pggit_analytics.postgres.connection import Database

AS_OF = datetime(2026, 3, 2, 12, tzinfo=UTC)

#: seconds until something that should happen counts as not happening
PATIENCE_S = 120

# A timing every ten minutes for a week. In its second half commit and merge take twice as long, and once, in the same
# minute, a thousand times as long; get_commits never changes.
_TIMINGS = """
    INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
    SELECT operation_type,
           CASE operation_type
               WHEN 'get_commits' THEN 2
               ELSE factor * (10 + number %% 7) * CASE
                   WHEN number = 1000 THEN 1000
                   WHEN created_at >= %(as_of)s - INTERVAL '84 hours' THEN 2
                   ELSE 1
               END
           END,
           created_at
    FROM (VALUES ('commit', 1), ('merge', 5), ('get_commits', 1)) AS operation (operation_type, factor),
         generate_series(0, 1008) AS number,
         LATERAL (SELECT %(as_of)s - INTERVAL '168 hours' + number * INTERVAL '10 minutes') AS moment (created_at)
"""

#: rows that `_TIMINGS` inserts
TIMINGS = 3 * 1009


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``, asked again and again; an assertion fails when it stays false."""
    pause, tries = threading.Event(), int(PATIENCE_S / 0.05)
    for _ in range(tries):
        if value := condition():
            return value
        pause.wait(0.05)
    raise AssertionError(f"never came about: {what}")


@dataclass(frozen=True)
class PrefectServer:
    """A running server and how to reach it."""

    url: str
    home: Path
    #: of processes that talk to it
    environment: dict[str, str]

    def stored_text(self) -> str:
        """Everything in its database."""
        with sqlite3.connect(f"file:{self.home / 'prefect.db'}?mode=ro", uri=True) as connection:
            text = "\n".join(connection.iterdump())
        connection.close()
        return text


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(f"{url}/health") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """A Prefect server of the session's own."""
    home = Path(tempfile.mkdtemp(prefix="pggit-prefect-"))
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PGGIT_", "COV_"))
    }
    environment = inherited | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # a server that serves no UI knows no address of one for its messages
        "PREFECT_UI_URL": url.removesuffix("/api"),
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: _answers(url, process, home / "server.log"), "an answer of the Prefect server")
        yield PrefectServer(url, home, environment | {"PREFECT_API_URL": url})
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def prefect_client(prefect_server: PrefectServer) -> Iterator[Any]:
    """Prefect imported into this process with the server's settings, and a client of the server."""
    with pytest.MonkeyPatch.context() as session:
        session.setenv("DO_NOT_TRACK", "1")
        # Prefect reads the environment once; later tests must not find the address there and become flow runs.
        with pytest.MonkeyPatch.context() as at_import:
            for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_SERVER_ANALYTICS_ENABLED"):
                at_import.setenv(name, prefect_server.environment[name])
            from prefect import get_client
            from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        with (
            # the end of a run waits up to a second for its heartbeat
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
            get_client(sync_client=True) as client,
        ):
            yield client


def _module(name: str) -> ModuleType:
    from pggit_analytics.cli import Invocation, _flow

    return _flow(Invocation(None, None, as_json=True), name)


@pytest.fixture(scope="session")
def monitor_module(prefect_client: Any) -> ModuleType:
    """flows/monitor_performance.py, as the command line loads it."""
    return _module("monitor_performance")


@pytest.fixture(scope="session")
def baselines_module(prefect_client: Any) -> ModuleType:
    """flows/recalculate_baselines.py, as the command line loads it."""
    return _module("recalculate_baselines")


@pytest.fixture
def slow_database(database: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with timings, named by the environment as for a flow."""
    with database.connect() as connection:
        connection.execute(_TIMINGS, {"as_of": AS_OF})
    monkeypatch.setenv("PGGIT_DATABASE_URL", database.conninfo)
    return database


def command_line(
    *arguments: str, environment: dict[str, str], database: Database | None = None
) -> subprocess.Popen[str]:
    """A process that runs ``pggit-analytics``; wait for it with ``communicate``."""
    settings = {} if database is None else {"PGGIT_DATABASE_URL": database.conninfo}
    return subprocess.Popen(
        [sys.executable, "-m", "pggit_analytics", *arguments],
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query with these parameters."""
    with database.connect() as connection:
        return connection.execute(query.encode(), parameters or None).fetchall()


def results(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All results apart from the run that wrote them."""
    return {
        table: rows(database, f"SELECT to_jsonb(r) - 'run_id' FROM {table} AS r ORDER BY 1::text, to_jsonb(r)")
        for table in ("performance_anomalies", "performance_degradations", "performance_correlations")
    }


@pytest.fixture
def no_deployments_left(prefect_client: Any) -> Iterator[None]:
    """The session's server is as it was afterwards."""
    before = {deployment.id for deployment in prefect_client.read_deployments()}
    yield
    for deployment in prefect_client.read_deployments():
        if deployment.id not in before:
            prefect_client.delete_deployment(deployment.id)
    for pool in prefect_client.read_work_pools():
        if pool.name == "pggit-analytics":
            prefect_client.delete_work_pool(pool.name)


@pytest.fixture
def no_automations_left(prefect_client: Any) -> Iterator[None]:
    """The session's server has no automations afterwards."""
    yield
    for automation in prefect_client.read_automations():
        prefect_client.delete_automation(automation.id)
