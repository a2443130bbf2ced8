"""Quantiles and neighbours against sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.analysis.order_statistics import neighbours, quantile

SIZES = st.sampled_from([1, 2, 3, 100, 8191, 8192, 30_000])


@given(SIZES, st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([1, 5, 10**9]))
def test_the_value_of_a_rank_and_the_next_one_are_those_of_the_sorted_values(
    size: int, seed: int, position: float, distinct: int
) -> None:
    values = np.random.default_rng(seed).integers(0, distinct, size)
    rank = int(position * (size - 1))
    in_order = np.sort(values)
    assert neighbours(values, rank) == (in_order[rank], in_order[min(rank + 1, size - 1)])


@pytest.mark.parametrize("every", [29, 30, 31, 58])
def test_a_sample_that_misleads_does_no_harm(every: int) -> None:
    # a sample of every 29th of 30,000 values sees nothing but the large ones, or none of them
    values = np.arange(30_000.0)
    values[::every] += 1e9
    in_order = np.sort(values)
    for rank in (0, 500, 15_000, 28_990, 29_999):
        assert neighbours(values, rank) == (in_order[rank], in_order[min(rank + 1, 29_999)])


@given(SIZES, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5, 0.99, 1.0]))
def test_a_quantile_is_linear_between_its_neighbours(size: int, seed: int, position: float) -> None:
    values = np.random.default_rng(seed).lognormal(10, 1, size)
    assert quantile(values, position) == pytest.approx(np.quantile(values, position), rel=1e-12)
