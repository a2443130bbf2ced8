"""Correlation without noise, its significance, and the false discovery rate, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pggit_analytics.analysis.shared_levels import SharedLevels
from pggit_analytics.analysis.shared_pairs import (
    false_discovery,
    pair_matrices,
    product_variance,
    series,
    suited_widths,
    upper_tail,
)

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(20260311)


def levels_of(rises: Floats, calls: float, variance: float, noise: Floats | None = None) -> SharedLevels:
    """Three equal cells for each window of these rises, ``calls`` in each cell."""
    value = np.repeat(rises if noise is None else rises + noise, 3, axis=1)
    names = tuple(f"op{row}" for row in range(len(value)))
    count = np.full(value.shape, calls)
    return SharedLevels(names, 0, count, value * count, np.full(len(value), variance), np.zeros(value.shape))


def test_without_noise_it_is_the_correlation_of_scipy() -> None:
    factor = RANDOM.normal(0, 0.2, 300)
    rises = np.stack([factor + RANDOM.normal(0, 0.15, 300), factor + RANDOM.normal(0, 0.3, 300)])
    found = pair_matrices(levels_of(rises, 1000.0, 1e-9))
    assert found.correlation[0, 1] == pytest.approx(stats.pearsonr(*rises).statistic, abs=1e-6)
    assert found.correlation[1, 0] == found.correlation[0, 1]
    assert found.lag[0, 1] == 0


def test_noise_lowers_that_of_scipy_by_the_reliabilities_and_not_this_one() -> None:
    size = 4000
    factor, spread = RANDOM.normal(0, 0.3, size), 0.3
    rises = np.stack([factor, factor])
    # variance of a call 0.27, 3 calls a window: noise of 0.3, the variance of the rises is 0.09 as well
    noisy = levels_of(rises, 1.0, 3 * spread**2, RANDOM.normal(0, spread, (2, size)))
    windows = noisy.total[:, ::3]
    assert stats.pearsonr(*windows).statistic == pytest.approx(0.5, abs=0.04)
    assert pair_matrices(noisy).correlation[0, 1] == pytest.approx(1.0, abs=0.08)


def test_a_rise_five_minutes_later_is_found_at_its_lag() -> None:
    rise = np.zeros(600)
    for start in range(20, 600, 40):
        rise[start : start + 6] = 0.5
    value = np.stack([rise, np.roll(rise, 1)]) + RANDOM.normal(0, 0.01, (2, 600))
    count = np.full((2, 600), 50.0)
    levels = SharedLevels(("a", "b"), 0, count, value * count, np.full(2, 0.005), np.zeros((2, 600)))
    found = pair_matrices(levels)
    assert (found.lag[0, 1], found.lag[1, 0]) == (1, -1)
    assert found.correlation[0, 1] == pytest.approx(1.0, abs=0.03)


def test_independent_pairs_are_as_rarely_significant_as_the_p_value_says() -> None:
    autocorrelated = np.zeros((40, 672))
    shocks = RANDOM.normal(0, 0.1, autocorrelated.shape)
    for place in range(1, 672):
        autocorrelated[:, place] = 0.7 * autocorrelated[:, place - 1] + shocks[:, place]
    found = pair_matrices(levels_of(autocorrelated, 3.0, 0.04, RANDOM.normal(0, 0.067, autocorrelated.shape)))
    p = found.p[np.triu_indices(40, 1)]
    # 780 pairs; p holds for three lags, so it errs to the safe side
    assert (p < 0.05).mean() < 0.06
    assert (p < 0.001).sum() <= 3
    assert found.q[np.triu_indices(40, 1)].min() > 0.01


def test_one_coincidence_of_two_high_bursts_is_not_significant() -> None:
    rises = RANDOM.normal(0, 0.01, (2, 672))
    rises[:, 100:103] += 2.0
    assert pair_matrices(levels_of(rises, 100.0, 1e-3)).p[0, 1] > 0.01


def test_variance_of_a_product_is_the_sum_over_lags() -> None:
    u, v = RANDOM.normal(size=(1, 60)), RANDOM.normal(size=(1, 60))
    u, v = np.cumsum(u, axis=1), np.cumsum(v, axis=1)
    expected = sum(u[0, t] ** 2 * v[0, t] ** 2 for t in range(60))
    for lag in range(1, 9):
        of_u = sum(u[0, t] * u[0, t + lag] for t in range(60 - lag))
        of_v = sum(v[0, t] * v[0, t + lag] for t in range(60 - lag))
        expected += 2 * (1 - lag / 9) * of_u * of_v / 60
    assert product_variance(u, v)[0, 0] == pytest.approx(expected)


def test_tail_and_false_discovery_agree_with_scipy() -> None:
    z = RANDOM.normal(0, 3, (5, 5))
    assert upper_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-9)
    p = RANDOM.uniform(0, 1, 528) ** 3
    assert false_discovery(p) == pytest.approx(stats.false_discovery_control(p, method="bh"), rel=1e-12)


def test_rare_operations_get_wider_windows() -> None:
    count = np.array([[1.0] * 12, [0.25] * 12, [0.1] * 12])
    levels = SharedLevels(("a", "b", "c"), 0, count, count * 0, np.full(3, 0.04), count * 0)
    assert suited_widths(levels).tolist() == [0, 1, 2]


def test_an_operation_that_only_shows_noise_does_not_move() -> None:
    noise = RANDOM.normal(0, 0.1, (2, 2000))
    rises = np.zeros((2, 2000))
    rises[1, ::20] = 0.5
    found = series(levels_of(rises, 1.0, 0.03, noise), 3)
    assert found.is_moving.tolist() == [False, True]
    assert found.signal[1] == pytest.approx(0.25 / 20 * 0.95, rel=0.25)


def test_gaps_and_operations_without_calls_have_no_influence() -> None:
    rises = RANDOM.normal(0, 0.2, (2, 300))
    whole = levels_of(np.vstack([rises, np.zeros((1, 300))]), 10.0, 1e-6)
    whole.count[:, 300:600], whole.total[:, 300:600] = 0.0, 0.0
    whole.count[2], whole.total[2] = 0.0, 0.0
    found = pair_matrices(whole)
    kept = np.r_[0:100, 200:300]
    assert found.correlation[0, 1] == pytest.approx(stats.pearsonr(*rises[:, kept]).statistic, abs=0.01)
    assert found.shared[0, 1] == 200
    assert found.z[0, 2] == 0.0
    assert found.p[0, 2] == 1.0
