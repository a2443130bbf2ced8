"""When a group was slow and who was first: rises put in by hand, and brute force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.call_grid import call_grid, spreads
from pggit_analytics.analysis.shared_episodes import Lags, SharedEpisode, group_episodes, raised_stretches
from pggit_analytics.analysis.shared_levels import shared_levels
from tests.unit.joint_calls import AS_OF, Rise, every_day, instant, joint_calls

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def episodes_of(metrics: pl.DataFrame, members: list[str]) -> tuple[list[SharedEpisode], Lags | None]:
    grid = call_grid(metrics, AS_OF, timedelta(days=7))
    levels = shared_levels(grid, spreads(grid))
    places = np.array([grid.operations.index(name) for name in members])
    return group_episodes(levels, grid, places, np.full(len(members), 0.01))


def minute_of(instant_us: int) -> float:
    """Minutes since the beginning."""
    return (EPOCH + timedelta(microseconds=instant_us) - instant(0)).total_seconds() / 60


def test_the_best_course_of_two_states_is_that_of_all_possible_ones() -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        value, weight = random.normal(0.2, 0.5, 9), random.uniform(0, 8, 9)
        gains = weight * (value * 0.6 - 0.18)

        def likelihood(states: tuple[int, ...], gains: np.ndarray = gains) -> float:
            switches = sum(a != b for a, b in zip((0, *states[:-1]), states, strict=True))
            return float((gains * states).sum() - 0.7 * switches)

        best = max(product((0, 1), repeat=9), key=likelihood)
        edges = np.flatnonzero(np.diff([0, *best, 0]))
        expected = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        assert raised_stretches(value, weight, 0.6, 0.7) == expected


def test_every_joint_rise_is_an_episode_with_its_onset_and_end() -> None:
    rises = every_day(300, 60, 1.5)
    episodes, _ = episodes_of(joint_calls({"a": rises, "b": rises, "c": rises, "d": []}, per_minute=3.0), list("abc"))
    assert len(episodes) == 7
    for episode, (first, last, _) in zip(episodes, rises, strict=True):
        assert minute_of(episode.onset) == pytest.approx(first, abs=4)
        assert minute_of(episode.end) == pytest.approx(last, abs=6)
        assert first <= minute_of(episode.peak_at) <= last + 5
        assert episode.support == 1.0
        assert not episode.is_open


def test_a_rise_that_is_still_on_ends_with_the_window() -> None:
    rises: list[Rise] = [(7 * 1440 - 70, 7 * 1440, 1.6)]
    ((episode,), _) = episodes_of(joint_calls({"a": rises, "b": rises}, per_minute=3.0), ["a", "b"])
    assert episode.is_open
    assert minute_of(episode.end) == 7 * 1440


def test_what_one_member_does_alone_is_no_episode_of_the_group() -> None:
    joint, alone = every_day(300, 60, 1.5), [(4 * 1440.0, 4 * 1440 + 60.0, 3.0)]
    episodes, _ = episodes_of(joint_calls({"a": joint + alone, "b": joint, "c": joint}, per_minute=3.0), list("abc"))
    assert len(episodes) == 7


def test_the_onset_of_a_slow_rise_is_where_it_begins() -> None:
    steps: list[Rise] = [(3000 + 2 * step, 3120, 1.05) for step in range(10)]
    metrics = joint_calls(dict.fromkeys("abcd", steps), per_minute=8.0)
    ((episode,), _) = episodes_of(metrics, list("abcd"))
    assert minute_of(episode.onset) == pytest.approx(3000, abs=4)


def test_lags_are_minutes_after_the_first() -> None:
    def later(minutes: float) -> list[Rise]:
        return [(first + minutes, last + minutes, factor) for first, last, factor in every_day(300, 60, 1.6)]

    metrics = joint_calls({"a": later(2), "b": later(0), "c": later(4)}, per_minute=5.0)
    _, lags = episodes_of(metrics, list("abc"))
    assert lags is not None
    assert lags.minutes == pytest.approx([2, 0, 4], abs=0.7)
    assert lags.error.max() < 1.0


def test_a_single_episode_gives_lags_without_an_error() -> None:
    rises: list[Rise] = [(5000, 5090, 1.6)]
    _, lags = episodes_of(joint_calls({"a": rises, "b": rises}, per_minute=3.0), ["a", "b"])
    assert lags is not None
    assert np.isnan(lags.error).all()
    assert lags.minutes.min() == 0


def test_without_a_joint_rise_there_is_nothing() -> None:
    assert episodes_of(joint_calls({"a": [], "b": []}), ["a", "b"]) == ([], None)
