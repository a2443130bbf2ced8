"""How much time users lose by what was found: from the single calls, before and since.

Of a call that took ``d`` while its operation was ``r`` times as slow as usual, ``d (1 - 1 / r)`` is lost. Of a drift,
``r`` rises geometrically between its onset and the moment it settled. A call counts for at most the old 99th percentile
times ``r``, so that one time-out is not taken for the loss of thousands of calls. The sum over the calls since the
onset is the excess of the mean call times their number. Season cancels: ``r`` is of the adjusted level.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.analysis.incident_inputs import Found
from pggit_analytics.analysis.order_statistics import quantile
from pggit_analytics.analysis.ordered_calls import Calls, Floats, Ints, microseconds, ordered_calls

#: "now" looks back so far at most
LATEST = timedelta(hours=24)
#: the loss per hour is that of so many hours at most, and at least of the shorter span
RATE_SPAN, LEAST_RATE_SPAN = timedelta(hours=3), timedelta(minutes=15)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Impact:
    """Timings before and now, in milliseconds (None without calls), and what users lost."""

    #: level now to before
    size_ratio: float
    calls_before: int
    #: since the onset
    calls: int
    p50_before_ms: float | None
    p99_before_ms: float | None
    p50_now_ms: float | None
    p95_now_ms: float | None
    p99_now_ms: float | None
    lost_ms: float
    lost_ms_per_hour: float

    @property
    def excess_ms(self) -> float:
        """By how much the median call takes longer than before."""
        return (self.p50_now_ms or 0.0) * (1 - 1 / self.size_ratio)


@dataclass(frozen=True, slots=True)
class Timed:
    """Calls of one operation, by the instant they ended."""

    #: microseconds since 1970-01-01 UTC
    at: Ints
    #: whole microseconds
    duration_us: Ints
    metric_id: Ints

    @property
    def size(self) -> int:
        """How many calls there are."""
        return int(self.at.size)

    def ms(self) -> Floats:
        """What they took, in milliseconds."""
        return _ms(self.duration_us)

    def among(self, metric_ids: Ints) -> Timed:
        """Those of them with these metric_ids."""
        sought = np.sort(metric_ids)
        if not sought.size:
            return Timed(self.at[:0], self.duration_us[:0], self.metric_id[:0])
        is_one = sought[np.minimum(np.searchsorted(sought, self.metric_id), sought.size - 1)] == self.metric_id
        return Timed(self.at[is_one], self.duration_us[is_one], self.metric_id[is_one])

    def between(self, start: datetime | None, end: datetime | None) -> Timed:
        """The calls that ended in [start, end)."""
        first = 0 if start is None else int(np.searchsorted(self.at, microseconds(start)))
        last = self.size if end is None else int(np.searchsorted(self.at, microseconds(end)))
        return Timed(self.at[first:last], self.duration_us[first:last], self.metric_id[first:last])


class Timings:
    """The calls of all operations."""

    def __init__(self, metrics: pl.DataFrame | pl.LazyFrame | Calls, as_of: datetime) -> None:
        """Read them once.

        Args:
            metrics: `frames.METRICS`, or its calls in order; what ended after ``as_of`` is not looked at.
            as_of: with a time zone.
        """
        if not isinstance(metrics, Calls):
            metrics = ordered_calls(metrics.lazy().filter(pl.col("created_at") <= as_of))
        self.as_of = as_of
        self._calls = metrics
        self._place = {name: place for place, name in enumerate(metrics.operations)}
        #: of all operations together
        self.spent_ms_per_hour = 0.0
        if metrics.at.size:
            span = timedelta(microseconds=microseconds(as_of) - int(metrics.at[metrics.first[:-1]].min()))
            spent_us = sum(int(metrics.duration_us[metrics.calls_of(place)].sum()) for place in self._place.values())
            self.spent_ms_per_hour = _rate(spent_us / 1000, span)

    def of(self, operation: str, start: datetime | None = None, end: datetime | None = None) -> Timed:
        """The calls of an operation that ended in [start, end)."""
        place = self._place.get(operation)
        calls, where = self._calls, slice(0, 0) if place is None else self._calls.calls_of(place)
        return Timed(calls.at[where], calls.duration_us[where], calls.metric_id[where]).between(start, end)


def measure(found: Found, timings: Timings) -> Impact:
    """The impact of one finding.

    Args:
        found: of any kind but calls.
        timings: holds its operation.
    """
    end = found.ended_at
    during = timings.of(found.operation, found.onset, end)
    before = timings.of(found.operation, None, min(found.onset_low, found.onset)).ms()
    until = end or timings.as_of
    recent = during.between(until - LATEST, None).ms()
    p50_before, p99_before = _quantiles(before, 0.5, 0.99)
    p50_now, p95_now, p99_now = _quantiles(recent, 0.5, 0.95, 0.99)
    ratio = found.size_ratio if found.size_ratio is not None else _ratio(p50_before, during)
    lost = _lost(found, ratio, during, p99_before)
    span = min(max(until - found.onset, LEAST_RATE_SPAN), RATE_SPAN)
    latest = _total(lost[during.size - during.between(until - span, None).size :])
    total = _total(lost)
    return Impact(
        size_ratio=ratio,
        calls_before=before.size,
        calls=during.size,
        p50_before_ms=p50_before,
        p99_before_ms=p99_before,
        p50_now_ms=p50_now,
        p95_now_ms=p95_now,
        p99_now_ms=p99_now,
        lost_ms=total,
        lost_ms_per_hour=_rate(latest, span) if end is None else _rate(total, max(end - found.onset, _HOUR)),
    )


def measure_calls(found: Found, timings: Timings, expected_ms: Floats, durations_ms: Floats) -> Impact:
    """The impact of single slow calls: what each took beyond what was expected of it.

    Args:
        found: of kind calls; its size is the greatest multiple.
        timings: holds its operation.
        expected_ms, durations_ms: of its calls.
    """
    before = timings.of(found.operation, None, found.onset).ms()
    lost = _total(durations_ms - expected_ms)
    until = found.ended_at or timings.as_of
    p50_before, p99_before = _quantiles(before, 0.5, 0.99)
    p50_now, p95_now, p99_now = _quantiles(durations_ms, 0.5, 0.95, 0.99)
    return Impact(
        size_ratio=found.size_ratio or 1.0,
        calls_before=before.size,
        calls=durations_ms.size,
        p50_before_ms=p50_before,
        p99_before_ms=p99_before,
        p50_now_ms=p50_now,
        p95_now_ms=p95_now,
        p99_now_ms=p99_now,
        lost_ms=lost,
        lost_ms_per_hour=_rate(lost, max(until - found.onset, _HOUR)),
    )


def _lost(found: Found, ratio: float, during: Timed, usual_most: float | None) -> Floats:
    if ratio <= 1 or found.family == "forecast":
        return np.zeros(during.size)
    duration = during.ms()
    slope = microseconds(found.settled_at) - microseconds(found.onset)
    since = during.at - microseconds(found.onset)
    by_then = ratio ** np.clip(since / slope, 0.0, 1.0) if slope > 0 else np.full(during.size, ratio)
    capped = duration if usual_most is None else np.minimum(duration, usual_most * by_then)
    return np.asarray(capped * (1 - 1 / by_then), dtype=np.float64)


def _total(values: Floats) -> float:
    """The sum, the same whatever the order of the rows."""
    return float(np.sort(values).sum())


def _ratio(old: float | None, during: Timed) -> float:
    """Of the medians; 1 where one of them is not known or 0."""
    (new,) = _quantiles(during.ms(), 0.5)
    return new / old if old and new else 1.0


def _quantiles(values: Floats, *positions: float) -> list[float | None]:
    """Linear between the two nearest values; None without values."""
    return [quantile(values, position) if values.size else None for position in positions]


def _ms(duration_us: Ints) -> Floats:
    """As Polars divides by 1000, which is how all other milliseconds are made: to the last bit."""
    return np.asarray(duration_us * 0.001, dtype=np.float64)


def _rate(total: float, span: timedelta) -> float:
    return total / max(span / _HOUR, 0.25)
