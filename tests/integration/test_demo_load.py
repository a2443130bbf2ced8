"""The demo's data in a real PostgreSQL: loaded once, whole or not at all, and apart from everybody else's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import psycopg
import pytest

from pggit_analytics.demo.generator import Week, generate_week
from pggit_analytics.demo.load import demo_loaded, load_week
from pggit_analytics.demo.workload import run_workload
from pggit_analytics.errors import InvalidArgument, NotDeployed
from pggit_analytics.postgres.connection import Database

AS_OF = datetime(2026, 1, 30, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole_week() -> Week:
    return generate_week(AS_OF)


@pytest.fixture
def week(whole_week: Week) -> Week:
    """Its first rows: the tests of what is kept and replaced need no more."""
    return replace(whole_week, metrics=whole_week.metrics.head(2_000), merges=whole_week.merges.head(50))


def _rows(database: Database) -> tuple[int, int]:
    with database.connect() as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM performance_metrics), (SELECT count(*) FROM merge_relationships)"
        ).fetchone()
    assert row is not None
    return row


def _microseconds(durations: pl.Series) -> int:
    return int((durations * 1000).round().cast(pl.Int64).sum())


def test_a_whole_week_arrives_complete_and_progress_counts_its_rows(database: Database, whole_week: Week) -> None:
    reports: list[int] = []
    with database.connect() as connection:
        written = load_week(connection, whole_week, reports.append)
        metrics = connection.execute(
            """SELECT count(*), sum(duration_ms), min(created_at), max(created_at), count(DISTINCT operation_type),
                      count(distributed_trace_id), count(distributed_trace_parent_id) FROM performance_metrics"""
        ).fetchone()
        merges = connection.execute(
            "SELECT count(*), sum(duration_ms), count(resolution_strategy) FROM merge_relationships"
        ).fetchone()

    sent, merged = whole_week.metrics, whole_week.merges
    assert written == sent.height
    assert metrics == (
        sent.height,
        Decimal(_microseconds(sent["duration_ms"])) / 1000,
        sent["created_at"].min(),
        sent["created_at"].max(),
        33,
        sent["distributed_trace_id"].count(),
        sent["distributed_trace_parent_id"].count(),
    )
    assert merges == (
        merged.height,
        Decimal(_microseconds(merged["duration_ms"])) / 1000,
        merged["resolution_strategy"].count(),
    )
    assert reports == sorted(reports)
    assert reports[-1] == sent.height


def test_every_column_arrives_unchanged(database: Database, week: Week) -> None:
    with database.connect() as connection:
        load_week(connection, week)
        metrics = connection.execute(
            """SELECT operation_type, duration_ms::float8, created_at, distributed_trace_id,
                      distributed_trace_parent_id, user_name FROM performance_metrics ORDER BY metric_id"""
        ).fetchall()
        merges = connection.execute(
            """SELECT merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms::float8
               FROM merge_relationships ORDER BY merge_id"""
        ).fetchall()

    assert metrics == week.metrics.rows()
    assert merges == week.merges.rows()


def test_before_loading_there_is_no_demo_data_and_afterwards_its_end_is_known(database: Database, week: Week) -> None:
    with database.connect() as connection:
        assert demo_loaded(connection) is None
        load_week(connection, week)

    with database.connect() as connection:
        connection.execute("SET timezone TO 'Asia/Kolkata'")
        loaded = demo_loaded(connection)
    assert loaded == AS_OF
    assert loaded.utcoffset() == timedelta(0)


def test_loading_the_same_week_again_writes_nothing(database: Database, week: Week) -> None:
    elsewhere = replace(week, as_of=AS_OF.astimezone(timezone(timedelta(hours=2))))
    with database.connect() as connection:
        load_week(connection, week)
        again = load_week(connection, elsewhere)

    assert again == 0
    assert _rows(database) == (2_000, 50)


def test_loading_a_later_week_replaces_the_demo_rows_and_no_others(database: Database, week: Week) -> None:
    later = replace(week, as_of=AS_OF + timedelta(days=1), metrics=week.metrics.head(10), merges=week.merges.head(3))
    with database.connect() as connection:
        connection.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('commit', 5)")
        connection.execute(
            "INSERT INTO merge_relationships (merge_id, branch_from, branch_into, status) "
            "VALUES ('pggit-own', 'a', 'b', 'SUCCESS')"
        )
        load_week(connection, week)
        written = load_week(connection, later)
        loaded = demo_loaded(connection)

    assert written == 10
    assert loaded == later.as_of
    assert _rows(database) == (11, 4)


def test_a_load_that_breaks_off_leaves_nothing_behind(database: Database, week: Week) -> None:
    def stop(_rows_sent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), database.connect() as connection:
        load_week(connection, week, stop)

    with database.connect() as connection:
        assert demo_loaded(connection) is None
    assert _rows(database) == (0, 0)


def test_of_two_loads_at_once_one_writes(database: Database, week: Week) -> None:
    def load(_number: int) -> int:
        with database.connect() as connection:
            return load_week(connection, week)

    with ThreadPoolExecutor(2) as pool:
        written = sorted(pool.map(load, range(2)))

    assert written == [0, 2_000]
    assert _rows(database) == (2_000, 50)


def test_asking_for_demo_data_where_nothing_is_deployed_says_how_to_deploy(empty_database: Database) -> None:
    with pytest.raises(NotDeployed, match="pggit-analytics db deploy"), empty_database.connect() as connection:
        demo_loaded(connection)


class CountingTimer:
    """Times nothing, counts everything."""

    def __init__(self) -> None:
        self.finished: Counter[str] = Counter()

    @contextmanager
    def time(self, operation_type: str) -> Iterator[None]:
        yield
        self.finished[operation_type] += 1


def test_the_workload_times_each_of_its_operations_and_leaves_no_table(database: Database) -> None:
    timer = CountingTimer()

    timed = run_workload(database, timer, repetitions=3)

    assert timer.finished == {"demo_insert": 3, "demo_lookup": 15, "demo_aggregate": 3, "demo_rollback": 3}
    assert timed == timer.finished.total()
    with psycopg.connect(database.conninfo) as connection:
        left = connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'demo_objects'").fetchone()
    assert left == (0,)


def test_a_workload_without_repetitions_is_refused(database: Database) -> None:
    with pytest.raises(InvalidArgument, match="repetitions is 0; allowed is 1 or more"):
        run_workload(database, CountingTimer(), repetitions=0)
