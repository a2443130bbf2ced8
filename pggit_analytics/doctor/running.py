"""Checks of what should happen by itself: the jobs, their runs, and Prefect."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from pggit_analytics.doctor.checks import Answer, Patient, listed
from pggit_analytics.postgres import schedules

#: seconds in which Prefect has to answer
_PREFECT_TIMEOUT_S = 5


def scheduler(patient: Patient) -> Answer:
    """Whether one scheduler is active and knows the jobs."""
    active = patient.rows("SELECT scheduler, active_since FROM active_scheduler")
    if not active:
        return Answer(
            "warn", "none is active: nothing runs by itself", patient.command("schedule install --scheduler crontab")
        )
    name = active[0]["scheduler"]
    if name == "pg_cron" and (fault := schedules.pg_cron_fault(patient.database)) is not None:
        return Answer(
            "fail",
            f"pg_cron is active, and nothing runs: {fault.partition('; ')[0]}",
            f"{patient.command('schedule remove')} && {patient.command('schedule install --scheduler crontab')}",
        )
    jobs = schedules.list_jobs(patient.database)
    if lost := [job.job for job in jobs if job.state == "not in pg_cron"]:
        return Answer(
            "fail", f"pg_cron is active, but does not know {listed(lost)}", patient.command("schedule install")
        )
    if paused := [job.job for job in jobs if job.state == "paused"]:
        return Answer("warn", f"{name} is active; paused: {listed(paused)}", patient.command("schedule resume"))
    waiting = [f"{job.job} is {job.state}" for job in jobs if job.state.startswith("waiting")]
    return Answer("ok", "; ".join([f"{name} is active since {minute(active[0]['active_since'])}", *waiting]))


def windows(patient: Patient) -> Answer:
    """Whether a job was due and nobody ran it."""
    missed = patient.rows("SELECT job, window_start FROM missed_jobs()")
    if missed:
        job, window = missed[0]["job"], missed[0]["window_start"]
        names = listed(row["job"] for row in missed)
        return Answer(
            "fail",
            f"not run although due: {names}; the first since {minute(window)}",
            patient.command(f"schedule run {job}{_on_behalf(patient)}"),
        )
    return Answer("ok", "every window that began was run")


def last_runs(patient: Patient) -> Answer:
    """How each job ended the last time."""
    jobs = patient.rows(
        """
        SELECT DISTINCT ON (job) job, status, window_start, message
        FROM job_runs
        ORDER BY job, window_start DESC
        """
    )
    failed = [row for row in jobs if row["status"] == "FAILED"]
    if failed:
        row = failed[0]
        return Answer(
            "fail",
            f"{row['job']} failed in the window of {minute(row['window_start'])}: {row['message']}",
            patient.command(f"schedule run {row['job']} --again{_on_behalf(patient)}"),
        )
    if not jobs:
        return Answer("ok", "no job has run yet")
    last = max(row["window_start"] for row in jobs)
    return Answer("ok", f"{len(jobs)} jobs ended well the last time, the latest in the window of {minute(last)}")


def _on_behalf(patient: Patient) -> str:
    active = patient.rows("SELECT scheduler FROM active_scheduler")
    return " --scheduler prefect" if active and active[0]["scheduler"] == "prefect" else ""


def monitoring(patient: Patient) -> Answer:
    """Whether somebody looked lately for what got slow."""
    last = patient.row(
        """
        SELECT max(as_of) AS as_of, now() - max(as_of) AS age
        FROM analysis_runs
        WHERE flow = 'monitor_performance' AND status = 'SUCCESS' AND as_of <= now()
        """
    )
    analyze = patient.command("analyze")
    if last["as_of"] is None:
        return Answer("warn", "no run has ever looked for what got slow", analyze)
    (silent,) = patient.rows("SELECT silent_detector_since(now()) AS since")
    looked = f"the last successful run looked at {minute(last['as_of'])}, {span(last['age'])} ago"
    return Answer("fail" if silent["since"] else "ok", looked, analyze if silent["since"] else None)


def failed_runs(patient: Patient) -> Answer:
    """Whether a kind of run fails now, and how many failed in the last week."""
    failed = patient.rows(
        """
        SELECT flow, count(*) AS number, max(finished_at) AS last_at,
               (array_agg(error_message ORDER BY finished_at DESC))[1] AS message,
               max(finished_at) > coalesce((
                   SELECT max(s.finished_at) FROM analysis_runs AS s WHERE s.flow = r.flow AND s.status = 'SUCCESS'
               ), '-infinity') AS is_last
        FROM analysis_runs AS r
        WHERE status = 'FAILED' AND finished_at > now() - INTERVAL '7 days'
        GROUP BY flow
        ORDER BY is_last DESC, last_at DESC
        """
    )
    if not failed:
        return Answer("ok", "none failed in the last 7 days")
    worst, number = failed[0], sum(row["number"] for row in failed)
    if not worst["is_last"]:
        return Answer("ok", f"{number} failed in the last 7 days, the latest ones succeeded")
    again = "baselines" if worst["flow"] == "recalculate_baselines" else "analyze"
    message = " ".join((worst["message"] or "no reason is recorded").split())
    return Answer(
        "fail",
        f"the last run of {worst['flow']} failed at {minute(worst['last_at'])}: {message}",
        patient.command(again),
    )


def prefect() -> Answer:
    """Whether the API of Prefect answers, where one is configured."""
    import requests

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Answer("ok", "not configured; runs are plain functions")
    # the address may hold a password
    place = urlsplit(url)
    where = f"{place.hostname}:{place.port}" if place.port else str(place.hostname)
    try:
        reply = requests.get(f"{url.rstrip('/')}/health", timeout=_PREFECT_TIMEOUT_S)
    except (requests.RequestException, ValueError) as exc:
        return Answer("fail", f"the API at {where} does not answer ({type(exc).__name__})", "prefect server start")
    if reply.status_code != 200:
        return Answer("fail", f"the API at {where} answers with status {reply.status_code}", "prefect server start")
    return Answer("ok", f"the API at {where} answers")


def minute(instant: datetime) -> str:
    """The instant to the minute, for a person."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    seconds = int(length.total_seconds())
    if seconds < 60:
        return "less than a minute"
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
