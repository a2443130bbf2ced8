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
import numpy.typing as npt
import polars as pl

from pggit_analytics.analysis.incident_inputs import Found

#: "now" looks back so far at most
LATEST = timedelta(hours=24)
#: the loss per hour is that of so many hours at most, and at least of the shorter span
RATE_SPAN, LEAST_RATE_SPAN = timedelta(hours=3), timedelta(minutes=15)
_HOUR = timedelta(hours=1)

Floats = npt.NDArray[np.float64]


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


class Timings:
    """The calls of some operations."""

    def __init__(self, metrics: pl.DataFrame | pl.LazyFrame, operations: frozenset[str], as_of: datetime) -> None:
        """Read them once.

        Args:
            metrics: `frames.METRICS`; what ended after ``as_of`` is not looked at.
            operations: names.
            as_of: with a time zone.
        """
        until = metrics.lazy().filter(pl.col("created_at") <= as_of)
        whole = until.select(pl.col("duration_us").sum(), pl.col("created_at").min()).collect().row(0)
        self.as_of = as_of
        #: of all operations together
        self.spent_ms_per_hour = _rate(whole[0] / 1000, as_of - whole[1]) if whole[1] else 0.0
        rows = (
            until.filter(pl.col("operation_type").is_in(list(operations)))
            .select("operation_type", "metric_id", "created_at", pl.col("duration_us") / 1000.0)
            .sort("operation_type", "created_at", "metric_id")
            .collect()
        )
        self._of = {str(key[0]): frame for key, frame in rows.partition_by("operation_type", as_dict=True).items()}

    def of(self, operation: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """The calls that ended in [start, end): metric_id, created_at, duration_us (in milliseconds), by created_at."""
        calls = self._of.get(operation)
        if calls is None:
            return pl.DataFrame(
                schema={"metric_id": pl.Int64, "created_at": pl.Datetime("us", "UTC"), "duration_us": pl.Float64}
            )
        if start is not None:
            calls = calls.filter(pl.col("created_at") >= start)
        return calls if end is None else calls.filter(pl.col("created_at") < end)


def measure(found: Found, timings: Timings) -> Impact:
    """The impact of one finding.

    Args:
        found: of any kind but calls.
        timings: holds its operation.
    """
    end = found.ended_at
    during = timings.of(found.operation, found.onset, end)
    before = timings.of(found.operation, None, min(found.onset_low, found.onset))["duration_us"]
    until = end or timings.as_of
    recent = during.filter(pl.col("created_at") >= until - LATEST)["duration_us"]
    ratio = found.size_ratio if found.size_ratio is not None else _ratio(before, during["duration_us"])
    lost = _lost(found, ratio, during, _quantile(before, 0.99))
    span = min(max(until - found.onset, LEAST_RATE_SPAN), RATE_SPAN)
    latest = _total(lost[(during["created_at"] >= until - span).to_numpy()])
    total = _total(lost)
    return Impact(
        size_ratio=ratio,
        calls_before=before.len(),
        calls=during.height,
        p50_before_ms=_quantile(before, 0.5),
        p99_before_ms=_quantile(before, 0.99),
        p50_now_ms=_quantile(recent, 0.5),
        p95_now_ms=_quantile(recent, 0.95),
        p99_now_ms=_quantile(recent, 0.99),
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
    before = timings.of(found.operation, None, found.onset)["duration_us"]
    took = pl.Series(durations_ms)
    lost = _total(durations_ms - expected_ms)
    until = found.ended_at or timings.as_of
    return Impact(
        size_ratio=found.size_ratio or 1.0,
        calls_before=before.len(),
        calls=took.len(),
        p50_before_ms=_quantile(before, 0.5),
        p99_before_ms=_quantile(before, 0.99),
        p50_now_ms=_quantile(took, 0.5),
        p95_now_ms=_quantile(took, 0.95),
        p99_now_ms=_quantile(took, 0.99),
        lost_ms=lost,
        lost_ms_per_hour=_rate(lost, max(until - found.onset, _HOUR)),
    )


def _lost(found: Found, ratio: float, during: pl.DataFrame, usual_most: float | None) -> Floats:
    if ratio <= 1 or found.family == "forecast":
        return np.zeros(during.height)
    duration = during["duration_us"].to_numpy()
    slope = (found.settled_at - found.onset).total_seconds()
    since = (during["created_at"].cast(pl.Int64) / 1e6 - found.onset.timestamp()).to_numpy()
    reached = np.clip(since / slope, 0.0, 1.0) if slope > 0 else np.ones(during.height)
    by_then = ratio**reached
    capped = duration if usual_most is None else np.minimum(duration, usual_most * by_then)
    return np.asarray(capped * (1 - 1 / by_then), dtype=np.float64)


def _total(values: Floats) -> float:
    """The sum, the same whatever the order of the rows."""
    return float(np.sort(values).sum())


def _ratio(before: pl.Series, during: pl.Series) -> float:
    """Of the medians; 1 where one of them is not known or 0."""
    old, new = _quantile(before, 0.5), _quantile(during, 0.5)
    return new / old if old and new else 1.0


def _quantile(values: pl.Series, position: float) -> float | None:
    return values.quantile(position, interpolation="linear")


def _rate(total: float, span: timedelta) -> float:
    return total / max(span / _HOUR, 0.25)
