"""One scheduler at a time, each window once, and a monitoring run in SQL that does what the pipeline's does."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import errors

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.pipeline import MonitorParameters, Target, monitor
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.schedules import ScheduleRefused
from pggit_analytics.postgres.sources import native
from pggit_analytics.scheduling import run_claimed, run_due

ROOT = Path(__file__).parents[2]
#: job -> (cron line, the arguments of its baselines), as planned
PLANNED = {
    "recalculate_performance_baselines": "0 2 * * *",
    "weekly_force_recalculate_baselines": "0 3 * * 0",
    "check_performance_anomalies": "0 */6 * * *",
    "deliver_pending_alerts": "*/5 * * * *",
}
CHECK = "check_performance_anomalies"
BASELINES = "recalculate_performance_baselines"
WEEKLY = "weekly_force_recalculate_baselines"
#: a Wednesday
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

# A week of timings until shortly before NOON: commit and merge slow down together in the second half, get_commits has
# one very slow and one very fast call, rollback_commit is over its threshold.
TIMINGS = """
    INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at)
    SELECT 1000 * number + rank,
           operation_type,
           CASE
               WHEN operation_type = 'get_commits' AND number = 1000 THEN 700
               WHEN operation_type = 'get_commits' AND number = 1001 THEN 0
               ELSE base + number * step %% 7 * 0.37
           END * CASE WHEN slows AND number > 504 THEN 2.3 ELSE 1 END,
           %(as_of)s - INTERVAL '168 hours' + number * INTERVAL '10 minutes'
    FROM (VALUES
        ('commit', 1, 12.4, 5, TRUE), ('merge', 2, 55.1, 5, TRUE), ('get_commits', 3, 100, 3, FALSE),
        ('rollback_commit', 4, 9, 2, FALSE)
    ) AS operation (operation_type, rank, base, step, slows),
    generate_series(1, 1007) AS number;
"""
SETTING = """
    UPDATE analytics_settings SET value = 'the same in every database' WHERE name = 'instance_name';
    INSERT INTO performance_baselines (operation_type, sample_count, p99_microseconds, alert_threshold_multiplier)
    VALUES ('rollback_commit', 100, 4100, 2.0), ('commit', 100, 11000, 2.5);
    INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'oncall'), ('email', 'team');
    INSERT INTO alert_notification_settings (alert_type, severity, webhook_id)
    SELECT t, s, w.webhook_id
    FROM unnest(ARRAY['ANOMALY', 'DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED']) AS t,
         unnest(ARRAY['WARNING', 'CRITICAL']) AS s, alert_notification_webhooks AS w
    WHERE w.name = 'oncall' OR s = 'CRITICAL';
"""


def rows(database: Database, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def fill(database: Database, as_of: datetime = NOON) -> None:
    with database.connect() as connection:
        connection.execute(TIMINGS, {"as_of": as_of})
        connection.execute(SETTING)


def check(database: Database, as_of: datetime = NOON, *, notify: bool = True) -> int:
    return int(
        rows(database, "SELECT check_performance_anomalies(24, %(notify)s, %(at)s)", notify=notify, at=as_of)[0][0]
    )


def state(database: Database) -> dict[str, list[Any]]:
    """Everything a run leaves behind, without ids and clock times."""
    result = "SELECT to_jsonb(r) - '{}' FROM {} AS r ORDER BY {}"
    queries = {
        "anomalies": result.format("run_id", "performance_anomalies", "detected_at, operation_type, metric_id"),
        "degradations": result.format("run_id", "performance_degradations", "detected_at, operation_type"),
        "correlations": result.format("run_id", "performance_correlations", "detected_at, operation_type_1"),
        # the engine, which SQL does not have, raises its own
        "alerts": result.format("alert_id", "performance_alerts", "dedup_key, episode").replace(
            "ORDER BY", "WHERE alert_source = 'plan' ORDER BY"
        ),
        "queue": """
            SELECT jsonb_build_object(
                'webhook', w.name, 'alert', a.dedup_key, 'episode', a.episode, 'as_of', q.as_of, 'status', q.status,
                'transition', split_part(q.dedup_key, '/', 3),
                'body', q.message_body::JSONB - 'alert_id' - 'text')
            FROM alert_notification_queue AS q
            JOIN alert_notification_webhooks AS w USING (webhook_id)
            JOIN performance_alerts AS a USING (alert_id)
            ORDER BY a.dedup_key COLLATE "C", w.name, q.dedup_key COLLATE "C"
        """,
        "runs": """
            SELECT jsonb_build_array(flow, as_of, "window"::TEXT, status, rows_read, rows_written)
            FROM analysis_runs
            ORDER BY run_id
        """,
    }
    return {name: [row[0] for row in rows(database, query)] for name, query in queries.items()}


def assert_close(one: Any, two: Any, where: str = "") -> None:
    """Equal, floating numbers to 1e-9 relative."""
    if isinstance(one, dict) and isinstance(two, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_close(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(two, list):
        assert len(one) == len(two), where
        for number, pair in enumerate(zip(one, two, strict=True)):
            assert_close(*pair, f"{where}[{number}]")
    elif isinstance(one, float) or isinstance(two, float):
        assert math.isclose(one, two, rel_tol=1e-9), (where, one, two)
    else:
        assert one == two, where


# The monitoring run in SQL


def test_the_check_in_sql_leaves_behind_what_the_pipeline_does(create_database, deployed_template: str) -> None:
    by_sql, by_pipeline = (Database(create_database(deployed_template)) for _ in range(2))
    # the second moment finds the slow calls again; by the later ones they are out of sight and alerts resolve
    moments = [NOON, NOON + HOUR, *(NOON + timedelta(days=9 + n) for n in range(3))]
    for database in (by_sql, by_pipeline):
        fill(database)
    for moment in moments:
        check(by_sql, moment)
        monitor(
            Target(by_pipeline, by_pipeline, native(by_pipeline.schema)), MonitorParameters(as_of=moment, notify=True)
        )

    found, found_by_pipeline = state(by_sql), state(by_pipeline)
    # an estimate of the dataframes, which the SQL side does not make
    evidence = [
        *(alert["evidence"] for alert in found_by_pipeline["alerts"]),
        *(message["body"]["evidence"] for message in found_by_pipeline["queue"]),
    ]
    assert [each.pop("slow_since", None) for each in evidence].count(None) < len(evidence)
    # the rows of its incidents are among those that the pipeline wrote
    for left_behind in (found, found_by_pipeline):
        left_behind["runs"] = [run[:5] for run in left_behind["runs"]]
    assert_close(found, found_by_pipeline)
    assert {(row["operation_type"], row["severity"]) for row in found["degradations"]} == {
        ("commit", "CRITICAL"),
        ("merge", "CRITICAL"),
    }
    assert {(row["operation_type"], row["anomaly_type"], row["severity"]) for row in found["anomalies"]} == {
        ("commit", "DEGRADATION", "CRITICAL"),
        ("merge", "DEGRADATION", "CRITICAL"),
        ("get_commits", "SPIKE", "WARNING"),
    }
    assert {alert["alert_type"] for alert in found["alerts"]} == {
        "ANOMALY",
        "CORRELATION",
        "DEGRADATION",
        "THRESHOLD_EXCEEDED",
    }
    assert all(alert["resolved_at"] for alert in found["alerts"])
    assert {message["transition"] for message in found["queue"]} >= {"opened", "resolved"}


def test_the_check_again_on_the_same_data_changes_nothing(database: Database) -> None:
    fill(database)
    first = check(database)
    before = state(database)
    assert check(database) == first + 1
    after = state(database)
    assert after.pop("runs")[1][5] == 0
    before.pop("runs")
    assert after == before


def test_the_check_on_changed_data_replaces_the_rows_of_its_moment_only(database: Database) -> None:
    fill(database)
    check(database, NOON - HOUR)
    earlier = rows(database, "SELECT * FROM performance_degradations WHERE operation_type = 'commit'")
    check(database)
    with database.connect() as connection:
        connection.execute("DELETE FROM performance_metrics WHERE operation_type = 'commit'")
    check(database)
    left = rows(database, "SELECT * FROM performance_degradations WHERE operation_type = 'commit'")
    assert left == earlier
    assert rows(database, "SELECT count(*) FROM performance_correlations WHERE detected_at = %(at)s", at=NOON) == [(0,)]


def test_an_operation_no_longer_tracked_is_not_looked_at_and_its_alert_ends(database: Database) -> None:
    fill(database)
    check(database)
    with database.connect() as connection:
        connection.execute("UPDATE performance_operation_types SET is_tracked = FALSE WHERE operation_type = 'commit'")
    for number in range(1, 5):
        check(database, NOON + number * MINUTE)
    at_noon = rows(database, "SELECT operation_type FROM performance_degradations WHERE detected_at = %(at)s", at=NOON)
    assert at_noon == [("commit",), ("merge",)]
    later = rows(
        database, "SELECT DISTINCT operation_type FROM performance_degradations WHERE detected_at > %(at)s", at=NOON
    )
    assert later == [("merge",)]
    ended = "SELECT resolved_at FROM performance_alerts WHERE alert_type = 'DEGRADATION' AND operation_type = 'commit'"
    assert rows(database, ended) == [(NOON + 3 * MINUTE,)]


def test_an_old_moment_is_recorded_without_alerts(database: Database) -> None:
    fill(database)
    check(database, notify=False)
    assert rows(database, "SELECT count(*) FROM performance_degradations") == [(2,)]
    assert rows(database, "SELECT count(*) FROM performance_alerts") == [(0,)]


def test_a_newer_run_of_the_pipeline_keeps_the_check_from_alerting(database: Database) -> None:
    (now,) = rows(database, "SELECT now()")[0]
    fill(database, now)
    monitor(
        Target(database, database, native(database.schema)), MonitorParameters(as_of=now, operations=("get_history",))
    )
    check(database, now - MINUTE, notify=False)
    assert rows(database, "SELECT count(*) FROM performance_alerts") == [(0,)]
    check(database, now, notify=False)
    assert rows(database, "SELECT count(*) > 0 FROM performance_alerts") == [(True,)]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [("0", "0"), ("87601", "87601"), ("NULL", "NULL"), ("24, NULL", "NULL"), ("24, FALSE, 'infinity'", "infinity")],
)
def test_arguments_out_of_range_are_refused(shared_database: Database, arguments: str, value: str) -> None:
    with (
        shared_database.connect() as connection,
        pytest.raises(errors.InvalidParameterValue, match=value),
        connection.transaction(),
    ):
        connection.execute(f"SELECT check_performance_anomalies({arguments})".encode())


# The jobs and their lines


def test_the_jobs_are_the_planned_ones_everywhere(shared_database: Database) -> None:
    assert dict(rows(shared_database, "SELECT job, schedule FROM schedule_list()")) == PLANNED
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {d["parameters"]["job"]: d["schedules"] for d in deployments if "schedules" in d} == {
        job: [{"cron": line, "timezone": "UTC"}] for job, line in PLANNED.items()
    }
    crontab = re.findall(
        r"^(\S+ \S+ \S+ \S+ \S+) +.* schedule run (\w+)$", (ROOT / "contrib/crontab").read_text(), re.M
    )
    assert {job: line for line, job in crontab} == PLANNED
    timers = {file.stem.split("@")[1] for file in (ROOT / "contrib/systemd").glob("*.timer")}
    assert timers == set(PLANNED)
    files = {file.stem: file.read_text() for file in (ROOT / "sql/schedules").glob("*.sql")}
    assert set(files) == set(PLANNED)
    assert all(f"'{PLANNED[job]}'" in text for job, text in files.items())


@pytest.mark.parametrize(
    ("period", "first", "line"),
    [
        ("1 minute", "2000-01-01 00:00+00", "* * * * *"),
        ("15 minutes", "2000-01-01 00:20+00", "5-59/15 * * * *"),
        ("1 hour", "2000-01-01 05:30+05:30", "0 * * * *"),
        ("8 hours", "2000-01-01 17:10+00", "10 1-23/8 * * *"),
        ("7 days", "2000-01-03 23:59+00", "59 23 * * 1"),
        ("168 hours", "2000-01-02 03:00+00", "0 3 * * 0"),
        ("7 minutes", "2000-01-01 00:00+00", None),
        ("5 hours", "2000-01-01 00:00+00", None),
        ("10 seconds", "2000-01-01 00:00+00", None),
        ("1 day", "2000-01-01 00:00:30+00", None),
        ("2 days", "2000-01-01 00:00+00", None),
    ],
)
def test_a_period_becomes_a_cron_line_where_one_can_say_it(
    shared_database: Database, period: str, first: str, line: str | None
) -> None:
    query = "SELECT schedule_line(%(period)s::INTERVAL, %(first)s::TIMESTAMPTZ)"
    assert rows(shared_database, query, period=period, first=first) == [(line,)]


# One scheduler, one run a window


def claim(
    connection: psycopg.Connection,
    job: str = CHECK,
    scheduler: str = "crontab",
    at: datetime = NOON,
    **arguments: bool,
) -> tuple[Any, ...]:
    given = {"again": False, "for_session": True} | arguments
    row = connection.execute(
        "SELECT job_run_id, window_start, refusal FROM claim_job_window("
        "%(job)s, %(scheduler)s, %(at)s, %(for_session)s, %(again)s)",
        {"job": job, "scheduler": scheduler, "at": at} | given,
    ).fetchone()
    assert row is not None
    return row


def activate(database: Database, scheduler: str = "crontab", since: datetime | None = None) -> None:
    with database.connect() as connection:
        connection.execute("SELECT activate_scheduler(%s)", (scheduler,))
        if since:
            connection.execute("UPDATE active_scheduler SET active_since = %s", (since,))


def test_without_an_active_scheduler_nobody_may_run(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        run_id, _, refusal = claim(connection)
    assert run_id is None
    assert refusal == "no scheduler is active; run: pggit-analytics schedule install --scheduler crontab"


def test_a_second_scheduler_is_refused_and_told_the_remedy(database: Database) -> None:
    activate(database, "prefect")
    activate(database, "prefect")
    with pytest.raises(ScheduleRefused, match=r"^prefect is the active scheduler since .* schedule remove$"):
        schedules.install(database, "crontab")
    with database.connect(autocommit=True) as connection:
        assert claim(connection)[2] == "prefect is the active scheduler, crontab does nothing"
        assert claim(connection, scheduler="prefect")[2] is None
    assert schedules.remove(database) == "prefect"
    assert schedules.remove(database) is None
    schedules.install(database, "crontab")


def test_a_window_that_was_run_is_not_run_again(database: Database) -> None:
    activate(database)
    with database.connect(autocommit=True) as connection:
        run_id, window, refusal = claim(connection, at=NOON + 3 * HOUR)
        assert (window, refusal) == (NOON, None)
        assert claim(connection)[2] == f"{CHECK} is running"
        assert connection.execute("SELECT finish_job_window(%s, TRUE, 'fine')", (run_id,)).fetchone() == (True,)
        assert connection.execute("SELECT unlock_job(%s)", (CHECK,)).fetchone() == (True,)
        assert claim(connection)[2] == f"the window 2026-03-04T12:00:00.000000Z of {CHECK} was run by crontab: SUCCESS"
        assert claim(connection, again=True)[0] is None
        assert claim(connection, at=NOON + 6 * HOUR)[2] is None


def test_a_window_whose_session_died_can_be_claimed_again_three_times_in_all(database: Database) -> None:
    activate(database)
    ids = set()
    for _ in range(3):
        with database.connect(autocommit=True) as connection:
            ids.add(claim(connection)[0])
    with database.connect(autocommit=True) as connection:
        assert "3 times, and died each time" in claim(connection)[2]
        assert len(ids) == 3
        assert connection.execute("SELECT finish_job_window(%s, TRUE, '')", (min(ids),)).fetchone() == (False,)
        assert claim(connection, again=True)[2] is None
    assert rows(database, "SELECT status, attempt FROM job_runs") == [("RUNNING", 4)]


def test_a_failed_window_is_run_again_only_when_asked_for(database: Database) -> None:
    activate(database)

    def fail(job: str) -> str:
        raise InvalidArgument("no such luck")

    assert run_claimed(database, CHECK, "crontab", fail).message == "no such luck"
    assert run_claimed(database, CHECK, "crontab", fail).result == "refused"
    done = run_claimed(database, CHECK, "crontab", lambda job: "done", again=True)
    assert (done.result, done.message) == ("run", "done")
    assert rows(database, "SELECT status, message, attempt FROM job_runs") == [("SUCCESS", "done", 2)]


def test_a_foreign_error_is_recorded_without_its_text(database: Database) -> None:
    activate(database)

    def fail(job: str) -> str:
        raise RuntimeError("postgresql://user:secret@host/db")

    assert run_claimed(database, CHECK, "crontab", fail).message == "unexpected RuntimeError"
    assert rows(database, "SELECT status, message FROM job_runs") == [("FAILED", "unexpected RuntimeError")]


def test_a_paused_job_has_no_windows_until_it_is_resumed(database: Database) -> None:
    activate(database)
    assert schedules.pause(database, CHECK) == 1
    assert schedules.pause(database, None) == 3
    with database.connect(autocommit=True) as connection:
        assert claim(connection)[2] == f"{CHECK} is paused"
    assert schedules.resume(database, CHECK) == 1
    with database.connect(autocommit=True) as connection:
        assert claim(connection)[2] is None
    with pytest.raises(InvalidArgument, match="job is 'nothing', expected one of check_performance_anomalies"):
        schedules.pause(database, "nothing")


def test_under_pg_cron_delivery_waits_until_its_function_is_there(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SELECT activate_scheduler('pg_cron')")
        states = dict(connection.execute("SELECT job, state FROM schedule_list()").fetchall())
    assert states.pop("deliver_pending_alerts") == "waiting for deliver_pending_notifications"
    assert set(states.values()) == {"active"}
    ask = "SELECT refusal FROM claim_job_window('deliver_pending_alerts', 'pg_cron')"
    waiting = "deliver_pending_alerts waits for the function deliver_pending_notifications"
    assert rows(database, ask) == [(waiting,)]
    with database.connect() as connection:
        connection.execute("CREATE FUNCTION deliver_pending_notifications() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'")
    assert rows(database, ask) == [(None,)]


@pytest.mark.parametrize("scheduler", ["crontab", "prefect"])
def test_under_another_scheduler_the_pipeline_delivers_and_nothing_waits(database: Database, scheduler: str) -> None:
    with database.connect() as connection:
        connection.execute("SELECT activate_scheduler(%s)", (scheduler,))
    assert {job.state for job in schedules.list_jobs(database)} == {"active"}
    assert rows(database, f"SELECT refusal FROM claim_job_window('deliver_pending_alerts', '{scheduler}')") == [(None,)]


def test_what_was_missed_is_made_up_once_and_one_job_at_a_time(database: Database) -> None:
    """Nothing ran for three weeks; the latest windows of the two jobs of baselines are made up, each once."""
    activate(database, since=NOON - timedelta(days=21))
    ask = "SELECT run_scheduled_job(%(job)s, 'crontab', %(at)s)"
    said = [rows(database, ask, job=CHECK, at=NOON + n * 6 * HOUR)[0][0] for n in range(3)]
    assert [f"made up: {WEEKLY} SUCCESS" in text for text in said] == [True, False, False]
    assert [f"made up: {BASELINES} SUCCESS" in text for text in said] == [False, True, False]
    assert rows(database, "SELECT job, window_start FROM job_runs ORDER BY job, window_start") == [
        *((CHECK, NOON + n * 6 * HOUR) for n in range(3)),
        (BASELINES, NOON - 10 * HOUR),
        (WEEKLY, datetime(2026, 3, 1, 3, tzinfo=UTC)),
    ]


def test_windows_from_before_the_installation_or_a_pause_do_not_count_as_missed(database: Database) -> None:
    missed = "SELECT job FROM missed_jobs(%(at)s)"
    assert rows(database, missed, at=NOON) == []
    activate(database, since=NOON - 20 * HOUR)
    assert rows(database, missed, at=NOON + MINUTE) == [(BASELINES,)]
    assert rows(database, missed, at=NOON + 3 * MINUTE) == [(BASELINES,), (CHECK,), ("deliver_pending_alerts",)]
    with database.connect() as connection:
        connection.execute("UPDATE scheduled_jobs SET resumed_at = %s WHERE job = %s", (NOON - HOUR, BASELINES))
    assert rows(database, missed, at=NOON + 3 * MINUTE) == [(CHECK,), ("deliver_pending_alerts",)]


def test_work_that_fails_in_the_database_is_undone_recorded_and_warned_of(database: Database) -> None:
    activate(database)
    fill(database)
    warnings: list[str] = []
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$BEGIN RAISE 'disk on fire'; END$$"
        )
        connection.execute(
            "CREATE TRIGGER t BEFORE INSERT ON performance_alerts FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        connection.execute("UPDATE performance_metrics SET created_at = created_at + (now() - %s)", (NOON,))
        connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        (said,) = connection.execute("SELECT run_scheduled_job(%s, 'crontab')", (CHECK,)).fetchone() or ("",)
    assert said == f"{CHECK} FAILED: disk on fire"
    assert f"pggit_analytics: {CHECK} failed: disk on fire" in warnings
    assert rows(database, "SELECT status, message FROM job_runs") == [("FAILED", "disk on fire")]
    assert rows(database, "SELECT count(*) FROM analysis_runs") == [(0,)]


@pytest.mark.parametrize("job", ["recalculate_performance_baselines", "weekly_force_recalculate_baselines"])
def test_the_baseline_jobs_pass_what_was_planned(database: Database, job: str) -> None:
    (now,) = rows(database, "SELECT now()")[0]
    fill(database, now)
    rows(database, "SELECT run_job(%(job)s)", job=job)
    history = rows(database, "SELECT DISTINCT lookback_days, reason FROM performance_baseline_history")
    assert history == [{BASELINES: (7, "scheduled"), WEEKLY: (30, "force")}[job]]


# Real processes


def process(database: Database, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code],
        env=os.environ | {"PGGIT_TEST_CONNINFO": database.conninfo},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


PREAMBLE = """
import os, sys
from datetime import UTC, datetime, timedelta
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database
from pggit_analytics.scheduling import run_claimed, run_due
database = Database(os.environ["PGGIT_TEST_CONNINFO"])
"""

RACE = """
JOB = "check_performance_anomalies"
at = datetime(2026, 3, 4, 12, tzinfo=UTC)
with database.connect(autocommit=True) as work:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        moment = at + number * timedelta(hours=6)
        said = "is running"  # perhaps an earlier window is: ask again
        while "is running" in said:
            if SESSION:
                with schedules.claimed(database, JOB, "crontab", at=moment) as (claim, connection):
                    said = claim.refusal or ""
                    if not said:
                        work.execute("INSERT INTO done VALUES (%s, pg_backend_pid())", (claim.window_start,))
                        assert schedules.finish(connection, claim, succeeded=True, message="")
            else:
                (said,) = work.execute("SELECT run_scheduled_job(%s, 'crontab', %s)", (JOB, moment)).fetchone()
"""


def test_schedulers_racing_for_the_same_windows_run_each_exactly_once(database: Database) -> None:
    activate(database, since=NOON + timedelta(days=300))
    with database.connect() as connection:
        connection.execute("CREATE TABLE done (window_start TIMESTAMPTZ, pid INTEGER)")
        # the work of the job, for those that run it in the database
        connection.execute(
            """
            CREATE OR REPLACE FUNCTION run_job(p_job TEXT) RETURNS TEXT LANGUAGE sql AS $$
                INSERT INTO done
                SELECT window_start, pg_backend_pid() FROM job_runs WHERE status = 'RUNNING' RETURNING ''
            $$
            """
        )
    racers = [process(database, RACE.replace("SESSION", str(session))) for session in (True, False, True)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    expected = [(NOON + n * 6 * HOUR,) for n in range(40)]
    assert rows(database, "SELECT window_start FROM done ORDER BY 1") == expected
    assert (
        rows(database, "SELECT window_start FROM job_runs WHERE status = 'SUCCESS' AND attempt = 1 ORDER BY 1")
        == expected
    )


def test_a_killed_run_frees_its_window(database: Database) -> None:
    activate(database)
    killed = process(
        database,
        f"work = lambda job: print('working', flush=True) or sys.stdin.readline()\n"
        f"run_claimed(database, '{CHECK}', 'crontab', work)",
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "working\n"
    assert run_claimed(database, CHECK, "crontab", lambda job: "").message == f"{CHECK} is running"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait_for_backends(database)
    assert run_claimed(database, CHECK, "crontab", lambda job: "at last").result == "run"
    assert rows(database, "SELECT status, attempt, message FROM job_runs") == [("SUCCESS", 2, "at last")]


def wait_for_backends(database: Database) -> None:
    """Until the server has noticed that its other clients are gone; the lock they wait for tells so, not a clock."""
    with database.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(job_lock_key(%s))", (CHECK,))


# The command line and the files of contrib/


@pytest.fixture
def command_line(database: Database, run_directory: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pggit_analytics", *arguments],
            env=os.environ | {"PGGIT_DATABASE_URL": database.conninfo},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_command_line_installs_pauses_runs_and_removes(
    database: Database, command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    fill(database)
    assert "none is active" in command_line("schedule", "list").stdout
    installed = command_line("schedule", "install", "--scheduler", "crontab")
    assert installed.returncode == 0, installed.stderr
    assert (
        f"{CHECK}: Look for what got slow in the last 24 hours\n  0 */6 * * * (UTC), active, next" in installed.stdout
    )

    refused = command_line("schedule", "install", "--scheduler", "prefect")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "crontab is the active scheduler" in refused.stderr

    paused = json.loads(command_line("schedule", "pause", CHECK, "--json").stdout)
    assert {job["job"]: job["state"] for job in paused["jobs"]}[CHECK] == "paused"
    assert "is paused" in command_line("schedule", "run", CHECK).stdout
    assert command_line("schedule", "resume").returncode == 0

    ran = json.loads(command_line("schedule", "run", CHECK, "--json").stdout)["outcomes"]
    assert [(outcome["job"], outcome["result"]) for outcome in ran] == [(CHECK, "run")]
    again = json.loads(command_line("schedule", "run", CHECK, "--json").stdout)["outcomes"]
    assert [outcome["result"] for outcome in again] == ["refused"]
    baselines = command_line("schedule", "run", BASELINES)
    assert "INSUFFICIENT_DATA" in baselines.stdout or "UPDATED" in baselines.stdout
    listed = json.loads(command_line("schedule", "list", "--json").stdout)["jobs"]
    assert {job["job"]: job["last_status"] for job in listed} == {
        BASELINES: "SUCCESS",
        CHECK: "SUCCESS",
        WEEKLY: None,
        "deliver_pending_alerts": None,
    }
    assert "crontab is no longer active" in command_line("schedule", "remove").stdout
    unknown = command_line("schedule", "run", "nonsense")
    assert unknown.returncode == 2
    assert "job is 'nonsense'" in unknown.stderr


def test_a_failed_job_is_exit_status_1(
    database: Database, command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    activate(database)
    with database.connect() as connection:
        connection.execute("ALTER TABLE analysis_runs RENAME TO elsewhere")
    failed = command_line("schedule", "run", CHECK)
    assert failed.returncode == 1
    assert 'relation "analysis_runs" does not exist' in failed.stderr


def test_where_pg_cron_is_not_at_hand_installing_it_is_refused_with_the_remedy(
    database: Database, command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    is_loaded = rows(database, "SELECT current_setting('cron.database_name', TRUE)") != [(None,)]
    reason = "pg_cron lives in the database .* schedule install" if is_loaded else "pg_cron is not loaded"
    with (
        database.connect() as connection,
        pytest.raises(errors.ObjectNotInPrerequisiteState, match=reason),
        connection.transaction(),
    ):
        connection.execute("SELECT schedule_install()")
    if not is_loaded:
        refused = command_line("schedule", "install")
        assert refused.returncode == 1
        assert "pg_cron is not loaded" in refused.stderr
        assert "schedule install --scheduler crontab" in refused.stderr
    assert rows(database, "SELECT count(*) FROM active_scheduler") == [(0,)]


def test_the_lines_of_the_crontab_run_as_they_stand(database: Database, run_directory: Path) -> None:
    activate(database)
    lines = (ROOT / "contrib" / "crontab").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    environment = run_directory / "environment.sh"
    environment.write_text(f"export PGGIT_DATABASE_URL='{database.conninfo}'\n")
    commands = [line.split(None, 5)[5] for line in lines if re.match(r"[0-9*]", line)]
    assert len(commands) == 4
    for command in commands:
        done = subprocess.run(
            [settings["SHELL"], "-c", command],
            env={
                "PGGIT_ENVIRONMENT": str(environment),
                "HOME": str(run_directory),
                "PATH": f"{Path(sys.executable).parent}:{settings['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert rows(database, "SELECT job, status, scheduler FROM job_runs ORDER BY job") == [
        (job, "SUCCESS", "crontab") for job in sorted(PLANNED)
    ]


def test_the_command_of_the_systemd_unit_runs_as_it_stands(database: Database, run_directory: Path) -> None:
    activate(database)
    unit = (ROOT / "contrib/systemd/pggit-analytics@.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.M)
    done = subprocess.run(
        command.replace("%i", CHECK).split(),
        env={
            "PGGIT_DATABASE_URL": database.conninfo,
            "HOME": str(run_directory),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{CHECK} run: run 1" in done.stdout


def test_the_timers_are_due_when_the_jobs_are() -> None:
    """Each OnCalendar as a cron line: systemd's own words for the same moments."""
    said = {
        "*-*-* 02:00:00 UTC": "0 2 * * *",
        "Sun *-*-* 03:00:00 UTC": "0 3 * * 0",
        "*-*-* 00/6:00:00 UTC": "0 */6 * * *",
        "*-*-* *:00/5:00 UTC": "*/5 * * * *",
    }
    for file in (ROOT / "contrib/systemd").glob("*.timer"):
        (calendar,) = re.findall(r"^OnCalendar=(.+)$", file.read_text(), re.M)
        assert said[calendar] == PLANNED[file.stem.split("@")[1]]


def test_run_due_makes_up_one_missed_job(database: Database) -> None:
    (now,) = rows(database, "SELECT now()")[0]
    activate(database, since=now - timedelta(days=30))
    ran: list[str] = []

    def run(job: str) -> str:
        ran.append(job)
        return job

    outcomes = run_due(database, CHECK, "crontab", run)
    assert [outcome.job for outcome in outcomes] == ran
    assert ran[0] == CHECK
    assert len(ran) == 2
    assert ran[1] in {BASELINES, WEEKLY}
    assert outcomes[1].made_up
