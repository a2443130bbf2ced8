"""What the level of one operation did over time: pieces of one level, or a ramp; and how sure that is.

An operation with many calls has the optimal partition (`partition`) of its adjusted cells, with borders that are too
small, too short or too weak removed, and the best ramp (level, rise, first, last), by equal ratios or by equal amounts;
the better of the two by BIC (Schwarz 1978) stands, so that a drift is no staircase. A rare operation has at most one
step between two calls, with the p value of random permutations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pggit_analytics.analysis.call_grid import CallGrid, Flags, Floats, Ints, scatter
from pggit_analytics.analysis.expected_levels import robust_mean
from pggit_analytics.analysis.partition import border_gains, merge_pieces, optimal_partitions, piece_means, ramps

#: smallest lasting change of the logarithm of the level that is told
LEAST_SIZE = math.log(1.05)
#: shortest lasting change, and shortest drift, in hours
LEAST_HOURS, DRIFT_HOURS = 6.0, 12.0
#: what a ramp must explain beyond BIC to stand for a single step, which is what most changes are
RAMP_MARGIN = 6.0
#: operations with fewer calls are judged call by call
RARE_CALLS = 300
#: calls of a rare operation on either side of a change
LEAST_CALLS = 4
PERMUTATIONS = 1999
#: and the cells they come from: calls of one moment are alike, and so count for little more than one
LEAST_RARE_CELLS = 3
#: p value above which a rare operation keeps one level
RARE_P = 0.05
#: penalty for a piece, in squared standard errors
PENALTY = 14.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """A level that rises or falls between two cells, by equal amounts of the logarithm or of milliseconds."""

    first: int
    last: int
    #: level before, and how much is added until the last cell; both logarithms
    level: float
    rise: float
    is_linear: bool = False

    def path(self, cells: int) -> Floats:
        """The level of every cell."""
        done = np.clip((np.arange(cells) + 0.5 - self.first) / (self.last - self.first), 0.0, 1.0)
        risen = np.log1p(math.expm1(self.rise) * done) if self.is_linear else self.rise * done
        return np.asarray(self.level + risen, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Model:
    """What the level of one operation did: pieces, or one ramp."""

    #: of pieces: borders in cells, and the level of each
    borders: Ints
    levels: Floats
    #: instead of the pieces; None: the pieces stand
    ramp: Ramp | None = None
    #: p of each inner border, or of the ramp
    p: tuple[float, ...] = ()
    #: whether the operation was judged call by call
    is_rare: bool = False

    def path(self, cells: int) -> Floats:
        """The level of every cell."""
        if self.ramp is not None:
            return self.ramp.path(cells)
        return np.repeat(self.levels, np.diff(self.borders))


def level_models(
    grid: CallGrid, values: Floats, precision: Floats, season: Floats, places: Ints | None = None
) -> tuple[Model, ...]:
    """The course of every operation.

    Args:
        grid: the calls.
        values: adjusted cells, (operation, cell).
        precision: reciprocal variances of independent errors, 0 for cells that do not count.
        season: what the hour adds to each cell of all operations.
        places: the operations that values and precision are of; all by default.
    """
    places = np.arange(len(grid.operations)) if places is None else places
    calls = np.where(precision > 0, grid.counts()[places], 0.0).sum(axis=1)
    borders = optimal_partitions(values, precision, np.full(len(values), PENALTY))
    return tuple(
        _rare_model(grid, int(place), season[place], precision[row])
        if calls[row] < RARE_CALLS
        else _model(grid, values[row], precision[row], borders[row])
        for row, place in enumerate(places)
    )


def single_change(grid: CallGrid, values: Floats, precision: Floats) -> Floats:
    """The path of the one step or ramp that fits an operation best."""
    fit = fit_ramps(grid, values, precision, values, is_linear=False)
    weight, total = np.cumsum(precision)[:-1], np.cumsum(precision * values)[:-1]
    rest = np.maximum(precision.sum() - weight, 1e-12)
    before, after = total / np.maximum(weight, 1e-12), ((precision * values).sum() - total) / rest
    gain = np.minimum(weight, rest) * np.maximum(weight, rest) / precision.sum() * (after - before) ** 2
    best = int(gain.argmax())
    step = np.where(np.arange(values.size) <= best, before[best], after[best])
    ramp = fit.ramp(int(fit.misfit.argmin())).path(values.size)
    return min(step, ramp, key=lambda path: float((precision * (values - path) ** 2).sum()))


def _model(grid: CallGrid, values: Floats, precision: Floats, borders: Ints) -> Model:
    """Pieces or a ramp, whichever explains one operation better for its number of parameters."""
    borders = merge_pieces(
        values,
        precision,
        borders,
        penalty=PENALTY,
        least_size=LEAST_SIZE,
        least_cells=grid.cells_in(LEAST_HOURS),
    )
    levels, weight = piece_means(values, precision, borders)
    if borders.size == 2:
        return Model(borders, levels)
    used = int((precision > 0).sum())
    pieces = Model(borders, levels, p=tuple(largest_gain_p(float(g), used) for g in border_gains(levels, weight)))
    ramp, misfit = _best_ramp(grid, values, precision, pieces.path(grid.cells))
    of_pieces = float((precision * (values - pieces.path(grid.cells)) ** 2).sum())
    parameters = 2 if ramp.last == grid.cells else 3
    margin = RAMP_MARGIN if borders.size == 3 else 0.0
    if misfit + parameters * math.log(used) + margin >= of_pieces + 2 * (borders.size - 2) * math.log(used):
        return pieces
    none = float((precision * (values - np.average(values, weights=precision)) ** 2).sum())
    return Model(borders, levels, ramp, (largest_gain_p(none - misfit, used),))


def _best_ramp(grid: CallGrid, values: Floats, precision: Floats, path: Floats) -> tuple[Ramp, float]:
    """The better of the two shapes of ramp, and its sum of squares in logarithms."""
    found = []
    for is_linear in (False, True):
        fit = fit_ramps(grid, values, precision, path, is_linear=is_linear)
        best = int((fit.misfit + np.where(fit.last == grid.cells, 2, 3) * math.log(grid.cells)).argmin())
        ramp = fit.ramp(best)
        found.append((float((precision * (values - ramp.path(grid.cells)) ** 2).sum()), ramp))
    misfit, ramp = min(found, key=lambda pair: pair[0])
    return ramp, misfit


@dataclass(frozen=True, slots=True)
class RampFits:
    """Ramps of one shape for many first and last cells; elements of equal length."""

    first: Ints
    last: Ints
    #: sum of squares; of a linear one in multiples of the level, which is nearly that in logarithms
    misfit: Floats
    #: level before and rise, on the scale of the fit
    level: Floats
    rise: Floats
    #: the middle level that a linear fit is a multiple of; None: it is of logarithms
    middle: float | None

    def ramp(self, chosen: int) -> Ramp:
        """One of them, in logarithms."""
        first, last = int(self.first[chosen]), int(self.last[chosen])
        level, rise = float(self.level[chosen]), float(self.rise[chosen])
        if self.middle is None:
            return Ramp(first, last, level, rise)
        before = max(level, 1e-6)
        return Ramp(first, last, self.middle + math.log(before), math.log(max(level + rise, 1e-6) / before), True)


def fit_ramps(grid: CallGrid, values: Floats, precision: Floats, path: Floats, *, is_linear: bool) -> RampFits:
    """Ramps from any hour to any other at least `DRIFT_HOURS` later.

    Args:
        grid: the calls.
        values: adjusted cells of one operation.
        precision: their precision.
        path: roughly their level, for the weights of a linear fit: d exp(y) = exp(y) dy.
        is_linear: growth by equal amounts of milliseconds instead of the logarithm.
    """
    middle = float(path.mean()) if is_linear else None
    if middle is not None:
        values, precision = np.exp(values - middle), precision * np.exp(-2 * (path - middle))
    first, last, gain, rise, level = ramps(values, precision, grid.cells_in(1.0), grid.cells_in(DRIFT_HOURS))
    total = float((precision * (values - np.average(values, weights=precision)) ** 2).sum())
    return RampFits(first, last, total - gain, level, rise, middle)


def largest_gain_p(gain: float, count: int, trimmed: float = 0.02) -> float:
    """Probability that the largest squared t over all positions of ``count`` values exceeds ``gain`` without a change.

    Csorgo and Horvath (1997, 1.3.26), positions within ``trimmed`` of either end left out; t is brought to the scale of
    a normal value by the leading term of Wallace's approximation (1959).
    """
    free = max(count - 2, 1)
    squared = free * math.log1p(gain / free)
    if squared <= 4:
        return 1.0
    odds = 2 * math.log((1 - trimmed) / trimmed)
    root = math.sqrt(squared)
    return min(1.0, root * math.exp(-squared / 2) / math.sqrt(2 * math.pi) * (odds - odds / squared + 4 / squared))


def _rare_model(grid: CallGrid, place: int, season: Floats, precision: Floats) -> Model:
    """One step between two calls, or none."""
    calls = grid.calls_of(place)
    cells = grid.cells_of(place)
    is_used = precision[cells] > 0
    x, cells = (grid.log_us[calls] - season[cells])[is_used], cells[is_used]
    spread = scatter(x)
    whole = Model(np.array([0, grid.cells]), np.array([float(np.median(x)) if x.size else 0.0]), is_rare=True)
    if x.size < 2 * LEAST_CALLS:
        return whole
    border, p = permuted_step(x, spread)
    sides = (x[:border], x[border:])
    levels = np.array([robust_mean(side, np.full(side.size, spread**-2.0))[0] for side in sides])
    cell = int(cells[border])
    if p > RARE_P or abs(levels[1] - levels[0]) < LEAST_SIZE or _is_of_moments(cells, border):
        return whole
    return Model(np.array([0, cell, grid.cells]), levels, p=(p,), is_rare=True)


def _is_of_moments(cells: Ints, border: int) -> bool:
    """Whether the calls before or after the step come from too few cells, or it lies within a cell at the start."""
    return (
        cells[border] == 0 or min(np.unique(side).size for side in (cells[:border], cells[border:])) < LEAST_RARE_CELLS
    )


def permuted_step(x: Floats, spread: float) -> tuple[int, float]:
    """Where a short series most likely steps up or down, and the p value of there being no step.

    The statistic is the exponential average of the squared standardised differences of Huber's scores over all
    positions, rises and falls apart (Andrews and Ploberger 1994): better than the largest one. It is compared with that
    of `PERMUTATIONS` random orders, the same for the same number of values. Rises and falls are two hypotheses: the one
    with the lower p is returned, not doubled.

    Returns:
        First element after the most likely position, p.
    """
    scores = np.clip((x - np.median(x)) / spread, -3.0, 3.0)
    scores = (scores - scores.mean()) / max(float(scores.std()), 1e-9)
    before = np.arange(LEAST_CALLS, x.size - LEAST_CALLS + 1)
    root = np.sqrt(before * (x.size - before) / x.size)
    orders = np.random.default_rng(x.size).permuted(np.tile(scores, (PERMUTATIONS, 1)), axis=1)
    differences = -np.cumsum(np.vstack((scores, orders)), axis=1)[:, before - 1] / root
    found = []
    for sign in (1.0, -1.0):
        one_sided = np.maximum(sign * differences, 0.0)
        average = np.logaddexp.reduce(one_sided**2 / 2, axis=1)
        as_large = int((average[1:] >= average[0] - 1e-12).sum())
        found.append(((1 + as_large) / (1 + PERMUTATIONS), int(before[one_sided[0].argmax()])))
    p, border = min(found)
    return border, p


def passes(p: Floats, share: float, tests: int | None = None) -> Flags:
    """Which hypotheses to reject so that on average at most this share is true (Benjamini and Hochberg 1995).

    Args:
        p: of the hypotheses.
        share: of wrong ones among those rejected.
        tests: how many hypotheses there are, if those with a p above the share are left out; None = all are there.
    """
    # the others have no influence, and of many calls nearly all are others
    small = np.sort(p[p <= share])
    kept = np.flatnonzero(small <= share * np.arange(1, small.size + 1) / (tests or p.size))
    return np.asarray(p <= (small[kept[-1]] if kept.size else -1.0))
