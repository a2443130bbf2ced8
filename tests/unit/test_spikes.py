"""Slow calls: tails against SciPy, spikes put in are told, slow hours and ordinary noise are not."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import truncexpon

from pggit_analytics.analysis import spikes
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.spikes import SLOW_CALLS, slow_calls, tail_scales
from tests.unit import changing_calls as made


def _with_spikes(metrics: pl.DataFrame, factors: dict[int, float]) -> pl.DataFrame:
    """The calls with some of them, by metric_id, made exactly so many times as long as usual."""
    factor = pl.col("metric_id").replace_strict(factors, default=None, return_dtype=pl.Float64)
    slow = (made.USUAL_US * factor).round().cast(pl.Int64)
    return metrics.with_columns(pl.coalesce(slow, "duration_us").alias("duration_us"))


def _told(metrics: pl.DataFrame) -> pl.DataFrame:
    return SLOW_CALLS.check(slow_calls(operation_levels(metrics, made.AS_OF)))


def test_spikes_are_told_with_their_size_and_nothing_else_is() -> None:
    metrics = made.calls({f"op{i}": made.constant for i in range(10)}, spread=0.2)
    factors = {500 + 2000 * i: 4.0 + 2 * i for i in range(20)}
    told = _told(_with_spikes(metrics, factors))
    assert dict(told.select("metric_id", "times_expected").iter_rows()) == pytest.approx(factors, rel=0.05)
    assert told["operation_type"].is_sorted()
    assert told["score"].min() > 4


def test_nothing_is_told_of_ordinary_noise() -> None:
    metrics = made.calls({f"op{i}": made.constant for i in range(10)}, spread=0.3, seed=5)
    # 100,000 calls, of which 0.0001 of a chance each are beyond e^(3.7 x 0.3) = 3 times the usual
    assert _told(metrics).is_empty()


def test_calls_of_one_millisecond_among_calls_of_none_are_no_spikes_where_nothing_less_is_timed() -> None:
    exact = made.calls({f"op{i}": made.constant for i in range(3)}, spread=0.3)
    # 0.4 ms, in whole milliseconds: 0 or 1
    in_ms = (pl.col("duration_us") * 0.08 / 1000).round().cast(pl.Int64) * 1000
    assert _told(exact.with_columns(in_ms.alias("duration_us"))).is_empty()


def test_calls_of_a_slow_day_or_a_slow_hour_are_no_spikes() -> None:
    courses = {"op": made.step(100, 4.0), "hour": made.step(50, 6.0, until=51.5), "plain": made.constant}
    assert _told(made.calls(courses)).is_empty()


def test_ordinary_calls_among_a_burst_of_fast_ones_are_no_spikes() -> None:
    random = np.random.default_rng(6)
    usual, burst = np.sort(random.uniform(0, 168, 5000)), np.sort(random.uniform(90, 90.5, 900))
    us = np.concatenate((np.full(5000, 5000.0), np.full(900, 700.0))) * np.exp(0.2 * random.standard_normal(5900))
    assert _told(made.frame(["op"] * 5900, np.concatenate((usual, burst)), us)).is_empty()


def test_a_spike_of_a_rare_operation_is_told_by_the_tail_of_the_others() -> None:
    busy = made.calls({f"op{i}": made.constant for i in range(5)})
    rare = made.calls({"rare": made.constant}, per_hour=0.25, seed=3).with_columns(pl.col("metric_id") + 1_000_000)
    told = _told(_with_spikes(pl.concat([busy, rare]), {1_000_010: 9.0}))
    assert told.select("operation_type", "metric_id").rows() == [("rare", 1_000_010)]


def test_a_heavy_tail_of_its_own_is_not_told_call_by_call() -> None:
    random = np.random.default_rng(7)
    hours = np.sort(random.uniform(0, 168, 20_000))
    tail = np.where(random.random(hours.size) < 0.03, random.exponential(0.3, hours.size), 0.0)
    us = made.USUAL_US * np.exp(0.15 * random.standard_normal(hours.size) + tail)
    told = _told(made.frame(["op"] * hours.size, hours, us))
    beyond = int((us > spikes.LEAST_TIMES * made.USUAL_US).sum())
    # all of them are ordinary
    assert beyond > 20
    assert told.height <= 0.1 * beyond


def test_a_slow_mode_of_an_operation_is_no_row_of_spikes_but_a_call_far_beyond_it_is_one() -> None:
    random = np.random.default_rng(13)
    hours = np.sort(random.uniform(0, 168, 10_000))
    is_slow = random.random(hours.size) < 0.1
    us = made.USUAL_US * np.where(is_slow, 5.0, 1.0) * np.exp(0.15 * random.standard_normal(hours.size))
    us[4000] = 60 * made.USUAL_US
    assert _told(made.frame(["op"] * hours.size, hours, us))["metric_id"].to_list() == [4001]


def test_a_busy_operation_with_a_slow_mode_hides_no_spike_of_itself_or_of_others() -> None:
    random = np.random.default_rng(17)
    hours = np.sort(random.uniform(0, 168, 40_000))
    times = np.where(random.random(hours.size) < 0.2, 2.1, 1.0) * np.exp(0.1 * random.standard_normal(hours.size))
    times[20_000] = 8.0
    busy = made.frame(["busy"] * hours.size, hours, made.USUAL_US * times).with_columns(pl.col("metric_id") + 1_000_000)
    others = made.calls({f"op{i}": made.constant for i in range(5)})
    told = _told(pl.concat([busy, _with_spikes(others, {2000: 6.0, 7000: 7.0})]))
    assert sorted(told["metric_id"].to_list()) == [2000, 7000, 1_020_001]


def test_untrained_times_do_not_teach_the_tail() -> None:
    metrics = made.calls({f"op{i}": made.constant for i in range(4)})
    late = metrics.filter(pl.col("created_at") > made.hour(150))["metric_id"].to_list()
    noisy = _with_spikes(metrics, dict.fromkeys(late[::20], 2.5) | {late[1]: 6.0})
    taught = slow_calls(operation_levels(noisy, made.AS_OF))
    untaught = slow_calls(operation_levels(noisy, made.AS_OF, trained_until=made.hour(150)))
    assert late[1] not in taught["metric_id"].to_list()
    assert untaught["metric_id"].to_list() == [late[1]]


@pytest.mark.parametrize(("scale", "width"), [(0.1, 0.4), (0.15, 0.3), (0.3, 0.5)])
def test_the_scale_of_a_tail_with_many_calls_is_the_likeliest(scale: float, width: float) -> None:
    x = truncexpon.rvs(width / scale, scale=scale, size=200_000, random_state=1)
    likeliest = minimize_scalar(
        lambda s: -truncexpon.logpdf(x[:5000], width / s, scale=s).sum(), bounds=(0.02, 1.0), method="bounded"
    ).x
    found = tail_scales(np.array([5000.0]), np.array([x[:5000].sum()]), np.array([width]))
    # the prior is worth about a hundred calls, the grid has steps of 2 %
    assert found[0] == pytest.approx(likeliest, rel=0.15)
    more = tail_scales(np.array([200_000.0]), np.array([x.sum()]), np.array([width]))
    assert more[0] == pytest.approx(scale, rel=0.03)


def test_a_tail_of_few_calls_is_that_of_most_operations_however_many_calls_another_has() -> None:
    alike = [truncexpon.rvs(0.5 / 0.2, scale=0.2, size=1000, random_state=seed).sum() for seed in range(20)]
    mode = 50_000 * 0.249
    calls, total = np.array([1000.0] * 20 + [50_000.0, 1.0]), np.array([*alike, mode, 0.2])
    found = tail_scales(calls, total, np.full(22, 0.5))
    assert found[-1] == pytest.approx(0.2, rel=0.1)
    assert found[-2] == pytest.approx(0.6, rel=0.05)


def test_the_chance_of_a_call_is_that_of_its_formula_with_the_normal_tail_by_mills_bound() -> None:
    tails = spikes._Tails(np.array([0.2]), np.array([0.64]), np.array([0.001]), np.array([0.15]))
    (found,) = tails.chance(np.array([1.2]), np.array([0])).tolist()
    beyond = 0.001 * math.exp(-(1.2 - 3.2 * 0.2) / 0.15)
    assert found == pytest.approx(math.exp(-18) / 6 / math.sqrt(2 * math.pi) + beyond)
    exact = 0.5 * math.erfc(6 / math.sqrt(2))
    assert exact < found - beyond < 1.1 * exact
