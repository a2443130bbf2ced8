"""Baselines: the derived answers, and NumPy on whatever data."""

from __future__ import annotations

from datetime import timedelta
from math import floor

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pggit_analytics import frames
from pggit_analytics.analysis.recalculate_all_baselines_rolling import recalculate_all_baselines_rolling
from tests.scenarios import Scenario, assert_same, scenarios
from tests.unit.timings import AS_OF, SETTINGS, metrics, spread

FIXTURE = scenarios("recalculate_all_baselines_rolling", frames.BASELINE_RECALCULATIONS)


@pytest.mark.parametrize("scenario", FIXTURE, ids=str)
def test_a_scenario_gives_the_derived_answer(scenario: Scenario) -> None:
    inputs = scenario.inputs
    answer = recalculate_all_baselines_rolling(
        inputs.metrics,
        inputs.active_baselines,
        inputs.operation_types,
        inputs.held_operations,
        as_of=scenario.parameters.as_of,
        **scenario.arguments,
    )
    assert_same(frames.BASELINE_RECALCULATIONS.check(answer), scenario.expected)


def _types(*names: str) -> pl.DataFrame:
    return frames.OPERATION_TYPES.frame(
        [
            {"operation_type": name, "category": "READ", "typical_duration_ms": None, "is_tracked": True}
            for name in names
        ]
    )


@settings(**SETTINGS)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=80))
def test_whatever_the_durations_the_statistics_are_those_of_numpy(durations: list[int]) -> None:
    exact = {p: float(np.percentile(durations, p, method="linear")) for p in (50, 75, 90, 95, 99)}
    # so near to a half, NumPy's own last digit decides
    assume(all(abs(value % 1 - 0.5) > 1e-6 or (value % 1 == 0.5 and p == 50) for p, value in exact.items()))
    answer = recalculate_all_baselines_rolling(
        metrics(spread(durations, timedelta(hours=1))),
        frames.ACTIVE_BASELINES.empty(),
        _types("commit"),
        (),
        as_of=AS_OF,
        min_samples=1,
    ).row(0, named=True)
    assert (answer["status"], answer["sample_count"]) == ("UPDATED", len(durations))
    assert (answer["min_us"], answer["max_us"]) == (min(durations), max(durations))
    assert {p: answer[f"p{p}_us"] for p in exact} == {p: floor(value + 0.5) for p, value in exact.items()}
    assert answer["mean_us"] == pytest.approx(float(np.mean(durations)), rel=1e-9)
    assert answer["stddev_us"] == pytest.approx(float(np.std(durations, ddof=0)), rel=1e-9, abs=1e-6)


@settings(**SETTINGS)
@given(old=st.integers(0, 10**6), new=st.integers(0, 10**6), force=st.booleans(), is_held=st.booleans())
def test_the_status_follows_from_whole_numbers(old: int, new: int, *, force: bool, is_held: bool) -> None:
    active = frames.ACTIVE_BASELINES.frame(
        [{"operation_type": "commit", "baseline_id": 7, "p99_us": old, "is_newer_than_as_of": False}]
    )
    answer = recalculate_all_baselines_rolling(
        metrics(spread([new] * 10, timedelta(hours=1))),
        active,
        _types("commit"),
        ["commit"] if is_held else [],
        as_of=AS_OF,
        force=force,
    ).row(0, named=True)
    is_small = 20 * abs(new - old) < old
    expected = "UPDATED" if force else "UNCHANGED" if is_small else "HELD" if is_held and new > old else "UPDATED"
    assert answer["status"] == expected
    assert answer["baseline_id"] == 7
    assert answer["percent_change"] == (pytest.approx(100 * (new - old) / old, rel=1e-9) if old else None)


def test_too_few_samples_leave_every_statistic_open() -> None:
    answer = recalculate_all_baselines_rolling(
        metrics(spread([5] * 9, timedelta(hours=1))),
        frames.ACTIVE_BASELINES.empty(),
        _types("commit"),
        (),
        as_of=AS_OF,
    ).row(0, named=True)
    assert answer.pop("message") == "9 samples, at least 10 needed"
    assert {name for name, value in answer.items() if value is not None} == {
        "operation_type",
        "sample_count",
        "status",
    }
