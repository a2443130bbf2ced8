"""What a scheduler does when a job is due: claim its window, run it, record how it ended.

cron and systemd come here through ``pggit-analytics schedule run``, Prefect through ``flows/scheduled_job.py``; pg_cron
does the same in the database (``run_scheduled_job``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pggit_analytics.config import Settings
from pggit_analytics.deliver import DeliveryParameters, check_deliverable, deliver
from pggit_analytics.errors import PggitAnalyticsError
from pggit_analytics.pipeline import (
    BaselineParameters,
    MonitorParameters,
    Progress,
    Target,
    monitor,
    recalculate_baselines,
)
from pggit_analytics.postgres import schedules
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.schedules import Scheduler

#: job -> the parameters of the run of the pipeline that it is
PARAMETERS: dict[str, BaselineParameters | MonitorParameters | DeliveryParameters] = {
    "recalculate_performance_baselines": BaselineParameters(lookback_days=7, min_samples=10, force=False),
    "weekly_force_recalculate_baselines": BaselineParameters(lookback_days=30, min_samples=20, force=True),
    "check_performance_anomalies": MonitorParameters(),
    "deliver_pending_alerts": DeliveryParameters(),
}

#: does the work of a job and says in one line what it did
Runner = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job that was due."""

    job: str
    window_start: datetime
    #: run | refused | failed
    result: str
    #: what the run said, why it was refused, or why it failed
    message: str
    #: True when this was not the job asked for but one that had been missed
    made_up: bool = False


def run_due(database: Database, job: str, scheduler: Scheduler, run: Runner, *, again: bool = False) -> list[Outcome]:
    """Run the job's present window unless refused, then at most one other job that was missed.

    The work is done at least once a window: when the process dies the window can be claimed again.

    Args:
        database: whose jobs they are.
        job: the job that is due.
        scheduler: who asks; only the active scheduler is let in.
        run: does the work; any error it raises is recorded and becomes the outcome ``failed``.
        again: run a window again that failed.

    Raises:
        InvalidArgument: there is no such job.
        DatabaseError: the claim or its end cannot be recorded.
    """
    outcomes = [run_claimed(database, job, scheduler, run, again=again)]
    missed = [name for name in schedules.missed_jobs(database) if name != job]
    if missed:
        other = run_claimed(database, missed[0], scheduler, run)
        if other.result != "refused":
            outcomes.append(Outcome(other.job, other.window_start, other.result, other.message, made_up=True))
    return outcomes


def run_claimed(database: Database, job: str, scheduler: Scheduler, run: Runner, *, again: bool = False) -> Outcome:
    """Run the job's present window unless refused; see `run_due`."""
    with schedules.claimed(database, job, scheduler, again=again) as (claim, connection):
        if claim.refusal is not None:
            return Outcome(job, claim.window_start, "refused", claim.refusal)
        try:
            message, result = run(job), "run"
        except PggitAnalyticsError as exc:
            message, result = str(exc), "failed"
        except Exception as exc:
            # the text of a foreign error may repeat a connection string
            message, result = f"unexpected {type(exc).__name__}", "failed"
        if not schedules.finish(connection, claim, succeeded=result == "run", message=message):
            message += " (the claim was lost meanwhile; the window was run again)"
        return Outcome(job, claim.window_start, result, message)


def run_here(target: Target, settings: Settings, *, progress: Progress = lambda _: None) -> Runner:
    """Does the work of jobs in this process."""

    def run(job: str) -> str:
        parameters = PARAMETERS.get(job)
        if isinstance(parameters, BaselineParameters):
            result = recalculate_baselines(target, parameters, progress=progress)
            counts = Counter(result.recalculations["status"].to_list())
            said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
            return f"run {result.run_id}: {said or 'no operation is tracked'}"
        if isinstance(parameters, MonitorParameters):
            written = monitor(target, parameters, progress=progress).written
            return f"run {written.run_id}: {written.rows_written} result rows written"
        if isinstance(parameters, DeliveryParameters):
            delivered = deliver(target.database, settings, parameters, progress=progress)
            check_deliverable(delivered, settings)
            return delivered.headline()
        return schedules.run_in_database(target.database, job)

    return run
