"""Calls in order of operation and time, and their robust means over cells of time: what the engine computes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import INSTANT

Floats = NDArray[np.float64]
#: positions, counts, and instants in microseconds since 1970-01-01 UTC
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: widths of a cell; the first one is taken that leaves at most `MOST_CELLS`
_WIDTHS = (15 * MINUTE, 30 * MINUTE, HOUR)
MOST_CELLS = 1500
#: longest window
LONGEST = timedelta(days=62)
#: durations of 0 count as half the unit they are measured in
_LEAST_US = 0.5
#: spread of log durations that is taken for granted, however alike the calls are
LEAST_SPREAD = 0.02
#: Huber's bound in spreads (Huber 1964): 95 % efficient on normal values
HUBER = 1.345
#: median of |difference| of two normal values, in standard deviations
_MEDIAN_DIFFERENCE = 0.953873


@dataclass(frozen=True, slots=True)
class CallGrid:
    """Calls sorted by operation and time, and the cells of time they fall into."""

    #: names, ascending
    operations: tuple[str, ...]
    #: of each call: position of its operation, instant it ended, natural logarithm of its microseconds, metric_id
    operation: Ints
    at: Ints
    log_us: Floats
    metric_id: Ints
    #: of each operation its first call, and the number of calls
    first: Ints
    #: of each call: operation x cells + cell
    cell: Ints
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

    def calls_of(self, operation: int) -> slice:
        """Where the calls of an operation are."""
        return slice(int(self.first[operation]), int(self.first[operation + 1]))

    def block_sums(self, of_cells: Floats, per: int) -> Floats:
        """Sums over blocks of ``per`` cells, (operation, block); the last block may have fewer."""
        blocks = -(-self.cells // per)
        padded = np.pad(of_cells, ((0, 0), (0, blocks * per - self.cells)))
        return np.asarray(padded.reshape(len(of_cells), blocks, per).sum(axis=2))

    def at_calls(self, of_cells: Floats) -> Floats:
        """A value of (operation, cell) for each call."""
        return np.asarray(of_cells.ravel()[self.cell])


def call_grid(metrics: pl.DataFrame | pl.LazyFrame, as_of: datetime, lookback: timedelta) -> CallGrid:
    """The calls of ``[as_of - lookback, as_of]``.

    Args:
        metrics: `frames.METRICS`.
        as_of: end of the window, with a zone.
        lookback: its length, from an hour to `LONGEST`.

    Returns:
        A grid whose cells are 15 minutes wide, wider ones for 16 days and more; they begin at full hours of UTC.

    Raises:
        InvalidArgument: the lookback is shorter or longer.
    """
    if not timedelta(hours=1) <= lookback <= LONGEST:
        raise InvalidArgument(f"lookback is {lookback}, expected at least 1 hour and at most {LONGEST.days} days")
    rows = metrics.lazy().filter(pl.col("created_at").is_between(as_of - lookback, as_of)).collect()
    end = int(pl.Series([as_of], dtype=INSTANT).dt.epoch("us").item())
    begin = end - lookback // timedelta(microseconds=1)
    width = next(width for width in _WIDTHS if (end - begin) // width < MOST_CELLS)
    start = begin - begin % HOUR
    names = rows["operation_type"].unique().sort()
    operation = rows["operation_type"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    at = rows["created_at"].dt.epoch("us").to_numpy()
    # one number to sort by: an instant since the start takes 52 of its bits, which is 142 years
    order = np.argsort((operation << 52) | (at - start), kind="stable")
    operation, at = operation[order], at[order]
    cells = int((end - start) // width) + 1
    return CallGrid(
        operations=tuple(names.to_list()),
        operation=operation,
        at=at,
        log_us=np.log(np.maximum(rows["duration_us"].to_numpy()[order], _LEAST_US)),
        metric_id=rows["metric_id"].to_numpy()[order],
        first=np.searchsorted(operation, np.arange(names.len() + 1)),
        cell=operation * cells + (at - start) // width,
        start=int(start),
        width=width,
        cells=cells,
        end=end,
    )


def scatter(x: Floats) -> float:
    """The scatter of successive values about their level, in the units of a standard deviation.

    From the median of their differences (von Neumann 1941, made robust): no level, season or change touches it. At
    least `LEAST_SPREAD`, which is also that of a single value.
    """
    steps = np.abs(np.diff(x))
    return max(LEAST_SPREAD, float(np.median(steps)) / _MEDIAN_DIFFERENCE) if steps.size else LEAST_SPREAD


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
    table = pl.DataFrame({"cell": grid.cell, "x": grid.log_us})
    medians = table.group_by("cell", maintain_order=True).agg(pl.col("x").median().alias("m"), pl.len().alias("n"))
    shape = (len(grid.operations), grid.cells)
    value, count = np.zeros(shape), np.zeros(shape)
    filled = medians["cell"].to_numpy()
    value.ravel()[filled], count.ravel()[filled] = medians["m"].to_numpy(), medians["n"].to_numpy()
    bound = HUBER * spread[grid.operation]
    psi = grid.log_us - grid.at_calls(value)
    np.clip(psi, -bound, bound, out=psi)
    sums = np.bincount(grid.cell, psi, minlength=value.size).reshape(shape)
    value += np.divide(sums, count, out=np.zeros(shape), where=count > 0)
    return CellMeans(value, count)
