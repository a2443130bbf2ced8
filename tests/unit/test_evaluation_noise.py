"""The noise law against SciPy's normal and exponentially modified normal distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pggit_analytics.evaluation.noise import NoiseLaw

LAWS = [NoiseLaw(0.15, 0.002, 0.12), NoiseLaw(0.3, 0.02, 0.3), NoiseLaw(0.25, 0.5, 0.6)]


def mixture(law: NoiseLaw, function: str, values: np.ndarray) -> np.ndarray:
    """A function of SciPy's two distributions, mixed by the tail's share."""
    body = stats.norm(scale=law.sigma)
    tail = stats.exponnorm(law.tail_scale / law.sigma, scale=law.sigma)
    of_body, of_tail = getattr(body, function)(values), getattr(tail, function)(values)
    return (1 - law.tail_share) * of_body + law.tail_share * of_tail


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_density_is_that_of_the_mixture(law: NoiseLaw) -> None:
    values = np.linspace(-1.0, 3.5, 181)
    expected = np.log(mixture(law, "pdf", values))
    assert law.log_density(values) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_cumulative_probability_is_that_of_the_mixture(law: NoiseLaw) -> None:
    values = np.linspace(-1.0, 3.5, 46)
    found = [law.cumulative(float(value)) for value in values]
    assert found == pytest.approx(mixture(law, "cdf", values), abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.999])
def test_a_quantile_has_its_share_below_it(share: float) -> None:
    law = LAWS[1]
    assert mixture(law, "cdf", np.array([law.quantile(share)]))[0] == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_drawn_values_follow_the_mixture(law: NoiseLaw) -> None:
    drawn = law.draw(20_000, np.random.default_rng(1))
    # the 99.9 % point of Kolmogorov's statistic
    assert stats.kstest(drawn, lambda values: mixture(law, "cdf", values)).statistic < 1.95 / np.sqrt(20_000)
