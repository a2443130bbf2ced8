"""The engine that decides what a person is told, in the form the evaluation asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.analysis.engine_findings import EngineFindings, engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.incidents import LONG_OVER, Incidents
from pggit_analytics.evaluation.verdicts import CHANGES, FORECASTS, PAGES, PAIRS, SPIKES, Context, Verdict
from pggit_analytics.frames import OPERATION_SETTINGS

#: the only kind of group that is told as one: a common rise may be a release
_SHARED = "shared bottleneck"
#: runs a week, at the end of each day
_DAYS = 7
_PAGED = ("WARNING", "CRITICAL")


def incident_engine(metrics: pl.DataFrame, context: Context) -> Verdict:
    """What the detectors find in the last 7 days, and what a run at the end of each of these days would have said.

    A page is an incident of severity WARNING or CRITICAL on the day it opens, unless it was long over by then.

    Args:
        metrics: `frames.METRICS`.
        context: the end of the week, the limits and the traces.
    """
    found = _findings(metrics, context, context.as_of)
    return replace(_verdict(found), pages=_pages(metrics, context, found))


def found_at_the_end(metrics: pl.DataFrame, context: Context) -> Verdict:
    """The same without pages, and so without the six runs of the days before.

    Args:
        metrics: `frames.METRICS`.
        context: the end of the week, the limits and the traces.
    """
    return _verdict(_findings(metrics, context, context.as_of))


def _verdict(found: EngineFindings) -> Verdict:
    shared = found.shared.groups.filter(kind=_SHARED)
    pairs = found.shared.pairs.join(shared.select("group_id"), on="group_id", how="semi")
    return Verdict(
        spikes=found.slow_calls.select(list(SPIKES.columns)),
        changes=found.changes.select(list(CHANGES.columns)),
        pairs=pairs.select("operation_type_1", "operation_type_2", score="correlation").select(list(PAIRS.columns)),
        groups=tuple(frozenset(members) for members in shared["members"].to_list()),
        forecasts=found.forecasts.select(list(FORECASTS.columns)),
    )


def _findings(metrics: pl.DataFrame, context: Context, as_of: datetime) -> EngineFindings:
    until = metrics.filter(pl.col("created_at") <= as_of)
    return engine_findings(until, as_of, limits=context.slas, traces=context.traces)


def _pages(metrics: pl.DataFrame, context: Context, at_the_end: EngineFindings) -> pl.DataFrame:
    """The incidents that open on each of the days, as `verdicts.PAGES`."""
    known, pages = Incidents(), []
    for back in reversed(range(_DAYS)):
        as_of = context.as_of - timedelta(days=back)
        found = at_the_end if back == 0 else _findings(metrics, context, as_of)
        known = _with(known, _incidents(metrics, found, known, as_of))
        pages.append(_opened(known, as_of))
    return pl.concat(pages)


def _incidents(metrics: pl.DataFrame, found: EngineFindings, known: Incidents, as_of: datetime) -> Incidents:
    return engine_incidents(found, known, as_of=as_of, settings=OPERATION_SETTINGS.empty(), metrics=metrics)


def _with(known: Incidents, latest: Incidents) -> Incidents:
    """The latest state of each incident."""
    named = latest.incidents.select("incident_key")
    return Incidents(
        pl.concat([known.incidents.join(named, on="incident_key", how="anti"), latest.incidents]),
        pl.concat([known.operations.join(named, on="incident_key", how="anti"), latest.operations]),
    )


def _opened(known: Incidents, as_of: datetime) -> pl.DataFrame:
    """The incidents that a person hears of for the first time now."""
    is_stale = (pl.col("ended_at") < as_of - LONG_OVER).fill_null(value=False)
    is_news = (pl.col("opened_at") == as_of) & pl.col("severity").is_in(_PAGED) & ~is_stale
    members = known.operations.group_by("incident_key").agg(pl.col("operation_type").sort().alias("operation_types"))
    return (
        known.incidents.filter(is_news)
        .join(members, on="incident_key")
        .sort("incident_key")
        .select("operation_types", pl.col("opened_at").alias("at"), "severity")
        .select(list(PAGES.columns))
    )
