"""How long the eight views take: with 1,000,000 metrics, or as many as ``--rows`` says.

The database holds 20 days: 10,000 merges (500 in the last 24 h) with the metrics of their phases, the other operations,
100,000 queued messages (10,000 of the last 7 days), two years of recalculations, 20,000 alerts (40 open). Each figure
is the time of ``SELECT *`` as a client sees it (send, plan, run, fetch), over 15 calls after one to warm up. The queue
is measured as a vacuum leaves it and with the rows of the window changed since.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from figures import Line, told
from psycopg import conninfo, sql

from data import AS_OF, DEFAULT_DIRECTORY, say, server
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy

#: rises when the data changes, so that databases made before are made again
VERSION = 1

TARGET_MS = 5.0

REPETITIONS = 15

VIEWS = (
    "v_merge_bottleneck_analysis",
    "v_merge_success_rate_analysis",
    "v_merge_conflict_hotspots",
    "v_merge_phase_timeline",
    "v_baseline_recalc_health",
    "v_baseline_recalc_execution_summary",
    "v_notification_delivery_status",
    "v_current_findings",
)

_MERGES = """
INSERT INTO merge_relationships (
    merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms
)
SELECT
    'merge-' || i,
    'feature/' || floor(40 * power(random(), 2)),
    CASE WHEN random() < 0.7 THEN 'main' ELSE 'release' END,
    %(as_of)s - (i + random()) * INTERVAL '172.8 seconds',
    (ARRAY['auto', 'auto', 'auto', 'manual', 'rejected', NULL])[1 + floor(6 * random())::INTEGER],
    CASE WHEN random() < 0.25 THEN 'CONFLICT' WHEN random() < 0.02 THEN 'FAILED' ELSE 'SUCCESS' END,
    (60 + 80 * random())::NUMERIC(14, 3)
FROM generate_series(0, 9999) AS g (i)
"""

# Everything goes in as it would have come: by time, the metrics of a merge among those of other operations.
_METRICS = """
INSERT INTO performance_metrics (
    operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id
)
SELECT operation_type, duration_ms, created_at, trace_id, parent_id
FROM (
    SELECT
        s.operation_type,
        (m.duration_ms * s.share)::NUMERIC(14, 3) AS duration_ms,
        m.created_at + m.duration_ms * s.ends * INTERVAL '1 ms' AS created_at,
        CASE WHEN s.ends = 1 THEN m.merge_id ELSE m.merge_id || s.operation_type END AS trace_id,
        CASE WHEN s.ends < 1 THEN m.merge_id END AS parent_id
    FROM merge_relationships AS m
    CROSS JOIN (
        VALUES
            ('merge_base_find', 0.2, 0.2), ('merge_conflict_detect', 0.3, 0.5), ('merge_auto_resolve', 0.4, 0.9),
            ('merge_branches', 1.0, 1.0)
    ) AS s (operation_type, share, ends)
    WHERE s.operation_type <> 'merge_auto_resolve' OR m.status = 'CONFLICT'
    UNION ALL
    SELECT
        o.names[1 + i %% cardinality(o.names)],
        (1 + 20 * random())::NUMERIC(14, 3),
        %(as_of)s - random() * INTERVAL '20 days',
        NULL,
        NULL
    FROM generate_series(1, %(rows)s - 32500) AS g (i)
    CROSS JOIN (
        SELECT array_agg(operation_type) AS names
        FROM performance_operation_types
        WHERE operation_type NOT IN ('merge_base_find', 'merge_conflict_detect', 'merge_auto_resolve', 'merge_branches')
    ) AS o
) AS every
ORDER BY created_at
"""

_BASELINES = """
INSERT INTO performance_baselines (
    operation_type, is_active, valid_from, valid_to, sample_count, p99_microseconds, created_at, last_updated
)
SELECT
    t.operation_type, k = 0, e.ended - INTERVAL '1 day', CASE WHEN k > 0 THEN e.ended END, 1000, 5000 + k,
    e.ended - INTERVAL '1 day', e.ended - INTERVAL '1 day'
FROM performance_operation_types AS t
CROSS JOIN generate_series(0, 100) AS g (k)
CROSS JOIN LATERAL (SELECT %(as_of)s - k * INTERVAL '1 day' AS ended) AS e
"""

_EXECUTIONS = """
INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status)
SELECT t.operation_type, s.start, s.start + random() * INTERVAL '3 seconds', 'SUCCESS'
FROM generate_series(0, 729) AS g (k)
CROSS JOIN LATERAL (SELECT %(as_of)s - (k + 0.4) * INTERVAL '1 day' AS start) AS s
CROSS JOIN performance_operation_types AS t
ORDER BY s.start
"""

_ALERTS = """
INSERT INTO performance_alerts (
    operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at, resolved_at
)
SELECT
    'commit', CASE WHEN i %% 500 = 0 THEN 'DEGRADATION' ELSE 'ANOMALY' END,
    (ARRAY['CRITICAL', 'WARNING', 'INFO'])[1 + i %% 3], 'alert ' || i,
    jsonb_build_object('operation_type', 'commit', 'duration_ms', i, 'detected_at', '2026-06-17T12:00:00.000000Z'),
    o.opened, o.opened, CASE WHEN i %% 500 > 0 THEN o.opened END
FROM generate_series(1, 20000) AS g (i)
CROSS JOIN LATERAL (SELECT %(as_of)s - (20000 - i) * INTERVAL '30 minutes' AS opened) AS o
"""

_SNOOZES = """
INSERT INTO alert_snooze (operation_type, snooze_until, created_at)
SELECT 'operation ' || i, %(as_of)s - (i - 5) * INTERVAL '1 day', %(as_of)s - (i + 1) * INTERVAL '1 day'
FROM generate_series(1, 1000) AS g (i)
"""

_QUEUE = """
WITH webhook AS (
    INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('webhook', 'benchmark') RETURNING webhook_id
)
INSERT INTO alert_notification_queue (
    webhook_id, alert_id, message_body, dedup_key, status, retry_count, created_at, delivered_at
)
SELECT
    w.webhook_id, 1 + i %% 20000, repeat('message ', 80), 'message ' || i,
    CASE WHEN i %% 100 = 0 THEN 'failed' WHEN i > 99900 THEN 'pending' ELSE 'delivered' END,
    i %% 3,
    q.created,
    CASE WHEN i %% 100 > 0 AND i <= 99900 THEN q.created + random() * INTERVAL '30 seconds' END
FROM generate_series(1, 100000) AS g (i)
CROSS JOIN webhook AS w
CROSS JOIN LATERAL (SELECT %(as_of)s - (100000 - i) * INTERVAL '60.48 seconds' AS created) AS q
"""

_TABLES = (
    "performance_metrics",
    "merge_relationships",
    "performance_baselines",
    "baseline_recalc_execution",
    "performance_alerts",
    "alert_snooze",
    "alert_notification_queue",
)

# What delivering does to a row: it is written once more, and its page is not all-visible until the next vacuum.
_DELIVERED_AGAIN = """
UPDATE alert_notification_queue SET leased_until = NULL WHERE created_at >= %(as_of)s - INTERVAL '7 days'
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table; times in milliseconds."""

    view: str
    median_ms: float
    minimum_ms: float
    rows: int


def main() -> None:
    arguments = _arguments()
    with server(arguments.directory) as url:
        database = prepare(url, arguments.rows)
        with database.connect(autocommit=True) as connection:
            connection.execute("SELECT set_config('pggit.as_of', %s, FALSE)", (AS_OF.isoformat(" "),))
            if arguments.explain:
                for view in VIEWS:
                    explain(connection, view)
            figures = [measure(connection, view) for view in VIEWS]
            changed = measure_changed_queue(connection)
            version = connection.info.parameter_status("server_version") or ""
    details = table([*figures, changed], version, arguments.rows)
    print(told(lines([*figures, changed], arguments.rows), details) if arguments.json else details)


def lines(figures: Sequence[Figure], rows: int) -> Iterator[Line]:
    """For the table of the README: the slowest of all."""
    slowest = max(figures, key=lambda figure: figure.median_ms)
    measured = f"{slowest.median_ms:.1f} ms ({slowest.view})"
    met = slowest.median_ms < TARGET_MS
    yield Line("the slowest of the views", rows, measured, aim=f"< {TARGET_MS:.0f} ms", met=met)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument("--rows", type=int, default=1_000_000, help="metrics in the table")
    parser.add_argument("--explain", action="store_true", help="show how each view runs, on standard error")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    arguments = parser.parse_args()
    if arguments.rows < 100_000:
        parser.error(f"--rows is {arguments.rows}, expected at least 100000")
    return arguments


def prepare(server_url: str, rows: int) -> Database:
    """The database with so many metrics, made now unless an earlier call has."""
    name, marker = f"benchmark_views_{rows}", f"pggit_analytics benchmark of views {VERSION}: {rows} metrics"
    database = Database(conninfo.make_conninfo(server_url, dbname=name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        made = connection.execute(
            "SELECT FROM pg_database WHERE datname = %s AND shobj_description(oid, 'pg_database') = %s", (name, marker)
        )
        if made.rowcount == 0:
            say(f"Making {rows:,} metrics and what goes with them")
            identifier = sql.Identifier(name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
            deploy(database)
            _fill(database, rows)
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(marker)))
    deploy(database)
    return database


def _fill(database: Database, rows: int) -> None:
    statements = (_MERGES, _METRICS, _BASELINES, _EXECUTIONS, _ALERTS, _SNOOZES, _QUEUE)
    with database.connect() as connection:
        connection.execute("SELECT setseed(0.4)")
        connection.execute("ALTER TABLE performance_metrics DISABLE TRIGGER USER")
        for statement in statements:
            connection.execute(statement.encode(), {"as_of": AS_OF, "rows": rows})
        connection.execute("ALTER TABLE performance_metrics ENABLE TRIGGER USER")
    _vacuum(database)


def _vacuum(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        for name in _TABLES:
            connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")


def measure(connection: psycopg.Connection, view: str) -> Figure:
    """Read the whole view again and again."""
    statement = sql.SQL("SELECT * FROM {}").format(sql.Identifier(view))
    times, rows = [], 0
    for repetition in range(REPETITIONS + 1):
        start = perf_counter()
        rows = len(connection.execute(statement).fetchall())
        if repetition:
            times.append((perf_counter() - start) * 1000)
    return Figure(view, median(times), min(times), rows)


def measure_changed_queue(connection: psycopg.Connection) -> Figure:
    """The delivery status after every message of the window has been written once more."""
    connection.execute(_DELIVERED_AGAIN.encode(), {"as_of": AS_OF})
    found = measure(connection, "v_notification_delivery_status")
    connection.execute("VACUUM alert_notification_queue")
    what = "v_notification_delivery_status, its rows changed since the last vacuum"
    return Figure(what, found.median_ms, found.minimum_ms, found.rows)


def explain(connection: psycopg.Connection, view: str) -> None:
    """How the view runs, after a call to warm up."""
    statement = sql.SQL("EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM {}").format(sql.Identifier(view))
    connection.execute(statement)
    say(f"\n{view}:\n" + "\n".join(f"    {row[0]}" for row in connection.execute(statement)))


def table(figures: Sequence[Figure], version: str, rows: int) -> str:
    """The figures as Markdown."""
    lines = [
        f"PostgreSQL {version}, default settings, {rows:,} metrics, 10,000 merges (500 in 24 h), 100,000 messages "
        "(10,000 in 7 days). Times in milliseconds as a client sees them.",
        "",
        "| view | median ms | min ms | target ms | met | rows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {f.view} | {f.median_ms:.1f} | {f.minimum_ms:.1f} | < {TARGET_MS:.0f} "
        f"| {'yes' if f.median_ms < TARGET_MS else 'no'} | {f.rows} |"
        for f in figures
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
