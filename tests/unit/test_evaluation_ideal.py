"""The ideal observer against SciPy's distributions and arithmetic by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.ideal import CANDIDATES, Evidence, reachable_recall, spike_evidence, step_evidence
from tests.unit.labelled_weeks import LAW, START, ago, change, spike, week

NORMAL = stats.norm(scale=LAW.sigma)


def evidence(present: list[float], absent: list[float], decisions: float) -> Evidence:
    """Values of a test."""
    return Evidence(np.array(present), np.array(absent), decisions)


def test_the_threshold_lets_through_as_many_false_alarms_as_the_engine_raised() -> None:
    pool = [evidence([1.0, 5.0, 7.0], [0.0, 2.0], 2), evidence([3.0], [4.0, 6.0], 2)]
    # no alarm: above 6; one (6): above 4; two (6, 4): above 2; all four: everything
    assert [reachable_recall(pool, alarms) for alarms in (0, 1, 2, 4)] == [0.25, 0.5, 0.75, 1.0]


def test_where_a_decision_has_several_values_the_rate_is_per_decision() -> None:
    pool = [evidence([8.5], [float(value) for value in range(10)], 5)]
    # one alarm in 5 decisions is 2 of 10 values: above 7; half an alarm is 1 of 10: above 8
    assert reachable_recall(pool, 1) == 1.0
    assert reachable_recall([evidence([7.5], pool[0].absent.tolist(), 5)], 0) == 0.0


def test_without_anything_to_find_there_is_no_recall() -> None:
    assert reachable_recall([evidence([], [1.0], 1)], 3) is None


def test_a_spike_is_weighed_by_how_rare_it_is_in_its_operations_noise() -> None:
    at = ago(days=1)
    durations = [400.0, 350.0, 200.0, 900.0]
    labelled = week(
        [("a", 1000 * us, 100_000, at, False) for us in durations] + [("a", 500_000, 100_000, at, True)],
        spikes=[spike(1, "a", at, 4.0), spike(4, "a", at, 9.0)],
    )
    found = spike_evidence(labelled, "3-8x")
    # the other class's spike and the neutral call are left out; a factor of 2 is outside the class
    expected = [-np.log(np.log(8 / 3)) - NORMAL.logpdf(np.log(x)) - 0.5 * np.log(3) for x in (4.0, 3.5)]
    assert found.present == pytest.approx(expected[:1], rel=1e-4)
    assert found.absent == pytest.approx([expected[1], -np.inf], rel=1e-4)
    assert found.decisions == 2


def test_an_unknown_class_of_spikes_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="spike_class is 2x"):
        spike_evidence(week([("a", 1, 1, START, False)]), "2x")


def test_a_step_is_weighed_by_the_mean_likelihood_ratio_over_its_sizes() -> None:
    onset, factor = ago(days=2), 1.25
    residuals = np.array([0.1, -0.2, 0.05, 0.3, 0.0])
    before = [("a", 100_000, 100_000, START, False)]
    after = [
        ("a", 1e6 * factor * np.exp(r), 1e6 * factor, onset + timedelta(hours=k), True) for k, r in enumerate(residuals)
    ]
    found = step_evidence(week(before + after, changes=[change("a", "step", onset, factor)]), seed=1)
    x = residuals + np.log(factor)
    ratios = [(NORMAL.logpdf(x - np.log(size)) - NORMAL.logpdf(x)).sum() for size in np.linspace(1.10, 1.35, 16)]
    assert found.present == pytest.approx([logsumexp(ratios) - np.log(16)], abs=1e-3)
    assert (found.absent.size, found.decisions) == (0, 0)


def test_only_operations_without_any_change_or_episode_are_tried_for_false_alarms() -> None:
    rows = [(name, 100, 100, ago(days=day), False) for name in "abc" for day in (7, 3, 1)]
    labelled = week(rows, changes=[change("a", "step", ago(days=2), 1.2), change("b", "variance", ago(days=2), 1.5)])
    found = step_evidence(labelled, seed=1)
    assert (found.present.size, found.absent.size, found.decisions) == (1, CANDIDATES, 1)


def test_the_power_against_a_shift_is_that_of_the_one_sided_normal_test() -> None:
    # the ratio over sizes rises with the mean of the logarithms, as the most powerful test for one size does
    calls, shift, trials = 36, np.log(1.1), 300
    random = np.random.default_rng(3)
    values: dict[float, list[float]] = {0.0: [], float(shift): []}
    for level, found in values.items():
        for noise in random.normal(level, LAW.sigma, (trials, calls)):
            rows = [("a", 1e6 * np.exp(x), 1e6, ago(hours=k), False) for k, x in enumerate(noise)]
            # a labelled step of no size makes the observer look at just these calls
            labelled = week(rows, changes=[change("a", "step", START, 1.0)])
            found.append(float(step_evidence(labelled, seed=1).present[0]))
    observed = reachable_recall([Evidence(np.array(values[shift]), np.array(values[0.0]), trials)], 0.05 * trials)
    expected = stats.norm.cdf(shift / (LAW.sigma / np.sqrt(calls)) - stats.norm.ppf(0.95))
    # three standard errors of a share of 0.89 in 300, and as much for the threshold
    assert observed == pytest.approx(expected, abs=0.08)
