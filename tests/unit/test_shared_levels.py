"""Distances from an operation's own course: what is left in them and what is not."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.call_grid import call_grid, spreads
from pggit_analytics.analysis.shared_levels import SharedLevels, common_course, distances, shared_levels, windows
from pggit_analytics.frames import METRICS
from tests.unit.joint_calls import AS_OF, Rise, instant, joint_calls

DAY = 24 * 60


def levels_of(metrics: pl.DataFrame) -> SharedLevels:
    grid = call_grid(metrics, AS_OF, timedelta(days=7))
    return shared_levels(grid, spreads(grid))


def mean_between(levels: SharedLevels, operation: str, first: float, last: float) -> float:
    """Mean distance of the calls between two minutes since the beginning."""
    row, offset = levels.operations.index(operation), (instant(0).timestamp() * 1e6 - levels.start) / 60e6
    cells = slice(int((first + offset) // 5), int((last + offset) // 5))
    return float(levels.total[row, cells].sum() / levels.count[row, cells].sum())


def test_a_passing_rise_is_left_and_a_lasting_step_is_not() -> None:
    # log 1.4 = 0.336, well within three spreads
    passing: list[Rise] = [(3 * DAY, 3 * DAY + 60, 1.4)]
    lasting: list[Rise] = [(3 * DAY, 7 * DAY, 3.0)]
    levels = levels_of(joint_calls({"passing": passing, "lasting": lasting}, per_minute=4.0))
    assert mean_between(levels, "passing", 3 * DAY, 3 * DAY + 60) == pytest.approx(0.336, abs=0.05)
    for first in (2 * DAY, 3 * DAY + 60, 5 * DAY):
        assert mean_between(levels, "lasting", first, first + 600) == pytest.approx(0.0, abs=0.02)


def test_calls_are_counted_in_their_cells_and_their_distances_summed() -> None:
    # two calls of e^10 us an hour for 12 hours make a path of 10; one cell has e^10.1 and e^10.3 instead
    rows = [(hour * 60 + minute, np.exp(10.0)) for hour in range(12) for minute in (5.0, 35.0)]
    rows[12] = (6 * 60 + 5.0, np.exp(10.1))
    rows[13] = (6 * 60 + 6.0, np.exp(10.3))
    metrics = pl.DataFrame(
        {
            "metric_id": range(24),
            "operation_type": ["a"] * 24,
            "duration_us": [round(us) for _, us in rows],
            "created_at": [instant(minute) for minute, _ in rows],
        },
        schema=METRICS.columns,
    )
    grid = call_grid(metrics, AS_OF, timedelta(days=7))
    levels = shared_levels(grid, np.array([1.0]))
    cell = int((instant(6 * 60 + 5).timestamp() * 1e6 - levels.start) // 300e6)
    assert levels.count[0, cell] == 2
    assert levels.total[0, cell] == pytest.approx(0.4, abs=1e-4)
    assert levels.count.sum() == 24


def test_a_spike_counts_for_three_spreads() -> None:
    metrics = joint_calls({"a": []})
    slow = metrics["metric_id"][5000]
    spiked = metrics.with_columns(
        pl.when(pl.col("metric_id") == slow).then(5_000_000).otherwise("duration_us").alias("duration_us")
    )
    grid = call_grid(spiked, AS_OF, timedelta(days=7))
    spread = spreads(grid)
    before, after = levels_of(metrics), shared_levels(grid, spread)
    # the call was within +-3.2 spreads before
    assert np.abs(after.total - before.total).max() <= 6.2 * spread[0]


def test_variance_of_a_call_is_that_within_windows_and_not_that_of_rises() -> None:
    levels = levels_of(joint_calls({"a": [(d * DAY, d * DAY + 120, 1.5) for d in range(7)]}, per_minute=5.0))
    assert levels.variance[0] == pytest.approx(0.04, rel=0.05)


def test_distances_are_from_the_path_of_the_operation_called() -> None:
    metrics = pl.concat(
        [joint_calls({"a": []}, usual_us=1e3), joint_calls({"b": []}, usual_us=1e6).with_columns(metric_id="metric_id")]
    )
    grid = call_grid(metrics, AS_OF, timedelta(days=7))
    levels = shared_levels(grid, spreads(grid))
    for row in range(2):
        assert np.median(distances(grid, levels.path, row)) == pytest.approx(0.0, abs=0.02)


def test_what_most_operations_do_is_common_and_what_a_few_do_is_not() -> None:
    day = np.sin(np.arange(288) / 288 * 2 * np.pi) * 0.1
    value = np.tile(day, (10, 1))
    value[:3, 100:110] += 0.5
    course = common_course(value, np.ones(value.shape, dtype=np.bool_), 1)
    assert course == pytest.approx(day, abs=1e-9)


def test_few_operations_have_nothing_in_common() -> None:
    value = np.ones((7, 50))
    assert not common_course(value, np.ones(value.shape, dtype=np.bool_), 3).any()


def test_a_slow_down_of_everything_is_no_load_of_the_day() -> None:
    value = np.random.default_rng(3).normal(0, 0.01, (20, 600))
    value[:, 300:304] += 0.7
    course = common_course(value, np.ones(value.shape, dtype=np.bool_), 1)
    assert course.max() == pytest.approx(0.05)


def test_the_load_of_the_day_is_taken_away_by_how_much_an_operation_shows_of_it() -> None:
    metrics = joint_calls({name: [] for name in "abcdefghijkl"}, per_minute=2.0)
    minute = (pl.col("created_at") - pl.lit(instant(0))).dt.total_seconds() / 60
    load = (minute * (2 * np.pi / 240)).sin() * 0.15
    shown = pl.when(pl.col("operation_type") < "e").then(2.0).otherwise(1.0)
    loaded = metrics.with_columns((pl.col("duration_us") * (load * shown).exp()).round().cast(pl.Int64))
    found = windows(levels_of(loaded), 6)
    course = np.sin((np.arange(found.value.shape[1]) + 0.5) * 30 * 2 * np.pi / 240)
    for row in range(12):
        # of an amplitude of 0.15 or 0.3 at most a tenth is left
        assert abs(2 * (found.value[row] * course).mean()) < 0.03


def test_windows_are_means_with_their_variance() -> None:
    count = np.array([[2.0, 0.0, 2.0, 0.0, 0.0, 0.0]])
    total = np.array([[0.2, 0.0, 1.0, 0.0, 0.0, 0.0]])
    levels = SharedLevels(("a",), 0, count, total, np.array([0.08]), np.zeros((1, 6)))
    found = windows(levels, 3)
    assert found.value.tolist() == [[pytest.approx(0.3), 0.0]]
    assert found.variance.tolist() == [[pytest.approx(0.02), 0.0]]
    assert found.has_calls.tolist() == [[True, False]]
