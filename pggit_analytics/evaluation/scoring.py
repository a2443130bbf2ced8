"""How far an engine's verdict on one week agrees with the truth.

- Spikes, by class: a reported call is right if labelled, wrong if ordinary, and counts for neither if it lies inside a
  labelled episode or change. A wrong one belongs to the class of its own size: from 8 times its expected duration to
  the upper, everything else to the lower.
- Changes, by operation: an operation reported with a step or drift is right if it has one (the kinds are often alike)
  and the reported onset is at most 12 h before the true one; wrong otherwise. A report whose onset lies within half an
  hour of an episode of the operation, or about a child whose parent did not rise, is not wrong. A wrong operation
  belongs to the class of the largest size it is said to have. The onset error is that of the report nearest to the true
  onset. Improvements and variance changes need a report of their own kind; about operations with episodes such a report
  is not wrong.
- Pairs and groups: a group is right only if its members are exactly those of a labelled one.
- Pages: all, those of severity CRITICAL, and those without a cause: none of the page's operations has a label that
  began before the page and lasted until at most a day before it.
- Forecasts: right if the operation breaks its SLA within a day of the instant foretold. Foretold is counted over the
  drifts that break it 24 to 48 h after the week; the lead is from the as_of to the breach.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.evaluation.pooling import Counts, Tally
from pggit_analytics.evaluation.truth import LARGE_CHANGE, LARGE_SPIKE, SPIKE_CLASSES, LabelledWeek
from pggit_analytics.evaluation.verdicts import Verdict

#: classes of lasting degradations, by the factor of the level
LARGE, SMALL = "changes from +35 %", "steps +10 to +35 %"
#: an onset this near to an episode of the operation is about that episode
NEAR_EPISODE = timedelta(minutes=30)
#: a report with an onset this long before that of the label does not mean it
TOO_EARLY = timedelta(hours=12)
#: how far off a foretold breach may be
BREACH_TOLERANCE = timedelta(hours=24)
#: a page may come this long after its cause has ended
PAGE_GRACE = timedelta(hours=24)

_SLOWER = ("step", "drift")


def score(week: LabelledWeek, verdict: Verdict) -> Tally:
    """The counts of one week, under the same names for every week and engine."""
    small, large = SPIKE_CLASSES
    right, wrong, missed = _spikes(week, verdict)
    onset_errors = _onset_errors(week, verdict)
    return Tally(
        counts={
            **{f"spikes {c}": Counts(right[c], wrong[c], missed[c]) for c in (small, large)},
            "spikes all": Counts(*(sum(count.values()) for count in (right, wrong, missed))),
            **_degradations(week, verdict),
            **{f"{kind} changes": _kind(week, verdict, kind) for kind in ("improvement", "variance")},
            "pairs": _pairs(week, verdict),
            "groups": _groups(week, verdict),
        },
        ratios=_pages(week, verdict) | _forecasts(week, verdict),
        amounts={
            "onset error of large steps, min": onset_errors[LARGE],
            "onset error of small steps, min": onset_errors[SMALL],
            "lead of right forecasts, h": _leads(week, verdict),
        },
    )


def _spikes(week: LabelledWeek, verdict: Verdict) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    small, large = SPIKE_CLASSES
    reported = verdict.spikes.select(pl.col("metric_id").unique())
    labelled = week.truth.spikes.filter(~pl.col("is_neutral"))
    found = labelled.join(reported, on="metric_id", how="semi")
    ordinary = (
        reported.join(week.truth.spikes, on="metric_id", how="anti")
        .join(week.truth.rows.filter(~pl.col("is_neutral")), on="metric_id")
        .join(week.metrics.select("metric_id", "duration_us"), on="metric_id")
    )
    in_large = ordinary.filter(pl.col("duration_us") >= LARGE_SPIKE * pl.col("expected_us")).height
    right = {c: found.filter(spike_class=c).height for c in SPIKE_CLASSES}
    missed = {c: labelled.filter(spike_class=c).height - right[c] for c in SPIKE_CLASSES}
    return right, {small: ordinary.height - in_large, large: in_large}, missed


def _degradations(week: LabelledWeek, verdict: Verdict) -> dict[str, Counts]:
    labelled = {name: float(size) for name, size in _degraded(week).select("operation_type", "factor").iter_rows()}
    found = set(_found(week, verdict)["operation_type"])
    largest: dict[str, float] = {}
    for name, size in _wrong_claims(week, verdict, found).select("operation_type", "size_ratio").iter_rows():
        largest[name] = max(size, largest.get(name, 0.0))
    counts = {}
    for wanted in (LARGE, SMALL):
        of_class = {name for name, size in labelled.items() if _class_of(size) == wanted}
        wrong = sum(_class_of(size) == wanted for size in largest.values())
        counts[wanted] = Counts(len(of_class & found), wrong, len(of_class - found))
    return counts


def _class_of(size: float) -> str:
    return LARGE if size >= LARGE_CHANGE else SMALL


def _degraded(week: LabelledWeek) -> pl.DataFrame:
    """The lasting degradations that somebody should hear of."""
    return week.truth.changes.filter(pl.col("kind").is_in(_SLOWER) & (pl.col("cause") != "cost_shift"))


def _reported_slower(verdict: Verdict) -> pl.DataFrame:
    return verdict.changes.filter(pl.col("kind").is_in(_SLOWER)).with_row_index("claim")


def _found(week: LabelledWeek, verdict: Verdict) -> pl.DataFrame:
    """The labelled degradations with each report of theirs that is not too early to mean them."""
    claims = _reported_slower(verdict).select("operation_type", claimed="onset")
    return _degraded(week).join(claims, on="operation_type").filter(pl.col("claimed") >= pl.col("onset") - TOO_EARLY)


def _wrong_claims(week: LabelledWeek, verdict: Verdict, found: set[str]) -> pl.DataFrame:
    """The reported degradations of other operations, apart from those that count for neither."""
    neutral = found | set(week.truth.changes.filter(cause="cost_shift")["operation_type"])
    claims = _reported_slower(verdict).filter(~pl.col("operation_type").is_in(list(neutral)))
    about_episode = claims.join(week.truth.episodes, on="operation_type").filter(
        pl.col("onset").is_between(pl.col("start") - NEAR_EPISODE, pl.col("end") + NEAR_EPISODE)
    )
    return claims.join(about_episode, on="claim", how="anti")


def _onset_errors(week: LabelledWeek, verdict: Verdict) -> dict[str, tuple[float, ...]]:
    """Minutes between the true onset of each step that was found and the nearest reported one."""
    minutes = (pl.col("claimed") - pl.col("onset")).dt.total_microseconds().abs() / 60e6
    errors = (
        _found(week, verdict)
        .filter(kind="step")
        .group_by("operation_type", "factor")
        .agg(minutes.min().alias("minutes"))
        .sort("operation_type")
    )
    rows = [(float(factor), float(error)) for _, factor, error in errors.iter_rows()]
    return {wanted: tuple(error for factor, error in rows if _class_of(factor) == wanted) for wanted in (LARGE, SMALL)}


def _kind(week: LabelledWeek, verdict: Verdict, kind: str) -> Counts:
    labelled = set(week.truth.changes.filter(kind=kind)["operation_type"])
    about_episodes = set(week.truth.episodes["operation_type"]) - labelled
    reported = set(verdict.changes.filter(kind=kind)["operation_type"]) - about_episodes
    return _compared(reported, labelled)


def _compared(reported: Iterable[object], labelled: Iterable[object]) -> Counts:
    found, wanted = set(reported), set(labelled)
    return Counts(len(found & wanted), len(found - wanted), len(wanted - found))


def _pairs(week: LabelledWeek, verdict: Verdict) -> Counts:
    reported = verdict.pairs.select("operation_type_1", "operation_type_2").iter_rows()
    return _compared(((min(pair), max(pair)) for pair in reported), week.truth.pairs)


def _groups(week: LabelledWeek, verdict: Verdict) -> Counts:
    return _compared(verdict.groups, (frozenset(members) for members in week.truth.groups["members"].to_list()))


def _pages(week: LabelledWeek, verdict: Verdict) -> dict[str, tuple[float, float]]:
    first = week.metrics.select((pl.lit(week.as_of) - pl.col("created_at").min()).dt.total_microseconds()).item()
    days = (first or 0) / 86400e6
    operation_days = days * week.metrics["operation_type"].n_unique()
    causes = _causes(week)
    unfounded = sum(
        not _has_cause(causes, names, at) for names, at in verdict.pages.select("operation_types", "at").iter_rows()
    )
    critical = verdict.pages.filter(severity="CRITICAL").height
    return {
        "pages per operation-day": (verdict.pages.height, operation_days),
        "pages without a cause per operation-day": (unfounded, operation_days),
        "CRITICAL pages a day": (critical, days),
    }


def _causes(week: LabelledWeek) -> dict[str, list[tuple[datetime, datetime]]]:
    """When each operation gave reason for a page; a child whose parent did not rise gives none."""
    labels = week.truth
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    slow = labels.episodes.filter(pl.col("kind") != "retry_storm").select("operation_type", "start", "end")
    changed = labels.changes.filter(pl.col("cause") != "cost_shift").select(
        "operation_type", start="onset", end=pl.lit(week.as_of).cast(labels.changes.schema["onset"])
    )
    spikes = labels.spikes.select("operation_type", start="at", end="at")
    for name, start, end in pl.concat([slow, changed, spikes]).iter_rows():
        found.setdefault(name, []).append((start, end))
    return found


def _has_cause(causes: dict[str, list[tuple[datetime, datetime]]], names: list[str], at: datetime) -> bool:
    return any(start <= at <= end + PAGE_GRACE for name in names for start, end in causes.get(name, []))


def _judged_forecasts(week: LabelledWeek, verdict: Verdict) -> pl.DataFrame:
    """The forecasts with the true breach (NULL: none) and whether they are right."""
    is_near = (pl.col("breach_at") - pl.col("true_at")).abs() <= BREACH_TOLERANCE
    breaches = week.truth.breaches.select("operation_type", true_at="breach_at")
    return verdict.forecasts.join(breaches, on="operation_type", how="left").with_columns(
        is_near.fill_null(value=False).alias("is_right")
    )


def _forecasts(week: LabelledWeek, verdict: Verdict) -> dict[str, tuple[float, float]]:
    lead = pl.col("breach_at") - pl.lit(week.as_of)
    ahead = week.truth.breaches.filter(lead.is_between(timedelta(hours=24), timedelta(hours=48)))
    judged = _judged_forecasts(week, verdict)
    foretold = ahead.join(judged.filter("is_right"), on="operation_type", how="semi")
    intervals = judged.drop_nulls(["low", "high", "true_at"])
    covering = intervals.filter(pl.col("true_at").is_between(pl.col("low"), pl.col("high")))
    return {
        "breaches foretold 24-48 h ahead": (foretold.height, ahead.height),
        "false forecasts": (judged.filter(~pl.col("is_right")).height, judged.height),
        "forecast intervals that hold the breach": (covering.height, intervals.height),
    }


def _leads(week: LabelledWeek, verdict: Verdict) -> tuple[float, ...]:
    right = _judged_forecasts(week, verdict).filter("is_right").unique("operation_type").sort("operation_type")
    return tuple((at - week.as_of).total_seconds() / 3600 for at in right["true_at"].to_list())
