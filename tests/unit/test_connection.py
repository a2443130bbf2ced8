"""Addresses: what is shown of them, and what happens when nobody answers."""

from __future__ import annotations

import socket

import pytest

from pggit_analytics.errors import ConfigurationError, DatabaseUnavailable
from pggit_analytics.postgres.connection import Database


@pytest.fixture(autouse=True)
def _no_libpq_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGPASSWORD", "PGSERVICE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("postgresql://ann:secret@db.example.org:6543/app", "db.example.org:6543/app"),
        ("postgresql://ann:secret@db.example.org/app", "db.example.org:5432/app"),
        ("host=db.example.org user=ann password=secret dbname=app", "db.example.org:5432/app"),
        ("postgresql://ann:secret@/app?host=/run/sockets", "/run/sockets:5432/app"),
        ("hostaddr=10.0.0.1 dbname=app", "10.0.0.1:5432/app"),
        ("postgresql:///app", "local socket:5432/app"),
        ("service=metrics password=secret", "service metrics"),
        ("postgresql://a.example.org:1,b.example.org:2/app", "a.example.org,b.example.org:1,2/app"),
    ],
)
def test_the_place_names_the_server_and_never_user_or_password(address: str, place: str) -> None:
    assert Database(address).place == place


def test_the_place_follows_the_environment_where_the_address_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.org")
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATABASE", "app")
    assert Database("user=ann").place == "db.example.org:6543/app"


def test_the_representation_hides_the_password() -> None:
    shown = repr(Database("postgresql://ann:secret@db.example.org/app", "metrics"))
    assert shown == "Database(db.example.org:5432/app, schema='metrics')"


def test_an_unreadable_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError, match="the database URL cannot be read") as caught:
        _ = Database("postgresql://ann:secret@db.example.org:port/app?nonsense=1").place
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: every connection is refused
        port = unused.getsockname()[1]
        database = Database(f"postgresql://ann:secret@127.0.0.1:{port}/app")
        with pytest.raises(DatabaseUnavailable, match=rf"cannot reach 127\.0\.0\.1:{port}/app") as caught:
            _ = database.connectorx_url
    assert "secret" not in str(caught.value)


def test_a_socket_directory_without_a_server_is_a_missing_server(tmp_path) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match="check the URL, the password and that the server is running"),
        Database(f"postgresql://ann@/app?host={tmp_path}").connect(),
    ):
        pass
