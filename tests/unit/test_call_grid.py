"""The grid of calls: order, window, and robust means and spreads by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.call_grid import HOUR, call_grid, cell_means, scatter, spreads
from pggit_analytics.errors import InvalidArgument
from tests.unit import changing_calls as made

WEEK = timedelta(days=7)


def test_calls_are_in_order_of_operation_and_time_whatever_their_order_of_arrival() -> None:
    metrics = made.calls({"b": made.constant, "a": made.constant}, per_hour=5).sample(fraction=1, shuffle=True, seed=3)
    grid = call_grid(metrics, made.AS_OF, WEEK)
    expected = metrics.sort("operation_type", "created_at")
    assert grid.operations == ("a", "b")
    assert grid.metric_id.tolist() == expected["metric_id"].to_list()
    assert grid.at.tolist() == expected["created_at"].dt.epoch("us").to_list()
    assert grid.first.tolist() == [0, 840, 1680]
    assert np.allclose(np.exp(grid.log_us), expected["duration_us"].to_numpy(), rtol=1e-12)


def test_the_window_holds_both_its_ends_and_nothing_else() -> None:
    metrics = made.frame(["a"] * 4, np.array([-0.001, 0.0, 168.0, 168.001]), np.full(4, 10.0))
    assert call_grid(metrics, made.AS_OF, WEEK).metric_id.tolist() == [2, 3]


@pytest.mark.parametrize(("days", "minutes"), [(7, 15), (15, 15), (16, 30), (31, 30), (32, 60), (62, 60)])
def test_cells_get_wider_with_the_window_and_begin_at_full_hours(days: int, minutes: int) -> None:
    grid = call_grid(made.calls({"a": made.constant}, per_hour=1), made.AS_OF, timedelta(days=days))
    assert grid.width == minutes * 60_000_000
    assert grid.start % HOUR == 0
    assert grid.start + grid.cells * grid.width > grid.end


@pytest.mark.parametrize("lookback", [timedelta(minutes=59), timedelta(days=63)])
def test_a_window_of_another_length_is_refused(lookback: timedelta) -> None:
    with pytest.raises(InvalidArgument, match="expected at least 1 hour and at most 62 days"):
        call_grid(made.calls({"a": made.constant}, per_hour=1), made.AS_OF, lookback)


def test_the_spread_is_that_of_the_noise_whatever_the_level_does() -> None:
    drift = made.ratio_drift(0, 168, 8.0)
    metrics = made.calls({"a": drift, "b": made.step(80, 5.0)}, per_hour=120, spread=0.2)
    # 20,000 differences: the standard error is 1 %
    assert spreads(call_grid(metrics, made.AS_OF, WEEK)) == pytest.approx([0.2, 0.2], rel=0.04)


def test_equal_values_and_a_single_one_have_the_least_spread() -> None:
    assert scatter(np.ones(9)) == scatter(np.ones(1)) == 0.02


def _in_units(metrics: pl.DataFrame, unit_us: int) -> pl.DataFrame:
    return metrics.with_columns((pl.col("duration_us") / unit_us).round().cast(pl.Int64) * unit_us)


def test_durations_in_coarse_units_are_within_half_a_unit_and_the_same_in_every_window() -> None:
    metrics = _in_units(made.calls({"a": made.constant}, per_hour=20), 1000)
    whole, half = (call_grid(metrics, made.AS_OF, timedelta(days=days)) for days in (7, 3))
    assert (np.abs(np.exp(whole.log_us) - whole.duration_us) <= 500).all()
    assert len(set(whole.log_us)) == whole.log_us.size
    assert np.array_equal(whole.log_us[-half.log_us.size :], half.log_us)


def test_the_spread_of_durations_in_coarse_units_is_that_of_the_durations() -> None:
    exact = made.calls({"a": made.constant}, spread=0.2)
    (found,) = spreads(call_grid(_in_units(exact, 1000), made.AS_OF, WEEK))
    # an interval of 1 ms has a standard deviation of 0.29, 0.06 of 5 ms
    assert found == pytest.approx(np.hypot(0.2, np.hypot(0.058, 0.058)), rel=0.05)


@pytest.mark.parametrize("durations", [[5000.0] * 30, [3000.0, 9000.0], [0.0] * 30])
def test_few_or_equal_durations_have_no_unit(durations: list[float]) -> None:
    metrics = made.frame(["a"] * len(durations), np.arange(1.0, len(durations) + 1), np.array(durations))
    found = np.exp(call_grid(metrics, made.AS_OF, WEEK).log_us)
    assert found == pytest.approx(np.maximum(durations, 0.5))


def test_the_mean_of_a_cell_is_hubers_first_step_from_the_median() -> None:
    # logarithms 0, 0.1, 0.2, 0.3 and 5; the median is 0.2, the spread 0.1 and the bound 0.1345
    values = np.exp([0.0, 0.1, 0.2, 0.3, 5.0]) * 1e6
    metrics = made.frame(["a"] * 5, np.array([1.01, 1.02, 1.03, 1.04, 1.05]), values)
    means = cell_means(call_grid(metrics, made.AS_OF, WEEK), np.array([0.1]))
    by_hand = np.log(1e6) + 0.2 + (-0.1345 - 0.1 + 0.0 + 0.1 + 0.1345) / 5
    assert means.count[0].tolist() == [5.0 if cell == 4 else 0.0 for cell in range(means.count.shape[1])]
    assert means.value[0, 4] == pytest.approx(by_hand, abs=1e-6)


def test_block_sums_add_the_cells_of_a_block_and_what_is_left_over() -> None:
    grid = call_grid(made.calls({"a": made.constant}, per_hour=1), made.AS_OF, timedelta(hours=1))
    assert grid.cells == 5
    assert grid.block_sums(np.array([[1.0, 2, 3, 4, 5]]), 2).tolist() == [[3.0, 7.0, 5.0]]


def test_no_calls_make_a_grid_without_operations() -> None:
    grid = call_grid(made.calls({"a": made.constant}).filter(pl.col("metric_id") < 0), made.AS_OF, WEEK)
    assert grid.operations == ()
    assert cell_means(grid, spreads(grid)).value.shape == (0, grid.cells)
