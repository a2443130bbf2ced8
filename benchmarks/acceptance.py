"""Measures every success criterion of the plan's sections 1 and 6 and writes docs/acceptance.md.

Everything is measured anew, on an embedded PostgreSQL with default settings; nothing in the document is typed by hand.
The databases of the timings are kept below ``--directory`` for the next time. With ``--pg-cron-url``, a superuser's URL
of a server that has pg_cron, the scheduled jobs are measured as well: they fire every minute, after what is timed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import accuracy
import connectorx
import delivery
import in_database
import psycopg
import views
from criteria import ENGINE_PRESETS, ENGINE_SEEDS, Coexistence, Measured, PgCron, Refusals, Week, document
from psycopg import conninfo, errors, sql
from receiver import Receiver

from data import AS_OF, SIZES, operation_names, prepare, say, server
from pggit_analytics.deliver import DeliveryParameters, deliver
from pggit_analytics.demo.generator import generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.errors import IncompatibleDatabase
from pggit_analytics.evaluation.engine import incident_engine
from pggit_analytics.evaluation.runner import evaluate
from pggit_analytics.pipeline import (
    BaselineParameters,
    MonitorParameters,
    Target,
    compare_engines,
    monitor,
    recalculate_baselines,
)
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.sources import native
from pggit_analytics.postgres.webhooks import NewWebhook
from pggit_analytics.webhook_admin import add_webhook

ROOT = Path(__file__).parents[1]

#: messages in each queue that is emptied
DELIVERED_MESSAGES = 5_000

#: views with how many metrics; the target is for the larger, the smaller shows what the size of the table costs
VIEW_ROWS = (100_000, 1_000_000)

#: the functions that the plan lists as new, the last two being its helpers, and how each is called
CALLS = {
    "detect_anomalies_statistical": "detect_anomalies_statistical(%(operation)s, 24, 3.0)",
    "detect_performance_degradation": "detect_performance_degradation(%(operation)s, 7, 20.0)",
    "detect_combined_anomalies": "detect_combined_anomalies(%(operation)s, 24)",
    "detect_correlated_degradation": "detect_correlated_degradation(24, 0.75)",
    "deliver_pending_notifications": "deliver_pending_notifications(50, 3)",
    "delete_old_notifications": "delete_old_notifications()",
    "get_notification_delivery_stats": "get_notification_delivery_stats()",
    "shared_bottleneck": "shared_bottleneck('commit', 'branch_create')",
    "bottleneck_recommendation": "bottleneck_recommendation('OBJECT_STORAGE_IO')",
}
#: calls with one argument out of range each, and with one that is NULL each
OUT_OF_RANGE = (
    "detect_anomalies_statistical('no such operation')",
    "detect_anomalies_statistical('commit', 0)",
    "detect_anomalies_statistical('commit', 24, -1)",
    "detect_anomalies_statistical('commit', 24, 'NaN')",
    "detect_performance_degradation('no such operation')",
    "detect_performance_degradation('commit', 0)",
    "detect_performance_degradation('commit', 7, 0)",
    "detect_combined_anomalies('no such operation')",
    "detect_combined_anomalies('commit', -24)",
    "detect_correlated_degradation(0)",
    "detect_correlated_degradation(24, 1.5)",
    "delete_old_notifications(0)",
    "delete_old_notifications(30, 0)",
    "get_notification_delivery_stats(0)",
    "recalculate_all_baselines_rolling(366)",
    "recalculate_all_baselines_rolling(7, 0)",
)
NULLS = (
    "detect_anomalies_statistical(NULL)",
    "detect_anomalies_statistical('commit', NULL)",
    "detect_anomalies_statistical('commit', 24, NULL)",
    "detect_performance_degradation(NULL)",
    "detect_performance_degradation('commit', NULL)",
    "detect_performance_degradation('commit', 7, NULL)",
    "detect_combined_anomalies(NULL)",
    "detect_combined_anomalies('commit', NULL)",
    "detect_correlated_degradation(NULL)",
    "detect_correlated_degradation(24, NULL)",
    "delete_old_notifications(NULL)",
    "get_notification_delivery_stats(NULL)",
    "recalculate_all_baselines_rolling(NULL)",
    "recalculate_all_baselines_rolling(7, NULL)",
    "recalculate_all_baselines_rolling(7, 10, NULL)",
)

#: rows that tables may hold -> what makes them
EDGE_CASES = {
    "no rows": "SELECT",
    "one row": """
        INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES ('commit', 5, %(as_of)s)
    """,
    "all equal": """
        INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
        SELECT 'commit', 5, %(as_of)s - n * INTERVAL '1 hour' FROM generate_series(0, 160) AS n
    """,
    "0.001 ms to 1e9 ms": """
        INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
        SELECT t, power(10, n %% 13 - 3), %(as_of)s - n * INTERVAL '1 hour'
        FROM generate_series(0, 160) AS n, unnest(ARRAY['commit', 'merge_branches']) AS t
    """,
}

#: what others have in the database before: rows, a view and a function on the tables
_OF_OTHERS = """
INSERT INTO performance_metrics (operation_type, duration_ms) SELECT 'commit', n FROM generate_series(1, 1000) AS n;
CREATE VIEW slow_commits AS SELECT * FROM performance_metrics WHERE duration_ms > 500;
CREATE FUNCTION mean_ms(p_type TEXT) RETURNS NUMERIC STABLE LANGUAGE sql
    AS $$ SELECT avg(duration_ms) FROM performance_metrics WHERE operation_type = p_type $$;
"""

#: as pgGit 0.2.1 creates it, under the name that this project wants
_PGGIT_0_2_1 = """
CREATE SCHEMA pggit;
CREATE TABLE pggit.performance_metrics (
    metric_id UUID PRIMARY KEY DEFAULT gen_random_uuid(), operation_type TEXT NOT NULL, operation_name TEXT,
    started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP, completed_at TIMESTAMP(6), duration_ms NUMERIC(10, 3),
    context JSONB);
CREATE VIEW pggit.slow_operations AS SELECT * FROM pggit.performance_metrics WHERE duration_ms > 1000;
"""

#: everything in the schema that somebody could rely on
_CATALOG = """
SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
       || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'pggit'::REGNAMESPACE AND c.relkind IN ('r', 'v')
UNION ALL
SELECT 'constraint ' || conrelid::REGCLASS || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'pggit'::REGNAMESPACE
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'pggit'
UNION ALL
SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'pggit'
UNION ALL
SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'pggit'::REGNAMESPACE
"""

#: bytes of what this work adds to the tables of the earlier weeks: their secondary indexes, and tables of its own
_ADDED_BYTES = """
SELECT sum(CASE
    WHEN c.relkind = 'r' AND c.relname = ANY (%(own)s) THEN pg_total_relation_size(c.oid)
    WHEN c.relkind = 'i' AND NOT t.relname = ANY (%(own)s) AND k.oid IS NULL THEN pg_relation_size(c.oid)
    ELSE 0
END)
FROM pg_class AS c
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = c.oid AND k.contype IN ('p', 'u')
WHERE c.relnamespace = 'pggit'::REGNAMESPACE
"""
#: rows about the alerts
_QUEUED = """
SELECT
    count(*), count(*) FILTER (WHERE status = 'delivered'),
    count(*) FILTER (WHERE status = 'pending' AND starts_with(bundle_key, 'digest:'))
FROM alert_notification_queue
"""
_OWN_TABLES = [
    "analysis_runs",
    "performance_anomalies",
    "performance_degradations",
    "performance_correlations",
    "analytics_settings",
    "scheduled_jobs",
    "job_runs",
    "active_scheduler",
    "deployed_objects",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / "pggit-acceptance"
    parser.add_argument("--directory", type=Path, default=default, help="where the embedded PostgreSQL lives")
    parser.add_argument("--pg-cron-url", help="a server that has pg_cron")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "acceptance.md", help="the document")
    arguments = parser.parse_args()
    arguments.output.write_text(document(measured(arguments.directory, arguments.pg_cron_url)))
    say(f"{arguments.output} is written")


def measured(directory: Path, pg_cron_url: str | None) -> Measured:
    """Measure everything: first what is timed, then the rest, during which the jobs of pg_cron fire."""
    with server(directory) as url:
        say("Timing the functions")
        database = prepare(url, SIZES["33k"])
        with database.connect() as connection:
            postgresql = str(connection.info.parameter_status("server_version"))
            connection.rollback()
            functions = list(in_database.measure(connection, "33k", operation_names(database), repetitions=7))
        say("Timing the views")
        of_views = {rows: measured_views(url, rows) for rows in VIEW_ROWS}
        say("Delivering messages")
        delivered = delivery.measure(url, pg_cron_url if can_deliver(pg_cron_url) else None, DELIVERED_MESSAGES)
        with scheduled(pg_cron_url) as what_fired:
            say("Analysing a generated week")
            week = measured_week(url)
            say("Deploying beside what others have")
            coexistence = Coexistence(*of_others(url), pggit_untouched(url))
            say("Asking about edge cases")
            installed_bytes, refusals = fresh_installation(url)
            edge_cases = {case: differences_in(url, rows) for case, rows in EDGE_CASES.items()}
            say("Counting what is found in generated weeks")
            found = accuracy.measure()
            say("Judging the engine on labelled weeks")
            engine = evaluate(incident_engine, ENGINE_PRESETS, ENGINE_SEEDS)
            fired = what_fired()
    return Measured(
        postgresql,
        week,
        functions,
        of_views,
        found,
        engine,
        installed_bytes,
        coexistence,
        refusals,
        edge_cases,
        delivered,
        fired,
    )


def can_deliver(server_url: str | None) -> bool:
    """Whether there is a server that has what delivery in the database needs."""
    if server_url is None:
        return False
    query = "SELECT count(*) FROM pg_available_extensions WHERE name IN ('pgcrypto', 'plpython3u')"
    with psycopg.connect(server_url) as connection:
        return int(value(connection, query)) == 2


@contextmanager
def fresh_database(server_url: str, name: str) -> Iterator[Database]:
    """An empty database that goes again."""
    identifier = sql.Identifier(name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        try:
            yield Database(conninfo.make_conninfo(server_url, dbname=name))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def value(connection: psycopg.Connection, query: str, parameters: object = None) -> Any:
    """The first column of the first row."""
    row = connection.execute(query.encode(), parameters).fetchone()  # type: ignore[arg-type]
    assert row is not None, query
    return row[0]


def measured_week(server_url: str) -> Week:
    """Deploy, load, recalculate, monitor, and ask every function and view about the result."""
    with fresh_database(server_url, "acceptance_week") as database, Receiver() as receiver:
        deploy(database)
        channel = NewWebhook("acceptance", "webhook", allow_private=True)
        add_webhook(database, delivery.settings(), channel, f"{receiver.url}#{delivery.SECRET}", None)
        target = Target(database, database, native(database.schema))
        with database.connect() as connection:
            timings = load_week(connection, generate_week(AS_OF))
        with database.connect(autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) performance_metrics")
        recalculate_baselines(target, BaselineParameters(as_of=AS_OF - timedelta(days=1), lookback_days=6))
        result = monitor(target, MonitorParameters(as_of=AS_OF, notify=True))
        deliver(database, delivery.settings(), DeliveryParameters())
        # both by name: a run of all operations without names also follows levels, whatever their number
        named = (("commit",), tuple(operation_names(database)))
        one, every = (statements_of_run(target, operations) for operations in named)
        compared = compare_engines(database, AS_OF)
        with database.connect(autocommit=True) as connection:
            connection.execute("SELECT set_config('pggit.as_of', %s, FALSE)", (AS_OF.isoformat(" "),))
            queued, delivered_rows, digested = connection.execute(_QUEUED.encode()).fetchone() or (0, 0, 0)
            before = sequential_scans(connection)
            calls = {name: called(connection, database, name) for name in CALLS}
            rows = {view: len(connection.execute(f"SELECT * FROM {view}".encode()).fetchall()) for view in views.VIEWS}
            return Week(
                timings=timings,
                calls=calls,
                view_rows=rows,
                baselines=value(connection, "SELECT count(*) FROM performance_baselines WHERE is_active"),
                result_rows=result.written.rows_written,
                alerts=value(connection, "SELECT count(*) FROM performance_alerts"),
                forecasts=value(connection, "SELECT count(*) FROM performance_alerts WHERE alert_type = 'FORECAST'"),
                compared=len(compared),
                differences=sum(len(comparison.differences) for comparison in compared),
                sequential_scans=sequential_scans(connection) - before,
                statements_one=one,
                statements_all=every,
                added_bytes=int(value(connection, _ADDED_BYTES, {"own": _OWN_TABLES})),
                queued=queued,
                delivered=delivered_rows,
                digested=digested,
                requests=receiver.received(),
            )


def called(connection: psycopg.Connection, database: Database, name: str) -> bool | None:
    """Whether a function of the plan answers, for every operation where it is about one; None: it does not exist."""
    query = "SELECT count(*) FROM pg_proc WHERE proname = %s AND pronamespace = 'pggit'::REGNAMESPACE"
    if not value(connection, query, (name,)):
        return None
    call = f"SELECT * FROM {CALLS[name]}".encode()
    try:
        for operation in operation_names(database) if b"%" in call else [None]:
            connection.execute(call, {"operation": operation})
    except psycopg.Error as exc:
        say(f"{name}: {exc}")
        return False
    return True


def sequential_scans(connection: psycopg.Connection) -> int:
    """Sequential scans of performance_metrics so far."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(value(connection, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'performance_metrics'"))


def statements_of_run(target: Target, operations: tuple[str, ...] | None) -> int:
    """How many statements a monitoring run sends. Its moment has been analysed before, so no alert is raised."""
    sent = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal sent
            sent += 1
            return function(*arguments, **options)

        return call

    with (
        patch.object(psycopg.Cursor, "execute", counted(psycopg.Cursor.execute)),
        patch.object(connectorx, "read_sql", counted(connectorx.read_sql)),
    ):
        monitor(target, MonitorParameters(as_of=AS_OF, operations=operations))
    return sent


def measured_views(server_url: str, rows: int) -> list[views.Figure]:
    """A figure for each view, with so many metrics."""
    database = views.prepare(server_url, rows)
    with database.connect(autocommit=True) as connection:
        connection.execute("SELECT set_config('pggit.as_of', %s, FALSE)", (AS_OF.isoformat(" "),))
        return [views.measure(connection, view) for view in views.VIEWS]


def installed_size(database: Database) -> int:
    """Bytes by which deploying makes an empty database larger."""
    query = "SELECT pg_database_size(current_database())"
    with database.connect(autocommit=True, own_path=False) as connection:
        before = int(value(connection, query))
        deploy(database)
        return int(value(connection, query)) - before


def of_others(server_url: str) -> tuple[int, int]:
    """Deploy over older tables with things of others on them; how many things there were, and how many changed."""
    first = ROOT / "data" / "fixtures" / "schema_0_1_0"
    with fresh_database(server_url, "acceptance_others") as database:
        with database.connect(own_path=False) as connection:
            connection.execute("CREATE SCHEMA pggit")
            connection.execute("SET search_path TO pggit")
            for name in (first / "order.txt").read_text().split():
                connection.execute((first / f"{name}.sql").read_bytes())
            connection.execute(_OF_OTHERS.encode())
        before = catalog(database)
        deploy(database)
        return len(before), len(before - catalog(database))


def pggit_untouched(server_url: str) -> bool:
    """Whether deploying over pgGit 0.2.1 is refused and changes nothing, and works beside it and changes nothing."""
    with fresh_database(server_url, "acceptance_pggit") as database:
        with database.connect(own_path=False) as connection:
            connection.execute(_PGGIT_0_2_1.encode())
        before = catalog(database)
        try:
            deploy(database)
        except IncompatibleDatabase:
            refused = catalog(database) == before
        else:
            refused = False
        deploy(Database(database.conninfo, "pggit_analytics"))
        return refused and catalog(database) == before


def catalog(database: Database) -> set[str]:
    """Everything in the schema ``pggit`` that somebody could rely on, one text each."""
    with database.connect(own_path=False) as connection:
        rows = {str(row[0]) for row in connection.execute(_CATALOG.encode())}
        rows.add(f"rows of performance_metrics: {value(connection, 'SELECT count(*) FROM pggit.performance_metrics')}")
    return rows


def fresh_installation(server_url: str) -> tuple[int, Refusals]:
    """Bytes of an installation without rows, and what it says to bad arguments."""
    with fresh_database(server_url, "acceptance_arguments") as database:
        installed_bytes = installed_size(database)
        return installed_bytes, Refusals(
            len(OUT_OF_RANGE), refused(database, OUT_OF_RANGE), len(NULLS), refused(database, NULLS)
        )


def refused(database: Database, calls: Sequence[str]) -> int:
    """How many of the calls raise SQLSTATE 22023."""
    count = 0
    with database.connect(autocommit=True) as connection:
        for call in calls:
            try:
                connection.execute(f"SELECT * FROM {call}".encode())
            except errors.InvalidParameterValue:
                count += 1
            except psycopg.Error as exc:
                say(f"{call}: {exc}")
    return count


def differences_in(server_url: str, insert: str) -> int:
    """Differences between the engines about such rows; that both answer at all is part of it."""
    with fresh_database(server_url, "acceptance_edge") as database:
        deploy(database)
        with database.connect() as connection:
            connection.execute(insert.encode(), {"as_of": AS_OF} if "%(" in insert else None)
        return sum(len(comparison.differences) for comparison in compare_engines(database, AS_OF))


@contextmanager
def scheduled(server_url: str | None) -> Iterator[Callable[[], PgCron | None]]:
    """Let pg_cron run the check and the recalculation every minute; what is yielded waits and says what it did."""
    if server_url is None:
        yield lambda: None
        return
    with psycopg.connect(server_url) as connection:
        home = str(value(connection, "SELECT current_setting('cron.database_name')"))
    with psycopg.connect(conninfo.make_conninfo(server_url, dbname=home)) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
    with fresh_database(server_url, f"pggit_acceptance_{os.getpid()}") as database:
        deploy(database)
        lines = {job.job: job.schedule for job in schedules.list_jobs(database)}
        with database.connect() as connection:
            load_week(connection, generate_week(value(connection, "SELECT now()")))
            connection.execute(
                "UPDATE scheduled_jobs SET period = '1 minute' WHERE job = ANY (%s)",
                (["check_performance_anomalies", "recalculate_performance_baselines"],),
            )
        schedules.install(database, "pg_cron")
        try:
            yield lambda: what_pg_cron_did(database, home, lines)
        finally:
            schedules.remove(database)


def what_pg_cron_did(database: Database, home: str, lines: dict[str, str]) -> PgCron:
    """Wait until both jobs have ended twice, or three minutes, then count."""
    say("Waiting for pg_cron")
    name = conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    pause = Event()
    with psycopg.connect(conninfo.make_conninfo(database.conninfo, dbname=home), autocommit=True) as connection:
        for _ in range(360):
            fired, succeeded = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE status = 'succeeded') FROM cron.job_run_details"
                " WHERE database = %s AND status IN ('succeeded', 'failed')",
                (name,),
            ).fetchone() or (0, 0)
            if fired >= 4:
                break
            pause.wait(0.5)
        version = value(connection, "SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'")
        server_version = connection.info.parameter_status("server_version")
    with database.connect() as connection:
        windows, windows_succeeded = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE status = 'SUCCESS') FROM job_runs"
            " WHERE scheduler = 'pg_cron' AND status <> 'RUNNING'"
        ).fetchone() or (0, 0)
        baselines = value(connection, "SELECT count(*) FROM performance_baselines WHERE is_active")
    return PgCron(
        f"{version} on PostgreSQL {server_version}", lines, fired, succeeded, windows, windows_succeeded, baselines
    )


if __name__ == "__main__":
    main()
