"""Optimal partitions of series into pieces of one level, and what is done with the pieces.

Optimal partitioning (Jackson et al. 2005, "An algorithm for optimal partitioning of data on an interval", IEEE Signal
Processing Letters 12) finds the exact minimum of sum of squares + penalty x pieces; PELT (Killick, Fearnhead and Eckley
2012) is its pruned form. Here all series are partitioned at once in NumPy, which is faster than pruning one by one.
"""

from __future__ import annotations

import numpy as np

from pggit_analytics.analysis.call_grid import Floats, Ints

_NO_WEIGHT = 1e-12


def optimal_partitions(values: Floats, weights: Floats, penalty: Floats) -> list[Ints]:
    """The partition of each series with the least weighted sum of squares plus penalty for each piece.

    Args:
        values: (series, cells).
        weights: (series, cells), reciprocal variances, 0 for cells without a value.
        penalty: of each series, in the units of weights x values squared.

    Returns:
        For each series the borders of its pieces: 0, ..., cells.
    """
    count, cells = values.shape
    weight, total = _sums(weights), _sums(weights * values)
    least, last = np.zeros((count, cells + 1)), np.zeros((count, cells + 1), dtype=np.int64)
    least[:, 0] = -penalty
    every = np.arange(count)
    for end in range(1, cells + 1):
        of_piece = np.maximum(weight[:, end, None] - weight[:, :end], _NO_WEIGHT)
        gain = total[:, end, None] - total[:, :end]
        gain *= gain
        gain /= of_piece
        cost = least[:, :end] - gain
        chosen = cost.argmin(axis=1)
        last[:, end] = chosen
        least[:, end] = cost[every, chosen] + penalty
    return [_borders(back) for back in last]


def _sums(values: Floats) -> Floats:
    """Sums of the first 0, 1, ... cells of each series."""
    return np.concatenate((np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)), axis=-1)


def _borders(last: Ints) -> Ints:
    borders = [last.size - 1]
    while borders[-1] > 0:
        borders.append(int(last[borders[-1]]))
    return np.array(borders[::-1])


def piece_means(values: Floats, weights: Floats, borders: Ints) -> tuple[Floats, Floats]:
    """Weighted mean and weight of each piece of one series; 0 where a piece has no weight."""
    weight = np.diff(_sums(weights)[borders])
    return np.diff(_sums(weights * values)[borders]) / np.maximum(weight, _NO_WEIGHT), weight


def border_gains(means: Floats, weight: Floats) -> Floats:
    """By how much each border between pieces reduces the weighted sum of squares."""
    return weight[:-1] * weight[1:] / np.maximum(weight[:-1] + weight[1:], _NO_WEIGHT) * np.diff(means) ** 2


def merge_pieces(
    values: Floats, weights: Floats, borders: Ints, *, penalty: float, least_size: float, least_cells: int
) -> Ints:
    """The borders that remain when weak ones are removed one by one, the weakest first.

    Args:
        values: of one series.
        weights: reciprocal variances.
        borders: of its pieces.
        penalty: a border must reduce the sum of squares by more.
        least_size: and the levels on its sides must differ by at least this.
        least_cells: and its pieces must be at least this long.
    """
    kept = list(borders)
    while len(kept) > 2:
        mean, weight = piece_means(values, weights, np.array(kept))
        step, length, gain = np.diff(mean), np.diff(kept), border_gains(mean, weight)
        is_weak = (gain <= penalty) | (np.abs(step) < least_size) | (np.minimum(length[:-1], length[1:]) < least_cells)
        if not is_weak.any():
            break
        del kept[1 + int(np.where(is_weak, gain, np.inf).argmin())]
    return np.array(kept)


def ramps(values: Floats, weights: Floats, every: int, least_cells: int) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Least squares fits of ``level + rise x clip((cell - first) / (last - first), 0, 1)`` for many first and last.

    Args:
        values: of one series.
        weights: reciprocal variances; some must be positive.
        every: first and last are multiples of it, or the end of the series.
        least_cells: between first and last.

    Returns:
        first, last, reduction of the sum of squares against a constant, rise, level; elements of equal length.
    """
    cells = values.size
    grid = np.unique(np.append(np.arange(0, cells, every), cells))
    first, last = (side.ravel() for side in np.meshgrid(grid, grid, indexing="ij"))
    fits = last - first >= least_cells
    first, last = first[fits], last[fits]
    at = np.arange(cells) + 0.5
    w, wt, wtt, wz, wtz = (
        _sums(v) for v in (weights, weights * at, weights * at**2, weights * values, weights * at * values)
    )
    length, after, after_z = (last - first).astype(np.float64), w[-1] - w[last], wz[-1] - wz[last]
    inside, inside_t, inside_z = w[last] - w[first], wt[last] - wt[first], wz[last] - wz[first]
    h = (inside_t - first * inside) / length + after
    hh = (wtt[last] - wtt[first] - 2 * first * inside_t + first**2 * inside) / length**2 + after
    hz = (wtz[last] - wtz[first] - first * inside_z) / length + after_z
    square, product = hh - h**2 / w[-1], hz - h * wz[-1] / w[-1]
    is_fitted = square > 1e-9 * w[-1]
    rise = np.divide(product, square, out=np.zeros_like(square), where=is_fitted)
    return first, last, rise * product, rise, (wz[-1] - rise * h) / w[-1]
