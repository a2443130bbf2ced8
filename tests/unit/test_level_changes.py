"""What is told about levels: changes put in are found with kind, onset and size; episodes are not changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.followed_levels import KNOWN_INCIDENTS, operation_levels
from pggit_analytics.analysis.level_changes import (
    EPISODES,
    LEVEL_CHANGES,
    lasting_size,
    level_changes,
    level_episodes,
    step_positions,
)
from pggit_analytics.errors import InvalidArgument
from tests.unit import changing_calls as made
from tests.unit.changing_calls import hour


def _changes(courses: dict[str, made.Course], **how: float) -> pl.DataFrame:
    plain = {f"plain{i}": made.constant for i in range(4)}
    levels = operation_levels(made.calls(plain | courses, **how), made.AS_OF)  # type: ignore[arg-type]
    return LEVEL_CHANGES.check(level_changes(levels))


def _apart(one: datetime, other: datetime) -> float:
    """Minutes between two instants."""
    return abs((one - other).total_seconds()) / 60


@pytest.mark.parametrize("factor", [1.15, 1.5, 3.0])
def test_a_step_is_told_with_its_onset_and_size(factor: float) -> None:
    (row,) = _changes({"op": made.step(100, factor)}).to_dicts()
    assert (row["operation_type"], row["kind"]) == ("op", "step")
    assert _apart(row["onset"], hour(100)) < 60
    assert row["onset_low"] <= hour(100.2)
    assert row["onset_high"] >= hour(99.8)
    assert row["size_ratio"] == pytest.approx(factor, rel=0.04)
    assert row["p"] < 1e-6


def test_a_large_step_is_dated_to_minutes() -> None:
    (row,) = _changes({"op": made.step(100, 2.0)}).to_dicts()
    assert _apart(row["onset"], hour(100)) < 5
    assert row["onset_low"] <= row["onset"] <= row["onset_high"]
    assert row["onset_high"] - row["onset_low"] < timedelta(minutes=30)


def test_a_step_within_days_without_a_call_is_dated_to_the_first_call_after_them() -> None:
    random = np.random.default_rng(1)
    hours = np.concatenate([np.sort(random.uniform(*span, 400)) for span in ((0, 12), (140, 167))])
    us = made.USUAL_US * np.where(hours > 100, 2.0, 1.0) * np.exp(0.2 * random.standard_normal(800))
    levels = operation_levels(made.frame(["op"] * 800, hours, us), made.AS_OF)
    (row,) = level_changes(levels).to_dicts()
    assert _apart(row["onset"], hour(140)) <= 15


@pytest.mark.parametrize("course", [made.ratio_drift(50, 168, 2.2), made.amount_drift(50, 168, 2.2)])
def test_a_drift_is_one_drift_and_no_staircase(course: made.Course) -> None:
    (row,) = _changes({"op": course}).to_dicts()
    assert row["kind"] == "drift"
    assert _apart(row["onset"], hour(50)) < 6 * 60
    assert row["settled_at"] >= hour(160)
    assert row["size_ratio"] == pytest.approx(2.2, rel=0.06)


def test_a_drift_that_levels_off_is_told_with_when() -> None:
    (row,) = _changes({"op": made.ratio_drift(40, 120, 2.0)}).to_dicts()
    assert row["kind"] == "drift"
    assert _apart(row["settled_at"], hour(120)) < 6 * 60


def test_getting_faster_is_an_improvement() -> None:
    (row,) = _changes({"op": made.step(60, 0.7)}).to_dicts()
    assert row["kind"] == "improvement"
    assert row["size_ratio"] == pytest.approx(0.7, rel=0.04)


def test_more_scatter_at_the_same_level_is_a_change_of_variance_alone() -> None:
    random = np.random.default_rng(4)
    hours = np.sort(random.uniform(0, made.HOURS, 10_000))
    noise = 0.15 * np.where(hours >= 80, 1.8, 1.0) * random.standard_normal(hours.size)
    metrics = made.frame(["op"] * hours.size, hours, made.USUAL_US * np.exp(noise))
    (row,) = level_changes(operation_levels(metrics, made.AS_OF)).to_dicts()
    assert row["kind"] == "variance"
    assert row["size_ratio"] == pytest.approx(1.8, rel=0.12)
    assert row["onset_low"] <= hour(80) <= row["onset_high"]


def test_an_incident_that_is_over_is_an_episode_and_no_change() -> None:
    levels = operation_levels(made.calls({"op": made.step(60, 3.0, until=67)}), made.AS_OF)
    assert level_changes(levels).is_empty()
    (row,) = EPISODES.check(level_episodes(levels)).to_dicts()
    assert _apart(row["start"], hour(60)) <= 15
    assert _apart(row["end"], hour(67)) <= 15
    assert row["size_ratio"] == pytest.approx(3.0, rel=0.1)
    assert not row["is_open"]


def test_an_episode_that_is_not_over_is_open() -> None:
    levels = operation_levels(made.calls({"op": made.step(166, 3.0)}), made.AS_OF)
    assert level_changes(levels).is_empty()
    (row,) = level_episodes(levels).to_dicts()
    assert row["is_open"]
    assert row["end"] <= made.AS_OF


def test_an_episode_of_an_operation_that_was_not_called_since_is_open_and_after_hours_without_a_call_it_is_not() -> (
    None
):
    quiet = made.calls({"op": made.step(160, 3.0)})

    def is_open(last: float) -> bool:
        levels = operation_levels(quiet.filter(pl.col("created_at") < hour(last)), made.AS_OF)
        (row,) = level_episodes(levels).to_dicts()
        return bool(row["is_open"])

    assert is_open(167)
    assert not is_open(161)


def test_an_episode_with_hours_without_a_call_in_it_is_one() -> None:
    metrics = made.calls({"op": made.step(162, 3.0)})
    levels = operation_levels(metrics.filter(~pl.col("created_at").is_between(hour(164), hour(166))), made.AS_OF)
    (row,) = level_episodes(levels).to_dicts()
    assert _apart(row["start"], hour(162)) <= 15
    assert row["is_open"]


def test_a_burst_of_fast_calls_is_no_lasting_change() -> None:
    random = np.random.default_rng(6)
    usual, burst = np.sort(random.uniform(0, 168, 5000)), np.sort(random.uniform(90, 90.4, 900))
    us = np.concatenate((np.full(5000, 5000.0), np.full(900, 700.0))) * np.exp(0.2 * random.standard_normal(5900))
    metrics = made.frame(["op"] * 5900, np.concatenate((usual, burst)), us)
    assert level_changes(operation_levels(metrics, made.AS_OF)).is_empty()


def test_nothing_is_told_of_calls_without_a_change() -> None:
    levels = operation_levels(made.calls({f"op{i}": made.constant for i in range(20)}, seed=9), made.AS_OF)
    assert level_changes(levels).is_empty()
    assert level_episodes(levels).is_empty()


def test_calls_that_come_in_two_modes_do_not_change() -> None:
    random = np.random.default_rng(11)
    hours = np.sort(random.uniform(0, made.HOURS, 6000))
    is_fast = random.random(hours.size) < 0.4
    us = made.USUAL_US * np.where(is_fast, 0.125, 1.0) * np.exp(0.15 * random.standard_normal(hours.size))
    levels = operation_levels(made.frame(["op"] * hours.size, hours, us), made.AS_OF)
    assert level_changes(levels).is_empty()
    # 0.4 of the calls differ: hours that happen to be of one mode are few
    assert level_episodes(levels).height < 20


def test_a_level_that_wanders_needs_more_to_change_than_one_that_does_not() -> None:
    random = np.random.default_rng(12)
    at, kept = np.arange(0, 169, 0.25), np.exp(-0.25 / 3)
    wander = np.zeros(at.size)
    for place in range(1, at.size):
        wander[place] = kept * wander[place - 1] + 0.05 * np.sqrt(1 - kept**2) * random.standard_normal()
    plain = {f"plain{i}": made.constant for i in range(4)}
    wandering = operation_levels(made.calls(plain | {"op": lambda h: np.exp(np.interp(h, at, wander))}), made.AS_OF)
    assert level_changes(wandering).is_empty()
    stepped = made.calls(plain | {"op": lambda h: np.exp(np.interp(h, at, wander)) * made.step(100, 1.4)(h)})
    assert level_changes(operation_levels(stepped, made.AS_OF))["kind"].to_list() == ["step"]


def test_calls_of_a_few_moments_tell_no_change() -> None:
    noise = np.exp(0.15 * np.random.default_rng(14).standard_normal(60))
    # 40 calls within a minute, the second half of them three times as slow: a batch, or the first minute of a new job
    hours = np.linspace(167.98, 168, 40)
    us = np.where(np.arange(40) < 20, 1.0, 3.0) * made.USUAL_US * noise[:40]
    assert level_changes(operation_levels(made.frame(["op"] * 40, hours, us), made.AS_OF)).is_empty()
    # calls of the days before, then one slow batch
    hours = np.concatenate((np.linspace(1, 150, 40), np.linspace(167.98, 168, 20)))
    us = np.where(hours < 160, 1.0, 3.0) * made.USUAL_US * noise
    found = level_changes(operation_levels(made.frame(["op"] * 60, hours, us), made.AS_OF))
    assert found.filter(pl.col("kind") != "variance").is_empty()


def test_a_rare_operation_is_judged_call_by_call() -> None:
    (row,) = _changes({"op": made.step(90, 1.8)}, per_hour=0.3, spread=0.15).to_dicts()
    assert (row["operation_type"], row["kind"]) == ("op", "step")
    assert _apart(row["onset"], hour(90)) < 12 * 60


def test_a_step_that_is_taken_back_is_not_lasting() -> None:
    assert _changes({"op": made.step(50, 1.6, until=100)}).is_empty()


@pytest.mark.parametrize(
    ("levels", "lengths", "border", "size"),
    [
        ([0.0, 0.5], [5, 5], 1, 0.5),
        ([0.0, 0.5, 0.2], [5, 5, 5], 1, 0.2),  # part of it is taken back
        ([0.0, 0.5, 0.0], [5, 5, 5], 1, 0.0),  # all of it
        ([0.0, -0.3, 0.0], [5, 5, 5], 2, 0.0),  # back from a time of better levels
        ([0.0, 0.5, 0.0, 0.3], [5, 4, 5, 5], 3, 0.3),  # once more, after an incident
        ([0.0, 0.3, 0.7], [5, 5, 5], 2, 0.4),  # worse still
    ],
)
def test_how_much_of_a_rise_lasts(levels: list[float], lengths: list[int], border: int, size: float) -> None:
    assert lasting_size(np.array(levels), np.array(lengths), border) == pytest.approx(size)


def test_a_known_incident_does_not_count() -> None:
    courses = {"op": made.step(20, 3.0, until=60), "other": made.constant}
    incident = KNOWN_INCIDENTS.frame([{"operation_type": "op", "start": hour(20), "end": hour(60)}])
    levels = operation_levels(made.calls(courses), made.AS_OF, incidents=incident)
    assert level_changes(levels).is_empty()
    assert level_episodes(levels).is_empty()
    assert not levels.trains[0, 22 * 4]
    assert levels.trains[1].all()


def test_an_incident_of_no_operation_in_particular_concerns_all() -> None:
    incident = KNOWN_INCIDENTS.frame([{"operation_type": None, "start": hour(20), "end": hour(60)}])
    levels = operation_levels(made.calls({"a": made.constant, "b": made.constant}), made.AS_OF, incidents=incident)
    assert not levels.trains[:, 20 * 4 : 60 * 4].any()
    assert levels.trains[:, 61 * 4 :].all()


def test_the_tested_window_is_followed_though_not_learnt_from() -> None:
    levels = operation_levels(made.calls({"op": made.step(150, 2.0)}), made.AS_OF, trained_until=hour(144))
    assert not levels.trains[0, 144 * 4 :].any()
    assert level_changes(levels)["kind"].to_list() == ["step"]


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        operation_levels(made.calls({"a": made.constant}, per_hour=1), made.AS_OF.replace(tzinfo=None))


def test_the_position_of_a_step_is_as_likely_as_its_definition_says() -> None:
    x = np.array([0.0, 0.3, -0.2, 1.1, 0.8, 1.3])
    spread = 0.5
    chances = []
    for k in range(1, 6):
        misfit = ((x[:k] - x[:k].mean()) ** 2).sum() + ((x[k:] - x[k:].mean()) ** 2).sum()
        chances.append(np.exp(-misfit / (2 * spread**2)) / np.sqrt(k * (6 - k)))
    first, chance = step_positions(x, spread)
    assert first.tolist() == [1, 2, 3, 4, 5]
    assert chance == pytest.approx(np.array(chances) / sum(chances))


def test_no_calls_have_no_changes() -> None:
    levels = operation_levels(made.calls({"a": made.constant}, per_hour=1).clear(), made.AS_OF)
    assert level_changes(levels).is_empty()
    assert level_episodes(levels).is_empty()
