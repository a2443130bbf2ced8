"""Outliers by z-score: the derived answers, and SciPy on whatever data."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from pggit_analytics import frames
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF, SETTINGS, metrics, spread

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("scenario", scenarios("detect_anomalies_statistical", frames.STATISTICAL), ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    answer = detect_anomalies_statistical(
        scenario.inputs.metrics, scenario.inputs.baselines, as_of=scenario.parameters.as_of, **scenario.arguments
    )
    assert_same(frames.STATISTICAL.check(answer), scenario.expected)


@settings(**SETTINGS)
@given(
    durations=st.lists(st.integers(0, 10**6), min_size=5, max_size=60),
    threshold=st.sampled_from(["0.5", "1", "1.96", "3"]),
)
def test_whatever_the_durations_the_rows_and_their_z_are_those_of_scipy(durations: list[int], threshold: str) -> None:
    assume(max(durations) - min(durations) > 10)  # closer to no spread, SciPy itself loses digits
    expected = zscore([float(us) for us in durations], ddof=0)
    assume(all(abs(abs(z) - float(threshold)) > 1e-9 for z in expected))
    answer = detect_anomalies_statistical(
        metrics(spread(durations, SECOND)),
        frames.BASELINES.empty(),
        as_of=AS_OF,
        z_score_threshold=Decimal(threshold),
    )
    found = dict(zip(answer["metric_id"], answer["z_score"], strict=True))
    assert set(found) == {i for i, z in enumerate(expected, 1) if abs(z) > float(threshold)}
    for metric_id, z in found.items():
        assert z == pytest.approx(expected[metric_id - 1], rel=1e-9)


@settings(**SETTINGS)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=10))
def test_no_z_exceeds_3_in_ten_rows(durations: list[int]) -> None:
    answer = detect_anomalies_statistical(
        metrics(spread(durations, SECOND)), frames.BASELINES.empty(), as_of=AS_OF, z_score_threshold=3
    )
    assert answer.is_empty()


@settings(**SETTINGS)
@given(n=st.integers(5, 80), usual=st.integers(1, 10**12), other=st.integers(0, 10**12), k=st.integers(1, 8))
def test_one_row_apart_has_z_sqrt_of_n_minus_1_decided_exactly(n: int, usual: int, other: int, k: int) -> None:
    # z^2 = n - 1, so z > k exactly when n - 1 > k^2, however close the durations are
    assume(usual != other)
    answer = detect_anomalies_statistical(
        metrics(spread([usual] * (n - 1) + [other], SECOND)),
        frames.BASELINES.empty(),
        as_of=AS_OF,
        z_score_threshold=k,
    )
    assert answer["metric_id"].to_list() == ([n] if n - 1 > k * k else [])
    if n - 1 > k * k:
        z = answer["z_score"].item()
        assert z == pytest.approx((1 if other > usual else -1) * (n - 1) ** 0.5, rel=1e-12)
        assert answer["severity"].item() == ("CRITICAL" if n >= 17 else "WARNING" if n >= 10 else "INFO")


def test_a_lazy_frame_gives_the_same_as_an_eager_one() -> None:
    frame = metrics(spread([1000] * 16 + [2000], SECOND))
    one = detect_anomalies_statistical(frame, frames.BASELINES.empty(), as_of=AS_OF)
    two = detect_anomalies_statistical(frame.lazy(), frames.BASELINES.empty(), as_of=AS_OF)
    assert one.equals(two)
    assert one.height == 1


def test_the_order_of_the_rows_given_does_not_matter() -> None:
    frame = metrics(spread([1000] * 30 + [9000, 9000, 8000], SECOND))
    one = detect_anomalies_statistical(frame, frames.BASELINES.empty(), as_of=AS_OF, z_score_threshold=2)
    two = detect_anomalies_statistical(
        frame.sort(pl.col("metric_id"), descending=True), frames.BASELINES.empty(), as_of=AS_OF, z_score_threshold=2
    )
    assert one["metric_id"].to_list() == [31, 32, 33]
    assert one.equals(two)
