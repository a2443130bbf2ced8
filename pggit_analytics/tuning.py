"""Proposals for the settings of operations, from what people said of alerts and from a backtest; applied when asked.

Verdicts raise the smallest effect: a false positive that was smaller than everything judged right is not told again.
Expected pages change the sensitivity: the past is replayed at each of `LADDER`, and the greatest that keeps to what is
expected is proposed; more than now only where people said that the alerts were right. Each proposal is made by itself,
with the other setting as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
from psycopg.rows import dict_row

from pggit_analytics.analysis.engine_findings import EngineFindings
from pggit_analytics.analysis.incident_inputs import PARENTS
from pggit_analytics.analysis.incident_screens import Settings
from pggit_analytics.analysis.incidents import WINDOW
from pggit_analytics.backtesting import BacktestParameters, RunsDone, findings_at, moments_of, replay
from pggit_analytics.frames import OPERATION_SETTINGS, SILENCES, FrameSchema
from pggit_analytics.pipeline import Target
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract_wishes import NewSettings, Wishes, extract_wishes
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.report.shown import Shown

#: sensitivities that are tried
LADDER = (0.25, 0.5, 0.7, 1.0, 1.5, 2.0)
#: fewer verdicts than this prove nothing
LEAST_VERDICTS = 3
#: a smallest effect greater than this is never proposed: what matters to users must be told
MOST_EFFECT_PERCENT = 50.0
_WEEK = timedelta(days=7)

#: What people said of the engine's alerts. ``verdict``: true_positive or false_positive; ``size_ratio`` as it was told.
VERDICTS = FrameSchema(
    "verdicts",
    {"operation_type": pl.String, "verdict": pl.String, "size_ratio": pl.Float64},
    nullable=frozenset({"size_ratio"}),
)

#: One row an operation that was judged, has pages or expects some. ``false_share`` is NULL without a verdict, a
#: proposal where the setting is to stay; ``reason`` says why it is proposed, or why nothing better is.
PROPOSALS = FrameSchema(
    "proposals",
    {
        "operation_type": pl.String,
        "judged": pl.Int64,
        "false_positives": pl.Int64,
        "false_share": pl.Float64,
        "pages_per_week": pl.Float64,
        "expected_pages_per_week": pl.Float64,
        "sensitivity": pl.Float64,
        "proposed_sensitivity": pl.Float64,
        "minimum_effect_percent": pl.Float64,
        "proposed_minimum_effect_percent": pl.Float64,
        "reason": pl.String,
    },
    nullable=frozenset(
        {"false_share", "expected_pages_per_week", "proposed_sensitivity", "proposed_minimum_effect_percent"}
    ),
)

_VERDICTS = b"""
    SELECT operation_type, verdict,
           CASE jsonb_typeof(evidence -> 'size_ratio')
               WHEN 'number' THEN (evidence ->> 'size_ratio')::DOUBLE PRECISION
           END AS size_ratio
    FROM performance_alerts
    WHERE verdict IS NOT NULL
      AND alert_type = 'INCIDENT'
      AND operation_type IS NOT NULL
      AND opened_at <= %(end)s
    ORDER BY alert_id
"""

_APPLY = b"""
    INSERT INTO operation_settings AS s (operation_type, sensitivity, minimum_effect_percent)
    VALUES (%(operation_type)s, %(proposed_sensitivity)s, %(proposed_minimum_effect_percent)s)
    ON CONFLICT (operation_type) DO UPDATE
    SET sensitivity = coalesce(excluded.sensitivity, s.sensitivity),
        minimum_effect_percent = coalesce(excluded.minimum_effect_percent, s.minimum_effect_percent),
        updated_at = clock_timestamp(),
        updated_by = CURRENT_USER
"""


@dataclass(frozen=True, slots=True, repr=False)
class Tuning(Shown):
    """What is proposed, and whether it was applied."""

    moments: tuple[datetime, ...]
    #: `PROPOSALS`
    proposals: pl.DataFrame
    #: operations whose settings were written
    applied: tuple[str, ...]
    #: see `Wishes`
    thresholds_known: bool

    def headline(self) -> str:
        """How much is proposed."""
        changes = pl.any_horizontal(pl.col("proposed_sensitivity", "proposed_minimum_effect_percent").is_not_null())
        proposed = self.proposals.filter(changes).height
        what = "1 operation" if proposed == 1 else f"{proposed} operations"
        done = f"; written for {', '.join(self.applied)}" if self.applied else "; nothing is written"
        return f"New settings proposed for {what} of {self.proposals.height} looked at{done}"


def tune(
    target: Target,
    parameters: BacktestParameters,
    *,
    apply: bool = False,
    settings: NewSettings | None = None,
    progress: RunsDone = lambda _done, _all: None,
) -> Tuning:
    """Propose settings; written to operation_settings only with ``apply``.

    Args:
        target: where they are.
        parameters: the runs that are replayed.
        apply: write what is proposed.
        settings: of operations, instead of those that the database has; never written.
        progress: called after each run.

    Raises:
        InvalidArgument: see `backtest`.
        PermissionDenied: the role may not write operation_settings.
        PggitAnalyticsError: see `read_metrics` and `extract_wishes`.
    """
    moments = moments_of(target, parameters)
    first = moments[0] - WINDOW
    wishes = extract_wishes(target.database, first, moments[-1]).changed(settings or {})
    verdicts = extract_verdicts(target.database, moments[-1])
    with read_metrics(
        target.source_database, target.source, start=first, end=moments[-1], store=target.store
    ) as metrics:
        pages = pages_by_sensitivity(metrics.frame, moments, wishes, progress=progress)
    weeks = (moments[-1] - moments[0]) / _WEEK
    found = proposals(verdicts, pages, wishes, weeks=weeks)
    return Tuning(moments, found, _applied(target.database, found) if apply else (), wishes.thresholds_known)


def extract_verdicts(database: Database, end: datetime) -> pl.DataFrame:
    """`VERDICTS` on alerts about incidents that opened until then.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_VERDICTS, {"end": end}).fetchall()
    return VERDICTS.check(VERDICTS.frame(rows))


def pages_by_sensitivity(
    metrics: pl.DataFrame | pl.LazyFrame,
    moments: Sequence[datetime],
    wishes: Wishes,
    *,
    progress: RunsDone = lambda _done, _all: None,
) -> dict[float | None, dict[str, int]]:
    """Pages of each operation at the settings as they are (None) and, if any expects pages, at each of `LADDER`; pure.

    Args:
        metrics, moments, wishes, progress: see `replay`.
    """
    expecting = wishes.settings.filter(pl.col("expected_pages_per_week").is_not_null())
    tried: list[float | None] = [None, *(LADDER if expecting.height else ())]

    # what the detectors find does not depend on the settings that are tried
    @cache
    def find(as_of: datetime) -> EngineFindings:
        # not their calls, which would be kept for every moment
        return replace(findings_at(metrics, wishes, as_of), calls=EngineFindings().calls)

    pages: dict[float | None, dict[str, int]] = {}
    for number, sensitivity in enumerate(tried):
        advance = _part(progress, number, len(tried))
        events = replay(metrics, moments, _at(wishes, sensitivity), find=find, progress=advance)
        pages[sensitivity] = dict(events.filter("is_page").group_by("operation_type").len().iter_rows())
    return pages


def _part(progress: RunsDone, number: int, count: int) -> RunsDone:
    """Progress of one of several replays of the same length."""
    return lambda done, runs: progress(number * runs + done, count * runs)


def _at(wishes: Wishes, sensitivity: float | None) -> Wishes:
    """With this sensitivity in the operations that expect pages."""
    if sensitivity is None:
        return wishes
    expects = pl.col("expected_pages_per_week").is_not_null()
    tried = pl.when(expects).then(pl.lit(sensitivity)).otherwise(pl.col("sensitivity")).alias("sensitivity")
    return replace(wishes, settings=OPERATION_SETTINGS.check(wishes.settings.with_columns(tried)))


def proposals(
    verdicts: pl.DataFrame,
    pages: Mapping[float | None, Mapping[str, int]],
    wishes: Wishes,
    *,
    weeks: float,
) -> pl.DataFrame:
    """What is proposed; pure.

    Args:
        verdicts: `VERDICTS`.
        pages: of `pages_by_sensitivity`.
        wishes: the settings as they are.
        weeks: length of what was replayed.

    Returns:
        `PROPOSALS`, by operation.
    """
    settings = Settings.of(wishes.settings, SILENCES.empty(), PARENTS.empty(), wishes.thresholds)
    expected = dict(wishes.settings.select("operation_type", "expected_pages_per_week").drop_nulls().iter_rows())
    judged = {str(key[0]): rows for key, rows in VERDICTS.check(verdicts).group_by("operation_type")}
    rows = [
        _proposal(
            name, judged.get(name, VERDICTS.empty()), pages, expected=expected.get(name), settings=settings, weeks=weeks
        )
        for name in sorted({*expected, *judged, *pages[None]})
    ]
    return PROPOSALS.check(PROPOSALS.frame(rows))


def _proposal(
    name: str,
    verdicts: pl.DataFrame,
    pages: Mapping[float | None, Mapping[str, int]],
    *,
    expected: float | None,
    settings: Settings,
    weeks: float,
) -> dict[str, Any]:
    wrong = verdicts.filter(verdict="false_positive").height
    rates = {tried: of_operation.get(name, 0) / weeks for tried, of_operation in pages.items()}
    sensitivity, least = settings.sensitivity(name), settings.minimum_effect_percent(name)
    effect, why_effect = _effect(verdicts, least)
    is_right = verdicts.height > 0 and wrong == 0
    tried, why_tried = _sensitivity(rates, expected, sensitivity, may_rise=is_right)
    return {
        "operation_type": name,
        "judged": verdicts.height,
        "false_positives": wrong,
        "false_share": wrong / verdicts.height if verdicts.height else None,
        "pages_per_week": rates[None],
        "expected_pages_per_week": expected,
        "sensitivity": sensitivity,
        "proposed_sensitivity": tried,
        "minimum_effect_percent": least,
        "proposed_minimum_effect_percent": effect,
        "reason": "; ".join(part for part in (why_effect, why_tried) if part),
    }


def _effect(verdicts: pl.DataFrame, least: float) -> tuple[float | None, str]:
    """The smallest effect to be told that spares the greatest false positives below all that was right."""
    effect = ((pl.col("size_ratio") - 1).abs() * 100).alias("effect")
    told = verdicts.drop_nulls("size_ratio").select("verdict", effect)
    right = told.filter(verdict="true_positive")["effect"].to_list()
    wrong = told.filter(verdict="false_positive")["effect"].to_list()
    if not wrong:
        return None, ""
    if len(right) + len(wrong) < LEAST_VERDICTS:
        return None, f"{len(right) + len(wrong)} verdicts, at least {LEAST_VERDICTS} are needed"
    most = min([*right, MOST_EFFECT_PERCENT])
    # whole percents above a false positive; what is equal to the smallest effect is told
    steps = [float(math.floor(one) + 1) for one in wrong]
    spared = [step for step in steps if least < step <= most]
    if not spared:
        return None, f"no smallest effect up to {most:.0f} % would have spared a false positive"
    proposed = max(spared)
    return (
        proposed,
        f"spares {sum(step <= proposed for step in steps)} of {len(wrong)} false positives, none judged right",
    )


def _sensitivity(
    rates: Mapping[float | None, float], expected: float | None, now: float, *, may_rise: bool
) -> tuple[float | None, str]:
    """The greatest that keeps to the expected pages a week."""
    if expected is None:
        return None, ""
    tried = {one: rate for one, rate in rates.items() if one is not None}
    within = [one for one, rate in tried.items() if rate <= expected]
    if rates[None] > expected:
        if lower := [one for one in within if one < now]:
            return max(lower), f"{tried[max(lower)]:.1f} pages a week instead of {rates[None]:.1f}"
        lowest = min(tried)
        if lowest < now and tried[lowest] < rates[None]:
            return lowest, f"still {tried[lowest]:.1f} pages a week, more than {expected:g}"
        return None, f"no sensitivity tried keeps to {expected:g} pages a week"
    if may_rise and (higher := [one for one in within if one > now]):
        return max(higher), f"its alerts were right, and {tried[max(higher)]:.1f} pages a week are within {expected:g}"
    return None, ""


def _applied(database: Database, found: pl.DataFrame) -> tuple[str, ...]:
    """Write the proposals, all or none; the operations written."""
    columns = ("proposed_sensitivity", "proposed_minimum_effect_percent")
    rows = found.filter(pl.any_horizontal(pl.col(columns).is_not_null())).select("operation_type", *columns).to_dicts()
    with database.connect() as connection:
        for row in rows:
            connection.execute(_APPLY, row)
    return tuple(row["operation_type"] for row in rows)
