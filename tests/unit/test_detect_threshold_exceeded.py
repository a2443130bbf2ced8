"""Operations far over their baseline: the derived answers, and whole-number arithmetic on whatever data."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pggit_analytics import frames
from pggit_analytics.analysis.detect_threshold_exceeded import detect_threshold_exceeded
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF, SETTINGS, metrics, spread


@pytest.mark.parametrize("scenario", scenarios("detect_threshold_exceeded", frames.THRESHOLDS), ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    answer = detect_threshold_exceeded(
        scenario.inputs.metrics, scenario.inputs.baselines, as_of=scenario.parameters.as_of, **scenario.arguments
    )
    assert_same(frames.THRESHOLDS.check(answer), scenario.expected)


@settings(**SETTINGS)
@given(
    durations=st.lists(st.integers(0, 5000), min_size=1, max_size=40),
    p99_us=st.integers(0, 2000),
    multiplier=st.decimals("0.001", "9.999", places=3),
)
def test_whatever_the_multiplier_the_threshold_is_exact(durations: list[int], p99_us: int, multiplier: Decimal) -> None:
    baselines = frames.BASELINES.frame(
        [
            {
                "operation_type": "commit",
                "baseline_id": 1,
                "p99_us": p99_us,
                "alert_threshold_multiplier": float(multiplier),
            }
        ]
    )
    answer = detect_threshold_exceeded(metrics(spread(durations, timedelta(minutes=1))), baselines, as_of=AS_OF)
    threshold = p99_us * Fraction(multiplier)
    over = [us for us in durations if us > threshold]
    if not over:
        assert answer.is_empty()
        return
    row = answer.row(0, named=True)
    assert row["exceeded_count"] == len(over)
    assert row["metric_id"] == durations.index(max(over)) + 1
    assert row["severity"] == ("CRITICAL" if max(over) >= 2 * threshold else "WARNING")
    assert row["threshold_ms"] == pytest.approx(float(threshold / 1000), rel=1e-9)
