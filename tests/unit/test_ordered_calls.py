"""Calls are put in the same order however they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.analysis.ordered_calls import Calls, joined_runs, ordered_calls
from pggit_analytics.frames import METRICS

START = datetime(2026, 3, 2, tzinfo=UTC)


def metrics(rows: list[tuple[str, int]]) -> pl.DataFrame:
    """Calls of an operation that ended so many microseconds after the start; the metric_id is the position."""
    return METRICS.frame(
        [
            {
                "metric_id": number,
                "operation_type": name,
                "duration_us": 10 * number,
                "created_at": START + timedelta(microseconds=at),
            }
            for number, (name, at) in enumerate(rows)
        ]
    )


def as_rows(calls: Calls) -> list[tuple[str, int, int, int]]:
    """Operation, instant after the start, microseconds and metric_id of each call, in its order."""
    since = round(START.timestamp() * 1_000_000)
    return [
        (name, int(calls.at[call]) - since, int(calls.duration_us[call]), int(calls.metric_id[call]))
        for place, name in enumerate(calls.operations)
        for call in range(int(calls.first[place]), int(calls.first[place + 1]))
    ]


def expected(rows: list[tuple[str, int]]) -> list[tuple[str, int, int, int]]:
    """By Python's own stable sort."""
    return sorted(
        ((name, at, 10 * number, number) for number, (name, at) in enumerate(rows)), key=lambda row: (row[0], row[1])
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["commit", "merge", "Ärger", ""]), st.integers(1, 200), st.integers(-5, 5)),
        max_size=6,
    )
)
def test_runs_of_any_length_are_put_in_the_order_of_operation_and_time(runs: list[tuple[str, int, int]]) -> None:
    rows = [(name, step * number % 77) for name, length, step in runs for number in range(length)]
    assert as_rows(ordered_calls(metrics(rows))) == expected(rows)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 500])
def test_calls_that_come_in_two_halves_of_time_are_joined(length: int) -> None:
    rows = [(name, half * 1000 + at) for half in (0, 1) for name in ("merge", "commit") for at in range(length)]
    assert as_rows(ordered_calls(metrics(rows))) == expected(rows)


def test_runs_are_joined_in_order_of_operation_and_time() -> None:
    runs = [("merge", 900), ("commit", 500), ("merge", 100), ("commit", 0)]
    frame = metrics([(name, start + at) for name, start in runs for at in range(100)])
    assert joined_runs(frame.lazy()).equals(frame.sort("operation_type", "created_at"))


def test_calls_that_are_in_order_are_not_copied() -> None:
    frame = metrics([(name, at) for name in ("commit", "merge") for at in range(100)])
    assert np.shares_memory(ordered_calls(frame).duration_us, frame["duration_us"].to_numpy())


def test_the_frame_stays_as_it_is_where_only_its_times_are_out_of_order() -> None:
    frame = metrics([("commit", (at + 100) % 200) for at in range(200)])
    before = frame.clone()
    ordered_calls(frame)
    assert frame.equals(before)


def test_long_runs_at_the_head_do_not_hide_short_ones_later() -> None:
    rows = [("commit", at) for at in range(66_000)] + [(f"operation {at % 7}", at) for at in range(66_000)]
    assert as_rows(ordered_calls(metrics(rows))) == expected(rows)


def test_nothing_has_no_operations() -> None:
    calls = ordered_calls(METRICS.empty())
    assert (calls.operations, calls.first.tolist(), calls.at.size) == ((), [0], 0)
