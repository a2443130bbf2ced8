"""Counts of single weeks, pooled over weeks, with bootstrap intervals.

A ratio is taken of the pooled counts, not averaged over weeks, and its interval comes from drawing weeks with
replacement (Efron 1979, percentile interval): rows of one week are not independent, weeks are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import FrameSchema

#: weeks drawn for an interval, and where their chance comes from
RESAMPLES, BOOTSTRAP_SEED = 2000, 20260131

#: Measures with their 95 % intervals. ``value`` is NULL where nothing was there to be measured, ``low`` and ``high``
#: also with a single week. ``events``: how many labels, verdicts or days the value rests on.
MEASURES = FrameSchema(
    "measures",
    {"measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "events": pl.Float64},
    nullable=frozenset({"value", "low", "high"}),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Right findings, wrong ones and missed labels."""

    right: float = 0
    wrong: float = 0
    missed: float = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What one week contributes; every week of a pool has the same keys."""

    #: class -> counts, for precision, recall and F1
    counts: dict[str, Counts] = field(default_factory=dict)
    #: measure -> (numerator, denominator)
    ratios: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: measure -> single values, for median and 90th percentile
    amounts: dict[str, tuple[float, ...]] = field(default_factory=dict)


def pooled(tallies: Sequence[Tally]) -> pl.DataFrame:
    """Every measure over all weeks.

    Args:
        tallies: one or more weeks.

    Returns:
        `MEASURES`: ``<class> precision | recall | F1``, the ratios, ``<amount> median | p90``.

    Raises:
        InvalidArgument: there is no week.
    """
    if not tallies:
        raise InvalidArgument("tallies is empty, expected at least one week")
    rows: list[dict[str, object]] = []
    for name in tallies[0].counts:
        table = np.array([[t.counts[name].right, t.counts[name].wrong, t.counts[name].missed] for t in tallies])
        rows += [_row(f"{name} {measure}", table, of, events) for measure, of, events in _OF_COUNTS]
    for name in tallies[0].ratios:
        rows.append(_row(name, np.array([t.ratios[name] for t in tallies]), _quotient, _denominator))
    for name in tallies[0].amounts:
        weeks = [np.asarray(t.amounts[name], dtype=np.float64) for t in tallies]
        rows += [_amount(f"{name} {label}", weeks, share) for label, share in (("median", 0.5), ("p90", 0.9))]
    return MEASURES.frame(rows)


Floats = NDArray[np.float64]


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _precision(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 0] + sums[..., 1])


def _recall(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 0] + sums[..., 2])


def _f1(sums: Floats) -> Floats:
    return _divided(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _quotient(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 1])


def _denominator(sums: Floats) -> Floats:
    return sums[..., 1]


_Of = Callable[[Floats], Floats]
_OF_COUNTS: tuple[tuple[str, _Of, _Of], ...] = (
    ("precision", _precision, lambda sums: sums[..., 0] + sums[..., 1]),
    ("recall", _recall, lambda sums: sums[..., 0] + sums[..., 2]),
    ("F1", _f1, lambda sums: sums.sum(axis=-1)),
)


def _row(measure: str, table: Floats, of: _Of, events: _Of) -> dict[str, object]:
    """One measure of sums over weeks; ``table`` has a row a week."""
    total = table.sum(axis=0)
    drawn = _draws(len(table))
    return _measure(measure, float(of(total)), of(table[drawn].sum(axis=1)), float(events(total)))


def _amount(measure: str, weeks: list[Floats], share: float) -> dict[str, object]:
    every = np.concatenate(weeks)
    values = [np.concatenate([weeks[place] for place in draw]) for draw in _draws(len(weeks))]
    resampled = np.array([np.quantile(value, share) if value.size else np.nan for value in values])
    return _measure(measure, float(np.quantile(every, share)) if every.size else np.nan, resampled, float(every.size))


def _measure(measure: str, value: float, resampled: Floats, events: float) -> dict[str, object]:
    known = resampled[~np.isnan(resampled)]
    low, high = (float(x) for x in np.quantile(known, [0.025, 0.975])) if known.size else (None, None)
    return {
        "measure": measure,
        "value": None if np.isnan(value) else value,
        "low": low,
        "high": high,
        "events": events,
    }


def _draws(weeks: int) -> NDArray[np.int64]:
    """Positions of the weeks in each resample; none for a single week, which says nothing of other weeks."""
    resamples = RESAMPLES if weeks > 1 else 0
    return np.random.default_rng(BOOTSTRAP_SEED).integers(0, weeks, (resamples, weeks))
