"""Operations whose calls scatter more, or less, about their level than they did.

The logarithm of a call's distance from its level moves by the logarithm of the ratio of the spreads when the scatter
changes, whatever the law of the noise. Cut off at both ends, its means over cells are partitioned (`partition`) like
levels; the variance of one logarithm is that of a normal value, pi^2 / 8, and errors that are alike inflate it.

Limits: a change of the tail alone hardly moves it; of several changes of one operation the surest is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pggit_analytics.analysis.call_grid import Floats, Ints
from pggit_analytics.analysis.followed_levels import Levels, long_run_inflation
from pggit_analytics.analysis.level_models import LEAST_HOURS, PENALTY, largest_gain_p, passes
from pggit_analytics.analysis.partition import border_gains, merge_pieces, optimal_partitions, piece_means

#: share of wrong ones among the operations told, and the largest p of one
FALSE_DISCOVERIES, SURE = 0.01, 1e-3
#: smallest change of the logarithm of the scatter that is told, and its shortest duration in hours
LEAST_SIZE, LEAST_LENGTH = math.log(1.2), 2 * LEAST_HOURS
#: range of distances, in spreads, whose logarithms are taken
_NEAREST, _FARTHEST = 0.05, 4.0
#: variance of the logarithm of a normal value's distance from its mean
_LOG_VARIANCE = np.pi**2 / 8


@dataclass(frozen=True, slots=True)
class ScatterChange:
    """The surest change of the scatter of one operation."""

    operation: int
    #: first cell of the new scatter
    cell: int
    #: spread after to before
    ratio: float
    p: float


def scatter_changes(levels: Levels) -> list[ScatterChange]:
    """The changes of the scatter, at most one for each operation."""
    values, precision = _log_distances(levels)
    borders = optimal_partitions(values, precision, np.full(len(values), PENALTY))
    changes = [_surest(levels, place, *row) for place, row in enumerate(zip(values, precision, borders, strict=True))]
    is_told = passes(np.array([1.0 if c is None else c.p for c in changes]), FALSE_DISCOVERIES)
    return [c for c, told in zip(changes, is_told, strict=True) if c is not None and told and c.p < SURE]


def _log_distances(levels: Levels) -> tuple[Floats, Floats]:
    """Means of the logarithms of distances over (operation, cell), less the operation's mean; and their precision."""
    grid, shape = levels.grid, levels.precision.shape
    count, total = grid.counts() * (levels.precision > 0), np.zeros(shape)
    for place, runs in enumerate(grid.runs):
        distance = np.abs(levels.residuals(place)) / levels.spread[place]
        np.log(np.clip(distance, _NEAREST, _FARTHEST, out=distance), out=distance)
        total[place, runs.cell] = runs.sums(distance)
    values = np.divide(total, count, out=np.zeros(shape), where=count > 0)
    precision = count / _LOG_VARIANCE
    values -= (precision * values).sum(axis=1, keepdims=True) / np.maximum(precision.sum(axis=1, keepdims=True), 1e-12)
    return values, precision / long_run_inflation(grid, values, precision)[:, None]


def _surest(levels: Levels, place: int, values: Floats, precision: Floats, borders: Ints) -> ScatterChange | None:
    grid = levels.grid
    borders = merge_pieces(
        values,
        precision,
        borders,
        penalty=PENALTY,
        least_size=LEAST_SIZE,
        least_cells=grid.cells_in(LEAST_LENGTH),
    )
    if borders.size == 2:
        return None
    means, weight = piece_means(values, precision, borders)
    gains = border_gains(means, weight)
    best = int(gains.argmax())
    p = largest_gain_p(float(gains[best]), int((precision > 0).sum()))
    return ScatterChange(place, int(borders[best + 1]), math.exp(means[best + 1] - means[best]), p)
