"""Reading with a store where triggers note what was changed: the rows that stay are not counted, and none is missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pggit_analytics.config import StoreSettings
from pggit_analytics.postgres import incremental
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.store import Store
from tests.integration.test_incremental import DAY, HOUR, NOON, execute, fill, moved, reading_role

NOTED = "SELECT hour, change FROM performance_metrics_changes ORDER BY 1, 2"


@pytest.fixture
def store(tmp_path: Path) -> StoreSettings:
    return StoreSettings(directory=tmp_path / "store")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that all rows were counted."""
    if incremental._uptime()[0] == "":  # a machine whose starts have no name
        monkeypatch.setattr(incremental, "_uptime", lambda: ("this one", time.monotonic_ns() // 1000))
    made: list[int] = []
    count = incremental._Update._counted

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return count(*arguments)

    monkeypatch.setattr(incremental._Update, "_counted", counted)
    return made


@pytest.fixture
def stored(database: Database, store: StoreSettings, counts: list[int]) -> Database:
    """A database whose store holds everything: six rows an hour for a week."""
    fill(database, 1008)
    with database.connect() as connection:
        connection.execute("DELETE FROM performance_metrics_changes")
    assert moved(database, store) == 1008
    assert counts == []
    return database


def noted(database: Database) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(NOTED).fetchall()


def test_timings_of_now_are_found_and_nothing_is_noted(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    now = datetime.now(UTC)
    fill(stored, 100, now - timedelta(minutes=50), now)
    assert noted(stored) == []
    assert moved(stored, store, end=now) == 100
    assert moved(stored, store, end=now) == 0
    assert counts == []


def test_late_timings_are_found_by_the_hours_noted(stored: Database, store: StoreSettings, counts: list[int]) -> None:
    fill(stored, 100, NOON - 3 * HOUR, NOON - HOUR)
    assert noted(stored) == [(NOON - 3 * HOUR, "added"), (NOON - 2 * HOUR, "added")]
    assert [moved(stored, store), moved(stored, store)] == [100, 0]
    assert counts == []


def test_of_deleted_timings_just_their_hours_are_read_again(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    execute(stored, "DELETE FROM performance_metrics WHERE created_at = %s", NOON - 5 * HOUR)
    assert noted(stored) == [(NOON - 5 * HOUR, "removed")]
    assert [moved(stored, store), moved(stored, store)] == [5, 0]
    assert counts == []


def test_a_deletion_that_finds_nothing_is_not_noted(stored: Database, store: StoreSettings, counts: list[int]) -> None:
    execute(stored, "DELETE FROM performance_metrics WHERE created_at < %s", NOON - 99 * DAY)
    assert (noted(stored), moved(stored, store), counts) == ([], 0, [])


def test_an_update_is_noted_where_the_row_was_and_where_it_is(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    execute(
        stored,
        "UPDATE performance_metrics SET created_at = %s WHERE created_at = %s",
        NOON - 9 * HOUR + timedelta(minutes=1),
        NOON - 5 * HOUR,
    )
    assert noted(stored) == [(NOON - 9 * HOUR, "added"), (NOON - 5 * HOUR, "removed")]
    assert [moved(stored, store), moved(stored, store)] == [1 + 5, 0]
    assert counts == []


def test_what_is_committed_late_or_undone_is_told_as_it_ends(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    insert = "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES (%s, 1, %s)"
    with stored.connect() as writer:
        writer.execute(insert, ("late", NOON - 2 * DAY))
        writer.execute("SAVEPOINT undone")
        writer.execute(insert, ("undone", NOON - 3 * DAY))
        writer.execute("ROLLBACK TO SAVEPOINT undone")
        assert moved(stored, store) == 0
        fill(stored, 10, NOON - HOUR)
        assert moved(stored, store) == 10
    assert moved(stored, store) == 11
    assert moved(stored, store) == 0
    assert counts == []


def test_rows_of_a_subtransaction_later_than_an_open_transaction_are_found_by_each_run(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    insert = "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES ('sub', 1, %s)"
    with stored.connect() as writer, stored.connect() as other:
        writer.execute("SELECT pg_current_xact_id()")
        other.execute("SELECT pg_current_xact_id()")
        writer.execute("SAVEPOINT later")
        writer.execute(insert, (NOON - 2 * DAY,))
        writer.commit()
        assert moved(stored, store) == 1
        fill(stored, 10, NOON - HOUR)
        assert moved(stored, store) == 1 + 10
    assert moved(stored, store) == 1 + 10
    assert moved(stored, store) == 0
    assert counts == []


def test_a_session_that_replicates_is_noted_as_any(stored: Database, store: StoreSettings, counts: list[int]) -> None:
    with stored.connect() as connection:
        connection.execute("SET session_replication_role TO replica")
        connection.execute("DELETE FROM performance_metrics WHERE created_at = %s", (NOON - 5 * HOUR,))
    fill(stored, 6, NOON - 8 * HOUR, NOON - 7 * HOUR)
    assert [moved(stored, store), moved(stored, store)] == [5 + 6, 0]
    assert counts == []


def test_a_batch_notes_each_hour_once(database: Database) -> None:
    with database.connect() as connection:
        for _ in range(3):
            connection.execute(
                "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
                "SELECT 'a', 1, %s + n * INTERVAL '1 second' FROM generate_series(0, 3599) AS n",
                (NOON,),
            )
    assert noted(database) == [(NOON, "added")]


DELETE = f"DELETE FROM performance_metrics WHERE created_at = '{NOON - 5 * HOUR}'"
OFF = "ALTER TABLE performance_metrics DISABLE TRIGGER performance_metrics_note_delete"
UNNOTED = {
    "a trigger that is off": [OFF, DELETE],
    "a trigger that was off": [
        OFF,
        DELETE,
        "ALTER TABLE performance_metrics ENABLE ALWAYS TRIGGER performance_metrics_note_delete",
    ],
    "a trigger that some sessions pass over": [
        "ALTER TABLE performance_metrics ENABLE TRIGGER performance_metrics_note_delete",
        "SET session_replication_role TO replica",
        DELETE,
    ],
    "a function that was another one": [
        "CREATE OR REPLACE FUNCTION note_changed_metrics() RETURNS TRIGGER "
        "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        DELETE,
    ],
    "a log that was emptied": [DELETE, "TRUNCATE performance_metrics_changes"],
    "a log that is gone": [DELETE, "DROP TABLE performance_metrics_changes"],
    "a parent": [
        "CREATE TABLE every_metric (LIKE performance_metrics)",
        "ALTER TABLE performance_metrics INHERIT every_metric",
        DELETE.replace("performance_metrics", "every_metric"),
    ],
}


@pytest.mark.parametrize("statements", UNNOTED.values(), ids=UNNOTED)
def test_where_changes_may_go_unnoted_the_rows_are_counted(
    stored: Database, store: StoreSettings, counts: list[int], statements: list[str]
) -> None:
    with stored.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())
    assert moved(stored, store) == 5
    assert counts == [1]


@pytest.fixture
def origin(database: Database) -> Iterator[None]:
    """The server takes in what others write."""
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_replication_origin_create('incremental_test')")
        yield
        connection.execute("SELECT pg_replication_origin_drop('incremental_test')")


@pytest.mark.usefixtures("origin")
def test_where_logical_replication_writes_the_rows_are_counted(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    fill(stored, 6, NOON - HOUR)
    assert moved(stored, store) == 6
    assert counts == [1]


def test_whoever_may_not_read_the_log_counts(stored: Database, store: StoreSettings, counts: list[int]) -> None:
    with reading_role(stored) as reader:
        fill(stored, 6, NOON - HOUR)
        assert moved(reader, store) == 6
        assert counts == [1]


def test_the_rows_are_counted_once_a_day_all_the_same(
    stored: Database, store: StoreSettings, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(stored, 6, NOON - HOUR)
    with monkeypatch.context() as patch:
        patch.setattr(incremental, "_COUNT_AGAIN_US", 0)
        assert moved(stored, store) == 6
    fill(stored, 6, NOON - HOUR)
    assert moved(stored, store) == 6
    assert counts == [1]


@pytest.mark.parametrize("other", [("another start", 0), ("", 0), (None, 31 * 60), (None, -31 * 60)])
def test_where_the_servers_clock_may_have_been_set_the_rows_are_counted(
    stored: Database,
    store: StoreSettings,
    counts: list[int],
    monkeypatch: pytest.MonkeyPatch,
    other: tuple[str | None, int],
) -> None:
    """Against the time since this machine was started: another start, unknown, half an hour more or less."""
    boot, uptime = incremental._uptime()
    assert boot
    monkeypatch.setattr(
        incremental, "_uptime", lambda: (boot if other[0] is None else other[0], uptime + other[1] * 1_000_000)
    )
    fill(stored, 6, NOON - HOUR)
    assert moved(stored, store) == 6
    assert counts == [1]


def test_after_the_servers_clock_was_set_back_what_it_showed_before_bounds_nothing(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    (directory,) = (path for path in store.directory.iterdir() if path.is_dir())
    with Store(store.directory, directory.name) as kept:
        manifest = kept.load()
        assert manifest is not None
        day = 24 * 3_600_000_000
        kept.commit(replace(manifest, reach=manifest.reach + day, written=manifest.written + day))
    execute(stored, "SELECT pg_current_xact_id()")
    now = datetime.now(UTC)
    moved(stored, store, end=now)
    fill(stored, 6, now - timedelta(minutes=6), now)
    assert moved(stored, store, end=now) == 6
    assert counts == [1]


def test_a_timing_of_a_year_that_no_run_looks_at_is_no_obstacle(
    stored: Database, store: StoreSettings, counts: list[int]
) -> None:
    execute(
        stored,
        "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES ('far', 1, '20000-01-01 Z')",
    )
    execute(stored, "DELETE FROM performance_metrics WHERE operation_type = 'far'")
    assert (moved(stored, store), counts) == (0, [])


def test_without_a_checkpoint_that_tells_since_when_the_rows_are_counted(
    database: Database, store: StoreSettings, counts: list[int]
) -> None:
    with database.connect() as writer:
        writer.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('open', 1)")
        execute(database, "SELECT pg_current_xact_id()")
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        fill(database, 10)
        moved(database, store)
        fill(database, 10)
        moved(database, store)
        assert counts == [1]
    # none that was open at the checkpoint still is
    moved(database, store)
    assert counts == [1, 1]
    fill(database, 10)
    moved(database, store)
    assert counts == [1, 1]
