"""The cells of time that calls fall into, and their robust means over cells: what the engine computes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.analysis.order_statistics import quantile
from pggit_analytics.analysis.ordered_calls import Calls, Flags, Floats, Ints, microseconds, ordered_calls
from pggit_analytics.analysis.windows import between
from pggit_analytics.errors import InvalidArgument

__all__ = [
    "DAY",
    "HOUR",
    "HUBER",
    "LEAST_SPREAD",
    "LONGEST",
    "MINUTE",
    "MOST_CELLS",
    "CallGrid",
    "CellMeans",
    "Flags",
    "Floats",
    "Ints",
    "Runs",
    "call_grid",
    "cell_means",
    "scatter",
    "spreads",
]

Number = TypeVar("Number", np.float64, np.bool_)

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: widths of a cell; the first one is taken that leaves at most `MOST_CELLS`
_WIDTHS = (15 * MINUTE, 30 * MINUTE, HOUR)
MOST_CELLS = 1500
#: longest window
LONGEST = timedelta(days=62)
#: durations of 0 count as half a microsecond
_LEAST_US = 0.5
#: durations of an operation are spread over their unit where that is more than this share of the median
COARSE = 0.02
#: calls without which no unit is seen, and calls that show first whether there is one at all
_LEAST_CALLS, _SAMPLE = 20, 64
#: of SplitMix64 (Steele, Lea and Flood 2014)
_GAMMA, _MIXES = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
#: spread of log durations that is taken for granted, however alike the calls are
LEAST_SPREAD = 0.02
#: Huber's bound in spreads (Huber 1964): 95 % efficient on normal values
HUBER = 1.345
#: median of |difference| of two normal values, in standard deviations
_MEDIAN_DIFFERENCE = 0.953873


@dataclass(frozen=True, slots=True)
class Runs:
    """The calls of one operation that fall into the same cell follow each other: the cells that have calls."""

    #: ascending; of each its first call, counted from the operation's first, and the number of its calls
    cell: Ints
    first: Ints
    count: Ints

    @classmethod
    def of(cls, at: Ints, start: int, width: int) -> Runs:
        """The runs of instants in order, in cells of this width."""
        cell = (at - start) // width
        first = np.flatnonzero(np.diff(cell, prepend=-1))
        return cls(cell[first], first, np.diff(first, append=cell.size))

    def at_calls(self, of_cells: NDArray[Number]) -> NDArray[Number]:
        """The value of its cell for each call."""
        return np.asarray(np.repeat(of_cells[self.cell], self.count))

    def sums(self, of_calls: Floats) -> Floats:
        """The sum over the calls of each of these cells."""
        return np.add.reduceat(of_calls, self.first)


@dataclass(frozen=True, slots=True)
class CallGrid(Calls):
    """Calls sorted by operation and time, and the cells of time they fall into."""

    #: of each call: natural logarithm of its microseconds
    log_us: Floats
    #: of each operation its cells that have calls
    runs: tuple[Runs, ...]
    #: instant of the first cell, its width, and how many there are
    start: int
    width: int
    cells: int
    #: last instant
    end: int

    @property
    def cells_per_hour(self) -> float:
        """How many cells an hour has."""
        return HOUR / self.width

    def cells_in(self, hours: float) -> int:
        """How many cells this many hours are, at least 1."""
        return max(1, round(hours * self.cells_per_hour))

    def middles(self) -> Ints:
        """The middle of each cell."""
        return self.start + self.width * np.arange(self.cells) + self.width // 2

    def cells_of(self, operation: int) -> Ints:
        """The cell of each call of an operation."""
        return (self.at[self.calls_of(operation)] - self.start) // self.width

    def counts(self) -> Floats:
        """(operation, cell): the number of calls."""
        found = np.zeros((len(self.operations), self.cells))
        for row, runs in zip(found, self.runs, strict=True):
            row[runs.cell] = runs.count
        return found

    def block_sums(self, of_cells: Floats, per: int) -> Floats:
        """Sums over blocks of ``per`` cells, (operation, block); the last block may have fewer."""
        blocks = -(-self.cells // per)
        padded = np.pad(of_cells, ((0, 0), (0, blocks * per - self.cells)))
        return np.asarray(padded.reshape(len(of_cells), blocks, per).sum(axis=2))


def call_grid(metrics: pl.DataFrame | pl.LazyFrame | Calls, as_of: datetime, lookback: timedelta) -> CallGrid:
    """The calls of ``[as_of - lookback, as_of]``.

    Args:
        metrics: `frames.METRICS`, or just the calls of the window in order.
        as_of: end of the window, with a zone.
        lookback: its length, from an hour to `LONGEST`.

    Returns:
        A grid whose cells are 15 minutes wide, wider ones for 16 days and more; they begin at full hours of UTC.

    Raises:
        InvalidArgument: the lookback is shorter or longer.
    """
    if not timedelta(hours=1) <= lookback <= LONGEST:
        raise InvalidArgument(f"lookback is {lookback}, expected at least 1 hour and at most {LONGEST.days} days")
    calls = metrics if isinstance(metrics, Calls) else ordered_calls(between(metrics, as_of - lookback, as_of))
    end = microseconds(as_of)
    begin = microseconds(as_of - lookback)
    width = next(width for width in _WIDTHS if (end - begin) // width < MOST_CELLS)
    start = begin - begin % HOUR
    return CallGrid(
        operations=calls.operations,
        first=calls.first,
        at=calls.at,
        duration_us=calls.duration_us,
        metric_id=calls.metric_id,
        room=calls.room,
        log_us=_log_us(calls),
        runs=tuple(Runs.of(calls.at[calls.calls_of(place)], start, width) for place in range(len(calls.operations))),
        start=start,
        width=width,
        cells=(end - start) // width + 1,
        end=end,
    )


def _log_us(calls: Calls) -> Floats:
    """Logarithms of the durations; of an operation timed in coarse units, of durations within half a unit of them.

    A median of whole milliseconds jumps where the true one moves a little, and neighbouring calls that take 2 ms each
    look as if they did not scatter. Spread over their unit, counts have quantiles that follow (Machado and Santos Silva
    2005, "Quantiles for counts"). Where in its unit a call is follows from its metric_id, the same in every run.
    """
    size = calls.at.size
    found: Floats = np.empty(size) if calls.room is None else calls.room.column(np.float64, size)
    for place in range(len(calls.operations)):
        of = calls.calls_of(place)
        duration_us: Ints | Floats = calls.duration_us[of]
        unit = _unit(calls.duration_us[of])
        if unit > 1 and unit > COARSE * float(np.median(duration_us)):
            duration_us = np.abs(duration_us + unit * _chance(calls.metric_id[of]))
        np.log(np.maximum(duration_us, _LEAST_US), out=found[of])
    return found


def _chance(metric_id: Ints) -> Floats:
    """Of each number one within -0.5 to 0.5 that has nothing to do with that of the next."""
    mixed = metric_id.astype(np.uint64) * np.uint64(_GAMMA)
    for shift, factor in _MIXES:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((mixed >> np.uint64(11)) / 2.0**53 - 0.5, dtype=np.float64)


def _unit(duration_us: Ints) -> int:
    """What all durations are multiples of, microseconds; 1 where they are too few or too alike to say."""
    unit = int(np.gcd.reduce(duration_us[:_SAMPLE]))
    if unit == 1 or duration_us.size < _LEAST_CALLS or duration_us.min() == duration_us.max():
        return 1
    return math.gcd(unit, int(np.gcd.reduce(duration_us)))


def scatter(x: Floats) -> float:
    """The scatter of successive values about their level, in the units of a standard deviation.

    From the median of their differences (von Neumann 1941, made robust): no level, season or change touches it. At
    least `LEAST_SPREAD`, which is also that of a single value.
    """
    steps = np.abs(np.diff(x))
    return max(LEAST_SPREAD, quantile(steps, 0.5) / _MEDIAN_DIFFERENCE) if steps.size else LEAST_SPREAD


def spreads(grid: CallGrid) -> Floats:
    """The scatter of each operation's log durations, `scatter`."""
    return np.array([scatter(grid.log_us[grid.calls_of(place)]) for place in range(len(grid.operations))])


@dataclass(frozen=True, slots=True)
class CellMeans:
    """One value for each (operation, cell)."""

    #: Huber's one-step mean of the log durations, 0 where there is no call
    value: Floats
    #: number of calls
    count: Floats


def cell_means(grid: CallGrid, spread: Floats) -> CellMeans:
    """Robust means: the median of the cell's calls plus the mean of their distances from it, cut off at `HUBER`.

    This is one step of Huber's M-estimator from the median (Bickel 1975). With one or two calls it is their mean.

    Args:
        grid: the calls.
        spread: of each operation, `spreads`.
    """
    value, count = _cell_medians(grid), grid.counts()
    for place, runs in enumerate(grid.runs):
        psi = grid.log_us[grid.calls_of(place)] - runs.at_calls(value[place])
        bound = HUBER * spread[place]
        np.clip(psi, -bound, bound, out=psi)
        value[place, runs.cell] += runs.sums(psi) / runs.count
    return CellMeans(value, count)


def _cell_medians(grid: CallGrid) -> Floats:
    """(operation, cell): the median of the log durations, 0 where there is no call."""
    found = np.zeros((len(grid.operations), grid.cells))
    for place, runs in enumerate(grid.runs):
        run = pl.Series(np.repeat(np.arange(runs.cell.size, dtype=np.int32), runs.count)).set_sorted()
        calls = pl.DataFrame({"run": run, "x": grid.log_us[grid.calls_of(place)]})
        medians = calls.group_by("run", maintain_order=True).agg(pl.col("x").median())
        found[place, runs.cell] = medians["x"].to_numpy()
    return found
