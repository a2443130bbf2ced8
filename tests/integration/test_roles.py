"""What each role may do, and that it may do nothing else, with real log-ins."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import conninfo, errors, sql

from pggit_analytics.pipeline import BaselineParameters, MonitorParameters, Target, monitor, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy, status
from pggit_analytics.postgres.sources import native
from pggit_analytics.recorder import Recorder

AS_OF = datetime(2026, 3, 2, 12, tzinfo=UTC)
#: before anything got slow
EARLIER = datetime(2026, 2, 26, 12, tzinfo=UTC)

FINDINGS_AND_TIMINGS = {
    "active_scheduler",
    "alert_blackouts",
    "analysis_runs",
    "alert_notification_log",
    "alert_snooze",
    "baseline_recalc_execution",
    "deployed_objects",
    "job_runs",
    "merge_relationships",
    "merge_sync_state",
    "operation_settings",
    "performance_alerts",
    "performance_anomalies",
    "performance_baseline_history",
    "performance_baselines",
    "performance_correlations",
    "performance_degradations",
    "performance_incident_operations",
    "performance_incidents",
    "performance_metrics",
    "performance_metrics_changes",
    "performance_operation_types",
    "scheduled_jobs",
    "statement_counters",
    "statement_sampling",
    "suppressed_findings",
}
CLOSED_TO_READERS = {
    "alert_notification_queue",
    "alert_notification_settings",
    "alert_notification_webhooks",
    "analytics_settings",
    "webhook_delivery_state",
}
QUEUE_COLUMNS_OF_READERS = {
    "notification_queue_id",
    "webhook_id",
    "alert_id",
    "dedup_key",
    "status",
    "retry_count",
    "next_retry_at",
    "created_at",
    "delivered_at",
    "leased_until",
    "last_error",
}
#: what the pipeline may write, besides reading everything
WRITES_OF_THE_PIPELINE = {
    "active_scheduler": {"INSERT", "DELETE"},
    "alert_blackouts": {"INSERT", "UPDATE"},
    "alert_notification_log": {"INSERT"},
    "alert_notification_queue": {"INSERT", "UPDATE"},
    "alert_snooze": {"INSERT", "UPDATE"},
    "analysis_runs": {"INSERT", "UPDATE"},
    "baseline_recalc_execution": {"INSERT", "UPDATE"},
    "job_runs": {"INSERT", "UPDATE"},
    "merge_relationships": {"INSERT", "UPDATE"},
    "merge_sync_state": {"INSERT", "UPDATE"},
    "operation_settings": {"INSERT", "UPDATE"},
    "performance_alerts": {"INSERT", "UPDATE"},
    "performance_anomalies": {"INSERT", "DELETE"},
    "performance_baseline_history": {"INSERT"},
    "performance_baselines": {"INSERT", "UPDATE"},
    "performance_correlations": {"INSERT", "DELETE"},
    "performance_degradations": {"INSERT", "DELETE"},
    "performance_incident_operations": {"INSERT", "DELETE"},
    "performance_incidents": {"INSERT", "DELETE"},
    "performance_metrics": {"INSERT"},
    "performance_operation_types": {"INSERT"},
    "statement_counters": {"INSERT", "UPDATE", "DELETE"},
    "statement_sampling": {"INSERT", "UPDATE"},
    "suppressed_findings": {"INSERT", "DELETE"},
    "webhook_delivery_state": {"INSERT", "UPDATE"},
}

#: commit and branch_create slow down together after the middle of the week; get_history has one very slow call;
#: an enabled webhook listens to everything, and a message waits
DATA = """
INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
SELECT o.name, 10 + t.n % o.pattern + CASE WHEN t.at > '2026-02-28+00' THEN o.slowdown ELSE 0 END, t.at
FROM generate_series('2026-02-23 12:00+00'::TIMESTAMPTZ, '2026-03-02 12:00+00', '10 minutes')
    WITH ORDINALITY AS t (at, n)
CROSS JOIN (VALUES ('commit', 11, 15), ('branch_create', 11, 15), ('get_history', 4, 0)) AS o (name, pattern, slowdown);

INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at)
VALUES (1000001, 'get_history', 5000, '2026-03-02 11:00+00');

INSERT INTO alert_notification_webhooks (webhook_type, name, webhook_url_encrypted, webhook_url_iv, encryption_key_id)
VALUES ('slack', 'oncall', '\\x0123456789', '\\xabcdef', 'first');

INSERT INTO alert_notification_settings (alert_type, severity, webhook_id)
SELECT a.alert_type, s.severity, w.webhook_id
FROM alert_notification_webhooks AS w
CROSS JOIN (VALUES ('ANOMALY'), ('DEGRADATION'), ('CORRELATION'), ('THRESHOLD_EXCEEDED')) AS a (alert_type)
CROSS JOIN (VALUES ('INFO'), ('WARNING'), ('CRITICAL')) AS s (severity);

INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key)
SELECT w.webhook_id, '{"text": "hello"}', 'first' FROM alert_notification_webhooks AS w;

INSERT INTO performance_alerts (operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at)
VALUES ('merge', 'DEGRADATION', 'WARNING', 'DEGRADATION merge', '{}', '2026-03-01+00', '2026-03-01+00');

ANALYZE performance_metrics;
"""


@contextmanager
def logged_in(database: Database, *granted_roles: str) -> Iterator[Database]:
    """The database as seen by a new role with a log-in. Roles are the server's, so the role goes in any case."""
    name = f"pggit_test_{uuid.uuid4().hex}"
    role = sql.Identifier(name)
    with psycopg.connect(database.conninfo, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'unused'").format(role))
        for granted in granted_roles:
            administrator.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(granted), role))
    try:
        yield Database(conninfo.make_conninfo(database.conninfo, user=name, password="unused"), database.schema)
    finally:
        with psycopg.connect(database.conninfo, autocommit=True) as administrator:
            administrator.execute(sql.SQL("DROP OWNED BY {}").format(role))
            administrator.execute(sql.SQL("DROP ROLE {}").format(role))


def user_of(database: Database) -> str:
    return str(conninfo.conninfo_to_dict(database.conninfo)["user"])


@pytest.fixture(scope="module")
def filled(shared_database: Database) -> Database:
    """Shared: what a test does here is rolled back."""
    with shared_database.connect() as connection:
        connection.execute(DATA.encode())
    return shared_database


@pytest.fixture
def own(database: Database) -> Database:
    """The same data in a database of the test's own."""
    with database.connect() as connection:
        connection.execute(DATA.encode())
    return database


@pytest.fixture(scope="module")
def reader(filled: Database) -> Iterator[Database]:
    with logged_in(filled, "pggit_reader") as database:
        yield database


@pytest.fixture(scope="module")
def pipeline(filled: Database) -> Iterator[Database]:
    with logged_in(filled, "pggit_pipeline") as database:
        yield database


@pytest.fixture(scope="module")
def stranger(filled: Database) -> Iterator[Database]:
    with logged_in(filled) as database:
        yield database


def rolled_back(database: Database, statement: str) -> list[tuple]:
    """The rows that a statement returns; what it changes is undone."""
    with psycopg.connect(database.conninfo, options="-c search_path=pggit,pg_temp") as connection:
        cursor = connection.execute(statement.encode())
        rows = cursor.fetchall() if cursor.description else []
        connection.rollback()
    return rows


def is_refused(database: Database, statement: str) -> bool:
    try:
        rolled_back(database, statement)
    except errors.InsufficientPrivilege:
        return True
    return False


def privileges(database: Database, role: str) -> set[tuple[str, str, str]]:
    """(kind, name, privilege) of everything in the schema for a role, or for PUBLIC under the name ``public``."""
    with database.connect() as connection:
        # PostgreSQL 17 added MAINTAIN
        maintain = ["MAINTAIN"] if connection.info.server_version >= 170000 else []
        of_table = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", *maintain]
        query = """
            WITH relations AS (SELECT * FROM pg_class WHERE relnamespace = 'pggit'::REGNAMESPACE)
            SELECT 'table', c.relname, p.name
            FROM relations AS c CROSS JOIN unnest(%(of_table)s::TEXT[]) AS p (name)
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(%(role)s, c.oid, p.name)
            UNION ALL
            SELECT 'column', c.relname || '.' || a.attname, p.name
            FROM relations AS c
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (name)
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
              AND has_column_privilege(%(role)s, c.oid, a.attnum, p.name)
              AND NOT has_table_privilege(%(role)s, c.oid, p.name)
            UNION ALL
            SELECT 'sequence', c.relname, p.name
            FROM relations AS c CROSS JOIN unnest(ARRAY['SELECT', 'USAGE', 'UPDATE']) AS p (name)
            WHERE c.relkind = 'S' AND has_sequence_privilege(%(role)s, c.oid, p.name)
            UNION ALL
            SELECT 'function', f.proname, 'EXECUTE'
            FROM pg_proc AS f
            WHERE f.pronamespace = 'pggit'::REGNAMESPACE AND has_function_privilege(%(role)s, f.oid, 'EXECUTE')
            UNION ALL
            SELECT 'schema', 'pggit', p.name
            FROM unnest(ARRAY['USAGE', 'CREATE']) AS p (name)
            WHERE has_schema_privilege(%(role)s, 'pggit', p.name)
        """
        return set(connection.execute(query, {"role": role, "of_table": of_table}).fetchall())


def of_kind(kind: str, found: set[tuple[str, str, str]]) -> set[tuple[str, str]]:
    return {(name, privilege) for each, name, privilege in found if each == kind}


def names(database: Database, query: str) -> set[str]:
    with database.connect() as connection:
        return {row[0] for row in connection.execute(query.encode())}


def tables(database: Database) -> set[str]:
    return names(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'pggit'")


def views(database: Database) -> set[str]:
    return names(database, "SELECT viewname FROM pg_views WHERE schemaname = 'pggit'")


def functions(database: Database, condition: str) -> set[str]:
    return names(
        database,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pggit'::REGNAMESPACE"
        f" AND NOT prosecdef AND prorettype <> 'trigger'::REGTYPE AND {condition}",
    )


# pggit_reader


def test_every_table_is_either_open_or_closed_to_readers(filled: Database) -> None:
    assert tables(filled) <= FINDINGS_AND_TIMINGS | CLOSED_TO_READERS


def test_a_reader_may_read_findings_timings_and_views_and_nothing_more(filled: Database, reader: Database) -> None:
    found = privileges(filled, user_of(reader))

    open_tables = tables(filled) - CLOSED_TO_READERS
    assert of_kind("table", found) == {(name, "SELECT") for name in open_tables | views(filled)}
    assert of_kind("column", found) == {
        (f"alert_notification_queue.{name}", "SELECT") for name in QUEUE_COLUMNS_OF_READERS
    }
    assert of_kind("sequence", found) == set()
    assert of_kind("schema", found) == {("pggit", "USAGE")}


def test_a_reader_may_call_the_functions_that_read_and_no_other(filled: Database, reader: Database) -> None:
    found = of_kind("function", privileges(filled, user_of(reader)))

    assert found == {(name, "EXECUTE") for name in functions(filled, "provolatile IN ('i', 's')")}
    assert {("analysis_time", "EXECUTE"), ("detect_combined_anomalies", "EXECUTE")} <= found


def test_a_reader_reads_each_view_and_each_table_of_findings_and_timings(filled: Database, reader: Database) -> None:
    for name in tables(filled) - CLOSED_TO_READERS | views(filled):
        assert rolled_back(reader, f"SELECT * FROM {name}") is not None


def test_a_reader_adds_to_no_table(filled: Database, reader: Database) -> None:
    assert all(is_refused(reader, f"INSERT INTO {name} DEFAULT VALUES") for name in tables(filled))


@pytest.mark.parametrize(
    ("call", "rows"),
    [
        ("detect_anomalies_statistical('get_history', 24, 3.0, '2026-03-02 12:00+00')", 1),
        ("detect_performance_degradation('commit', 7, 20, '2026-03-02 12:00+00')", 1),
        ("detect_combined_anomalies('get_history', 24, '2026-03-02 12:00+00')", 1),
        ("detect_threshold_exceeded('commit', 24, '2026-03-02 12:00+00')", 0),
        ("detect_correlated_degradation(24, 0.75, '2026-03-02 12:00+00')", 1),
        ("correlated_operation_pairs(24, 0.75, '2026-03-02 12:00+00')", 1),
        ("baseline_at('commit', '2026-03-02 12:00+00')", 0),
        ("analysis_time()", 1),
    ],
)
def test_a_reader_calls_each_detector(reader: Database, call: str, rows: int) -> None:
    assert len(rolled_back(reader, f"SELECT * FROM {call}")) == rows


def test_a_reader_can_ask_what_is_deployed(reader: Database) -> None:
    assert status(reader).is_current


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM alert_notification_webhooks",
        "SELECT count(*) FROM alert_notification_webhooks",
        "SELECT webhook_url_encrypted FROM alert_notification_webhooks",
        "COPY alert_notification_webhooks TO STDOUT",
        "SELECT * FROM alert_notification_settings",
        "SELECT value FROM analytics_settings",
        "SELECT alert_setting('alert_source')",
        "SELECT * FROM alert_notification_queue",
        "SELECT message_body FROM alert_notification_queue",
        "SELECT lease_token FROM alert_notification_queue",
        "SELECT q FROM alert_notification_queue AS q",
        "SELECT to_jsonb(q) FROM alert_notification_queue AS q",
        "SELECT count(*) FROM alert_notification_queue WHERE message_body LIKE '%hello%'",
        "SELECT status FROM alert_notification_queue ORDER BY message_body",
        "COPY alert_notification_queue TO STDOUT",
    ],
)
def test_a_reader_is_refused_addresses_routes_settings_and_message_bodies(reader: Database, statement: str) -> None:
    assert is_refused(reader, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT record_performance_metric('commit', 1)",
        "SELECT start_performance_trace('commit')",
        "SELECT raise_alert('ANOMALY', 'INFO', 'commit', 'key', '{}')",
        "SELECT resolve_missing_alerts('{ANOMALY}', NULL, '{}', 'plan')",
        "SELECT * FROM recalculate_all_baselines_rolling()",
        "SELECT * FROM recalculate_baseline('commit', 7, 10, FALSE, now())",
        "SELECT lock_alerts()",
        "SELECT register_operation_types()",
        "UPDATE performance_alerts SET acknowledged_by = 'me'",
        "DELETE FROM performance_metrics",
        "TRUNCATE performance_metrics",
        "SELECT * FROM performance_metrics FOR UPDATE",
        "LOCK TABLE performance_metrics IN EXCLUSIVE MODE",
        "SELECT setval('performance_metrics_metric_id_seq', 1)",
    ],
)
def test_a_reader_is_refused_every_writing(reader: Database, statement: str) -> None:
    assert is_refused(reader, statement)


DDL = [
    "CREATE TABLE pggit.mine (x INTEGER)",
    "CREATE FUNCTION pggit.mine() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION pggit.analysis_time() RETURNS TIMESTAMPTZ LANGUAGE sql AS 'SELECT now()'",
    "CREATE VIEW pggit.mine AS SELECT 1",
    "CREATE INDEX ON performance_metrics (duration_ms)",
    "CREATE TRIGGER mine AFTER INSERT ON performance_metrics EXECUTE FUNCTION register_operation_types()",
    "ALTER TABLE performance_metrics ADD COLUMN mine TEXT",
    "ALTER TABLE performance_metrics DISABLE TRIGGER ALL",
    "ALTER FUNCTION analysis_time() VOLATILE",
    "DROP TABLE performance_metrics",
    "DROP FUNCTION detect_threshold_exceeded",
    "DROP SCHEMA pggit CASCADE",
    "CREATE SCHEMA mine",
    "CREATE TABLE public.mine (x INTEGER)",
    "CREATE ROLE pggit_test_made_by_nobody",
]


@pytest.mark.parametrize("statement", DDL)
def test_a_reader_is_refused_ddl(reader: Database, statement: str) -> None:
    assert is_refused(reader, statement)


# pggit_pipeline


def test_the_pipeline_may_read_all_and_write_each_table_no_more_than_it_needs(
    filled: Database, pipeline: Database
) -> None:
    found = privileges(filled, user_of(pipeline))

    assert of_kind("table", found) == {(name, "SELECT") for name in tables(filled) | views(filled)} | {
        (table, privilege) for table in tables(filled) for privilege in WRITES_OF_THE_PIPELINE.get(table, set())
    }
    assert of_kind("column", found) == {
        (f"alert_notification_webhooks.{name}", "UPDATE") for name in ("last_tested_at", "test_status")
    }
    assert {privilege for _, privilege in of_kind("sequence", found)} == {"USAGE"}
    assert of_kind("schema", found) == {("pggit", "USAGE")}
    assert of_kind("function", found) == {(name, "EXECUTE") for name in functions(filled, "TRUE")}


def test_a_monitoring_run_of_the_pipeline_writes_findings_alerts_and_messages(own: Database) -> None:
    with logged_in(own, "pggit_pipeline") as database:
        target = Target(database, database, native("pggit"))
        recalculate_baselines(target, BaselineParameters(as_of=EARLIER))
        result = monitor(target, MonitorParameters(as_of=AS_OF, notify=True))

    assert result.rows_read == 3 * 1009 + 1
    assert result.findings.degradations["operation_type"].to_list() == ["branch_create", "commit"]
    assert result.findings.anomalies.filter(anomaly_type="SPIKE")["metric_id"].to_list() == [1000001]
    assert result.findings.correlations.height == 1
    assert result.written.alerts_withheld_because is None
    with own.connect() as connection:
        opened = connection.execute(
            "SELECT alert_type, operation_type FROM performance_alerts "
            "WHERE operation_type <> 'merge' AND alert_source = 'plan' ORDER BY 1, 2"
        ).fetchall()
        incidents = connection.execute(
            "SELECT alert_type, count(*) FROM performance_alerts WHERE alert_source = 'incidents' GROUP BY 1"
        ).fetchall()
        runs = connection.execute("SELECT flow, status FROM analysis_runs ORDER BY run_id").fetchall()
        messages = connection.execute("SELECT count(*) FROM alert_notification_queue WHERE dedup_key <> 'first'")
        assert messages.fetchone() == (result.written.messages_queued,)
    assert opened == [
        ("ANOMALY", "get_history"),
        ("CORRELATION", "branch_create"),
        ("DEGRADATION", "branch_create"),
        ("DEGRADATION", "commit"),
        ("THRESHOLD_EXCEEDED", "get_history"),
    ]
    # the two that slow down together, and the very slow call
    assert incidents == [("INCIDENT", 2)]
    assert result.written.messages_queued == len(opened)
    assert runs == [("recalculate_baselines", "SUCCESS"), ("monitor_performance", "SUCCESS")]


def test_the_pipeline_repeats_a_run_and_replaces_results_that_changed(own: Database) -> None:
    with logged_in(own, "pggit_pipeline") as database:
        target = Target(database, database, native("pggit"))
        monitor(target, MonitorParameters(as_of=AS_OF, notify=True))
        with own.connect() as connection:
            connection.execute("DELETE FROM performance_metrics WHERE metric_id = 1000001")
        result = monitor(target, MonitorParameters(as_of=AS_OF, notify=True))

    assert (result.written.rows_deleted, result.written.rows_written) == (1, 0)


def test_a_failed_run_of_the_pipeline_is_recorded(own: Database) -> None:
    with own.connect() as connection:
        connection.execute("ALTER TABLE performance_degradations ADD CONSTRAINT none CHECK (FALSE) NOT VALID")
    with logged_in(own, "pggit_pipeline") as database, pytest.raises(Exception, match="violates check constraint"):
        monitor(Target(database, database, native("pggit")), MonitorParameters(as_of=AS_OF))

    assert names(own, "SELECT status FROM analysis_runs") == {"FAILED"}


def test_a_recalculation_by_the_pipeline_adopts_the_same_baselines_in_both_engines(own: Database) -> None:
    stored = "SELECT operation_type, p99_microseconds FROM performance_baselines WHERE is_active ORDER BY 1"
    with logged_in(own, "pggit_pipeline") as database:
        in_sql = rolled_back(
            database,
            "SELECT operation_type, p99_new_ms * 1000 FROM recalculate_all_baselines_rolling("
            "p_as_of => '2026-03-02 12:00+00') WHERE status = 'UPDATED'",
        )
        result = recalculate_baselines(Target(database, database, native("pggit")), BaselineParameters(as_of=AS_OF))
        adopted = rolled_back(database, stored)

    assert set(result.recalculations["status"]) == {"UPDATED", "INSUFFICIENT_DATA"}
    assert len(adopted) == 3
    assert in_sql == adopted


def test_where_temporary_tables_are_not_for_everybody_the_deployment_says_what_the_pipeline_needs(
    own: Database,
) -> None:
    name = sql.Identifier(str(conninfo.conninfo_to_dict(own.conninfo)["dbname"]))
    with own.connect() as connection:
        connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
    (notice,) = deploy(own).notices
    remedy = notice[notice.index("GRANT TEMPORARY") :]
    with own.connect() as connection:
        connection.execute(remedy.encode())
    assert deploy(own).notices == ()

    with logged_in(own, "pggit_pipeline") as database:
        result = monitor(Target(database, database, native("pggit")), MonitorParameters(as_of=AS_OF))
    with logged_in(own, "pggit_reader") as database:
        assert is_refused(database, "CREATE TEMPORARY TABLE mine (x INTEGER)")

    assert result.written.rows_written > 0


@pytest.mark.parametrize("statement", DDL)
def test_the_pipeline_is_refused_ddl(pipeline: Database, statement: str) -> None:
    assert is_refused(pipeline, statement)


def test_the_pipeline_cannot_pass_its_privileges_on(pipeline: Database) -> None:
    with pipeline.connect() as connection:
        connection.execute("GRANT SELECT ON alert_notification_webhooks TO pggit_reader")  # no more than a warning
        query = "SELECT has_table_privilege('pggit_reader', 'alert_notification_webhooks', 'SELECT')"
        assert connection.execute(query).fetchone() == (False,)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'mine')",
        "UPDATE alert_notification_webhooks SET webhook_url_encrypted = ''",
        "DELETE FROM alert_notification_webhooks",
        "UPDATE alert_notification_settings SET enabled = FALSE",
        "UPDATE analytics_settings SET value = 'incidents'",
        "UPDATE performance_metrics SET duration_ms = 0",
        "DELETE FROM performance_metrics",
        "UPDATE performance_baseline_history SET reason = 'manual'",
        "DELETE FROM performance_alerts",
        "DELETE FROM alert_notification_queue",
        "DELETE FROM analysis_runs",
        "UPDATE performance_operation_types SET is_tracked = FALSE",
        "TRUNCATE performance_anomalies",
        "SELECT register_operation_types()",
        "SELECT setval('performance_metrics_metric_id_seq', 1)",
    ],
)
def test_the_pipeline_is_refused_routing_settings_and_rewriting_of_history(pipeline: Database, statement: str) -> None:
    assert is_refused(pipeline, statement)


def test_the_pipeline_sees_addresses_as_ciphertext_and_has_no_function_that_opens_them(
    filled: Database, pipeline: Database
) -> None:
    query = "SELECT name, webhook_url_encrypted, webhook_url_iv FROM alert_notification_webhooks"
    assert rolled_back(pipeline, query) == [("oncall", bytes.fromhex("0123456789"), bytes.fromhex("abcdef"))]
    open_to_it = "SELECT proname FROM pg_proc WHERE pronamespace = 'pggit'::REGNAMESPACE AND prosecdef"
    open_to_it += f" AND has_function_privilege('{user_of(pipeline)}', oid, 'EXECUTE')"
    assert names(filled, open_to_it) == set()
    # nor may it read files of the server, where a key would be
    for statement in ("SELECT pg_read_file('PG_VERSION')", "COPY performance_alerts FROM '/dev/null'"):
        assert is_refused(pipeline, statement)


# a role that records timings and nothing else


def test_a_role_that_may_only_insert_timings_records_and_reads_nothing(own: Database) -> None:
    with logged_in(own) as database:
        role = sql.Identifier(user_of(database))
        with own.connect() as connection:
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA pggit TO {}").format(role))
            connection.execute(sql.SQL("GRANT INSERT ON performance_metrics TO {}").format(role))
        with Recorder(database) as recorder:
            recorder.record("commit", 12.5)
            recorder.record("operation of our own", 7.25)
        assert recorder.dropped == 0
        assert is_refused(database, "SELECT * FROM performance_metrics")
        assert is_refused(database, "SELECT * FROM performance_operation_types")

    with own.connect() as connection:
        query = "SELECT operation_type, duration_ms::FLOAT8 FROM performance_metrics WHERE user_name = %s ORDER BY 1"
        recorded = connection.execute(query, (user_of(database),)).fetchall()
    assert recorded == [("commit", 12.5), ("operation of our own", 7.25)]
    registered = "SELECT operation_type FROM performance_operation_types WHERE category = 'UNKNOWN'"
    assert names(own, registered) == {"operation of our own"}


# everybody else


@pytest.mark.parametrize("role", ["pggit_reader", "pggit_pipeline"])
def test_the_roles_themselves_have_no_power_over_the_server(filled: Database, role: str) -> None:
    with filled.connect() as connection:
        found = connection.execute(
            """
            SELECT r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls,
                EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid)
            FROM pg_roles AS r WHERE r.rolname = %s
            """,
            (role,),
        ).fetchone()

    assert found == (False,) * 7


def test_a_stranger_has_no_privilege_on_any_object(filled: Database, stranger: Database) -> None:
    assert privileges(filled, user_of(stranger)) == set()


def test_everybody_has_no_privilege_on_any_object(filled: Database) -> None:
    assert privileges(filled, "public") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM pggit.performance_metrics",
        "SELECT * FROM pggit.performance_alerts",
        "SELECT * FROM pggit.alert_notification_webhooks",
        "SELECT pggit.analysis_time()",
        "SELECT * FROM pggit.detect_anomalies_statistical('commit')",
        "SELECT pggit.record_performance_metric('commit', 1)",
        "INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 1)",
        *DDL,
    ],
)
def test_a_stranger_is_refused_everything(stranger: Database, statement: str) -> None:
    with psycopg.connect(stranger.conninfo) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())

    # without USAGE the names of the schema are not even found
    assert caught.value.sqlstate in {"42501", "42P01", "42883", "3F000"}


@pytest.fixture
def everything_open_by_default(create_database: Callable[..., str]) -> Database:
    """A database where whatever is made is open to everybody."""
    database = Database(create_database())
    with database.connect(own_path=False) as connection:
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "SCHEMAS"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO PUBLIC".encode())
    deploy(database)
    return database


def test_secrets_stay_closed_and_functions_uncallable_where_all_is_open_by_default(
    everything_open_by_default: Database,
) -> None:
    found = privileges(everything_open_by_default, "public")

    assert of_kind("function", found) == set()
    assert {name for name, _ in of_kind("table", found)} & CLOSED_TO_READERS == set()
    assert of_kind("column", found) == set()
