"""`pggit-analytics serve` against a real Prefect server: schedules that really fire, each window once."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database

from .conftest import PrefectServer, command_line, rows, until

CHECK = "check_performance_anomalies"


@pytest.fixture
def serving(
    slow_database: Database, prefect_server: PrefectServer, no_deployments_left: None
) -> Iterator[subprocess.Popen[str]]:
    """A process that serves the jobs; the windows of the check are ten seconds for this once."""
    with slow_database.connect() as connection:
        connection.execute("UPDATE scheduled_jobs SET period = '10 seconds' WHERE job = %s", (CHECK,))
    process = command_line("serve", environment=prefect_server.environment, database=slow_database)
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate()


def test_a_served_schedule_fires_and_runs_each_window_once(
    serving: subprocess.Popen[str], slow_database: Database, prefect_client: Any
) -> None:
    ran = """
        SELECT window_start, scheduler, status, attempt, message FROM job_runs
        WHERE job = %s AND status <> 'RUNNING' ORDER BY 1
    """

    def two_runs() -> list[tuple[Any, ...]]:
        assert serving.poll() is None, serving.communicate()
        done = rows(slow_database, ran, CHECK)
        return done if len(done) >= 2 else []

    done = until(two_runs, "two runs of a schedule of Prefect")
    assert [(scheduler, status, attempt) for _, scheduler, status, attempt, _ in done] == [
        ("prefect", "SUCCESS", 1)
    ] * len(done)
    assert "timings read" in done[0][4]
    assert len(rows(slow_database, "SELECT run_id FROM analysis_runs WHERE prefect_flow_run_id IS NOT NULL")) >= 2

    deployments = {deployment.name: deployment for deployment in prefect_client.read_deployments()}
    timings = {timing.job: timing for timing in schedules.job_timings(slow_database)}
    for job, timing in timings.items():
        (schedule,) = deployments[job].schedules
        assert deployments[job].parameters == {"job": job}
        assert schedule.schedule.timezone == "UTC"
        if job == CHECK:
            assert schedule.schedule.interval == timedelta(seconds=10)
        else:
            assert schedule.schedule.cron == timing.cron_line
    runs = prefect_client.read_flow_runs()
    scheduled = [run for run in runs if run.deployment_id == deployments[CHECK].id and run.state_name == "Completed"]
    assert scheduled
    assert all(run.auto_scheduled for run in scheduled)


def test_serve_is_refused_while_pg_cron_is_active(slow_database: Database, prefect_server: PrefectServer) -> None:
    with slow_database.connect() as connection:
        connection.execute("SELECT activate_scheduler('pg_cron')")
    process = command_line("serve", environment=prefect_server.environment, database=slow_database)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "pg_cron is the active scheduler since" in said
    assert "pggit-analytics schedule remove" in said


def test_serve_without_a_server_says_how_to_start_one(slow_database: Database, prefect_server: PrefectServer) -> None:
    environment = {name: value for name, value in prefect_server.environment.items() if name != "PREFECT_API_URL"}
    process = command_line("serve", environment=environment, database=slow_database)
    _, said = process.communicate()
    assert process.returncode == 2
    assert "prefect server start" in said


def test_a_scheduled_run_finds_its_window_taken_and_does_nothing(
    slow_database: Database, prefect_client: Any, no_deployments_left: None
) -> None:
    from pggit_analytics.cli import Invocation, _flow

    module = _flow(Invocation(None, None, as_json=True), "scheduled_job")
    state = module.scheduled_job(CHECK, return_state=True)
    assert (state.name, state.type.value) == ("Skipped", "COMPLETED")
    assert "no scheduler is active" in state.message

    with slow_database.connect() as connection:
        connection.execute("SELECT activate_scheduler('prefect')")
        connection.execute("UPDATE scheduled_jobs SET first_window = '2000-01-01 00:00+00', period = '7 days'")
    first = module.scheduled_job(CHECK, return_state=True)
    assert first.name == "Completed", first.message
    assert first.message.startswith(f"{CHECK} run: ")
    again = module.scheduled_job(CHECK, return_state=True)
    assert (again.name, len(rows(slow_database, "SELECT run_id FROM analysis_runs"))) == ("Skipped", 1)
    assert "was run by prefect: SUCCESS" in again.message
    unknown = module.scheduled_job("nonsense", return_state=True)
    assert unknown.is_failed()
    assert "job is 'nonsense'" in unknown.message
