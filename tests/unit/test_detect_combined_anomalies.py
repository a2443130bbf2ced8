"""The decision matrix: the derived answers, and every row of it on made-up findings."""

from __future__ import annotations

import pytest

from pggit_analytics import frames
from pggit_analytics.analysis.detect_combined_anomalies import combine, combined_days, detect_combined_anomalies
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF


@pytest.mark.parametrize("scenario", scenarios("detect_combined_anomalies", frames.ANOMALIES), ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    answer = detect_combined_anomalies(
        scenario.inputs.metrics, scenario.inputs.baselines, as_of=scenario.parameters.as_of, **scenario.arguments
    )
    assert_same(frames.ANOMALIES.check(answer), scenario.expected)


@pytest.mark.parametrize(
    ("hours", "days"), [(1, 7), (24, 7), (167, 7), (168, 7), (169, 8), (192, 8), (193, 9), (87600, 3650)]
)
def test_the_degradation_looks_back_at_least_a_week_and_then_whole_days(hours: int, days: int) -> None:
    assert combined_days(hours) == days


def _outliers(*z_scores: float) -> list[dict[str, object]]:
    return [
        {
            "metric_id": number,
            "operation_type": "commit",
            "duration_ms": 1.0,
            "baseline_p99_ms": None,
            "z_score": z,
            "deviation_percent": 1.0,
            "severity": "WARNING",
            "detected_at": AS_OF,
        }
        for number, z in enumerate(z_scores, 1)
    ]


def _degradation(percent: float | None) -> list[dict[str, object]]:
    if percent is None:
        return []
    severity = "CRITICAL" if percent >= 50 else "WARNING" if percent >= 30 else "INFO"
    return [
        {
            "operation_type": "commit",
            "period_start": AS_OF.date(),
            "period_end": AS_OF.date(),
            "p99_old_ms": 1.0,
            "p99_new_ms": 1.0 + percent / 100,
            "degradation_percent": percent,
            "trend": "STABLE",
            "confidence": 0.0,
            "severity": severity,
            "detected_at": AS_OF,
        }
    ]


@pytest.mark.parametrize(
    ("z_scores", "percent", "rows"),
    [
        ((4.0,), 25.0, [(1, "COMBINED", "CRITICAL", True)]),
        ((4.0,), 60.0, [(1, "COMBINED", "CRITICAL", True)]),
        ((5.0, 4.0), 25.0, [(1, "COMBINED", "CRITICAL", True), (2, "COMBINED", "CRITICAL", True)]),
        ((4.0,), None, [(1, "SPIKE", "WARNING", False)]),
        ((), 50.0, [(None, "DEGRADATION", "CRITICAL", True)]),
        ((), 30.0, [(None, "DEGRADATION", "WARNING", False)]),
        ((), 20.1, [(None, "DEGRADATION", "INFO", False)]),
        ((), None, []),
        ((-4.0,), None, [(1, "SPIKE", "INFO", False)]),
        ((-4.0,), 50.0, [(None, "DEGRADATION", "CRITICAL", True), (1, "SPIKE", "INFO", False)]),
        ((-4.0,), 20.1, [(1, "SPIKE", "INFO", False), (None, "DEGRADATION", "INFO", False)]),
        ((-5.0, 4.0), 30.0, [(2, "COMBINED", "CRITICAL", True), (1, "SPIKE", "INFO", False)]),
        ((-5.0, 4.0), None, [(2, "SPIKE", "WARNING", False), (1, "SPIKE", "INFO", False)]),
    ],
)
def test_the_matrix_decides_type_severity_and_paging(
    z_scores: tuple[float, ...], percent: float | None, rows: list[tuple]
) -> None:
    answer = combine(frames.STATISTICAL.frame(_outliers(*z_scores)), frames.DEGRADATIONS.frame(_degradation(percent)))
    frames.ANOMALIES.check(answer)
    assert answer.select("metric_id", "anomaly_type", "severity", "alert_required").rows() == rows
    assert answer["degradation_percent"].to_list() == [percent] * len(rows)


def test_the_degradation_of_one_operation_leaves_the_outliers_of_another_alone() -> None:
    slow = _outliers(4.0)[0] | {"operation_type": "merge"}
    answer = combine(frames.STATISTICAL.frame([slow]), frames.DEGRADATIONS.frame(_degradation(60.0)))
    assert answer.select("operation_type", "anomaly_type").rows() == [("commit", "DEGRADATION"), ("merge", "SPIKE")]
