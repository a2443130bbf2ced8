"""How an operation went about an incident: what was usual, what was, and the slow calls, ready to be drawn.

The usual level is that of `operation_course`: season and lasting level, held from the onset on at what it was before.
The band about it is where nine of ten calls lie if log durations are normal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import CallGrid, Floats, Ints
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.operation_course import operation_course
from pggit_analytics.frames import INSTANT, FrameSchema

#: half the band, in spreads: 90 % of normal values
BAND = 1.645
#: calls further from the usual level than this, in spreads, are shown as points
SLOW = 3.0
#: of so many calls or fewer all are shown, of more the slow ones, at most so many
FEW_CALLS, MOST_POINTS = 240, 40
#: most bins of a course; widths of a bin
MOST_BINS = 120
_WIDTHS = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300, 900, 1800, 3600, 7200))
#: shown before the onset: as long as it lasts, within these
_LEAST_BEFORE, _MOST_BEFORE = timedelta(hours=24), timedelta(days=3)
_AFTER = timedelta(hours=2)
#: the shortest span
_SHORTEST = timedelta(seconds=10)

#: One row a bin. ``low_ms`` to ``high_ms`` is usual; percentiles are NULL without calls.
BINS = FrameSchema(
    "bins of a course",
    {
        "at": INSTANT,
        "low_ms": pl.Float64,
        "usual_ms": pl.Float64,
        "high_ms": pl.Float64,
        "p50_ms": pl.Float64,
        "p95_ms": pl.Float64,
        "calls": pl.Int64,
    },
    nullable=frozenset({"p50_ms", "p95_ms"}),
)

POINTS = FrameSchema("points of a course", {"at": INSTANT, "duration_ms": pl.Float64})


@dataclass(frozen=True, slots=True)
class Course:
    """One operation about one incident."""

    operation_type: str
    start: datetime
    end: datetime
    bin_width: timedelta
    #: calls in the span
    calls: int
    #: `BINS`, by at
    bins: pl.DataFrame
    #: `POINTS`: all calls or the slow ones
    points: pl.DataFrame
    is_every_call: bool


@dataclass(frozen=True, slots=True)
class _Expected:
    """What is usual for an operation."""

    grid: CallGrid
    operation: int
    #: log microseconds of each cell
    usual: Floats
    #: of log durations
    spread: float

    def at(self, instants: Ints) -> Floats:
        """Log microseconds at instants; between the middles of cells they are taken to be straight."""
        return np.asarray(np.interp(instants, self.grid.middles(), self.usual), dtype=np.float64)


class Courses:
    """The courses of some operations, whose levels are followed once."""

    def __init__(
        self, metrics: pl.DataFrame | pl.LazyFrame, as_of: datetime, *, lookback: timedelta = timedelta(days=7)
    ) -> None:
        """Follow the levels.

        Args:
            metrics: `frames.METRICS` of the operations.
            as_of: end of the window, with a time zone.
            lookback: its length.
        """
        self._as_of = as_of
        self._start = as_of - lookback
        self._levels = operation_levels(metrics, as_of, lookback=lookback)

    def of(self, row: Mapping[str, Any], operation: str) -> Course | None:
        """The course of an operation about an incident; None where it has no call.

        Args:
            row: of `frames.INCIDENTS`.
            operation: one of its operations.
        """
        levels = self._levels
        if operation not in levels.grid.operations:
            return None
        place = levels.grid.operations.index(operation)
        start, end = span(row, self._as_of, self._start)
        usual = operation_course(levels, operation, onset=row["onset"])["usual_ms"].to_numpy()
        expected = _Expected(levels.grid, place, np.log(1000 * usual), float(levels.spread[place]))
        calls = _calls(expected, start, end)
        if calls.is_empty():
            return None
        start = _first_seen(calls, start, end)
        width = next((width for width in _WIDTHS if (end - start) <= MOST_BINS * width), _WIDTHS[-1])
        is_every_call = calls.height <= FEW_CALLS
        points = calls if is_every_call else calls.filter(pl.col("score") > SLOW).top_k(MOST_POINTS, by="score")
        return Course(
            operation_type=operation,
            start=start,
            end=end,
            bin_width=width,
            calls=calls.height,
            bins=_bins(expected, calls, start, end, width),
            points=POINTS.check(points.sort("at", "duration_ms").select(list(POINTS.columns))),
            is_every_call=is_every_call,
        )


def operations_shown(incidents: pl.DataFrame) -> tuple[str, ...]:
    """The operations whose courses are drawn: those that incidents are about."""
    return tuple(incidents["operation_type"].unique().sort())


def span(row: Mapping[str, Any], as_of: datetime, window_start: datetime) -> tuple[datetime, datetime]:
    """What is shown of an incident: from some time before its onset until after its end, within the window."""
    end = min(as_of, row["ended_at"] + max(_AFTER, row["ended_at"] - row["onset"])) if row["ended_at"] else as_of
    before = min(max(end - row["onset"], _LEAST_BEFORE), _MOST_BEFORE)
    return max(window_start, row["onset"] - before), end


def _calls(expected: _Expected, start: datetime, end: datetime) -> pl.DataFrame:
    """The calls of the span and how far each is from the usual level, in spreads."""
    of_operation = expected.grid.calls_of(expected.operation)
    at, log_us = expected.grid.at[of_operation], expected.grid.log_us[of_operation]
    return pl.DataFrame(
        {
            "at": pl.from_epoch(pl.Series(at), "us").dt.replace_time_zone("UTC"),
            "duration_ms": np.exp(log_us) / 1000,
            "score": (log_us - expected.at(at)) / expected.spread,
        }
    ).filter(pl.col("at").is_between(start, end))


def _first_seen(calls: pl.DataFrame, start: datetime, end: datetime) -> datetime:
    """Where the span begins if its calls begin late: a little before them."""
    first = calls["at"].min()
    assert isinstance(first, datetime), "there are calls"
    return max(start, min(first, end - _SHORTEST) - max(end - first, _SHORTEST) / 10)


def _bins(expected: _Expected, calls: pl.DataFrame, start: datetime, end: datetime, width: timedelta) -> pl.DataFrame:
    every = f"{width // timedelta(seconds=1)}s"
    begins = pl.datetime_range(start, end, every, time_unit="us", eager=True).dt.truncate(every)
    middles = begins.dt.epoch("us").to_numpy() + width // timedelta(microseconds=2)
    found = calls.group_by(pl.col("at").dt.truncate(every)).agg(
        pl.col("duration_ms").quantile(0.5, "linear").alias("p50_ms"),
        pl.col("duration_ms").quantile(0.95, "linear").alias("p95_ms"),
        pl.len().cast(pl.Int64).alias("calls"),
    )

    def bound(spreads: float) -> pl.Expr:
        return (pl.col("usual") + spreads * expected.spread).exp() / 1000

    return BINS.check(
        pl.DataFrame({"at": begins, "usual": expected.at(middles)})
        .join(found, on="at", how="left")
        .filter((pl.col("at") < end) | pl.col("calls").is_not_null())
        .with_columns(
            (pl.col("at") + width / 2).clip(start, end),
            bound(-BAND).alias("low_ms"),
            bound(0).alias("usual_ms"),
            bound(BAND).alias("high_ms"),
            pl.col("calls").fill_null(0),
        )
        .sort("at")
        .select(list(BINS.columns))
    )


def incident_rows(incidents: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """`frames.INCIDENTS` as rows, the greatest loss first: what goes on, then what is over, the latest first."""
    ordered = incidents.with_columns(pl.col("ended_at").is_not_null().alias("is_over")).sort(
        "is_over", -pl.col("lost_ms_per_hour"), -pl.col("lost_ms"), "incident_key"
    )
    return ordered.drop("is_over").iter_rows(named=True)
