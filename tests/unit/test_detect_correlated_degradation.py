"""Operations that slow down together: the derived answers, and SciPy on whatever data."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from pggit_analytics import frames
from pggit_analytics.analysis.detect_correlated_degradation import (
    RECOMMENDATIONS,
    detect_correlated_degradation,
    rounded,
    shared_bottleneck,
)
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF, SETTINGS, metrics, spread

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("scenario", scenarios("detect_correlated_degradation", frames.CORRELATIONS), ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    answer = detect_correlated_degradation(
        scenario.inputs.metrics, scenario.inputs.operation_types, as_of=scenario.parameters.as_of, **scenario.arguments
    )
    assert_same(frames.CORRELATIONS.check(answer), scenario.expected)


@settings(**SETTINGS)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(-(10**6), 10**6)), min_size=3, max_size=80),
    st.integers(-3, 3),
)
def test_whatever_the_means_r_is_that_of_scipy(points: list[tuple[int, int]], slope: int) -> None:
    one = [x for x, _ in points]
    two = [slope * x + noise + 4 * 10**6 for x, noise in points]
    # nearer to a constant, SciPy itself warns of lost digits
    assume(max(one) - min(one) > 1000)
    assume(max(two) - min(two) > 1000)
    r = float(pearsonr([float(x) for x in one], [float(y) for y in two]).statistic)
    assume(r <= 0 or abs(r - 1e-6) > 1e-9)
    answer = detect_correlated_degradation(
        metrics([*spread(one, MINUTE, "a"), *spread(two, MINUTE, "b")]),
        frames.OPERATION_TYPES.empty(),
        as_of=AS_OF,
        correlation_threshold=0.000001,
    )
    if r <= 1e-6:
        assert answer.is_empty()
        return
    row = answer.row(0, named=True)
    # 9 decimals are kept
    assert row["correlation_coefficient"] == pytest.approx(r, abs=6e-10)
    assert row["shared_minutes"] == len(points)
    assert row["confidence"] == min(row["correlation_coefficient"], len(points) / 60)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (0.7500000004, 0.75),
        (0.7500000005, 0.750000001),
        (0.7500000006, 0.750000001),
        (0.1234567894999, 0.123456789),
        (1.0000000000000002, 1.0),
        (0.30000000000000004, 0.3),
    ],
)
def test_nine_decimals_are_kept_and_halves_go_away_from_zero(raw: float, kept: float) -> None:
    assert rounded(pl.Series([raw])).to_list() == [kept]


@pytest.mark.parametrize(
    ("one", "two", "bottleneck"),
    [
        ("merge_branches", "merge_base_find", "MERGE_PIPELINE_SATURATION"),
        ("merge_conflict_detect", "merge_branches", "MERGE_PIPELINE_SATURATION"),
        ("merge_base_find", "merge_auto_resolve", "SHARED_RESOURCE_CONTENTION"),
        ("commit", "branch_create", "OBJECT_STORAGE_IO"),
        ("get_object_timeline", "get_history", "QUERY_CACHE_PRESSURE"),
        ("rollback_commit", "commit", "TRANSACTION_LOG_SATURATION"),
        ("merge_branches", "rollback_cascade", "TRANSACTION_LOG_SATURATION"),
        ("rollback_validate", "rollback", "SHARED_RESOURCE_CONTENTION"),
        ("zzz", "aaa", "SHARED_RESOURCE_CONTENTION"),
    ],
)
def test_the_bottleneck_is_the_same_whichever_operation_comes_first(one: str, two: str, bottleneck: str) -> None:
    frame = pl.DataFrame({"one": [one, two], "two": [two, one]})
    found = frame.select(shared_bottleneck(pl.col("one"), pl.col("two")))
    assert found.to_series().to_list() == [bottleneck, bottleneck]
    assert bottleneck in RECOMMENDATIONS


def test_an_operation_that_is_not_listed_counts_as_tracked() -> None:
    up = [1000, 2000, 4000]
    types = frames.OPERATION_TYPES.frame(
        [{"operation_type": "a", "category": "READ", "typical_duration_ms": 1.0, "is_tracked": True}]
    )
    answer = detect_correlated_degradation(
        metrics([*spread(up, MINUTE, "a"), *spread(up, MINUTE, "b")]), types, as_of=AS_OF
    )
    assert answer.select("operation_type_1", "operation_type_2").rows() == [("a", "b")]
