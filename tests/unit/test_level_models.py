"""Significance against simulation and SciPy, ramps and rare steps against hand arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from pggit_analytics.analysis.level_models import Model, Ramp, largest_gain_p, passes, permuted_step


def _largest_gain(values: np.ndarray[tuple[int], np.dtype[np.float64]], trimmed: int) -> float:
    """The largest reduction of the sum of squares by one border, from its definition."""
    n = values.size
    every = [k * (n - k) / n * (values[k:].mean() - values[:k].mean()) ** 2 for k in range(trimmed, n - trimmed + 1)]
    return max(every)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_largest_gain_of_noise_exceeds_its_quantile_about_as_often_as_said(share: float) -> None:
    random = np.random.default_rng(2)
    gains = [_largest_gain(random.standard_normal(400), 8) for _ in range(1000)]
    said = np.mean([largest_gain_p(gain, 400) <= share for gain in gains])
    # the law is approached from the safe side (Csorgo and Horvath 1997); three standard errors above
    assert 0.4 * share <= said <= share + 3 * math.sqrt(share * (1 - share) / 1000)


def test_p_falls_with_the_gain_and_rises_with_fewer_values() -> None:
    p = [largest_gain_p(gain, 600) for gain in (0.0, 4.0, 9.0, 16.0, 30.0, 100.0)]
    assert p[0] == p[1] == 1.0
    assert p == sorted(p, reverse=True)
    assert largest_gain_p(20.0, 20) > largest_gain_p(20.0, 600)


@pytest.mark.parametrize("seed", range(10))
def test_what_passes_is_what_scipy_lets_pass(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 2.0, 40)
    assert passes(p, 0.1).tolist() == (false_discovery_control(p) <= 0.1).tolist()


def test_nothing_passes_among_nothing_or_among_large_ones() -> None:
    assert passes(np.empty(0), 0.1).tolist() == []
    assert passes(np.array([0.2, 0.9]), 0.1).tolist() == [False, False]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_p_of_permutations_is_as_rare_as_said_where_order_does_not_matter(share: float) -> None:
    random = np.random.default_rng(8)
    said = np.mean([permuted_step(random.standard_normal(30), 1.0)[1] <= share for _ in range(150)])
    # the lower p of a rise and a fall: between once and twice the share (Bonferroni), three standard errors each side
    error = 3 * math.sqrt(share / 150)
    assert share - error <= said <= 2 * share + error


def test_a_clear_step_of_a_short_series_is_found_where_it_is() -> None:
    x = np.concatenate((np.tile([0.0, 0.2], 8), np.tile([1.0, 1.2], 5)))
    assert permuted_step(x, 0.2) == (16, 1 / 2000)
    assert permuted_step(-x, 0.2) == (16, 1 / 2000)


def test_pieces_and_ramps_have_the_path_of_their_definition() -> None:
    pieces = Model(np.array([0, 2, 5]), np.array([1.0, 3.0]))
    assert pieces.path(5).tolist() == [1.0, 1.0, 3.0, 3.0, 3.0]
    ratios = Ramp(first=1, last=5, level=2.0, rise=0.8)
    assert ratios.path(6) == pytest.approx([2.0, 2.1, 2.3, 2.5, 2.7, 2.8])
    amounts = Ramp(first=1, last=5, level=2.0, rise=math.log(3.0), is_linear=True)
    # in milliseconds 1, 1.25, 1.75, 2.25, 2.75 and 3 times the level before
    assert np.exp(amounts.path(6) - 2.0) == pytest.approx([1.0, 1.25, 1.75, 2.25, 2.75, 3.0])
