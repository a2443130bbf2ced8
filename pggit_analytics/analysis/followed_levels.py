"""The level of every operation through a window, apart from the season, with what passed and what lasted.

1. Robust means of cells (`call_grid.cell_means`) less the season (`expected_levels.season`), cut off at a distance from
   the running median of a day, which no episode of less than half a day moves.
2. Passing episodes: pieces of the optimal partition (`partition`) that are off that median and end again, or have only
   begun. They count for nothing in what follows.
3. What lasts: `level_models`. Its precision is divided by the long-run variance over that of independent calls, for
   neighbouring errors are alike: what blocks of two hours show (Kuensch 1989). Operations that seem to change are
   judged again by what differences between neighbouring half days show, the one change that fits best taken away: a
   level that wanders makes these large.

Assumptions: apart from changes and episodes the adjusted level is stationary; an episode is shorter than half a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.call_grid import (
    CallGrid,
    CellMeans,
    Flags,
    Floats,
    call_grid,
    cell_means,
    spreads,
)
from pggit_analytics.analysis.expected_levels import HALF_DAY, medians, running_median, season
from pggit_analytics.analysis.level_models import Model, level_models, single_change
from pggit_analytics.analysis.ordered_calls import Calls
from pggit_analytics.analysis.partition import optimal_partitions, piece_means
from pggit_analytics.frames import INSTANT, FrameSchema

#: Times that must not be learnt from; ``operation_type`` NULL: of all operations. Cells touched count as a whole.
KNOWN_INCIDENTS = FrameSchema(
    "known incidents",
    {"operation_type": pl.String, "start": INSTANT, "end": INSTANT},
    nullable=frozenset({"operation_type"}),
)

#: smallest episode (logarithm) and longest, in hours
LEAST_EPISODE, LONGEST_EPISODE = 0.1, 13.0
#: error of the expected level that no number of calls removes
LEVEL_ERROR = 0.02
#: penalty for a piece, in squared standard errors
EPISODE_PENALTY = 20.0
#: how far cells may stray from the running median, in spreads: with few calls, with more
_FEW, _STRAY_FEW, _STRAY = 5, 2.5, 4.0
#: block over which errors are taken to be alike, hours; how many blocks measure it, how many hours measure a wander
_BLOCK_HOURS, _LEAST_BLOCKS, _LEAST_WANDER = 2.0, 20, 72
#: neighbouring cells that measure the spread
_LEAST_PAIRS = 50
#: quantile of the size of their differences, which a second mode of every fifth cell moves, and that of a normal value
_WIDE, _WIDE_SIZE = 0.8, 1.2815515655446004
#: by how much neighbouring cells must differ more than expected for it to be modes
_MODES = 1.5
#: median size of a standard normal value
_MEDIAN_SIZE = 0.6744897501960817


@dataclass(frozen=True, slots=True)
class Episode:
    """A piece of one operation off its usual level."""

    operation: int
    #: cells, ``first <= cell < last``
    first: int
    last: int
    #: adjusted, inside
    level: float


@dataclass(frozen=True, slots=True)
class Levels:
    """The followed levels of all operations; matrices are (operation, cell), logarithms of microseconds."""

    grid: CallGrid
    spread: Floats
    #: what the hour adds
    season: Floats
    #: adjusted cells: robust means less the season, cut off; and their precision, 0 for cells that do not count
    values: Floats
    precision: Floats
    #: which cells lie in passing episodes, and which ones may be learnt from
    is_passing: Flags
    trains: Flags
    #: the lasting level, and the one with passing episodes
    lasting: Floats
    local: Floats
    #: long-run variance over that of independent calls
    inflation: Floats
    models: tuple[Model, ...]
    episodes: tuple[Episode, ...]

    def residuals(self, operation: int) -> Floats:
        """Of each call of an operation: log duration less season and lasting level."""
        grid, course = self.grid, self.season[operation] + self.lasting[operation]
        return np.asarray(grid.log_us[grid.calls_of(operation)] - grid.runs[operation].at_calls(course))


def operation_levels(
    metrics: pl.DataFrame | pl.LazyFrame | Calls,
    as_of: datetime,
    *,
    lookback: timedelta = timedelta(days=7),
    incidents: pl.DataFrame | None = None,
    trained_until: datetime | None = None,
) -> Levels:
    """The levels of ``[as_of - lookback, as_of]``.

    Args:
        metrics: `frames.METRICS`, or just the calls of the window in order.
        as_of: end of the window, with a zone.
        lookback: length of the window; two days or more for a season to be seen.
        incidents: `KNOWN_INCIDENTS`, which are neither learnt from nor count for lasting levels.
        trained_until: season and tails are learnt from what is earlier, levels are followed to the end all the same.

    Raises:
        InvalidArgument: the as_of has no zone; the lookback is shorter than an hour or longer than `call_grid.LONGEST`.
    """
    grid = call_grid(metrics, check_as_of(as_of), lookback)
    spread = spreads(grid)
    means = cell_means(grid, spread)
    counts = _outside(grid, incidents)
    until = grid.end + 1 if trained_until is None else pl.Series([trained_until], dtype=INSTANT).dt.epoch("us").item()
    trains = counts & (grid.start + grid.width * np.arange(grid.cells) < until)
    of_hour = season(grid, means, spread, np.zeros_like(means.value), trains).at_cells(grid)
    return follow_levels(grid, means, spread, of_hour, counts=counts, trains=trains)


def _outside(grid: CallGrid, incidents: pl.DataFrame | None) -> Flags:
    """Which (operation, cell) no incident touches."""
    outside = np.ones((len(grid.operations), grid.cells), dtype=np.bool_)
    if incidents is None:
        return outside
    rows = KNOWN_INCIDENTS.check(incidents).with_columns(pl.col("start", "end").dt.epoch("us"))
    for name, start, end in rows.iter_rows():
        if name is not None and name not in grid.operations:
            continue
        where = slice(None) if name is None else grid.operations.index(name)
        first, last = ((instant - grid.start) // grid.width for instant in (start, end))
        outside[where, max(first, 0) : max(last + 1, 0)] = False
    return outside


def follow_levels(
    grid: CallGrid, means: CellMeans, spread: Floats, season: Floats, *, counts: Flags, trains: Flags
) -> Levels:
    """The level of every operation through the window.

    Args:
        grid: the calls.
        means: `cell_means`.
        spread: `spreads`.
        season: (operation, cell), `Season.at_cells`.
        counts: (operation, cell), False for cells that must not count, such as known incidents.
        trains: which of them others may learn from; kept in the result.
    """
    adjusted = means.value - season
    spread = _spread_of_cells(adjusted, np.where(counts, means.count, 0.0), spread)
    variance = spread[:, None] ** 2 / np.maximum(means.count, 1) + LEVEL_ERROR**2
    precision = np.where((means.count > 0) & counts, 1 / variance, 0.0)
    values, usual = _cut_off(grid, adjusted, means.count, precision, spread)
    episodes = _episodes(grid, values, adjusted, usual, precision)
    is_passing = np.zeros(values.shape, dtype=np.bool_)
    for episode in episodes:
        is_passing[episode.operation, episode.first : episode.last] = True
    precision = np.where(is_passing, 0.0, precision)
    models, inflation = _models(grid, values, usual, precision, season)
    lasting = np.array([model.path(grid.cells) for model in models]).reshape(values.shape)
    local = lasting.copy()
    for episode in episodes:
        local[episode.operation, episode.first : episode.last] = episode.level
    return Levels(
        grid=grid,
        spread=spread,
        season=season,
        values=values,
        precision=precision,
        is_passing=is_passing,
        trains=trains,
        lasting=lasting,
        local=local,
        inflation=inflation,
        models=tuple(models),
        episodes=tuple(episodes),
    )


def _spread_of_cells(adjusted: Floats, count: Floats, spread: Floats) -> Floats:
    """The spread, or the larger one that neighbouring cells show: that of calls which come in several modes."""
    found = spread.copy()
    for place, (values, calls) in enumerate(zip(adjusted, count, strict=True)):
        pairs = np.flatnonzero((calls[:-1] > 0) & (calls[1:] > 0))
        if pairs.size >= _LEAST_PAIRS:
            expected = np.sqrt(spread[place] ** 2 * (1 / calls[pairs] + 1 / calls[pairs + 1]) + 2 * LEVEL_ERROR**2)
            size = np.abs(values[pairs + 1] - values[pairs]) / expected
            ratio = float(np.quantile(size, _WIDE)) / _WIDE_SIZE
            # less than that are the borders of episodes
            found[place] *= ratio if ratio > _MODES else 1.0
    return found


def _deviation(standardised: Floats) -> float:
    """The standard deviation of values of mean 0 by the median of their sizes; NaN are left out."""
    return float(medians(np.abs(standardised))) / _MEDIAN_SIZE


def _hourly(grid: CallGrid, adjusted: Floats, precision: Floats) -> Floats:
    """Means of hours; NaN without calls."""
    per = grid.cells_in(1.0)
    weight, total = grid.block_sums(precision, per), grid.block_sums(precision * adjusted, per)
    return np.asarray(np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0), dtype=np.float64)


def _cut_off(
    grid: CallGrid, adjusted: Floats, count: Floats, precision: Floats, spread: Floats
) -> tuple[Floats, Floats]:
    """Cells no further from the running median of a day than their calls make believable, and that median."""
    median = running_median(_hourly(grid, adjusted, precision), HALF_DAY)
    filled = np.array([_filled(row) for row in median]).reshape(median.shape)
    usual = np.repeat(filled, grid.cells_in(1.0), axis=1)[:, : grid.cells]
    bound = np.where(count < _FEW, _STRAY_FEW, _STRAY) * spread[:, None]
    return np.where(precision > 0, usual + np.clip(adjusted - usual, -bound, bound), usual), usual


def _filled(row: Floats) -> Floats:
    """Gaps bridged by straight lines, ends by the nearest value; 0 without any value."""
    known = np.isfinite(row)
    if not known.any():
        return np.zeros_like(row)
    return np.asarray(np.interp(np.arange(row.size), np.flatnonzero(known), row[known]), dtype=np.float64)


def _episodes(grid: CallGrid, values: Floats, adjusted: Floats, usual: Floats, precision: Floats) -> list[Episode]:
    """Every piece that is off the running median and short; without the cells at its ends that have no calls."""
    found = []
    longest = grid.cells_in(LONGEST_EPISODE)
    borders = optimal_partitions(values, precision, np.full(len(values), EPISODE_PENALTY))
    for place, of_operation in enumerate(borders):
        off, weight = piece_means(values[place] - usual[place], precision[place], of_operation)
        # the cut off values are too low in a high episode
        level, _ = piece_means(adjusted[place], precision[place], of_operation)
        bound = np.maximum(LEAST_EPISODE, 3 / np.sqrt(np.maximum(weight, 1e-12)))
        for piece in np.flatnonzero((weight > 0) & (np.abs(off) > bound)):
            start, end = of_operation[piece], of_operation[piece + 1]
            used = np.flatnonzero(precision[place, start:end])
            if used[-1] - used[0] < longest:
                found.append(Episode(place, int(start + used[0]), int(start + used[-1]) + 1, float(level[piece])))
    return found


def long_run_inflation(grid: CallGrid, errors: Floats, precision: Floats) -> Floats:
    """Variance of the means of blocks over what independent calls would give, at least 1."""
    per = grid.cells_in(_BLOCK_HOURS)
    weight, total = grid.block_sums(precision, per), grid.block_sums(precision * errors, per)
    standardised = np.divide(total, np.sqrt(weight), out=np.full_like(total, np.nan), where=weight > 0)
    found = np.ones(len(errors))
    for place, row in enumerate(standardised):
        if np.isfinite(row).sum() >= _LEAST_BLOCKS:
            found[place] = max(1.0, _deviation(row) ** 2)
    return found


def _models(
    grid: CallGrid, values: Floats, usual: Floats, precision: Floats, season: Floats
) -> tuple[list[Model], Floats]:
    """What lasts, with the inflation by blocks of hours, and by half days of operations that then seem to change."""
    inflation = long_run_inflation(grid, values - usual, precision)
    models = list(level_models(grid, values, precision / inflation[:, None], season))
    suspects = np.array(
        [place for place, m in enumerate(models) if m.levels.size > 1 and not m.is_rare], dtype=np.int64
    )
    if not suspects.size:
        return models, inflation
    rest = np.array([values[place] - single_change(grid, values[place], precision[place]) for place in suspects])
    wander = _wander_inflation(grid, rest, precision[suspects])
    again = suspects[wander > inflation[suspects]]
    inflation[suspects] = np.maximum(inflation[suspects], wander)
    judged = level_models(grid, values[again], precision[again] / inflation[again, None], season, again)
    for place, model in zip(again, judged, strict=True):
        models[place] = model
    return models, inflation


def _wander_inflation(grid: CallGrid, values: Floats, precision: Floats) -> Floats:
    """The same for half days: the means of the 12 hours before and after each hour, less what a drift adds to all."""
    per, half = grid.cells_in(1.0), HALF_DAY
    sums = [np.cumsum(grid.block_sums(v, per), axis=1) for v in (precision, precision * values)]
    weight, total = (np.pad(v, ((0, 0), (1, 0))) for v in sums)
    found = np.ones(len(values))
    if weight.shape[1] <= _LEAST_WANDER + 2 * half:
        return found
    before, after = weight[:, half:-half] - weight[:, : -2 * half], weight[:, 2 * half :] - weight[:, half:-half]
    is_known = (before > 0) & (after > 0)
    before, after = np.where(is_known, before, 1.0), np.where(is_known, after, 1.0)
    difference = (total[:, 2 * half :] - total[:, half:-half]) / after
    difference -= (total[:, half:-half] - total[:, : -2 * half]) / before
    for place, row in enumerate(np.where(is_known, difference, np.nan)):
        if np.isfinite(row).sum() >= _LEAST_WANDER:
            expected = np.sqrt(1 / before[place] + 1 / after[place])
            found[place] = max(1.0, _deviation((row - medians(row)) / expected) ** 2)
    return found
