"""Which pairs of operations rise and fall together, how surely, and how strongly without their noise.

For each operation the level of a window is its true rise plus sampling noise of known variance s^2 (the calls' variance
over their number). With weights w = 1 / (s^2 + V)::

    covariance(i, j) = sum w_i w_j x_i x_j / sum w_i w_j
    V(i)             = sum w_i^2 (x_i^2 - s_i^2) / sum w_i^2
    correlation      = covariance / sqrt(V(i) V(j))

which is Spearman's (1904, American Journal of Psychology 15) correction for attenuation with the reliability known
instead of measured twice. It says how much of the true rises is shared, whatever the number of calls; it may exceed 1
by chance, and V is not let below its standard error.

Significance: z = sum u_i u_j / sqrt(variance), u = w x, with
variance = sum u_i^2 u_j^2 + 2 sum over lags of the product of both autocovariances
(Bartlett 1935, Journal of the Royal Statistical Society 98; Pyper and Peterman 1998; tapered as in Newey and West
1987). The first term is heteroskedasticity-robust: windows in which both are high at once count as one observation each
and not as their heights suggest, so a single coincidence is not significant. The best of three lags (-5, 0, +5 minutes)
is taken and its p value multiplied by 3; over the pairs the false discovery rate is controlled (Benjamini and Hochberg
1995).

Limits: windows are the unit, so a pair needs some ten windows risen together; fewer are left to `shared_groups`, which
asks more operations at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pggit_analytics.analysis.call_grid import Flags, Floats, Ints
from pggit_analytics.analysis.shared_levels import SharedLevels, windows

#: cells of 5 minutes a window has; an operation gets the first width that holds this many calls on average
WIDTHS, LEAST_CALLS = (3, 6, 12), 1.5
#: windows over which autocovariances are summed
LAGS = 8
#: the variance may fall below that of independent windows by this share, when autocovariances are negative
_LEAST_VARIANCE_SHARE = 0.3
#: rises of this size (2 %) are not told from none: the least square root of V
LEAST_RISE = 0.02
#: scatter assumed for the first weights
_FIRST_SCATTER = 0.1


@dataclass(frozen=True, slots=True)
class Series:
    """The weighted rises of all operations at one width."""

    #: (operation, window): centred rise, weight (0 where there are no calls)
    value: Floats
    weight: Floats
    #: variance by the number of calls
    variance: Floats
    #: (operation,): variance of the true rises, at least its standard error; and whether it exceeds twice that
    signal: Floats
    is_moving: Flags

    @property
    def weighted(self) -> Floats:
        """weight x value."""
        return self.weight * self.value


@dataclass(frozen=True, slots=True)
class PairMatrices:
    """(operation, operation) symmetric except ``lag``; the diagonal means nothing."""

    #: without the noise, not cut off at 1
    correlation: Floats
    covariance: Floats
    z: Floats
    #: cells that the second operation is later than the first: -1, 0 or 1
    lag: Ints
    #: windows in which both have calls
    shared: Ints
    #: one-sided, for positive correlation, all three lags considered
    p: Floats
    #: `p` adjusted for the false discovery rate over all pairs
    q: Floats
    #: place in `WIDTHS` -> the rises at this width, of those that suit an operation
    at_width: Mapping[int, Series]


def series(levels: SharedLevels, cells: int, first: int = 0) -> Series:
    """Rises about their weighted mean, with the best weights for finding what is shared.

    Args:
        levels: `shared_levels`.
        cells: width of a window.
        first: the cell the first window begins with.
    """
    found = windows(levels, cells, first)
    weight = np.where(found.has_calls, 1 / (found.variance + _FIRST_SCATTER**2), 0.0)
    excess, _ = _signal(_centred(found.value, weight), found.variance, weight)
    weight = np.where(found.has_calls, 1 / (found.variance + np.maximum(excess, LEAST_RISE**2)[:, None]), 0.0)
    value = _centred(found.value, weight)
    excess, error = _signal(value, found.variance, weight)
    floor = np.maximum(error, LEAST_RISE**2)
    return Series(value, weight, found.variance, np.maximum(excess, floor), excess > 2 * floor)


def _centred(value: Floats, weight: Floats) -> Floats:
    total = weight.sum(axis=1)
    mean = np.divide((weight * value).sum(axis=1), total, out=np.zeros(len(value)), where=total > 0)
    return np.where(weight > 0, value - mean[:, None], 0.0)


def _signal(value: Floats, variance: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted variance beyond that of the noise, and its standard error, the weights being reciprocal variances."""
    square = weight**2
    total = np.maximum(square.sum(axis=1), 1e-300)
    excess = (square * (value**2 - variance)).sum(axis=1) / total
    return np.maximum(excess, 0.0), np.sqrt(2 / total)


def pair_matrices(levels: SharedLevels) -> PairMatrices:
    """All pairs at once; each at the width that suits the rarer of the two.

    Args:
        levels: `shared_levels` of at least two operations.
    """
    wanted = suited_widths(levels)
    wider = np.maximum(wanted[:, None], wanted[None, :])
    size = len(levels.operations)
    correlation, covariance, z = (np.zeros((size, size)) for _ in range(3))
    lag, shared = np.zeros((size, size), dtype=np.int64), np.zeros((size, size), dtype=np.int64)
    at_width = {int(place): series(levels, WIDTHS[place]) for place in np.unique(wanted)}
    for place, plain in at_width.items():
        found = _at_best_lag(plain, series(levels, WIDTHS[place], first=1))
        is_here = wider == place
        for target, source in zip((correlation, covariance, z, lag, shared), found, strict=True):
            target[is_here] = source[is_here]
    p = np.minimum(1.0, 3 * upper_tail(z))
    return PairMatrices(correlation, covariance, z, lag, shared, p, _adjusted(p), at_width)


def suited_widths(levels: SharedLevels) -> Ints:
    """For each operation the place in `WIDTHS` of the first that holds `LEAST_CALLS` on average, else the last."""
    mean = levels.count.sum(axis=1) / levels.cells
    enough = mean[:, None] * np.array(WIDTHS) >= LEAST_CALLS
    return np.where(enough.any(axis=1), enough.argmax(axis=1), len(WIDTHS) - 1)


def _at_best_lag(plain: Series, late: Series) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    """Correlation, covariance, z, lag and shared windows of all pairs.

    Args:
        plain: rises at one width.
        late: the same a cell later.
    """
    same, after = _compared(plain, plain), _compared(plain, late)
    before = tuple(matrix.T for matrix in after)
    three = [np.stack(kind) for kind in zip(same, after, before, strict=True)]
    best = three[1].argmax(axis=0)
    correlation, covariance, z = (np.take_along_axis(kind, best[None], axis=0)[0] for kind in three)
    has_calls = (plain.weight > 0).astype(np.float64)
    return correlation, covariance, z, np.array([0, 1, -1])[best], (has_calls @ has_calls.T).astype(np.int64)


def _compared(one: Series, two: Series) -> tuple[Floats, Floats, Floats]:
    """Correlation, covariance and z of every operation of ``one`` (rows) with every one of ``two``."""
    size = min(one.value.shape[1], two.value.shape[1])
    u, v = one.weighted[:, :size], two.weighted[:, :size]
    product = u @ v.T
    weights = one.weight[:, :size] @ two.weight[:, :size].T
    covariance = np.divide(product, weights, out=np.zeros_like(product), where=weights > 0)
    z = product / np.sqrt(np.maximum(product_variance(u, v), 1e-300))
    return covariance / np.sqrt(np.outer(one.signal, two.signal)), covariance, z


def product_variance(u: Floats, v: Floats) -> Floats:
    """Variance of ``sum u_i v_j`` for independent series of these autocovariances and squares.

    Args:
        u, v: (operation, window), centred.
    """
    independent = (u**2) @ (v**2).T
    variance, size = independent.copy(), u.shape[1]
    for lag in range(1, min(LAGS, size - 1) + 1):
        of_u, of_v = (np.einsum("ij,ij->i", side[:, lag:], side[:, :-lag]) for side in (u, v))
        variance += 2 * (1 - lag / (LAGS + 1)) * np.outer(of_u, of_v) / size
    return np.asarray(np.maximum(variance, _LEAST_VARIANCE_SHARE * independent), dtype=np.float64)


def upper_tail(z: Floats) -> Floats:
    """Probability that a standard normal value exceeds each of these."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in z.ravel()]).reshape(z.shape)


def _adjusted(p: Floats) -> Floats:
    """The matrix with each pair's p adjusted over the pairs above the diagonal."""
    size = len(p)
    upper = np.triu_indices(size, 1)
    adjusted = np.ones((size, size))
    adjusted[upper] = false_discovery(p[upper])
    return np.minimum(adjusted, adjusted.T)


def false_discovery(p: Floats) -> Floats:
    """p values adjusted by Benjamini and Hochberg (1995): reject where at most the rate wanted.

    Args:
        p: (tests,), each within 0 to 1.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted
