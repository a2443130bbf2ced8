"""How much work is done, counted rather than timed: statements, bytes moved, rows read, disk taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pggit_analytics.config import StoreSettings
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters, Target, monitor, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.sources import native
from tests.relay import Relay, Traffic

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)

#: of a run, whatever it reads and finds
MOST_STATEMENTS, MOST_CONNECTIONS = 115, 9
#: how often a function may read its window
MOST_READINGS = 4

#: Evenly over a time: three operations, of which one got slower half-way and all have a slow call now and then.
FILL = """
    INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
    SELECT
        (ARRAY['commit', 'get_history', 'merge'])[1 + n %% 3],
        (10 + n %% 7) * CASE WHEN n %% 3 = 0 AND n > %(rows)s / 2 THEN 2 ELSE 1 END
            * CASE WHEN n %% 251 = 0 THEN 30 ELSE 1 END,
        %(end)s - (%(rows)s - n) * (%(span)s / %(rows)s::FLOAT8)
    FROM generate_series(1, %(rows)s) AS n
"""


def fill(database: Database, rows: int, *, end: datetime = NOON, span: timedelta = WEEK) -> None:
    with database.connect() as connection:
        connection.execute(FILL, {"rows": rows, "end": end, "span": span})


def run(relay: Relay, store: StoreSettings | None = None) -> tuple[Traffic, int]:
    """One monitoring run: what passed between it and the server, and how many anomalies it found."""
    database, before = relay.database, relay.seen()
    result = monitor(Target(database, database, native(database.schema), store), MonitorParameters(as_of=NOON))
    return relay.seen().since(before), result.findings.anomalies.height


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_sends_as_many_statements_however_many_timings_and_findings_there_are(
    create_database: Callable[..., str], deployed_template: str
) -> None:
    runs = []
    for rows in (3_000, 30_000):
        database = Database(create_database(deployed_template))
        fill(database, rows)
        recalculate_baselines(Target(database, database, native("pggit")), BaselineParameters(as_of=NOON))
        with Relay(database) as relay:
            runs.append(run(relay))
    (few, few_found), (many, many_found) = runs
    assert many_found >= 5 * few_found > 0
    assert many.statements == few.statements <= MOST_STATEMENTS
    assert many.connections == few.connections <= MOST_CONNECTIONS
    # three numbers of eight bytes each; names are sent once
    assert 24 <= (many.bytes_received - few.bytes_received) / 27_000 <= 26


def test_a_run_with_a_store_moves_the_new_rows_and_no_others(database: Database, tmp_path: Path) -> None:
    fill(database, 30_000)
    store = StoreSettings(directory=tmp_path / "store")
    with Relay(database) as relay:
        whole, _ = run(relay, store)
        again, _ = run(relay, store)
        fill(database, 300, span=HOUR)
        few_new, _ = run(relay, store)
    assert whole.bytes_received > 30_000 * 24
    assert again.bytes_received < 0.05 * whole.bytes_received
    assert 300 * 24 < few_new.bytes_received < 0.1 * whole.bytes_received


# --- functions and views ----------------------------------------------------------------------------------------------

#: rows that this transaction has read of the metrics: in sequence, and entries of indexes
READ = """
    SELECT
        pg_stat_get_xact_tuples_returned('performance_metrics'::REGCLASS),
        sum(pg_stat_get_xact_tuples_returned(i.indexrelid))::BIGINT
    FROM pg_index AS i
    WHERE i.indrelid = 'performance_metrics'::REGCLASS
"""

#: rows in the last day and week, of one operation and of all; and those before
A_DAY, A_WEEK, EVER = 3_000, 21_000, 40_000

#: statement -> rows of its window
WINDOWS = {
    "SELECT * FROM detect_anomalies_statistical('commit')": A_DAY // 3,
    "SELECT * FROM detect_threshold_exceeded('commit')": A_DAY // 3,
    "SELECT * FROM detect_performance_degradation('commit')": A_WEEK // 3,
    "SELECT * FROM detect_combined_anomalies('commit')": (A_WEEK + A_DAY) // 3,
    "SELECT * FROM detect_correlated_degradation()": A_DAY,
    "SELECT * FROM recalculate_all_baselines_rolling(p_force_recalc => TRUE)": A_WEEK,
}
#: views read the metrics of merges and of what they show, of which there are few
VIEWS = (
    "v_merge_bottleneck_analysis",
    "v_merge_success_rate_analysis",
    "v_merge_conflict_hotspots",
    "v_merge_phase_timeline",
    "v_baseline_recalc_health",
    "v_baseline_recalc_execution_summary",
    "v_notification_delivery_status",
    "v_current_findings",
    "v_open_incidents",
)


@pytest.fixture(scope="module")
def long_history(shared_database: Database) -> Database:
    """A week of timings after years of them."""
    fill(shared_database, EVER, end=NOON - WEEK - HOUR, span=1000 * DAY)
    fill(shared_database, A_WEEK)
    with shared_database.connect(autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) performance_metrics")
        connection.execute("SELECT * FROM recalculate_all_baselines_rolling(p_as_of => %s)", (NOON,))
    return shared_database


@pytest.fixture
def connection(long_history: Database) -> Iterator[psycopg.Connection]:
    with long_history.connect() as opened:
        opened.execute("SELECT set_config('pggit.as_of', %s, TRUE)", (NOON.isoformat(" "),))
        # what other processes read for a statement is not counted here
        opened.execute("SET LOCAL max_parallel_workers_per_gather TO 0")
        yield opened
        opened.rollback()


def read_by(connection: psycopg.Connection, statement: str) -> tuple[int, int]:
    """Rows of the metrics that a statement reads: in sequence, and through indexes."""
    before = row_of(connection, READ)
    connection.execute(statement.encode())
    after = row_of(connection, READ)
    return after[0] - before[0], after[1] - before[1]


def row_of(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("statement", WINDOWS)
def test_a_function_reads_the_rows_of_its_window_and_no_others(connection: psycopg.Connection, statement: str) -> None:
    in_sequence, indexed = read_by(connection, statement)
    assert in_sequence == 0
    # entries of a BRIN index are ranges of pages, and so fewer than the rows in them
    assert 0 < indexed <= MOST_READINGS * WINDOWS[statement] + 100


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_reads_no_timings_that_it_does_not_show(connection: psycopg.Connection, view: str) -> None:
    assert read_by(connection, f"SELECT * FROM {view}") == (0, 0)


# --- disk -------------------------------------------------------------------------------------------------------------


def test_a_timing_takes_no_more_disk_than_it_did(long_history: Database) -> None:
    with long_history.connect() as connection:
        table, indexes = row_of(
            connection,
            "SELECT pg_table_size('performance_metrics'), pg_indexes_size('performance_metrics')",
        )
    rows = EVER + A_WEEK
    assert table / rows <= 110
    assert indexes / rows <= 130
