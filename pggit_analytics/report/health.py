"""Whether the monitoring itself can be trusted: runs, timings, baselines, messages. Pure, from frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.delivery.said import word
from pggit_analytics.delivery.wording import age, clean, counted, instant, listed, name

#: fewer calls in a week show nothing but gross changes
LITTLE = 30
#: a shorter history has no daily season
SEASON = timedelta(days=2)
#: timings older than this have stopped coming
FRESH = timedelta(hours=1)
#: without a schedule, a look so long ago is news of yesterday
_LOOKED = timedelta(hours=24)

OK, NOTE, ATTENTION, TROUBLE = "ok", "note", "attention", "trouble"
#: the worst first
LEVELS = (TROUBLE, ATTENTION, NOTE, OK)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    #: one of `LEVELS`
    level: str
    subject: str
    finding: str
    #: empty when all is well
    remedy: str = ""


def checks(
    *,
    as_of: datetime,
    runs: pl.DataFrame,
    coverage: pl.DataFrame,
    operation_types: pl.DataFrame,
    baselines: pl.DataFrame,
    delivery: pl.DataFrame,
    findings: pl.DataFrame,
    missed_jobs: tuple[str, ...],
    scheduler: str | None,
    monitoring_period: timedelta | None,
) -> tuple[Check, ...]:
    """What is to be said about the monitoring itself, the worst first.

    Args:
        as_of: the moment looked at.
        runs, coverage, operation_types: `frames.RUNS`, `frames.COVERAGE` of 7 days, `frames.OPERATION_TYPES`.
        baselines, delivery, findings: the rows of the views of baselines, messages and current findings.
        missed_jobs: whose present window nobody has run.
        scheduler: who runs the jobs; None = nobody.
        monitoring_period: how often it looks.
    """
    found = [
        _looked(as_of, runs, scheduler, monitoring_period),
        *_failed(runs),
        *_missed(missed_jobs),
        _timings(as_of, coverage),
        *_little(as_of, coverage),
        *_silent(as_of, coverage, operation_types),
        _baselines(baselines),
        _messages(delivery),
        *_alerts(findings),
    ]
    return tuple(sorted(found, key=lambda check: LEVELS.index(check.level)))


def _looked(as_of: datetime, runs: pl.DataFrame, scheduler: str | None, period: timedelta | None) -> Check:
    latest = runs.filter(flow="monitor_performance", status="SUCCESS")["as_of"].max()
    who = f"{scheduler} looks every {_hours(period)}" if scheduler and period else "nobody is scheduled to look"
    if not isinstance(latest, datetime):
        return Check(
            TROUBLE,
            "Monitoring runs",
            f"No monitoring run has succeeded yet; {who}.",
            "Look once: pggit-analytics analyze. Then regularly: pggit-analytics schedule install",
        )
    ago = as_of - latest
    said = f"The latest successful run looked at {instant(latest)}, {age(ago / timedelta(minutes=1))} before; {who}."
    if ago > (2 * period if scheduler and period else _LOOKED):
        return Check(ATTENTION, "Monitoring runs", said, "Look again: pggit-analytics analyze")
    if scheduler is None:
        return Check(NOTE, "Monitoring runs", said, "To look regularly: pggit-analytics schedule install")
    return Check(OK, "Monitoring runs", said)


def _hours(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return "hour" if hours == 1 else f"{hours:g} hours" if hours >= 1 else f"{hours * 60:g} minutes"


def _failed(runs: pl.DataFrame) -> list[Check]:
    """The latest run of each flow, if it failed."""
    latest = runs.unique("flow", keep="first", maintain_order=True).filter(status="FAILED")
    return [
        Check(
            TROUBLE,
            f"The flow {clean(flow, 60)}",
            f"Its latest run, as of {instant(as_of)}, failed: {clean(error or 'no reason was given')}",
            "Mend the cause and run it again: pggit-analytics analyze or baselines",
        )
        for flow, as_of, error in latest.select("flow", "as_of", "error_message").iter_rows()
    ]


def _missed(jobs: tuple[str, ...]) -> list[Check]:
    if not jobs:
        return []
    return [
        Check(
            ATTENTION,
            "Scheduled jobs",
            f"{counted(len(jobs), 'job')} did not run in the present window: {listed(jobs)}.",
            "See why: pggit-analytics schedule list",
        )
    ]


def _timings(as_of: datetime, coverage: pl.DataFrame) -> Check:
    if coverage.is_empty():
        return Check(
            TROUBLE,
            "Timings",
            "There is no timing in the last 7 days.",
            "Record some (README, Record timings), or try it with: pggit-analytics demo",
        )
    newest = coverage["last_at"].max()
    assert isinstance(newest, datetime)
    said = f"{coverage['calls'].sum():,} timings of {counted(coverage.height, 'operation')} in the last 7 days"
    ago = as_of - newest
    if ago > FRESH:
        return Check(
            ATTENTION,
            "Timings",
            f"{said}, but none since {instant(newest)}.",
            "Check that what records them is up and can reach the database",
        )
    return Check(OK, "Timings", f"{said}, the newest {age(ago / timedelta(minutes=1))} old.")


def _little(as_of: datetime, coverage: pl.DataFrame) -> list[Check]:
    few = coverage.filter(pl.col("calls") < LITTLE)["operation_type"].to_list()
    found = []
    if few:
        found.append(
            Check(
                NOTE,
                "Too little data",
                f"{counted(len(few), 'operation')} had fewer than {LITTLE} calls in 7 days, "
                f"which shows large changes only: {listed([name(one) for one in few])}.",
            )
        )
    begun = coverage["first_at"].min()
    if isinstance(begun, datetime) and as_of - begun < SEASON:
        found.append(
            Check(
                NOTE,
                "Too little data",
                f"The timings begin {instant(begun)}: what is usual at an hour of the day is known after two days.",
            )
        )
    return found


def _silent(as_of: datetime, coverage: pl.DataFrame, operation_types: pl.DataFrame) -> list[Check]:
    """Watched operations without a call for a day."""
    watched = operation_types.filter("is_tracked")
    late = coverage.filter(pl.col("last_at") < as_of - _LOOKED).join(watched, on="operation_type", how="semi")
    names = sorted(late["operation_type"].to_list())
    if not names:
        return []
    return [
        Check(
            NOTE,
            "Silent operations",
            f"{counted(len(names), 'operation')} had no call in the last 24 hours: "
            f"{listed([name(one) for one in names])}.",
        )
    ]


def _baselines(baselines: pl.DataFrame) -> Check:
    if baselines.is_empty():
        return Check(ATTENTION, "Baselines", "There is none.", "Learn what is normal: pggit-analytics baselines")
    count = dict(baselines["freshness"].value_counts().iter_rows())
    said = f"{counted(baselines.height, 'baseline')}, {count.get('CURRENT', 0):,} of the last 24 hours"
    old = count.get("VERY_STALE", 0) + count.get("UNKNOWN", 0)
    if old:
        return Check(ATTENTION, "Baselines", f"{said}, {old:,} older than 7 days.", "Renew: pggit-analytics baselines")
    if count.get("STALE", 0):
        return Check(NOTE, "Baselines", f"{said}, none older than 7 days.", "Renew: pggit-analytics baselines")
    return Check(OK, "Baselines", f"{said}.")


def _messages(delivery: pl.DataFrame) -> Check:
    count = dict(delivery.group_by("status").agg(pl.col("notification_count").sum()).iter_rows())
    if not count:
        return Check(NOTE, "Messages", "None was queued in the last 7 days.", "Say where: pggit-analytics webhooks add")
    said = f"{count.get('delivered', 0):,} delivered in 7 days, {count.get('pending', 0):,} waiting"
    if count.get("failed", 0):
        return Check(
            TROUBLE,
            "Messages",
            f"{said}, {count['failed']:,} failed for good.",
            "See why: pggit-analytics webhooks list; send again: pggit-analytics deliver --redrive",
        )
    return Check(OK, "Messages", f"{said}, none failed.")


def _alerts(findings: pl.DataFrame) -> list[Check]:
    """What the database itself says of the monitoring."""
    found = []
    for severity, text in findings.filter(alert_type="SELF_HEALTH").select("severity", "evidence").iter_rows():
        about = json.loads(text)
        about = about if isinstance(about, dict) else {}
        level = TROUBLE if severity == "CRITICAL" else ATTENTION
        summary = word(about.get("summary")) or "the monitoring is in trouble"
        found.append(Check(level, "Self-check", f"{summary}.", word(about.get("remedy")) or ""))
    return found
