"""Optimal partitions against all partitions there are, ramps against NumPy's least squares."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pggit_analytics.analysis.partition import merge_pieces, optimal_partitions, piece_means, ramps

Floats = NDArray[np.float64]


def _cost(values: Floats, weights: Floats, borders: tuple[int, ...], penalty: float) -> float:
    """Weighted sum of squares of the pieces and the penalties, from their definition."""
    total = penalty * (len(borders) - 1)
    for first, last in pairwise(borders):
        piece, weight = values[first:last], weights[first:last]
        if weight.sum():
            total += float((weight * (piece - (weight * piece).sum() / weight.sum()) ** 2).sum())
    return total


@pytest.mark.parametrize("seed", range(20))
def test_no_partition_costs_less_than_the_one_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.normal(0, 1, (3, 9)), random.integers(0, 4, (3, 9)).astype(float)
    values[1, 4:] += 2.0
    penalty = np.array([0.5, 3.0, 1e9])
    for place, found in enumerate(optimal_partitions(values, weights, penalty)):
        every = [(0, *inner, 9) for size in range(9) for inner in combinations(range(1, 9), size)]
        least = min(_cost(values[place], weights[place], borders, penalty[place]) for borders in every)
        assert _cost(values[place], weights[place], tuple(found.tolist()), penalty[place]) == pytest.approx(least)


def test_piece_means_are_weighted_and_zero_without_weight() -> None:
    means, weight = piece_means(np.array([1.0, 4, 9, 9]), np.array([1.0, 2, 0, 0]), np.array([0, 2, 4]))
    assert means.tolist() == [3.0, 0.0]
    assert weight.tolist() == [3.0, 0.0]


def test_weak_small_and_short_pieces_are_merged_and_the_others_kept() -> None:
    values = np.repeat([0.0, 1.0, 1.03, 1.4, 1.0], [20, 20, 20, 2, 20])
    kept = merge_pieces(
        values, np.full(82, 10.0), np.array([0, 20, 40, 60, 62, 82]), penalty=5.0, least_size=0.05, least_cells=4
    )
    assert kept.tolist() == [0, 20, 82]


def test_ramps_are_the_least_squares_fits_of_their_shape() -> None:
    random = np.random.default_rng(5)
    values, weights = random.normal(0, 1, 24), random.uniform(0.5, 2.0, 24)
    first, last, gain, rise, level = ramps(values, weights, 4, 8)
    assert {(int(f), int(e)) for f, e in zip(first, last, strict=True)} == {
        (f, e) for f in range(0, 25, 4) for e in range(0, 25, 4) if e - f >= 8
    }
    root = np.sqrt(weights)
    mean = (weights * values).sum() / weights.sum()
    for place in range(first.size):
        h = np.clip((np.arange(24) + 0.5 - first[place]) / (last[place] - first[place]), 0, 1)
        found, misfit, *_ = np.linalg.lstsq(np.column_stack((root, root * h)), root * values, rcond=None)
        assert (level[place], rise[place]) == pytest.approx(tuple(found))
        assert gain[place] == pytest.approx((weights * (values - mean) ** 2).sum() - misfit[0])
