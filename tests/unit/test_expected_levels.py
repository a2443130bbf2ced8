"""The season: loads put in are found, changes leave no trace, what must not be learnt is not."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from pggit_analytics.analysis.call_grid import CallGrid, call_grid, cell_means, spreads
from pggit_analytics.analysis.expected_levels import Season, robust_mean, running_median, season
from tests.unit import changing_calls as made

Floats = NDArray[np.float64]


def _season(metrics: pl.DataFrame, untrained: slice | None = None) -> tuple[CallGrid, Season]:
    grid = call_grid(metrics, made.AS_OF, timedelta(days=7))
    means = cell_means(grid, spreads(grid))
    trains = np.ones(means.value.shape, dtype=np.bool_)
    if untrained is not None:
        trains[:, untrained] = False
    return grid, season(grid, means, spreads(grid), np.zeros_like(means.value), trains)


def _load(hours: Floats, height: float = 0.2) -> Floats:
    """Logarithm of the load: a sine over the day with its peak at 18 UTC (the window begins at 12 UTC)."""
    return height * np.sin(2 * np.pi * hours / 24)


def _loaded(height: float) -> made.Course:
    return lambda hours: np.exp(_load(hours, height))


def test_the_common_load_is_found_to_a_percent() -> None:
    grid, found = _season(made.calls({f"op{i}": _loaded(0.2) for i in range(6)}))
    hours = (grid.middles() - grid.middles()[0]) / 3.6e9 + 0.125
    # an hour is one value: the sine moves by 0.05 within it
    assert np.abs(found.at_cells(grid) - _load(hours)).mean() < 0.02
    assert found.loading == pytest.approx(np.ones(6), abs=0.15)


def test_an_operation_without_the_load_gets_little_of_it() -> None:
    _, found = _season(made.calls({"idle": made.constant} | {f"op{i}": _loaded(0.2) for i in range(6)}))
    assert found.loading[0] < 0.15
    assert found.loading[1:].min() > 0.8


def test_quiet_weekends_are_found_though_half_of_the_operations_step() -> None:
    def weekend(hours: Floats) -> Floats:
        # Saturday and Sunday are hours 60 to 108 of the window
        return np.where((hours >= 60) & (hours < 108), 0.9, 1.0)

    courses = {f"op{i}": weekend for i in range(6)}
    stepped = {
        f"st{i}": lambda h, at=at: weekend(h) * made.step(at, 1.8)(h) for i, at in enumerate([20, 120, 130, 140])
    }
    grid, found = _season(made.calls(courses | stepped))
    of_cells = found.at_cells(grid)[0]
    assert of_cells[60 * 4 : 108 * 4].mean() - of_cells[: 60 * 4].mean() == pytest.approx(np.log(0.9), abs=0.02)


def test_a_nightly_job_of_one_operation_is_its_own_season() -> None:
    def nightly(hours: Floats) -> Floats:
        return np.where((hours + 12) % 24 // 1 == 2, 3.0, 1.0)

    _, found = _season(made.calls({"job": nightly} | {f"op{i}": made.constant for i in range(5)}))
    # the mean over the day is 0
    assert found.own[0, 2] == pytest.approx(np.log(3) * 23 / 24, abs=0.1)
    assert np.delete(found.own[0], 2) == pytest.approx(np.full(23, -np.log(3) / 24), abs=0.05)
    assert np.abs(found.own[1:]).max() < 0.06


def test_steps_drifts_and_incidents_leave_no_season() -> None:
    courses = {
        "step": made.step(90, 2.0),
        "drift": made.ratio_drift(40, 160, 2.5),
        "incident": made.step(70, 4.0, until=78),
        "plain": made.constant,
    }
    grid, found = _season(made.calls(courses))
    assert np.abs(found.at_cells(grid)).max() < 0.06


def test_what_must_not_be_learnt_is_not() -> None:
    courses = {f"op{i}": _loaded(0.2) for i in range(6)}
    grid, clean = _season(made.calls(courses))
    # the last day runs the other way round
    odd = {n: lambda h: np.exp(_load(h, 0.2) * np.where(h < 144, 1, -3)) for n in courses}
    _, untrained = _season(made.calls(odd), slice(144 * 4, None))
    assert np.abs(untrained.at_cells(grid) - clean.at_cells(grid)).max() < 0.03


def test_a_robust_mean_hardly_notices_an_outlier() -> None:
    values, weights = np.array([1.0, 1.1, 0.9, 1.0, 50.0, np.nan]), np.full(6, 100.0)
    mean, variance = robust_mean(values, weights)
    # the distances of four values from the mean sum up to the bound of the fifth, 1.345 / 10: 4 (m - 1) = 0.1345
    assert mean == pytest.approx(1.0 + 0.1345 / 4, abs=1e-3)
    assert 1 / 500 < variance < 1 / 390
    assert robust_mean(values, np.zeros(6)) == (0.0, float("inf"))


def test_running_medians_leave_gaps_out() -> None:
    values = np.array([[1.0, np.nan, 3.0, 9.0, np.nan, np.nan, np.nan]])
    found = running_median(values, 1, 1)[0]
    assert found[:5].tolist() == [1.0, 2.0, 6.0, 6.0, 9.0]
    assert np.isnan(found[5:]).all()
    assert np.isnan(running_median(values, 1, 2)[0]).tolist() == [True, False, False, False, True, True, True]
