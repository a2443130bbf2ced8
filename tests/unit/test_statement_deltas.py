"""The arithmetic of samples of pg_stat_statements; the expected values are worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pggit_analytics.analysis.statement_deltas import (
    Counters,
    Delta,
    Sample,
    StatementKey,
    StatementTiming,
    statement_deltas,
    statement_timings,
)
from pggit_analytics.config import StatementOperation

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RESET = NOON - timedelta(days=3)
A, B = StatementKey(10, True, 111), StatementKey(10, True, -222)


def sample(
    counters: Mapping[StatementKey, Counters],
    at: datetime = NOON,
    reset: datetime = RESET,
    dealloc: int = 0,
    hidden: int = 0,
) -> Sample:
    return Sample(at, reset, dealloc, hidden, counters)


def between(before: Sample | None, now: Sample) -> dict[StatementKey, tuple[int, float, bool]]:
    return {delta.key: delta[1:] for delta in statement_deltas(before, now)}


def test_the_first_sample_only_remembers() -> None:
    assert between(None, sample({A: Counters(1000, 5000.0)})) == {}


def test_what_was_counted_between_two_samples_is_their_difference() -> None:
    before = sample({A: Counters(100, 500.0), B: Counters(7, 70.0)})
    now = sample({A: Counters(110, 650.0), B: Counters(7, 70.0)}, NOON + MINUTE)

    assert between(before, now) == {A: (10, 150.0, False)}


def test_a_new_entry_has_counted_everything_since_the_sample_before() -> None:
    before = sample({A: Counters(100, 500.0)})
    now = sample({A: Counters(100, 500.0), B: Counters(3, 30.0)}, NOON + MINUTE)

    assert between(before, now) == {B: (3, 30.0, False)}


@pytest.mark.parametrize("now", [Counters(4, 8.0), Counters(150, 8.0), Counters(4, 900.0)])
def test_counters_that_fell_are_those_of_a_new_entry(now: Counters) -> None:
    found = between(sample({A: Counters(100, 500.0)}), sample({A: now}, NOON + MINUTE))

    assert found == {A: (now.calls, now.total_exec_ms, False)}


def test_after_a_reset_the_new_counters_count() -> None:
    before = sample({A: Counters(100, 500.0)})
    # more than before, and nevertheless all of them new
    now = sample({A: Counters(120, 960.0)}, NOON + MINUTE, reset=NOON + MINUTE / 2)

    assert between(before, now) == {A: (120, 960.0, False)}


def test_statistics_that_are_older_than_the_sample_before_are_another_servers_and_give_nothing() -> None:
    before = sample({A: Counters(100, 500.0)})
    now = sample({A: Counters(120, 960.0)}, NOON + MINUTE, reset=RESET - timedelta(days=1))

    assert between(before, now) == {}


def test_evictions_make_the_differences_of_old_entries_uncertain_and_not_those_of_new_ones() -> None:
    before = sample({A: Counters(100, 500.0)}, dealloc=4)
    now = sample({A: Counters(101, 505.0), B: Counters(2, 6.0)}, NOON + MINUTE, dealloc=5)

    assert between(before, now) == {A: (1, 5.0, True), B: (2, 6.0, False)}


def test_a_server_that_knows_since_when_an_entry_counts_is_believed() -> None:
    old, new = RESET, NOON + MINUTE / 2
    before = sample({A: Counters(100, 500.0, old), B: Counters(5, 50.0, old)}, dealloc=4)
    # B was evicted, came back and has counted beyond what it had
    now = sample({A: Counters(101, 505.0, old), B: Counters(6, 90.0, new)}, NOON + MINUTE, dealloc=5)

    assert between(before, now) == {A: (1, 5.0, False), B: (6, 90.0, False)}


def test_an_entry_that_is_older_than_the_sample_before_and_was_not_in_it_gives_nothing() -> None:
    now = sample({A: Counters(1_000_000, 5e6, RESET)}, NOON + MINUTE)

    assert between(sample({}, hidden=1), now) == {}


def test_where_entries_were_hidden_a_new_one_may_be_old_and_gives_nothing() -> None:
    now = sample({A: Counters(1_000_000, 5e6)}, NOON + MINUTE)

    assert between(sample({}, hidden=1), now) == {}
    assert between(sample({}, hidden=0), now) == {A: (1_000_000, 5e6, False)}


def test_an_entry_that_is_gone_gives_nothing() -> None:
    assert between(sample({A: Counters(100, 500.0)}), sample({}, NOON + MINUTE)) == {}


def test_entries_come_in_the_order_of_their_keys() -> None:
    now = sample({A: Counters(1, 1.0), B: Counters(1, 1.0)}, NOON + MINUTE)
    assert [delta.key for delta in statement_deltas(sample({}), now)] == [B, A]


@given(st.lists(st.lists(st.integers(0, 1000), max_size=5), min_size=1, max_size=8))
def test_however_calls_fall_into_intervals_every_one_is_counted_once(intervals: list[list[int]]) -> None:
    """Whole milliseconds, so that sums are exact."""
    calls, total, before, counted = 0, 0, sample({}), [0, 0.0]
    for number, durations in enumerate(intervals, start=1):
        calls, total = calls + len(durations), total + sum(durations)
        entries = {A: Counters(calls, float(total))} if calls else {}
        now = sample(entries, NOON + number * MINUTE)
        for delta in statement_deltas(before, now):
            counted = [counted[0] + delta.calls, counted[1] + delta.total_ms]
        before = now
    assert counted == [calls, total]


# operations


def delta(queryid: int, calls: int, total_ms: float, userid: int = 10, *, uncertain: bool = False) -> Delta:
    return Delta(StatementKey(userid, True, queryid), calls, total_ms, uncertain)


def test_users_and_nesting_of_a_statement_count_together() -> None:
    nested = Delta(StatementKey(10, False, 1), 5, 5.0, True)
    (found,) = statement_timings([delta(1, 10, 100.0), delta(1, 5, 45.0, userid=11), nested], lambda _: None, 50)

    assert found == StatementTiming("stmt:1", 20, 150.0, (1,), True)
    assert found.mean_ms == 7.5


def test_statements_with_a_name_are_one_operation_and_all_recorded_and_of_the_others_the_top() -> None:
    names = {1: "checkout", 2: "checkout"}
    deltas = [delta(1, 1, 1.0), delta(2, 3, 3.0), delta(3, 1, 50.0), delta(4, 1, 90.0), delta(-5, 1, 50.0)]
    found = statement_timings(deltas, names.get, top=2)

    assert [(timing.operation_type, timing.calls, timing.total_ms) for timing in found] == [
        ("checkout", 4, 4.0),
        ("stmt:-5", 1, 50.0),  # as long as stmt:3, and before it by name
        ("stmt:4", 1, 90.0),
    ]
    assert statement_timings(deltas, names.get, top=0)[0].queryids == (1, 2)


@pytest.mark.parametrize("fault", [{}, {"queryid": 1, "pattern": "x"}, {"pattern": "("}, {"queryid": 1, "other": 2}])
def test_an_operation_is_either_a_queryid_or_a_pattern(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StatementOperation(name="checkout", **fault)
