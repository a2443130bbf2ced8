"""The eight views on a real server: columns, time travel, who may read them, and that they read through indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import conninfo, errors, sql

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.parity import DASHBOARD_TWINS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.extract_dashboards import extract_dashboards
from pggit_analytics.postgres.parity_check import from_frames
from tests.parity.dashboard_cases import engine_inputs, load, parameters, read_fixture, twin_of

#: view -> its columns: those of the plan in their order, then those added
COLUMNS = {
    "v_merge_bottleneck_analysis": (
        "merge_id branch_from branch_into merge_start lca_find_ms conflict_detect_ms auto_resolve_ms total_merge_ms "
        "primary_bottleneck lca_percent conflict_detect_percent resolution_percent sla_status"
    ),
    "v_merge_success_rate_analysis": (
        "hour total_attempts auto_resolved manual_resolved rejected auto_resolve_percent manual_resolve_percent "
        "rejection_rate_percent avg_merge_ms p99_merge_ms undecided"
    ),
    "v_merge_conflict_hotspots": (
        "branch_from branch_into merge_attempts conflict_count conflict_rate_percent avg_conflict_resolve_ms "
        "max_conflict_resolve_ms p99_conflict_resolve_ms"
    ),
    "v_merge_phase_timeline": "time_window phase p99_phase_ms sample_count",
    "v_baseline_recalc_health": (
        "operation_type is_active freshness hours_since_update sample_count p99_ms created_at"
    ),
    "v_baseline_recalc_execution_summary": (
        "execution_day total_operations_updated successful timeouts errors success_rate_percent avg_duration_sec "
        "max_duration_sec running"
    ),
    "v_notification_delivery_status": (
        "hour status notification_count avg_delivery_time_seconds min_retries max_retries"
    ),
    "v_current_findings": (
        "operation_type alert_type severity since last_seen_at is_snoozed is_acknowledged evidence advice alert_id "
        "alert_source"
    ),
}
VIEWS = list(COLUMNS)

#: one row for each view, at the transaction's now() moved by the parameter
ONE_OF_EACH = """
WITH at AS (SELECT now() + %(moved)s AS t),
merge AS (
    INSERT INTO merge_relationships (merge_id, branch_from, branch_into, created_at, status, duration_ms)
    SELECT 'one', 'a', 'b', t, 'CONFLICT', 10 FROM at
),
phase AS (
    INSERT INTO performance_metrics (operation_type, duration_ms, created_at, distributed_trace_parent_id)
    SELECT 'merge_base_find', 5, t, 'one' FROM at
),
baseline AS (
    INSERT INTO performance_baselines (operation_type, valid_from, sample_count, p99_microseconds, last_updated)
    SELECT 'commit', t, 10, 1000, t FROM at
),
execution AS (
    INSERT INTO baseline_recalc_execution (operation_type, execution_start, status)
    SELECT 'commit', t, 'RUNNING' FROM at
),
alert AS (
    INSERT INTO performance_alerts (operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at)
    SELECT 'commit', 'DEGRADATION', 'WARNING', 'one', '{}', t, t FROM at
),
webhook AS (
    INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'one') RETURNING webhook_id
)
INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, created_at)
SELECT webhook_id, 'secret', 'one', t FROM webhook, at
"""

#: enough for an index to be worth it: merges with a phase, alerts, messages, replaced baselines, recalculations
MANY = """
INSERT INTO merge_relationships (merge_id, branch_from, branch_into, created_at, status, duration_ms)
SELECT 'merge ' || n, 'a', 'b', %(as_of)s - n * INTERVAL '1 hour', 'CONFLICT', n FROM generate_series(1, 5000) AS g (n);

INSERT INTO performance_metrics (
    operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id
)
SELECT o.name, n, %(as_of)s - n * INTERVAL '1 hour', o.name || n, CASE WHEN o.name <> 'commit' THEN 'merge ' || n END
FROM generate_series(1, 5000) AS g (n)
CROSS JOIN (VALUES ('merge_base_find'), ('merge_conflict_detect'), ('commit')) AS o (name);

INSERT INTO performance_baselines (
    operation_type, is_active, valid_from, valid_to, sample_count, p99_microseconds, last_updated
)
SELECT 'commit', FALSE, t, t + INTERVAL '1 hour', 1, 1, t
FROM (SELECT %(as_of)s - n * INTERVAL '1 hour' AS t FROM generate_series(1, 5000) AS g (n)) AS s;

INSERT INTO baseline_recalc_execution (operation_type, execution_start, status)
SELECT 'commit', %(as_of)s - n * INTERVAL '1 day', 'ERROR' FROM generate_series(1, 5000) AS g (n);

INSERT INTO performance_alerts (
    operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at, resolved_at
)
SELECT 'commit', 'ANOMALY', 'WARNING', 'alert ' || n, '{}', t, t, t
FROM (SELECT n, %(as_of)s - n * INTERVAL '1 hour' AS t FROM generate_series(1, 5000) AS g (n)) AS s;

INSERT INTO alert_notification_webhooks (webhook_id, webhook_type, name) VALUES (-1, 'slack', 'many');

INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, created_at)
SELECT -1, repeat('message ', 80), 'message ' || n, %(as_of)s - n * INTERVAL '1 hour'
FROM generate_series(1, 5000) AS g (n);

ANALYZE merge_relationships, performance_metrics, performance_baselines, baseline_recalc_execution,
    performance_alerts, alert_notification_queue;
"""


@pytest.fixture(scope="module")
def connection(shared_database: Database) -> Iterator[psycopg.Connection]:
    """Within one transaction; what a test changes is rolled back."""
    with shared_database.connect() as connection:
        connection.execute("SELECT 1")
        yield connection


def count(connection: psycopg.Connection, view: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(view))).fetchone()
    assert row is not None
    return int(row[0])


def test_there_are_eight_views_and_each_has_a_twin() -> None:
    assert sorted(VIEWS) == sorted(twin.sql_object for twin in DASHBOARD_TWINS)


def test_the_schema_has_these_views_and_their_comments_claim_them(connection: psycopg.Connection) -> None:
    found = dict(
        connection.execute(
            """
            SELECT c.relname, obj_description(c.oid, 'pg_class')
            FROM pg_class AS c
            WHERE c.relnamespace = 'pggit'::REGNAMESPACE AND c.relkind = 'v'
            """
        ).fetchall()
    )
    assert set(VIEWS) <= set(found)
    assert all(found[view].startswith("pggit_analytics: ") for view in VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_columns_of_the_plan_in_their_order(connection: psycopg.Connection, view: str) -> None:
    cursor = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(view)))
    assert [column.name for column in cursor.description or []] == COLUMNS[view].split()


@pytest.mark.parametrize("view", VIEWS)
def test_what_happens_now_is_shown(connection: psycopg.Connection, view: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(ONE_OF_EACH.encode(), {"moved": timedelta(0)})
        assert count(connection, view) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_what_happens_later_is_not_shown_until_then(connection: psycopg.Connection, view: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(ONE_OF_EACH.encode(), {"moved": timedelta(microseconds=1)})
        assert count(connection, view) == 0
        connection.execute("SELECT set_config('pggit.as_of', (now() + INTERVAL '1 microsecond')::TEXT, TRUE)")
        assert count(connection, view) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_a_moment_without_a_zone_is_refused_by_every_view(connection: psycopg.Connection, view: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL pggit.as_of TO '2026-03-29 12:30:00'")
        # as where the planner knows that a table has no rows, and reads it whole
        connection.execute("SET LOCAL enable_indexscan TO off")
        connection.execute("SET LOCAL enable_indexonlyscan TO off")
        connection.execute("SET LOCAL enable_bitmapscan TO off")
        with pytest.raises(errors.InvalidParameterValue, match="time zone"), connection.transaction():
            count(connection, view)


@pytest.mark.parametrize("view", VIEWS)
def test_a_reader_sees_every_view(connection: psycopg.Connection, view: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(ONE_OF_EACH.encode(), {"moved": timedelta(0)})
        connection.execute("SET LOCAL ROLE pggit_reader")
        rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view))).fetchall()
        assert len(rows) == 1
        assert "secret" not in repr(rows)


@pytest.mark.parametrize("view", VIEWS)
def test_a_stranger_sees_no_view(connection: psycopg.Connection, view: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE pggit_test_stranger")
        connection.execute("GRANT USAGE ON SCHEMA pggit TO pggit_test_stranger")
        connection.execute("SET LOCAL ROLE pggit_test_stranger")
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            count(connection, view)


@pytest.fixture(scope="module")
def planning(create_database: Callable[[], str]) -> Iterator[psycopg.Connection]:
    """A database with many rows, looked at from their end."""
    as_of = read_fixture(VIEWS[0])[1]
    database = Database(create_database())
    deploy(database)
    with database.connect() as connection:
        for statement in MANY.split(";\n\n"):
            connection.execute(statement.encode(), {"as_of": as_of})
        connection.execute("SELECT set_config('pggit.as_of', %s, FALSE)", (as_of.isoformat(" "),))
        yield connection


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_reads_a_whole_table(planning: psycopg.Connection, view: str) -> None:
    nodes = list(plan_of(planning, view))
    whole = {
        node["Relation Name"]
        for node in nodes
        if node["Node Type"] == "Seq Scan" or (node["Node Type"].startswith("Index") and "Index Cond" not in node)
    }
    # the few silences of a new database fit on one page
    assert whole <= {"alert_snooze"}


def test_merges_find_their_metrics_through_the_index_made_for_that(planning: psycopg.Connection) -> None:
    used = {node["Index Name"] for node in plan_of(planning, "v_merge_bottleneck_analysis") if "Index Name" in node}
    assert used == {"merge_relationships_created_idx", "performance_metrics_merge_idx"}


def plan_of(connection: psycopg.Connection, view: str) -> Iterator[dict[str, Any]]:
    """Every node of the plan."""
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT * FROM {}").format(sql.Identifier(view))).fetchone()
    assert row is not None
    left = [row[0][0]["Plan"]]
    while left:
        node = left.pop()
        left += node.get("Plans", ())
        yield node


@pytest.mark.parametrize("view", VIEWS)
def test_the_dataframes_read_by_a_reader_give_the_rows_of_the_view(database: Database, view: str) -> None:
    inputs, as_of, expected = read_fixture(view)
    with database.connect() as connection:
        load(connection, inputs)
    reader = Database(conninfo.make_conninfo(database.conninfo, options="-c role=pggit_reader"), database.schema)
    answer = from_frames(twin_of(view), engine_inputs(extract_dashboards(reader, as_of)), parameters(as_of))
    assert_frame_equal(answer, expected, check_exact=False, rel_tol=1e-12, abs_tol=0.0)


def test_the_dataframes_of_a_moment_without_a_zone_are_refused(shared_database: Database) -> None:
    with pytest.raises(InvalidArgument, match="expected a date, time and time zone"):
        extract_dashboards(shared_database, read_fixture(VIEWS[0])[1].replace(tzinfo=None))
