"""The flow behind every schedule: claims the window of a job, and runs the job's flow when the window is its own."""

import os
from typing import Annotated, Any

from prefect import State, flow, serve
from prefect.schedules import Cron, Interval, Schedule
from prefect.states import Completed
from pydantic import Field

from pggit_analytics import flow_runs, scheduling
from pggit_analytics.deliver import DeliveryParameters
from pggit_analytics.errors import ConfigurationError, PggitAnalyticsError
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.schedules import JobTiming
from pggit_analytics.resources import flow_module
from pggit_analytics.scheduling import PARAMETERS, Outcome


@flow(
    name="scheduled-job",
    description="Runs a job when it is due, once a window whoever else asks, and then one that was missed.",
    flow_run_name="{job}",
    persist_result=False,
)
def scheduled_job(
    job: Annotated[
        str,
        Field(description="One of the jobs that `schedule list` shows", json_schema_extra={"enum": list(PARAMETERS)}),
    ],
) -> State[Any]:
    """Run a job of the database that PGGIT_DATABASE_URL or pggit.toml names.

    Args:
        job: One of the jobs that `schedule list` shows
    """
    state: State[Any] = flow_runs.concluded(lambda: _run_due(job), _said)
    outcomes: Any = state.data
    if state.is_completed() and all(outcome.result == "refused" for outcome in outcomes):
        return Completed(name="Skipped", message=state.message, data=outcomes)
    return state


class JobFailed(PggitAnalyticsError):
    """The work of a scheduled job failed; its error was recorded and is repeated here."""


def _run_due(job: str) -> list[Outcome]:
    database = flow_runs.configured_target().database
    outcomes = scheduling.run_due(database, job, "prefect", _run)
    if any(outcome.result == "failed" for outcome in outcomes):
        raise JobFailed(_said(outcomes))
    return outcomes


def _said(outcomes: list[Outcome]) -> str:
    return "; ".join(
        f"{outcome.job} {outcome.result}{', had been missed' if outcome.made_up else ''}: {outcome.message}"
        for outcome in outcomes
    )


def _run(job: str) -> str:
    """Does the work of a job as a flow run below this one; its final message."""
    parameters = PARAMETERS.get(job)
    if isinstance(parameters, MonitorParameters):
        work = flow_module("monitor_performance").monitor_performance
    elif isinstance(parameters, BaselineParameters):
        work = flow_module("recalculate_baselines").recalculate_baselines
    elif isinstance(parameters, DeliveryParameters):
        work = flow_module("deliver_notifications").deliver_notifications
    else:
        return schedules.run_in_database(flow_runs.configured_target().database, job)
    state: State[Any] = work(**dict(parameters), return_state=True)
    if not state.is_completed():
        raise JobFailed(state.message or state.name or "it did not complete")
    return state.message or ""


def schedule_of(timing: JobTiming) -> Schedule:
    """The job's windows as a schedule of Prefect, in UTC."""
    if timing.cron_line is not None:
        return Cron(timing.cron_line, timezone="UTC")
    return Interval(timing.period, anchor_date=timing.first_window, timezone="UTC")


def serve_jobs() -> None:
    """Make Prefect the active scheduler and run the jobs when they are due, until interrupted.

    Raises:
        ScheduleRefused: another scheduler is active.
        ConfigurationError: PREFECT_API_URL is not set: without a standing server nothing would ever be due.
        PrefectUnavailable: the server does not answer.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigurationError(
            "PREFECT_API_URL is not set; start a server with: prefect server start, then set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    flow_runs.check_server()
    database = flow_runs.configured_target().database
    schedules.install(database, "prefect")
    deployments: list[Any] = [
        scheduled_job.to_deployment(
            name=timing.job,
            description=timing.description,
            parameters={"job": timing.job},
            schedule=schedule_of(timing),
            tags=[flow_runs.TAG, "scheduled"],
        )
        for timing in schedules.job_timings(database)
    ]
    serve(*deployments)
