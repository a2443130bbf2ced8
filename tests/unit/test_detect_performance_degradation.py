"""A p99 that rose: the derived answers, and NumPy, SciPy and statsmodels on whatever data."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import linregress
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.tools import add_constant

from pggit_analytics import frames
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF, SETTINGS, metrics, spread

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("scenario", scenarios("detect_performance_degradation", frames.DEGRADATIONS), ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    answer = detect_performance_degradation(
        scenario.inputs.metrics, as_of=scenario.parameters.as_of, **scenario.arguments
    )
    assert_same(frames.DEGRADATIONS.check(answer), scenario.expected)


@settings(**SETTINGS)
@given(
    old=st.lists(st.integers(1000, 2000), min_size=10, max_size=60),
    new=st.lists(st.integers(1500, 9000), min_size=10, max_size=60),
)
def test_whatever_the_durations_the_percentages_and_the_trend_are_those_of_numpy_and_scipy(
    old: list[int], new: list[int]
) -> None:
    # the halves of 14 days are 7 days each, with rows every 2 hours at the end of either
    rows = spread(old, 2 * HOUR)
    rows = [(name, us, instant - 8 * 24 * HOUR) for name, us, instant in rows] + spread(new, 2 * HOUR)
    before, after = (float(np.percentile(half, 99, method="linear")) for half in (old, new))
    percent = 100 * (after - before) / before
    assume(abs(percent - 20) > 1e-9)
    answer = detect_performance_degradation(metrics(rows), as_of=AS_OF, lookback_days=14)
    if percent <= 20:
        assert answer.is_empty()
        return
    row = answer.row(0, named=True)
    assert row["p99_old_ms"] == pytest.approx(before / 1000, rel=1e-9)
    assert row["p99_new_ms"] == pytest.approx(after / 1000, rel=1e-9)
    assert row["degradation_percent"] == pytest.approx(percent, rel=1e-9)
    _check_trend(rows, before, row)


def _check_trend(rows: list, before: float, row: dict) -> None:
    by_date: dict[int, list[int]] = {}
    for _, us, instant in rows:
        by_date.setdefault(instant.date().toordinal(), []).append(us)
    days = list(by_date)
    daily = [float(np.percentile(values, 99, method="linear")) for values in by_date.values()]
    if len(days) < 3 or len(set(daily)) == 1:
        assert (row["trend"], row["confidence"]) == ("STABLE", 0.0)
        return
    scipy_fit = linregress(days, daily)
    statsmodels_fit = OLS(daily, add_constant([day - days[0] for day in days])).fit()
    assert row["confidence"] == pytest.approx(scipy_fit.rvalue**2, rel=1e-9, abs=1e-12)
    assert row["confidence"] == pytest.approx(statsmodels_fit.rsquared, rel=1e-9, abs=1e-12)
    change = 14 * statsmodels_fit.params[1] / before
    if abs(abs(change) - 0.05) > 1e-9:
        assert row["trend"] == ("STABLE" if abs(change) < 0.05 else "DEGRADING" if change > 0 else "IMPROVING")


@settings(**SETTINGS)
@given(old=st.integers(1, 10**9), new=st.integers(1, 10**10))
def test_equal_rows_in_each_half_are_classed_by_whole_numbers(old: int, new: int) -> None:
    # 100 (new - old) / old compared with 20, 30 and 50 without a division
    assume(all(100 * (new - old) != limit * old for limit in (20, 30, 50)))
    rows = [(n, us, t - 4 * 24 * HOUR) for n, us, t in spread([old] * 6, HOUR)] + spread([new] * 6, HOUR)
    found = detect_performance_degradation(metrics(rows), as_of=AS_OF)["severity"].to_list()
    excess = 100 * (new - old)
    classes = [(50, "CRITICAL"), (30, "WARNING"), (20, "INFO")]
    assert found == [name for limit, name in classes if excess > limit * old][:1]


@pytest.mark.parametrize("unit", [1, 7, 1000, 123_457, 10**9, 9 * 10**10])
@pytest.mark.parametrize(
    ("percent", "severity"), [(19, []), (20, []), (21, ["INFO"]), (30, ["WARNING"]), (50, ["CRITICAL"])]
)
def test_whole_percentages_are_classed_exactly_at_every_scale(unit: int, percent: int, severity: list[str]) -> None:
    rows = [(n, us, t - 4 * 24 * HOUR) for n, us, t in spread([100 * unit] * 6, HOUR)]
    rows += spread([(100 + percent) * unit] * 6, HOUR)
    assert detect_performance_degradation(metrics(rows), as_of=AS_OF)["severity"].to_list() == severity
