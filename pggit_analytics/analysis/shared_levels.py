"""How far operations are from their own usual level, in cells of 5 minutes: what `shared_degradation` correlates.

The logarithm of a duration is taken to be::

    log duration = path(operation, t) + loading(operation) x common(t) + rise(operation, t) + noise

``path`` is the operation's own course: the running median, over half a day, of its hourly means (Tukey 1977). A median
keeps the edges of a lasting step and follows a drift or a season, so none of them is left in what remains; what lasts a
few hours and passes is left. ``common`` is what most operations do at once, the median over operations. Half of the
operations must move for it to move; what goes beyond three robust standard deviations of its usual course is no load
of the day but a slow-down of nearly everything, and stays.

Single calls count up to 3 spreads from the path (winsorised; Tukey 1962), so that one spike is not a slow window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pggit_analytics.analysis.call_grid import HOUR, MINUTE, CallGrid, Flags, Floats
from pggit_analytics.analysis.expected_levels import medians, running_median

#: width of a cell
CELL = 5 * MINUTE
#: hours on either side over which the path is a median; those with calls must be this many, or all hours are taken
HALF_HOURS, LEAST_HOURS = 6, 5
#: distance from the path, in spreads, up to which a call counts
CLIP = 3.0
#: operations without which the median of all is not called common, and how far it may go at least (5 %)
LEAST_OPERATIONS, LEAST_COMMON = 8, 0.05
#: robust standard deviations of the common course beyond which it is none
COMMON_SPREADS = 3.0
#: cells over which the common course is smoothed
COMMON_CELLS = 9
#: standard deviation of the loadings over operations, and the greatest one
LOADING_SPREAD, MOST_LOADING = 0.5, 3.0
#: scatter of levels that no number of calls removes, for weights before it is known
_SCATTER = 0.05
_MAD = 0.6745


@dataclass(frozen=True, slots=True)
class SharedLevels:
    """Calls and their distances from the path, summed over cells."""

    #: names, ascending
    operations: tuple[str, ...]
    #: instant of the first cell, microseconds since 1970-01-01 UTC
    start: int
    #: (operation, cell): number of calls, sum of their winsorised distances
    count: Floats
    total: Floats
    #: (operation,): variance of the distance of a single call from the level of its window
    variance: Floats
    #: (operation, cell): the path, in logarithms of microseconds
    path: Floats

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self.count.shape[1])


@dataclass(frozen=True, slots=True)
class Windows:
    """Mean distances over windows of whole cells; 0 and no weight where there are no calls."""

    #: (operation, window)
    value: Floats
    #: variance of ``value`` by the number of calls, 0 where there are none
    variance: Floats
    has_calls: Flags


def shared_levels(grid: CallGrid, spread: Floats) -> SharedLevels:
    """The distances of calls from their operation's own course.

    Args:
        grid: the calls.
        spread: of each operation, `call_grid.spreads`.
    """
    path = own_paths(grid)
    count, total, squares = np.zeros_like(path), np.zeros_like(path), np.zeros_like(path)
    for place in range(len(path)):
        calls, bound = grid.calls_of(place), CLIP * spread[place]
        cell = (grid.at[calls] - grid.start) // CELL
        distance = np.clip(grid.log_us[calls] - path[place, cell], -bound, bound)
        count[place] = np.bincount(cell, minlength=path.shape[1])
        total[place] = np.bincount(cell, distance, minlength=path.shape[1])
        squares[place] = np.bincount(cell, distance * distance, minlength=path.shape[1])
    variance = _within_variance(count, total, squares, spread)
    return SharedLevels(grid.operations, grid.start, count, total, variance, path)


def distances(grid: CallGrid, path: Floats, operation: int) -> Floats:
    """How far the logarithms of an operation's calls are above its path.

    Args:
        grid: the calls.
        path: (operation, cell), `own_paths`.
        operation: position.
    """
    calls = grid.calls_of(operation)
    return np.asarray(grid.log_us[calls] - path[operation, (grid.at[calls] - grid.start) // CELL], dtype=np.float64)


def own_paths(grid: CallGrid) -> Floats:
    """(operation, cell): the running median of hourly means, straight between the middles of hours.

    It is the median of all hours for operations with calls in few hours.
    """
    hours, shape = int((grid.end - grid.start) // HOUR) + 1, len(grid.operations)
    count, total = grid.block_sums(grid.counts(), grid.cells_in(1.0)), np.zeros((shape, hours))
    for place, runs in enumerate(grid.runs):
        # call by call, not cell by cell: onsets that fit equally well are told apart by the last bit of these sums
        hour = np.repeat(runs.cell // grid.cells_in(1.0), runs.count)
        total[place] = np.bincount(hour, grid.log_us[grid.calls_of(place)], minlength=hours)
    mean = np.divide(total, count, out=np.full((shape, hours), np.nan), where=count > 0)
    hourly = _filled(running_median(mean, HALF_HOURS, LEAST_HOURS), np.nan_to_num(medians(mean)))
    cells = int((grid.end - grid.start) // CELL) + 1
    at = (np.arange(cells) + 0.5) * CELL / HOUR - 0.5
    return np.array([np.interp(at, np.arange(hours), path) for path in hourly]).reshape(shape, cells)


def _filled(paths: Floats, overall: Floats) -> Floats:
    """Paths with the gaps bridged straight; ``overall`` where there is nothing to bridge."""
    every = np.arange(paths.shape[1])
    rows = []
    for path, constant in zip(paths, overall, strict=True):
        known = np.isfinite(path)
        rows.append(np.interp(every, every[known], path[known]) if known.any() else np.full(every.size, constant))
    return np.array(rows).reshape(paths.shape)


def _within_variance(count: Floats, total: Floats, squares: Floats, spread: Floats) -> Floats:
    """Variance of single calls about the mean of their quarter of an hour, pooled over the time."""
    calls, sums, rest = (_folded(values, 3, 0) for values in (count, total, squares))
    freedom = np.maximum(calls - 1, 0).sum(axis=1)
    between = np.divide(sums * sums, calls, out=np.zeros_like(sums), where=calls > 0)
    within = np.maximum((rest - between).sum(axis=1), 0.0)
    # few windows with two calls say little: the spread of the whole then counts as 20 calls
    return np.asarray((within + 20 * spread**2) / (freedom + 20), dtype=np.float64)


def _folded(values: Floats, cells: int, first: int) -> Floats:
    """Sums over this many cells each, the first ones left out."""
    kept = values[:, first:]
    padded = np.pad(kept, ((0, 0), (0, -kept.shape[1] % cells)))
    return np.asarray(padded.reshape(padded.shape[0], -1, cells).sum(axis=2), dtype=np.float64)


def windows(levels: SharedLevels, cells: int, first: int = 0) -> Windows:
    """Means over windows of this many cells, with what is common to all operations taken away.

    Args:
        levels: `shared_levels`.
        cells: width of a window.
        first: the cell the first window begins with.
    """
    count, total = _folded(levels.count, cells, first), _folded(levels.total, cells, first)
    has_calls = count > 0
    value = np.divide(total, count, out=np.zeros_like(total), where=has_calls)
    variance = np.divide(levels.variance[:, None], count, out=np.zeros_like(total), where=has_calls)
    common = common_course(value, has_calls, 2 * (COMMON_CELLS // (2 * cells)) + 1)
    value = np.where(has_calls, value - _loadings(value, variance, has_calls, common)[:, None] * common, 0.0)
    return Windows(value, variance, has_calls)


def common_course(value: Floats, has_calls: Flags, smoothed: int) -> Floats:
    """What most operations do in each window: their median, within its usual bounds.

    Args:
        value: (operation, window).
        has_calls: where there is a value.
        smoothed: windows whose mean is taken, an odd number.
    """
    enough = has_calls.sum(axis=0) >= LEAST_OPERATIONS
    course = np.zeros(value.shape[1])
    if not enough.any():
        return course
    course[enough] = medians(np.where(has_calls, value, np.nan)[:, enough].T)
    course = np.convolve(np.pad(course, smoothed // 2, mode="edge"), np.ones(smoothed), "valid") / smoothed
    bound = max(LEAST_COMMON, COMMON_SPREADS * float(np.median(np.abs(course[enough]))) / _MAD)
    return np.clip(course, -bound, bound)


def _loadings(value: Floats, variance: Floats, has_calls: Flags, common: Floats) -> Floats:
    """How much of the common course each operation shows: a regression through 0, drawn to 1 by its uncertainty."""
    weight = np.where(has_calls, 1 / (variance + _SCATTER**2), 0.0)
    information = (weight * common**2).sum(axis=1)
    slope = np.divide(
        (weight * value * common).sum(axis=1), information, out=np.ones(len(value)), where=information > 0
    )
    kept = LOADING_SPREAD**2 * information / (LOADING_SPREAD**2 * information + 1)
    return np.asarray(np.clip(1 + (slope - 1) * kept, 0.0, MOST_LOADING), dtype=np.float64)
