"""doctor: every fault is made for real, found, and its remedy is a command."""

from __future__ import annotations

import base64
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql
from pydantic import SecretStr

from pggit_analytics.config import Settings, SourceSettings
from pggit_analytics.delivery.encryption import MasterKey
from pggit_analytics.doctor.checks import Check
from pggit_analytics.doctor.examine import CHECKS, examine
from pggit_analytics.doctor.server import judged_version
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from tests.commands import run_here
from tests.integration.test_roles import logged_in, user_of
from tests.servers import HttpServer

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
#: programs that remedies call
PROGRAMS = {
    "df",
    "pggit-analytics",
    "psql",
    "export",
    "chmod",
    "openssl",
    "ls",
    "timedatectl",
    "prefect",
    "pg_upgrade",
    "env",
}


@pytest.fixture(autouse=True)
def _elsewhere(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration, embedded database or store beside the tests."""
    monkeypatch.setenv("PGGIT_STORE__DIRECTORY", str(run_directory / "store"))


def settings(database: Database | None, **more: Any) -> Settings:
    return Settings(database_url=None if database is None else SecretStr(database.conninfo), **more)


def look(database: Database | None, **more: Any) -> dict[str, Check]:
    """All checks by ``group name``; each remedy is a command."""
    checks = examine(database, settings(database, **more))
    for check in checks:
        if check.remedy is not None:
            assert shlex.split(check.remedy, comments=True)[0] in {*PROGRAMS, "$EDITOR"}, check
        assert check.remedy is not None or check.status in ("ok", "unknown"), check
    return {f"{check.group} {check.name}": check for check in checks}


def execute(database: Database, *statements: str) -> None:
    with database.connect(autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def statuses(found: dict[str, Check], status: str) -> set[str]:
    return {name for name, check in found.items() if check.status == status}


def assert_mended(database: Database, check: Check) -> None:
    """Do what the remedy says: a command of ours, or a statement for psql."""
    assert check.remedy is not None
    for command in check.remedy.split(" && "):
        program, *arguments = shlex.split(command, comments=True)
        if program == "psql":
            execute(database, arguments[arguments.index("-c") + 1])
        else:
            assert program == "pggit-analytics"
            done = run_here(*arguments, PGGIT_DATABASE_URL=database.conninfo)
            assert done.returncode == 0, done.stderr


# a database without fault


def test_a_fresh_deployment_has_no_failure_and_says_what_is_still_to_do(database: Database) -> None:
    found = look(database)

    assert statuses(found, "fail") == set()
    assert statuses(found, "unknown") == set()
    assert statuses(found, "warn") == {
        "Timings freshness",
        "Timings baselines",
        "Runs scheduler",
        "Runs monitoring",
        "Alerts routes",
    }


def test_the_command_exits_with_0_for_warnings_and_shows_groups_words_and_remedies(database: Database) -> None:
    done = run_here("doctor", PGGIT_DATABASE_URL=database.conninfo)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\nRuns\n  warn     scheduler" in done.stdout
    assert "$ pggit-analytics schedule install --scheduler crontab\n" in done.stdout
    assert done.stdout.rstrip().endswith("5 warn, 28 ok")
    assert "\x1b" not in done.stdout


def test_json_is_one_object_with_every_check(database: Database) -> None:
    done = run_here("doctor", "--json", PGGIT_DATABASE_URL=database.conninfo)
    answer = json.loads(done.stdout)

    assert (done.returncode, done.stderr, answer["is_well"]) == (0, "", True)
    assert answer["counts"] == {"ok": 28, "warn": 5}
    assert [check["name"] for check in answer["checks"]] == [
        "connection",
        *(name for _, name, _ in CHECKS),
        "Prefect",
        "store",
    ]
    assert set(answer["checks"][0]) == {"group", "name", "status", "finding", "remedy"}


def everything(database: Database) -> dict[str, list[tuple]]:
    with database.connect() as connection:
        names = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'pggit'")]
        query = sql.SQL("SELECT ctid, xmin, t.* FROM {} AS t")
        return {name: connection.execute(query.format(sql.Identifier(name))).fetchall() for name in names}


def test_looking_writes_nothing(database: Database) -> None:
    before = everything(database)

    look(database)

    assert everything(database) == before


def test_a_check_cannot_write_even_by_mistake(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def writes(patient: Any) -> Any:
        return patient.rows("DELETE FROM scheduled_jobs RETURNING job")

    monkeypatch.setattr("pggit_analytics.doctor.examine.CHECKS", (("Runs", "scheduler", writes),))
    check = look(database)["Runs scheduler"]

    assert (check.status, check.finding) == ("unknown", "cannot execute DELETE in a read-only transaction")


# connection and settings


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_unreachable_database_is_one_failure_and_everything_else_unknown() -> None:
    password = "hunter2-topsecret"
    found = look(Database(f"postgresql://me:{password}@127.0.0.1:{free_port()}/app"))

    assert statuses(found, "fail") == {"Server connection"}
    assert "Connection refused" in found["Server connection"].finding
    assert len(statuses(found, "unknown")) == len(CHECKS)
    assert found["Runs jobs"].finding == "there is no connection to the database"
    assert password not in str(found)


def test_the_command_shows_what_cannot_be_looked_at_as_one_line_a_group() -> None:
    done = run_here("doctor", PGGIT_DATABASE_URL=f"postgresql://me@127.0.0.1:{free_port()}/app")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    # 8 groups with unknown checks
    assert done.stdout.count("there is no connection") == 8


def test_no_database_at_all_is_a_failure_that_makes_none(run_directory: Path) -> None:
    done = run_here("doctor")

    assert done.returncode == 1
    assert "no database is configured" in done.stdout
    assert not (run_directory / ".pggit").exists()


def test_a_configuration_that_cannot_be_read_is_a_failure_that_says_where(run_directory: Path) -> None:
    (run_directory / "pggit.toml").write_text("[source]\nunknown = 1\n")
    done = run_here("doctor", "--json")

    (check,) = json.loads(done.stdout)["checks"]
    assert (done.returncode, check["status"]) == (1, "fail")
    assert "source.unknown" in check["finding"]


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (timedelta(0), "ok"),
        (timedelta(seconds=20), "warn"),
        (timedelta(minutes=10), "fail"),
        (-timedelta(minutes=10), "fail"),
    ],
)
def test_a_clock_that_differs_is_measured(database: Database, ahead: timedelta, status: str) -> None:
    checks = examine(database, settings(database), clock=lambda: datetime.now(UTC) + ahead)
    (check,) = [check for check in checks if check.name == "clock"]

    assert check.status == status
    if ahead > timedelta(minutes=1):
        assert "600 s ahead of" in check.finding or "599 s ahead of" in check.finding


def test_an_old_server_is_a_failure() -> None:
    assert (judged_version(140012).status, judged_version(150004).status) == ("fail", "ok")
    assert "PostgreSQL 14.12" in judged_version(140012).finding


@pytest.mark.parametrize("where", ["database", "role", "role in database"])
def test_a_moment_fixed_on_a_role_or_the_database_is_found_and_reset(database: Database, where: str) -> None:
    name = conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    with logged_in(database) as stranger:
        role = user_of(stranger)
        target = {
            "database": f"DATABASE {name}",
            "role": f"ROLE {role}",
            "role in database": f"ROLE {role} IN DATABASE {name}",
        }
        execute(database, f"ALTER {target[where]} SET \"pggit.as_of\" = '2026-03-01 12:00+00'")
        check = look(database)["Server as_of"]

        assert check.status == "fail"
        assert "2026-03-01 12:00+00" in check.finding
        assert (role in check.finding, f"database {name}" in check.finding) == ("role" in where, "database" in where)
        assert_mended(database, check)
        assert look(database)["Server as_of"].status == "ok"


def test_a_moment_fixed_for_the_session_is_found(database: Database) -> None:
    fixed = Database(conninfo.make_conninfo(database.conninfo, options="-c pggit.as_of=2026-03-01T12:00Z"))

    assert look(fixed)["Server as_of"].status == "fail"


# installation


def test_an_undeployed_database_asks_for_a_deployment_and_for_nothing_else(empty_database: Database) -> None:
    found = look(empty_database)

    assert statuses(found, "fail") == {"Installation deployment"}
    assert found["Installation deployment"].remedy == "pggit-analytics db deploy"
    assert found["Runs jobs"].status == "unknown"
    assert found["Runs jobs"].finding == "nothing is deployed in the schema pggit"
    assert_mended(empty_database, found["Installation deployment"])
    assert look(empty_database)["Installation deployment"].status == "ok"


def test_another_schema_is_named_in_every_remedy_of_ours(empty_database: Database) -> None:
    other = Database(empty_database.conninfo, "Other schema")
    deploy(other)
    found = look(other)

    assert statuses(found, "fail") == set()
    assert found["Runs monitoring"].remedy == "pggit-analytics analyze --schema 'Other schema'"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("DROP FUNCTION schedule_list", "1 missing (function schedule_list)"),
        (
            "UPDATE deployed_objects SET source_md5 = 'other' WHERE name = 'raise_alert'",
            "1 outdated (function raise_alert)",
        ),
        ("UPDATE deployed_objects SET package_version = '0.0.9' WHERE kind = 'package'", "0.0.9 is installed"),
        ("DELETE FROM deployed_objects WHERE kind = 'migration'", "1 missing (migration 0001"),
    ],
)
def test_a_deployment_that_is_due_is_a_failure(database: Database, fault: str, said: str) -> None:
    execute(database, fault)
    check = look(database)["Installation deployment"]

    assert (check.status, said in check.finding) == ("fail", True), check
    assert_mended(database, check)
    assert look(database)["Installation deployment"].status == "ok"


def test_a_missing_index_is_found_and_made(database: Database) -> None:
    execute(database, "DROP INDEX performance_metrics_operation_created_idx")
    check = look(database)["Installation indexes"]

    assert check.status == "warn"
    assert "performance_metrics_operation_created_idx" in check.finding
    assert_mended(database, check)
    assert look(database)["Installation indexes"].status == "ok"


def test_an_index_that_is_not_valid_is_found_and_made_again(database: Database) -> None:
    execute(
        database,
        "INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('commit', 1), ('commit', 1)",
    )
    with database.connect(autocommit=True) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken_idx ON performance_metrics (duration_ms)")
    check = look(database)["Installation indexes"]

    assert (check.status, "broken_idx" in check.finding) == ("warn", True)
    execute(database, "DELETE FROM performance_metrics")
    assert_mended(database, check)
    assert look(database)["Installation indexes"].status == "ok"


def test_outdated_statistics_of_the_planner_are_found_and_renewed(database: Database) -> None:
    execute(
        database,
        "ALTER TABLE performance_metrics SET (autovacuum_enabled = off)",
        "INSERT INTO performance_metrics (operation_type, duration_ms) SELECT 'a', 1 FROM generate_series(1, 20000)",
        "SELECT pg_stat_force_next_flush()",
    )
    check = look(database)["Installation statistics"]

    assert (check.status, "20,000 rows" in check.finding) == ("warn", True), check
    assert_mended(database, check)
    execute(database, "SELECT pg_stat_force_next_flush()")
    assert look(database)["Installation statistics"].status == "ok"


# rights


def test_a_role_without_rights_gets_answers_or_the_reason_why_not(database: Database) -> None:
    with logged_in(database) as stranger:
        found = look(stranger)
        role = user_of(stranger)

        assert (found["Rights read"].status, found["Rights write"].status) == ("warn", "warn")
        assert found["Rights read"].remedy is not None
        assert f'GRANT "pggit_reader" TO "{role}"' in found["Rights read"].remedy
        assert found["Runs jobs"].status == "unknown"
        assert found["Runs jobs"].finding == f"the role {role} may not use the schema pggit"
        assert "unexpected" not in str(found)
        assert_mended(database, found["Rights read"])
        assert look(stranger)["Rights read"].status == "ok"


def test_a_reader_is_told_that_it_only_reads(database: Database) -> None:
    with logged_in(database, "pggit_reader") as reader:
        found = look(reader)

        assert found["Rights read"].status == "ok"
        assert (found["Rights write"].status, "lacks" in found["Rights write"].finding) == ("warn", True)
        assert found["Runs failures"].status == "ok"
        assert found["Delivery queue"].status == "ok"
        assert (found["Delivery key"].status, found["Delivery key"].finding) == (
            "unknown",
            "permission denied for table alert_notification_webhooks",
        )
        assert "unexpected" not in str(found)
        assert_mended(database, found["Rights write"])
        assert look(reader)["Rights write"].status == "ok"


def test_the_pipeline_may_do_its_work_and_not_add_webhooks(database: Database) -> None:
    with logged_in(database, "pggit_pipeline") as pipeline:
        found = look(pipeline)

        assert (found["Rights read"].status, found["Rights write"].status) == ("ok", "ok")
        assert "may not add" in found["Rights webhooks"].finding
        assert statuses(found, "unknown") == set()


def test_a_pipeline_that_may_not_make_temporary_tables_is_a_failure(database: Database) -> None:
    name = conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    execute(database, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    with logged_in(database, "pggit_pipeline") as pipeline:
        check = look(pipeline)["Rights write"]

        assert (check.status, "temporary tables" in check.finding) == ("fail", True)
        assert_mended(database, check)
        assert look(pipeline)["Rights write"].status == "ok"


# timings and baselines


@pytest.mark.parametrize(
    ("age", "status", "said"),
    [
        ("30 minutes", "ok", "30 min old"),
        ("50 hours", "warn", "2 d 2 h old"),
        ("-1 hour", "warn", "ahead of the server"),
    ],
)
def test_the_age_of_the_newest_timing_is_told(database: Database, age: str, status: str, said: str) -> None:
    execute(
        database,
        "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
        f"VALUES ('commit', 1, now() - INTERVAL '{age}')",
    )
    check = look(database)["Timings freshness"]

    assert (check.status, said in check.finding) == (status, True), check


def test_a_source_that_does_not_yield_the_columns_is_a_failure(database: Database) -> None:
    found = look(database, source=SourceSettings(query="SELECT 1 AS metric_id"))

    assert found["Timings source"].status == "fail"
    assert "operation_type is missing" in found["Timings source"].finding


def test_a_source_of_ones_own_is_looked_at(database: Database) -> None:
    query = "SELECT 1 AS metric_id, 'a' AS operation_type, 1.0 AS duration_ms, now() - INTERVAL '3 days' AS created_at"
    found = look(database, source=SourceSettings(query=query))

    assert found["Timings source"].status == "ok"
    assert (found["Timings freshness"].status, "3 d 0 h" in found["Timings freshness"].finding) == ("warn", True)


def test_old_and_missing_baselines_are_told_and_made(database: Database) -> None:
    execute(
        database,
        "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
        "SELECT o, 1, now() - n * '1 minute'::INTERVAL "
        "FROM generate_series(1, 12) AS n, (VALUES ('commit'), ('merge')) AS o (o)",
        "INSERT INTO performance_baselines (operation_type, sample_count, p99_microseconds, last_updated) "
        "VALUES ('commit', 10, 1000, now())",
    )
    check = look(database)["Timings baselines"]
    assert (check.status, "none yet of merge" in check.finding) == ("warn", True), check

    execute(database, "UPDATE performance_baselines SET last_updated = now() - INTERVAL '8 days'")
    check = look(database)["Timings baselines"]
    assert (check.status, "1 are older than 7 days" in check.finding) == ("warn", True), check

    assert_mended(database, check)
    assert look(database)["Timings baselines"].status == "ok"


@pytest.mark.parametrize(
    ("statement", "command"),
    [
        ("INSERT INTO merge_sync_state (source, synced_at) VALUES ('pggit-0.2.1', now() - INTERVAL '{}')", "sync"),
        (
            "INSERT INTO statement_sampling (sampled_at, stats_reset, dealloc, hidden) "
            "VALUES (now() - INTERVAL '{}', now(), 0, 0)",
            "sample statements",
        ),
    ],
)
def test_what_was_brought_in_and_is_not_any_more_is_told(database: Database, statement: str, command: str) -> None:
    execute(database, statement.format("30 hours"))
    check = look(database)["Timings imports"]
    assert (check.status, check.remedy) == ("warn", f"pggit-analytics {command}")
    assert "1 d 6 h ago" in check.finding

    execute(database, "DELETE FROM merge_sync_state", "DELETE FROM statement_sampling", statement.format("1 hour"))
    assert look(database)["Timings imports"].status == "ok"


# schedules and runs


def activate(database: Database, scheduler: str = "crontab", since: str = "30 days") -> None:
    execute(
        database,
        f"INSERT INTO active_scheduler (scheduler, active_since) VALUES ('{scheduler}', now() - INTERVAL '{since}')",
    )


def test_pg_cron_that_is_active_and_not_there_is_a_failure(database: Database, server_url: str) -> None:
    with database.connect() as connection:
        if connection.execute("SELECT current_setting('cron.database_name', TRUE)").fetchone() != (None,):
            pytest.skip("this server has pg_cron")
    activate(database, "pg_cron")
    check = look(database)["Runs scheduler"]

    assert (check.status, check.finding) == ("fail", "pg_cron is active, and nothing runs: pg_cron is not loaded")
    assert check.remedy == "pggit-analytics schedule remove && pggit-analytics schedule install --scheduler crontab"


@pytest.mark.debian
def test_jobs_that_pg_cron_does_not_know_are_a_failure_and_told_to_it(database: Database, server_url: str) -> None:
    with psycopg.connect(conninfo.make_conninfo(server_url, dbname="pggit_cron"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
    activate(database, "pg_cron", since="1 second")
    check = look(database)["Runs scheduler"]
    try:
        assert (check.status, "does not know weekly_force" in check.finding) == ("fail", True), check
        assert_mended(database, check)
        # the last one waits until the database can send messages itself
        assert look(database)["Runs scheduler"].status == "ok"
    finally:
        assert run_here("schedule", "remove", PGGIT_DATABASE_URL=database.conninfo).returncode == 0


def test_windows_that_nobody_ran_are_a_failure_with_the_command_that_runs_one(database: Database) -> None:
    activate(database)
    found = look(database)

    assert found["Runs scheduler"].status == "ok"
    check = found["Runs windows"]
    assert check.status == "fail"
    # the longest period first
    assert check.remedy == "pggit-analytics schedule run weekly_force_recalculate_baselines"


def test_a_paused_job_is_a_warning_and_resumed(database: Database) -> None:
    activate(database, since="1 second")
    execute(database, "UPDATE scheduled_jobs SET is_paused = TRUE WHERE job = 'check_performance_anomalies'")
    check = look(database)["Runs scheduler"]

    assert (check.status, "paused: check_performance_anomalies" in check.finding) == ("warn", True)
    assert_mended(database, check)
    assert look(database)["Runs scheduler"].status == "ok"


def test_a_job_that_failed_the_last_time_is_a_failure(database: Database) -> None:
    activate(database, since="1 second")
    execute(
        database,
        "INSERT INTO job_runs (job, window_start, scheduler, status, started_at, finished_at, message) VALUES "
        "('check_performance_anomalies', now() - INTERVAL '6 hours', 'crontab', 'FAILED', now(), now(), 'disk full'), "
        "('deliver_pending_alerts', now() - INTERVAL '10 minutes', 'crontab', 'FAILED', now(), now(), 'no'), "
        "('deliver_pending_alerts', now() - INTERVAL '5 minutes', 'crontab', 'SUCCESS', now(), now(), 'yes')",
    )
    check = look(database)["Runs jobs"]

    assert check.status == "fail"
    assert "check_performance_anomalies failed" in check.finding
    assert "disk full" in check.finding
    assert check.remedy == "pggit-analytics schedule run check_performance_anomalies --again"


def ran(age: str, status: str = "SUCCESS", message: str = "NULL") -> str:
    return (
        'INSERT INTO analysis_runs (flow, as_of, "window", started_at, finished_at, status, rows_read, rows_written, '
        f"package_version, error_message) SELECT 'monitor_performance', t, tstzrange(t, t, '[]'), t, t, '{status}', "
        f"0, 0, '1', {message} FROM (SELECT now() - INTERVAL '{age}' AS t) AS x"
    )


@pytest.mark.parametrize(("age", "status"), [("11 hours", "ok"), ("13 hours", "fail")])
def test_a_detector_that_is_silent_for_two_periods_is_a_failure(database: Database, age: str, status: str) -> None:
    execute(database, ran(age))
    check = look(database)["Runs monitoring"]

    assert (check.status, f"{age.split(maxsplit=1)[0]} h 0 min ago" in check.finding) == (status, True), check


def test_a_run_that_failed_last_is_a_failure_until_one_succeeds(database: Database) -> None:
    execute(database, ran("3 hours"), ran("2 hours", "FAILED", "'the source is\n gone'"))
    check = look(database)["Runs failures"]
    assert (check.status, "the source is gone" in check.finding) == ("fail", True), check

    execute(database, ran("1 hour"))
    assert look(database)["Runs failures"].status == "ok"


# alerts and messages


def webhook(database: Database, name: str = "ops", key: str = KEY, routes: tuple[str, ...] = ()) -> None:
    secret = MasterKey.from_base64(key).encrypt("https://hooks.example.com/x")
    with database.connect() as connection:
        connection.execute(
            """
            INSERT INTO alert_notification_webhooks (
                webhook_type, name, webhook_url_encrypted, webhook_url_iv, encryption_key_id)
            VALUES ('slack', %s, %s, %s, %s)
            """,
            (name, secret.ciphertext, secret.iv, secret.key_id),
        )
        for route in routes:
            connection.execute(
                """
                INSERT INTO alert_notification_settings (alert_type, severity, webhook_id)
                SELECT %s, 'CRITICAL', webhook_id FROM alert_notification_webhooks WHERE name = %s
                """,
                (route, name),
            )


def test_critical_alerts_without_a_route_are_a_failure_with_the_route_to_add(database: Database) -> None:
    execute(database, "UPDATE analytics_settings SET value = 'plan' WHERE name = 'alert_source'")
    webhook(database, routes=("ANOMALY", "DEGRADATION", "CORRELATION", "SELF_HEALTH"))
    check = look(database)["Alerts routes"]

    assert (check.status, check.finding) == ("fail", "CRITICAL alerts go nowhere: THRESHOLD_EXCEEDED")
    assert check.remedy == "pggit-analytics webhooks route ops --route THRESHOLD_EXCEEDED:CRITICAL"

    execute(database, "UPDATE analytics_settings SET value = 'incidents' WHERE name = 'alert_source'")
    check = look(database)["Alerts routes"]
    assert check.finding == "CRITICAL alerts go nowhere: INCIDENT, FORECAST"


def test_webhooks_that_are_all_disabled_are_a_failure_and_enabled_again(database: Database) -> None:
    webhook(database)
    execute(database, "UPDATE alert_notification_webhooks SET enabled = FALSE")
    check = look(database)["Alerts routes"]

    assert (check.status, check.remedy) == ("fail", "pggit-analytics webhooks enable ops")


def test_under_pg_cron_the_plan_pages_whatever_the_setting_and_its_routes_are_looked_at(database: Database) -> None:
    execute(database, "UPDATE analytics_settings SET value = 'incidents' WHERE name = 'alert_source'")
    webhook(database, routes=("INCIDENT", "FORECAST", "SELF_HEALTH"))
    assert look(database)["Alerts routes"].status == "ok"
    activate(database, "pg_cron")
    found = look(database)

    assert found["Alerts source"].finding == "what pages: plan, as pg_cron runs the jobs; the setting is incidents"
    assert found["Alerts routes"].finding == (
        "CRITICAL alerts go nowhere: ANOMALY, DEGRADATION, CORRELATION, THRESHOLD_EXCEEDED"
    )


def test_an_alert_source_that_is_none_is_a_failure(database: Database) -> None:
    execute(database, "UPDATE analytics_settings SET value = 'nobody' WHERE name = 'alert_source'")

    check = look(database)["Alerts source"]
    assert check.status == "fail"
    assert_mended(database, check)
    assert look(database)["Alerts source"].status == "ok"


@pytest.mark.parametrize(("number", "status"), [(4, "ok"), (5, "warn")])
def test_five_critical_alerts_a_day_are_too_many(database: Database, number: int, status: str) -> None:
    execute(
        database,
        "INSERT INTO performance_alerts "
        "(alert_type, severity, dedup_key, alert_source, evidence, opened_at, last_seen_at) "
        "SELECT 'ANOMALY', 'CRITICAL', n::TEXT, (SELECT value FROM analytics_settings WHERE name = 'alert_source'), "
        f"'{{}}', now(), now() FROM generate_series(1, {number}) AS n",
    )

    assert look(database)["Alerts critical"].status == status


def test_the_key_that_opens_every_address_is_fine(database: Database, run_directory: Path) -> None:
    webhook(database)
    file = run_directory / "webhook.key"
    file.write_text(KEY)
    file.chmod(0o600)

    assert look(database, webhook_key_file=file)["Delivery key"].status == "ok"


def test_a_key_that_others_can_read_is_a_failure(database: Database, run_directory: Path) -> None:
    webhook(database)
    file = run_directory / "webhook.key"
    file.write_text(KEY)
    file.chmod(0o644)
    check = look(database, webhook_key_file=file)["Delivery key"]

    assert (check.status, check.remedy) == ("fail", f"chmod 600 {file}")


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        (None, "warn", "1 addresses cannot be read"),
        (OTHER_KEY, "fail", "webhook ops: the address was encrypted with the master key"),
        ("no base64!", "fail", "the master key is not base64"),
    ],
)
def test_a_key_that_is_missing_wrong_or_none_is_told(
    database: Database, key: str | None, status: str, said: str
) -> None:
    webhook(database)
    check = look(database, webhook_key=SecretStr(key) if key else None)["Delivery key"]

    assert (check.status, said in check.finding) == (status, True), check
    assert key is None or key not in check.finding


def test_a_key_file_that_is_not_there_is_a_failure(database: Database, run_directory: Path) -> None:
    check = look(database, webhook_key_file=run_directory / "nowhere.key")["Delivery key"]

    assert (check.status, "is not there" in check.finding) == ("fail", True)


def test_a_damaged_address_is_a_failure_that_names_the_webhook(database: Database) -> None:
    webhook(database, "oncall")
    execute(database, "UPDATE alert_notification_webhooks SET webhook_url_encrypted = webhook_url_encrypted || '\\x00'")
    check = look(database, webhook_key=SecretStr(KEY))["Delivery key"]

    assert (check.status, "webhook oncall: the stored address was changed" in check.finding) == ("fail", True)
    assert check.remedy == "pggit-analytics webhooks add oncall --replace --type slack"


def queued(number: int, **columns: str) -> str:
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", {value}" for value in columns.values())
    return (
        f"INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key{names}) "
        f"SELECT webhook_id, '{{}}', gen_random_uuid()::TEXT{values} "
        f"FROM alert_notification_webhooks, generate_series(1, {number})"
    )


@pytest.mark.parametrize(("number", "status"), [(99, "ok"), (100, "fail")])
def test_a_hundred_due_rows_are_a_queue_that_is_not_worked_off(database: Database, number: int, status: str) -> None:
    webhook(database)
    execute(
        database,
        queued(number, created_at="now() - INTERVAL '2 hours'"),
        queued(300, next_retry_at="now() + INTERVAL '1 hour'"),
    )
    check = look(database)["Delivery queue"]

    assert check.status == status
    assert f"{number} rows are due" in check.finding
    assert "300 wait for their time" in check.finding
    assert status == "ok" or "the oldest for 2 h 0 min" in check.finding


def test_messages_that_were_given_up_are_a_warning_and_can_be_sent_again(database: Database) -> None:
    webhook(database)
    execute(database, queued(3, status="'failed'", last_error="'404 Not Found'"))
    check = look(database)["Delivery given up"]

    assert (check.status, check.remedy) == ("warn", "pggit-analytics deliver --redrive")
    assert "3 were given up" in check.finding
    assert "404 Not Found" in check.finding


def test_a_channel_that_does_not_answer_is_a_failure(database: Database) -> None:
    webhook(database, "on call")
    execute(
        database,
        "INSERT INTO webhook_delivery_state (webhook_id, breaker_opened_at, breaker_probe_at) "
        "SELECT webhook_id, now(), now() FROM alert_notification_webhooks",
    )
    check = look(database)["Delivery channels"]

    assert (check.status, check.remedy) == ("fail", "pggit-analytics webhooks test 'on call'")


# Prefect


@contextmanager
def prefect_api(url: str) -> Iterator[None]:
    os.environ["PREFECT_API_URL"] = url
    try:
        yield
    finally:
        del os.environ["PREFECT_API_URL"]


def test_an_api_of_prefect_that_does_not_answer_is_a_failure_without_its_password(database: Database) -> None:
    port = free_port()
    with prefect_api(f"http://me:topsecret@127.0.0.1:{port}/api"):
        check = look(database)["This machine Prefect"]

    assert (check.status, check.remedy) == ("fail", "prefect server start")
    assert f"127.0.0.1:{port}" in check.finding
    assert "topsecret" not in check.finding


def test_an_api_of_prefect_that_answers_is_fine(database: Database) -> None:
    with HttpServer() as server, prefect_api(f"{server.url}/api"):
        check = look(database)["This machine Prefect"]
        (request,) = server.requests

    assert (check.status, request.path) == ("ok", "/api/health")


# the store


def test_a_store_is_measured_and_none_is_made(database: Database, run_directory: Path) -> None:
    store = run_directory / "store"
    assert look(database)["This machine store"].finding == f"none yet in {store}; the next run makes it"
    assert not store.exists()

    (store / "table").mkdir(parents=True)
    store.chmod(0o700)
    with (store / "table" / "day.parquet").open("wb") as stream:
        stream.truncate(2_500_000_000)
    check = look(database)["This machine store"]
    assert (check.status, check.finding) == ("ok", f"2.5 GB in {store}")


def test_the_store_of_a_home_directory_is_found(database: Database, run_directory: Path) -> None:
    (run_directory / ".cache" / "pggit-analytics").mkdir(parents=True, mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PGGIT_STORE__DIRECTORY")
        patch.delenv("XDG_CACHE_HOME", raising=False)
        patch.setenv("HOME", str(run_directory))
        check = look(database)["This machine store"]

    assert check.finding == f"0.0 GB in {run_directory}/.cache/pggit-analytics"


def test_a_store_that_others_can_write_is_a_failure(database: Database, run_directory: Path) -> None:
    store = run_directory / "store"
    store.mkdir()
    store.chmod(0o777)
    check = look(database)["This machine store"]

    assert (check.status, check.remedy) == ("fail", f"chmod 700 {store}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_store_of_another_user_is_a_failure(database: Database, run_directory: Path) -> None:
    store = run_directory / "store"
    store.mkdir(mode=0o700)
    os.chown(store, 65534, 65534)
    check = look(database)["This machine store"]

    assert (check.status, "it belongs to another user" in check.finding) == ("fail", True)


def test_a_store_that_is_switched_off_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_STORE__ENABLED", "false")

    assert "switched off" in look(database)["This machine store"].finding


def test_a_check_that_breaks_is_unknown_and_the_others_are_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(patient: Any) -> Any:
        raise RuntimeError("postgresql://me:topsecret@db/app")

    rest: tuple[tuple[str, str, Callable[..., Any]], ...] = CHECKS[1:]
    monkeypatch.setattr("pggit_analytics.doctor.examine.CHECKS", (("Server", "version", breaks), *rest))
    found = look(database)

    assert (found["Server version"].status, found["Server version"].finding) == ("unknown", "unexpected RuntimeError")
    assert statuses(found, "unknown") == {"Server version"}


def test_tables_that_went_are_unknown_with_the_reason(database: Database) -> None:
    execute(database, "DROP TABLE alert_notification_queue CASCADE", "DROP TABLE job_runs CASCADE")
    found = look(database)

    assert found["Installation deployment"].status == "fail"
    assert (found["Delivery queue"].status, found["Delivery queue"].remedy) == ("unknown", "pggit-analytics db deploy")
    assert 'relation "job_runs" does not exist' in found["Runs jobs"].finding
