"""A real pg_cron: the jobs are installed, one really fires, and what it did is in cron.job_run_details."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, errors, sql

from pggit_analytics.errors import DatabaseError
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.schedules import ScheduleRefused
from tests.integration.test_roles import logged_in

pytestmark = pytest.mark.debian

SCHEDULES = Path(__file__).parents[2] / "sql" / "schedules"
CHECK = "check_performance_anomalies"
PLANNED = {
    "recalculate_performance_baselines": "0 2 * * *",
    "weekly_force_recalculate_baselines": "0 3 * * 0",
    "check_performance_anomalies": "0 */6 * * *",
    "deliver_pending_alerts": "*/5 * * * *",
}
DELIVERY = "deliver_pending_alerts"
#: seconds until something that should happen counts as not happening; a cron line fires at most once a minute
PATIENCE_S = 150


def command_of(job: str) -> str:
    return f"CALL pggit.{DELIVERY}_by_row()" if job == DELIVERY else f"SELECT pggit.run_scheduled_job('{job}')"


def until(condition: Callable[[], Any], what: str) -> Any:
    pause = threading.Event()
    for _ in range(PATIENCE_S * 5):
        if value := condition():
            return value
        pause.wait(0.2)
    raise AssertionError(f"never came about: {what}")


@pytest.fixture(scope="module")
def pg_cron(server_url: str) -> Database:
    """The database that pg_cron lives in."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        row = connection.execute("SELECT current_setting('cron.database_name', TRUE)").fetchone()
    assert row is not None
    assert row[0], "this server has no pg_cron; pass --server-url of tests/debian.sh"
    home = Database(conninfo.make_conninfo(server_url, dbname=row[0]))
    with home.connect(own_path=False) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
    return home


@pytest.fixture
def elsewhere(database: Database, pg_cron: Database) -> Iterator[Database]:
    """A deployed database that is not pg_cron's."""
    yield database
    schedules.remove(database)


@contextmanager
def deployed_beside_pg_cron(pg_cron: Database, schema: str) -> Iterator[Database]:
    there = Database(pg_cron.conninfo, schema)
    deploy(there)
    try:
        yield there
        schedules.remove(there)
    finally:
        with pg_cron.connect(own_path=False) as connection:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture
def beside(pg_cron: Database) -> Iterator[Database]:
    """The schema pggit in pg_cron's own database."""
    with deployed_beside_pg_cron(pg_cron, "pggit") as there:
        yield there


def jobs(pg_cron: Database, of: Database) -> list[tuple[Any, ...]]:
    name = conninfo.conninfo_to_dict(of.conninfo)["dbname"]
    with pg_cron.connect(own_path=False) as connection:
        return connection.execute(
            'SELECT jobname, schedule, command, active FROM cron.job WHERE database = %s ORDER BY jobname COLLATE "C"',
            (name,),
        ).fetchall()


def run_details(pg_cron: Database, of: Database) -> list[tuple[Any, ...]]:
    name = conninfo.conninfo_to_dict(of.conninfo)["dbname"]
    with pg_cron.connect(own_path=False) as connection:
        return connection.execute(
            "SELECT status, return_message, command, start_time, end_time FROM cron.job_run_details "
            "WHERE database = %s AND status IN ('succeeded', 'failed') ORDER BY runid",
            (name,),
        ).fetchall()


def test_installed_jobs_fire_find_what_got_slow_and_deliver(elsewhere: Database, pg_cron: Database) -> None:
    """Windows are minutes for this once, so that a line of pg_cron fires while one waits. Delivery lacks its key."""
    with elsewhere.connect() as connection:
        connection.execute("CREATE EXTENSION pgcrypto SCHEMA public")
        connection.execute("CREATE EXTENSION plpython3u")
    deploy(elsewhere)
    with elsewhere.connect() as connection:
        connection.execute(
            """
            INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
            SELECT 'commit', (10 + n % 7) * CASE WHEN n < 504 THEN 2 ELSE 1 END, now() - n * INTERVAL '10 minutes'
            FROM generate_series(1, 1007) AS n
            """
        )
        query = "UPDATE scheduled_jobs SET period = '1 minute' WHERE job = ANY (%s)"
        connection.execute(query, ([CHECK, DELIVERY],))
    schedules.install(elsewhere, "pg_cron")

    def runs_of(job: str) -> list[tuple[Any, ...]]:
        return [row for row in run_details(pg_cron, elsewhere) if row[2] == command_of(job)]

    delivered = until(lambda: runs_of(DELIVERY), "a run of delivery in cron.job_run_details")
    assert delivered[0][:2] == ("succeeded", "CALL")
    with elsewhere.connect() as connection:
        query = "SELECT scheduler, status, message FROM job_runs WHERE job = %s ORDER BY window_start"
        scheduler, delivery_status, reason = connection.execute(query, (DELIVERY,)).fetchall()[0]
    assert (scheduler, delivery_status) == ("pg_cron", "FAILED")
    assert reason.startswith("no administrator has set pggit.webhook_key_file")
    fired = until(lambda: runs_of(CHECK), "a run of the check in cron.job_run_details")
    status, message, _, started, ended = fired[0]
    assert (status, message) == ("succeeded", "1 row")
    assert started <= ended
    with elsewhere.connect() as connection:
        ran = connection.execute(
            "SELECT job, scheduler, status, attempt FROM job_runs WHERE job = %s ORDER BY window_start", (CHECK,)
        ).fetchall()
        assert ran[0] == (CHECK, "pg_cron", "SUCCESS", 1)
        found = connection.execute("SELECT DISTINCT operation_type FROM performance_degradations").fetchall()
        assert found == [("commit",)]
        alerts = connection.execute("SELECT operation_type FROM performance_alerts WHERE alert_type = 'DEGRADATION'")
        assert alerts.fetchall() == [("commit",)]
    listed = {job.job: job for job in schedules.list_jobs(elsewhere)}[CHECK]
    assert (listed.scheduler, listed.schedule, listed.state, listed.last_status) == (
        "pg_cron",
        "* * * * *",
        "active",
        "SUCCESS",
    )


def test_jobs_of_another_database_are_installed_twice_without_a_difference_and_removed(
    elsewhere: Database, pg_cron: Database
) -> None:
    name = conninfo.conninfo_to_dict(elsewhere.conninfo)["dbname"]
    expected = [(f"{job} ({name}.pggit)", line, command_of(job), True) for job, line in sorted(PLANNED.items())]
    for _ in range(2):
        schedules.install(elsewhere, "pg_cron")
        assert jobs(pg_cron, elsewhere) == expected
    with pytest.raises(ScheduleRefused, match="pg_cron is the active scheduler"):
        schedules.install(elsewhere, "prefect")
    assert schedules.remove(elsewhere) == "pg_cron"
    assert jobs(pg_cron, elsewhere) == []
    assert {job.state for job in schedules.list_jobs(elsewhere)} >= {"inactive"}


def test_a_job_that_someone_took_out_of_pg_cron_is_listed_so(elsewhere: Database, pg_cron: Database) -> None:
    schedules.install(elsewhere, "pg_cron")
    with pg_cron.connect(own_path=False) as connection:
        connection.execute("SELECT cron.unschedule(jobid) FROM cron.job WHERE command LIKE %s", (f"%{CHECK}%",))
    states = {job.job: job.state for job in schedules.list_jobs(elsewhere)}
    assert states[CHECK] == "not in pg_cron"
    assert states["recalculate_performance_baselines"] == "active"


def test_the_functions_install_and_remove_where_pg_cron_is_at_home(beside: Database, pg_cron: Database) -> None:
    with beside.connect() as connection:
        assert connection.execute("SELECT schedule_install()").fetchone() == (4,)
    assert jobs(pg_cron, beside) == [(job, line, command_of(job), True) for job, line in sorted(PLANNED.items())]
    schedules.install(beside, "pg_cron")  # the command line does the same
    assert len(jobs(pg_cron, beside)) == 4
    with deployed_beside_pg_cron(pg_cron, "Other place") as other:
        schedules.install(other, "pg_cron")
        assert len(jobs(pg_cron, beside)) == 8
        assert schedules.remove(other) == "pg_cron"
    with beside.connect() as connection:
        assert connection.execute("SELECT schedule_remove()").fetchone() == ("pg_cron",)
        assert connection.execute("SELECT schedule_remove()").fetchone() == (None,)
    assert jobs(pg_cron, beside) == []


def test_the_functions_say_where_pg_cron_lives(elsewhere: Database) -> None:
    with (
        elsewhere.connect() as connection,
        pytest.raises(errors.ObjectNotInPrerequisiteState, match="pggit_cron"),
        connection.transaction(),
    ):
        connection.execute("SELECT schedule_install()")


def test_a_period_without_a_cron_line_is_refused_and_nothing_is_installed(
    elsewhere: Database, pg_cron: Database
) -> None:
    with elsewhere.connect() as connection:
        connection.execute("UPDATE scheduled_jobs SET period = '10 seconds' WHERE job = %s", (CHECK,))
    with pytest.raises(ScheduleRefused, match=f"the period of {CHECK} .*has no cron line"):
        schedules.install(elsewhere, "pg_cron")
    assert jobs(pg_cron, elsewhere) == []
    assert {job.scheduler for job in schedules.list_jobs(elsewhere)} == {None}


def test_the_files_for_psql_tell_pg_cron_what_the_command_line_tells_it(
    elsewhere: Database, beside: Database, pg_cron: Database
) -> None:
    for place in (elsewhere, beside):
        schedules.install(place, "pg_cron")
        by_command_line = jobs(pg_cron, place)
        schedules.remove(place)
        name = str(conninfo.conninfo_to_dict(place.conninfo)["dbname"])
        for file in sorted(SCHEDULES.glob("*.sql")):
            subprocess.run(
                ["psql", "-X", "-q", "-d", pg_cron.conninfo, "-v", f"database={name}", "-f", str(file)],
                check=True,
                capture_output=True,
            )
        assert jobs(pg_cron, place) == by_command_line
        schedules.install(place, "pg_cron")  # so that they are removed


def test_a_role_that_may_not_use_pg_cron_is_told_what_to_ask_for(elsewhere: Database, pg_cron: Database) -> None:
    role = f"s_schedules_{os.getpid()}"
    with elsewhere.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE pggit_pipeline").format(sql.Identifier(role)))
    try:
        as_role = Database(conninfo.make_conninfo(elsewhere.conninfo, user=role))
        with pytest.raises(ScheduleRefused, match="have a superuser run GRANT USAGE ON SCHEMA cron TO <role>"):
            schedules.install(as_role, "pg_cron")
        with pytest.raises(DatabaseError):
            schedules.pause(as_role, None)
        assert {job.scheduler for job in schedules.list_jobs(elsewhere)} == {None}
    finally:
        with elsewhere.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_the_command_line_shows_what_pg_cron_runs(elsewhere: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pggit_analytics", "schedule", "install", "--database-url", elsewhere.conninfo],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Scheduler: pg_cron\n")
    assert "  0 2 * * * (UTC), active, next " in done.stdout


def test_a_role_that_may_not_look_into_pg_cron_sees_the_jobs_all_the_same(elsewhere: Database) -> None:
    schedules.install(elsewhere, "pg_cron")
    with logged_in(elsewhere, "pggit_reader") as reader:
        jobs = schedules.list_jobs(reader)

    assert [job.job for job in jobs] == [job.job for job in schedules.list_jobs(elsewhere)]
    assert {job.scheduler for job in jobs} == {"pg_cron"}
    assert "not in pg_cron" not in {job.state for job in jobs}
