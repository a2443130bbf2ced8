"""What one operation took through a window, beside what it usually takes: the rows of a chart."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from pggit_analytics.analysis.followed_levels import Levels
from pggit_analytics.analysis.spikes import SLOW_CALLS
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import INSTANT, FrameSchema

#: One row a cell of time, in order. ``at`` is its middle; ``median_ms`` is NULL without a call. ``usual_ms``: the level
#: and what the hour adds; 90 of 100 calls usually take from ``low_ms`` to ``high_ms``.
COURSE = FrameSchema(
    "course of an operation",
    {
        "operation_type": pl.String,
        "at": INSTANT,
        "calls": pl.Int64,
        "median_ms": pl.Float64,
        "usual_ms": pl.Float64,
        "low_ms": pl.Float64,
        "high_ms": pl.Float64,
    },
    nullable=frozenset({"median_ms"}),
)

#: Single calls to be drawn, by time. ``at`` is when the call ended.
POINTS = FrameSchema(
    "calls of an operation",
    {"operation_type": pl.String, "metric_id": pl.Int64, "at": INSTANT, "duration_ms": pl.Float64},
)

#: 95th percentile of a standard normal value: five of 100 calls are above the band, five below
_BAND = 1.6448536269514722


def operation_course(levels: Levels, operation: str, *, onset: datetime | None = None) -> pl.DataFrame:
    """What an operation took in each cell, and what it usually takes.

    Args:
        levels: `operation_levels` of the window.
        operation: one of those that were called in it.
        onset: of an incident: from there on usual is what was so before. None = usual follows lasting changes.

    Returns:
        `COURSE`. Durations scatter about the usual one as a log-normal variable is taken to.

    Raises:
        InvalidArgument: no call of the operation lies in the window.
    """
    grid, place = levels.grid, _place(levels, operation)
    lasting = levels.lasting[place]
    if onset is not None:
        first = int(np.clip((_microseconds(onset) - grid.start) // grid.width, 0, grid.cells - 1))
        lasting = np.where(np.arange(grid.cells) < first, lasting, lasting[max(first - 1, 0)])
    usual = levels.season[place] + lasting
    of = grid.calls_of(place)
    calls = pl.DataFrame({"cell": grid.cells_of(place), "x": grid.log_us[of]})
    medians = calls.group_by("cell").agg(pl.len().cast(pl.Int64).alias("calls"), pl.col("x").median())
    reach = _BAND * levels.spread[place]
    logs = {"usual_ms": usual, "low_ms": usual - reach, "high_ms": usual + reach}
    course = pl.DataFrame({"cell": np.arange(grid.cells), "at": grid.middles(), **logs})
    course = course.join(medians.rename({"x": "median_ms"}), on="cell", how="left", maintain_order="left")
    named = pl.lit(operation).alias("operation_type")
    milliseconds = [_ms(name) for name in ("median_ms", *logs)]
    return COURSE.check(course.select(named, pl.col("at").cast(INSTANT), pl.col("calls").fill_null(0), *milliseconds))


def slow_points(levels: Levels, slow: pl.DataFrame, operation: str) -> pl.DataFrame:
    """The slow calls of an operation as points.

    Args:
        levels: `operation_levels` of the window.
        slow: `spikes.SLOW_CALLS` of the same window.
        operation: one of those that were called in it.

    Returns:
        `POINTS`.

    Raises:
        InvalidArgument: no call of the operation lies in the window.
    """
    grid = levels.grid
    of = grid.calls_of(_place(levels, operation))
    told = SLOW_CALLS.check(slow).filter(operation_type=operation).select("operation_type", "metric_id")
    calls = pl.DataFrame({"metric_id": grid.metric_id[of], "at": grid.at[of], "duration_ms": grid.log_us[of]})
    points = told.join(calls, on="metric_id").sort("at", "metric_id")
    return POINTS.check(points.select("operation_type", "metric_id", pl.col("at").cast(INSTANT), _ms("duration_ms")))


def _place(levels: Levels, operation: str) -> int:
    if operation not in levels.grid.operations:
        raise InvalidArgument(f"operation_type is {operation!r}, which was not called in the window; give another one")
    return levels.grid.operations.index(operation)


def _ms(log_us: str) -> pl.Expr:
    """Milliseconds from the logarithm of microseconds."""
    return pl.col(log_us).exp() / 1000


def _microseconds(instant: datetime) -> int:
    return int(pl.Series([instant], dtype=INSTANT).dt.epoch("us").item())
