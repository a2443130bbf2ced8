"""Forecasts of breaches: where lines cross limits by hand, and silence where nothing is to be foretold."""

from __future__ import annotations

import math
from datetime import timedelta

import polars as pl
import pytest

from pggit_analytics.analysis.breach_forecast import BREACH_FORECASTS, LIMITS, breach_forecasts
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.level_changes import level_changes
from tests.unit import changing_calls as made
from tests.unit.changing_calls import HOURS, hour

SPREAD = 0.2
#: 95th percentile of the durations at the usual level, milliseconds
P95_MS = made.USUAL_US / 1000 * math.exp(1.6449 * SPREAD)


def _forecasts(course: made.Course, factor_of_limit: float, name: str = "op") -> pl.DataFrame:
    plain = {f"plain{i}": made.constant for i in range(4)}
    levels = operation_levels(made.calls(plain | {"op": course}, spread=SPREAD), made.AS_OF)
    limits = LIMITS.frame([{"operation_type": name, "sla_ms": P95_MS * factor_of_limit}])
    return BREACH_FORECASTS.check(breach_forecasts(levels, level_changes(levels), limits))


@pytest.mark.parametrize(
    ("course", "factor"),
    [
        # 30 hours later: the growth of 118 hours continued to 148
        (made.ratio_drift(50, HOURS, 2.0), 2.0 ** (148 / 118)),
        (made.amount_drift(50, HOURS, 2.0), 1 + 148 / 118),
    ],
)
def test_a_drift_that_goes_on_is_foretold_for_when_it_crosses_the_limit(course: made.Course, factor: float) -> None:
    (row,) = _forecasts(course, factor).to_dicts()
    assert abs(row["breach_at"] - (made.AS_OF + timedelta(hours=30))) < timedelta(hours=6)
    assert row["low"] <= made.AS_OF + timedelta(hours=30) <= row["high"]
    assert row["low"] <= row["breach_at"] <= row["high"]


@pytest.mark.parametrize(
    ("course", "factor"),
    [
        (made.ratio_drift(50, 140, 2.0), 2.4),  # levelled off below it
        (made.step(90, 2.0), 2.4),  # a step grows no more
        (made.constant, 1.2),
        (made.ratio_drift(50, HOURS, 2.0), 1.5),  # over it already
        (made.ratio_drift(50, HOURS, 1.6), 8.0),  # too far ahead
    ],
)
def test_nothing_is_foretold_of_what_will_not_break_its_limit_soon(course: made.Course, factor: float) -> None:
    assert _forecasts(course, factor).is_empty()


def test_nothing_is_foretold_without_a_limit() -> None:
    assert _forecasts(made.ratio_drift(50, HOURS, 2.0), 2.3, name="another").is_empty()


def test_instants_are_after_the_as_of() -> None:
    (row,) = _forecasts(made.ratio_drift(30, HOURS, 2.0), 2.3).to_dicts()
    assert hour(HOURS) < row["low"]
