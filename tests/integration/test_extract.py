"""Extraction against a real server: which rows arrive, exactly as what, and what stops it."""

from __future__ import annotations

import logging
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.errors import DatabaseError, InvalidArgument, InvalidData, NotDeployed, PermissionDenied
from pggit_analytics.frames import BASELINES, METRICS, OPERATION_TYPES
from pggit_analytics.postgres import extract
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract import (
    ACTIVE_BASELINES,
    extract_active_baselines,
    extract_baselines,
    extract_held_operations,
    extract_metrics,
    extract_operation_types,
)
from pggit_analytics.postgres.sources import Source, native

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


def insert(database: Database, *rows: tuple[str, object, datetime]) -> None:
    """Store (operation_type, duration_ms, created_at); metric_id counts from 1."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES (%s, %s, %s)", rows
        )


def read(database: Database, source: Source | None = None, **changes: object) -> pl.DataFrame:
    arguments: dict[str, object] = {"start": NOON, "end": NOON + HOUR} | changes
    with extract_metrics(database, source or native("pggit"), **arguments) as metrics:
        frame = metrics.frame.lazy().collect().sort("metric_id")
        assert metrics.rows == frame.height
    return METRICS.check(frame)


@pytest.fixture
def spool_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def minutes(database: Database, count: int = 60) -> list[int]:
    """One row a minute from noon on; the second of them exactly on the edge of halves, thirds, quarters."""
    insert(database, *(("commit", n, NOON + n * timedelta(minutes=1)) for n in range(count)))
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("ANALYZE pggit.performance_metrics")
    return list(range(1, count + 1))


def test_both_ends_of_the_window_belong_to_it_to_the_microsecond(database: Database) -> None:
    insert(
        database,
        ("commit", 1, NOON - INSTANT),
        ("commit", 2, NOON),
        ("commit", 3, NOON + HOUR),
        ("commit", 4, NOON + HOUR + INSTANT),
    )
    assert read(database).rows() == [(2, "commit", 2000, NOON), (3, "commit", 3000, NOON + HOUR)]


def test_durations_arrive_as_exact_microseconds_over_the_whole_range(database: Database) -> None:
    durations = ["0", "0.001", "0.005", "1.001", "2.675", "10800000", "4503599627.371", "99999999999.999"]
    insert(database, *(("commit", duration, NOON) for duration in durations))
    assert read(database)["duration_us"].to_list() == [
        0, 1, 5, 1001, 2675, 10_800_000_000, 4_503_599_627_371, 99_999_999_999_999,
    ]  # fmt: skip


def test_only_the_operations_asked_for_arrive_however_they_are_called(database: Database) -> None:
    names = ["commit", "it's", 'say "so"', "back\\slash", "100%s", "größe ✓", "; DROP TABLE performance_metrics --"]
    insert(database, *((name, 1, NOON) for name in [*names, "merge"]))
    assert read(database, operations=names)["operation_type"].to_list() == names
    assert read(database, operations=["unknown"]).is_empty()


def test_a_database_in_another_encoding_is_read(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE pggit_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        query = (
            "SELECT length('größe') AS metric_id, 'größe' AS operation_type, 1 AS duration_ms, "
            "timestamptz '2026-03-01 12:00Z' AS created_at"
        )
        database = Database(conninfo.make_conninfo(server_url, dbname="pggit_latin1"))
        assert read(database, Source("mine", query), operations=["größe"]).rows() == [(5, "größe", 1000, NOON)]
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE pggit_latin1 WITH (FORCE)")


def test_an_empty_table_gives_an_empty_frame_of_the_right_types(shared_database: Database) -> None:
    assert read(shared_database).is_empty()


def test_rows_come_in_the_order_of_operation_and_time(database: Database) -> None:
    insert(database, *((("merge", "commit")[n % 2], n, NOON + n * timedelta(minutes=1)) for n in range(59, -1, -1)))
    with extract_metrics(database, native("pggit"), start=NOON, end=NOON + HOUR) as metrics:
        assert isinstance(metrics.frame, pl.DataFrame)
        assert metrics.frame.equals(metrics.frame.sort("operation_type", "created_at"))


def test_slices_together_hold_every_row_once(database: Database, spool_root: Path) -> None:
    ids = minutes(database)
    seen: list[tuple[int, int]] = []
    metrics = extract_metrics(
        database,
        native("pggit"),
        start=NOON,
        end=NOON + 59 * timedelta(minutes=1),
        held_rows=15,
        slice_rows=15,
        progress=lambda done, count: seen.append((done, count)),
    )
    assert isinstance(metrics.frame, pl.LazyFrame)
    assert len(list(spool_root.glob("*/*.parquet"))) == 4
    frame = METRICS.check(metrics.frame.collect())
    assert sorted(frame["metric_id"]) == ids
    assert metrics.rows == 60
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    metrics.close()
    assert list(spool_root.iterdir()) == []


def test_a_slice_without_rows_is_no_obstacle(database: Database) -> None:
    ids = minutes(database, 30)
    assert read(database, end=NOON + 2 * HOUR, held_rows=5, slice_rows=5)["metric_id"].to_list() == ids


def test_a_window_of_one_instant_is_one_slice(database: Database) -> None:
    insert(database, *(("commit", 1, NOON) for _ in range(20)))
    assert read(database, end=NOON, held_rows=1, slice_rows=1).height == 20


def test_rows_committed_while_reading_do_not_appear(database: Database) -> None:
    ids = minutes(database)

    def interfere(done: int, count: int) -> None:
        insert(database, ("commit", 1, NOON + HOUR))

    assert read(database, held_rows=20, slice_rows=20, progress=interfere)["metric_id"].to_list() == ids


def test_the_temporary_files_go_when_a_later_slice_fails(database: Database, spool_root: Path) -> None:
    minutes(database)
    query = "SELECT metric_id, operation_type, nullif(duration_ms, 59) AS duration_ms, created_at FROM {}"
    source = Source("mine", query.format("pggit.performance_metrics"))
    with pytest.raises(InvalidData, match="1 row with NULL duration_ms"):
        read(database, source, held_rows=20, slice_rows=20)
    assert list(spool_root.iterdir()) == []


def test_an_estimate_far_too_low_is_logged(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with database.connect() as connection:
        connection.execute(
            "CREATE FUNCTION public.many() RETURNS SETOF bigint LANGUAGE plpgsql ROWS 1 "
            "AS $$BEGIN RETURN QUERY SELECT * FROM generate_series(1::bigint, 50); END$$"
        )
    query = "SELECT many AS metric_id, 'a' AS operation_type, 1 AS duration_ms, timestamptz '2026-03-01 12:00Z' "
    with caplog.at_level(logging.WARNING):
        assert (
            read(database, Source("mine", query + "AS created_at FROM many()"), held_rows=10, slice_rows=10).height
            == 50
        )
    assert [record.getMessage() for record in caplog.records] == [
        "slice 1 of 1 has 50 rows where 10 were meant: the planner's estimate is off, ANALYZE the tables read"
    ]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_the_zone_of_server_and_caller_change_nothing(database: Database, zone: str) -> None:
    minutes(database)
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone TO '{zone}'".encode())
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET datestyle TO 'SQL, DMY'".encode())
    start = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    frame = read(database, start=start, end=(NOON + 2 * INSTANT).astimezone(ZoneInfo(zone)))
    assert frame.rows() == [(1, "commit", 0, NOON)]


def test_slices_over_a_change_of_clocks_leave_nothing_out(database: Database) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = datetime(2026, 3, 29, tzinfo=berlin), datetime(2026, 3, 30, tzinfo=berlin)  # 23 hours
    first = datetime(2026, 3, 28, 23, tzinfo=UTC)
    insert(database, *(("commit", n, first + n * HOUR) for n in range(24)))
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("ANALYZE pggit.performance_metrics")
    frame = read(database, start=start, end=end, held_rows=3, slice_rows=3)
    assert frame["created_at"].to_list() == [first + n * HOUR for n in range(24)]


ROWS = (
    "SELECT * FROM (VALUES (1::bigint, 'a', 1::float8, timestamptz '2026-03-01 12:00Z'), {}) "
    "AS x (metric_id, operation_type, duration_ms, created_at)"
)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("(2, 'a', NULL, '2026-03-01 12:00Z')", "1 row with NULL duration_ms"),
        ("(2, 'a', -0.001, '2026-03-01 12:00Z')", "1 row with negative duration_ms"),
        ("(2, 'a', 'NaN', '2026-03-01 12:00Z')", "1 row with NaN or too large duration_ms"),
        ("(2, 'a', 'Infinity', '2026-03-01 12:00Z')", "1 row with NaN or too large duration_ms"),
        ("(2, 'a', '-Infinity', '2026-03-01 12:00Z')", "1 row with negative duration_ms"),
        ("(2, 'a', 9007199254741, '2026-03-01 12:00Z')", "1 row with NaN or too large duration_ms"),
        ("(NULL, 'a', 1, '2026-03-01 12:00Z')", "1 row with NULL metric_id"),
        ("(2, NULL, 1, '2026-03-01 12:00Z')", "1 row with NULL operation_type"),
        (
            "(2, 'a', NULL, '2026-03-01 12:00Z'), (3, 'a', NULL, '2026-03-01 12:00Z'), "
            "(4, 'a', -1, '2026-03-01 12:00Z')",
            "2 rows with NULL duration_ms, 1 row with negative duration_ms",
        ),
    ],
)
def test_rows_no_statistic_can_take_are_refused_and_counted(shared_database: Database, rows: str, found: str) -> None:
    with pytest.raises(InvalidData) as caught:
        read(shared_database, Source("mine", ROWS.format(rows)))
    among = rows.count("2026") + 1
    assert str(caught.value) == (f"source mine yields {found} among {among}; repair or exclude them; nothing written")


def test_faulty_rows_outside_the_window_or_without_an_instant_do_no_harm(shared_database: Database) -> None:
    rows = "(2, 'a', NULL, '2026-03-01 14:00Z'), (3, 'a', 1, NULL), (4, 'a', 1, 'infinity')"
    assert read(shared_database, Source("mine", ROWS.format(rows)))["metric_id"].to_list() == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": NOON.replace(tzinfo=None)}, "start is 2026-03-01 12:00:00, expected an instant with a time zone"),
        ({"end": NOON.replace(tzinfo=None)}, "end is 2026-03-01 12:00:00, expected an instant with a time zone"),
        ({"end": NOON - INSTANT}, "start is 2026-03-01 12:00:00+00:00, expected it not to be after end"),
        ({"operations": []}, "operations is empty, expected at least one name"),
        ({"slice_rows": 0}, "slice_rows is 0, expected at least 1"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_connecting(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(Database("postgresql://nowhere.invalid/app"), **changes)
    assert str(caught.value).startswith(message)


def test_the_own_table_missing_asks_for_deploying(empty_database: Database) -> None:
    with pytest.raises(NotDeployed, match="run: pggit-analytics db deploy --schema pggit"):
        read(empty_database)


def test_a_role_without_rights_is_told_which(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE ROLE extract_stranger LOGIN")
    try:
        stranger = Database(conninfo.make_conninfo(database.conninfo, user="extract_stranger"))
        with pytest.raises(PermissionDenied, match="permission denied for schema pggit"):
            read(stranger)
    finally:
        with database.connect(autocommit=True) as connection:
            connection.execute("DROP ROLE extract_stranger")


def test_a_query_can_write_nothing(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE public.touched")
    columns = "nextval('public.touched') AS metric_id, operation_type, duration_ms, created_at"
    query = ROWS.format("(2, 'a', 1, NULL)").replace("*", columns)
    with pytest.raises(DatabaseError, match=r"source mine: reading the metrics failed: .*read-only transaction"):
        read(database, Source("mine", query))


def test_an_error_while_reading_is_one_line_with_its_cause(database: Database) -> None:
    minutes(database)
    query = "SELECT metric_id, operation_type, 1 / (30 - metric_id) AS duration_ms, created_at FROM {}"
    with pytest.raises(DatabaseError) as caught:
        read(database, Source("mine", query.format("pggit.performance_metrics")))
    assert str(caught.value) == (
        f"source mine: reading the metrics failed: ERROR: division by zero in {database.place}"
    )


def test_a_connection_killed_in_the_middle_is_an_error_not_a_short_result(shared_database: Database) -> None:
    query = (
        "SELECT n AS metric_id, 1 AS duration_ms, timestamptz '2026-03-01 12:00Z' AS created_at, "
        "CASE WHEN n = 50000 AND pg_terminate_backend(pg_backend_pid()) THEN 'never' ELSE 'a' END AS operation_type "
        "FROM generate_series(1::bigint, 100000) AS n"
    )
    with pytest.raises(DatabaseError, match="source mine: reading the metrics failed"):
        read(shared_database, Source("mine", query))


def test_a_panic_of_connectorx_is_an_error_of_ours(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # connectorx panics on a mode it does not know, as it does on other faults of its own.
    monkeypatch.setattr(extract, "connectorx_url", lambda connection: "postgresql://a@b/c?sslmode=verify-full")
    with pytest.raises(DatabaseError, match="source native: reading the metrics failed: ") as caught:
        read(database)
    assert "postgresql://" not in str(caught.value)


def store_baselines(database: Database, *rows: tuple[object, ...]) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_baselines (operation_type, is_active, valid_from, valid_to, sample_count, "
            "p99_microseconds, alert_threshold_multiplier) VALUES (%s, %s, %s, %s, 10, %s, %s)",
            rows,
        )


def test_the_baseline_valid_at_the_as_of_counts_not_the_active_one(database: Database) -> None:
    store_baselines(
        database,
        ("a", False, "-infinity", NOON, 1, 2),
        ("a", True, NOON, None, 2, 2.5),
        ("b", False, "-infinity", NOON + HOUR, 3, 2),
        ("b", True, NOON - HOUR, None, 4, 2),  # both valid at noon: the later one
        ("c", True, NOON + INSTANT, None, 5, 2),  # not yet
        ("d", False, NOON - HOUR, NOON, 6, 2),  # no longer
        ("B", True, "-infinity", None, 7, 3),  # capitals come first
    )
    frame = BASELINES.check(extract_baselines(database, NOON))
    assert frame.rows() == [("B", 7, 7, 3.0), ("a", 2, 2, 2.5), ("b", 4, 4, 2.0)]
    before = extract_baselines(database, NOON - INSTANT)
    assert before.rows() == [("B", 7, 7, 3.0), ("a", 1, 1, 2.0), ("b", 4, 4, 2.0), ("d", 6, 6, 2.0)]


def test_without_baselines_the_frames_are_empty(shared_database: Database) -> None:
    assert BASELINES.check(extract_baselines(shared_database, NOON)).is_empty()
    assert ACTIVE_BASELINES.check(extract_active_baselines(shared_database, NOON)).is_empty()


def test_active_baselines_say_whether_they_are_newer_than_the_as_of(database: Database) -> None:
    store_baselines(
        database,
        ("a", False, "-infinity", NOON, 1, 2),
        ("a", True, NOON, None, 2, 2),
        ("b", True, NOON + INSTANT, None, 3, 2),
        ("c", True, "-infinity", None, 4, 2),
    )
    assert extract_active_baselines(database, NOON).rows() == [
        ("a", 2, 2, False),
        ("b", 3, 3, True),
        ("c", 4, 4, False),
    ]


@pytest.mark.parametrize("extract_some", [extract_baselines, extract_active_baselines])
def test_an_as_of_without_a_zone_is_refused(extract_some) -> None:
    with pytest.raises(InvalidArgument, match="as_of is 2026-03-01 12:00:00, expected an instant with a time zone"):
        extract_some(Database("postgresql://nowhere.invalid/app"), NOON.replace(tzinfo=None))


def test_the_operation_types_are_those_of_the_table_in_code_point_order(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("DELETE FROM performance_operation_types")
        connection.execute(
            "INSERT INTO performance_operation_types (operation_type, category, typical_duration_ms, is_tracked) "
            "VALUES ('b', 'READ', 0.5, TRUE), ('a', 'UNKNOWN', NULL, FALSE), ('B', 'WRITE', 5, TRUE)"
        )
    assert OPERATION_TYPES.check(extract_operation_types(database)).rows() == [
        ("B", "WRITE", 5.0, True),
        ("a", "UNKNOWN", None, False),
        ("b", "READ", 0.5, True),
    ]


def test_an_operation_is_held_by_an_open_alert_that_it_is_slow_and_by_no_other(database: Database) -> None:
    alerts = [
        ("a", "DEGRADATION", None),
        ("b", "INCIDENT", None),
        ("c", "THRESHOLD_EXCEEDED", None),
        ("d", "DEGRADATION", NOON),
        ("e", "ANOMALY", None),
        (None, "INCIDENT", None),
    ]
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_alerts (operation_type, alert_type, resolved_at, severity, dedup_key, evidence, "
            "opened_at, last_seen_at) VALUES (%s, %s, %s, 'WARNING', gen_random_uuid()::text, '{}', now(), now())",
            alerts,
        )
    assert extract_held_operations(database) == {"a", "b", "c"}
