"""Work divided by operations and put together again is the work undivided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.analysis.detect_correlated_degradation import (
    correlated_minutes,
    detect_correlated_degradation,
    minute_sums,
)
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.ordered_calls import Calls, ordered_calls
from pggit_analytics.analysis.shares import balanced_shares, joined_by_operation, joined_calls
from pggit_analytics.frames import METRICS, OPERATION_TYPES

AS_OF = datetime(2026, 3, 2, 12, tzinfo=UTC)
NAMES = ("a", "b", "commit", "é", "Z")

rows = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 10**9), st.integers(0, 7 * 24 * 60)), max_size=200)


def metrics(found: list[tuple[str, int, int]]) -> pl.DataFrame:
    """Rows as `METRICS`: name, microseconds, minutes before `AS_OF`."""
    return METRICS.frame(
        [
            {
                "metric_id": number,
                "operation_type": name,
                "duration_us": duration,
                "created_at": AS_OF - timedelta(minutes=minutes),
            }
            for number, (name, duration, minutes) in enumerate(found)
        ]
    )


def shared(frame: pl.DataFrame, count: int) -> list[pl.DataFrame]:
    """The frame of each share."""
    sizes = dict(frame.group_by("operation_type").len().iter_rows())
    return [frame.filter(pl.col("operation_type").is_in(names)) for names in balanced_shares(sizes, count)]


def test_the_largest_operations_go_to_the_smallest_shares() -> None:
    assert balanced_shares({"a": 7, "b": 5, "c": 4, "d": 3, "e": 1}, 2) == (("a", "d"), ("b", "c", "e"))
    assert balanced_shares({"a": 1, "b": 9}, 5) == (("b",), ("a",))
    assert balanced_shares({}, 3) == ()


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 1000), max_size=8), st.integers(1, 4))
def test_no_share_is_larger_than_four_thirds_of_the_best(sizes: dict[str, int], count: int) -> None:
    shares = balanced_shares(sizes, count)
    assert sorted(name for names in shares for name in names) == sorted(sizes)
    assert all(names == tuple(sorted(names)) and names for names in shares)
    if len(sizes) > 6:  # the best is found by trying all
        return
    largest = max((sum(sizes[name] for name in names) for names in shares), default=0)
    best = min(
        max(
            sum(size for size, place in zip(sizes.values(), places, strict=True) if place == share)
            for share in range(count)
        )
        for places in product(range(count), repeat=len(sizes))
    )
    assert largest <= best * 4 / 3


@given(rows, st.integers(1, 4))
def test_calls_of_shares_are_the_calls_of_the_whole(found: list[tuple[str, int, int]], count: int) -> None:
    frame = metrics(found)
    assert same(joined_calls([ordered_calls(part) for part in shared(frame, count)]), ordered_calls(frame))


def same(one: Calls, other: Calls) -> bool:
    columns = ("first", "at", "duration_us", "metric_id")
    return one.operations == other.operations and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )


@given(rows, st.integers(1, 4))
def test_degradations_of_shares_are_those_of_the_whole(found: list[tuple[str, int, int]], count: int) -> None:
    frame = metrics(found)
    parts = [detect_performance_degradation(part, as_of=AS_OF) for part in shared(frame, count) or [frame]]
    assert joined_by_operation(parts).equals(detect_performance_degradation(frame, as_of=AS_OF))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_correlations_of_the_minutes_of_shares_are_those_of_the_whole(count: int) -> None:
    random = np.random.default_rng(20260302)
    common = random.lognormal(size=600)
    frame = metrics(
        [
            (name, int(1000 * (load if name in ("a", "commit") else 1) * random.lognormal(sigma=0.1)), minute)
            for minute, load in enumerate(common)
            for name in NAMES
        ]
    )
    types = OPERATION_TYPES.empty()
    whole = detect_correlated_degradation(frame, types, as_of=AS_OF)
    assert whole.select("operation_type_1", "operation_type_2").rows() == [("a", "commit")]
    sums = pl.concat([minute_sums(part, types, as_of=AS_OF) for part in shared(frame, count)])
    assert correlated_minutes(sums, as_of=AS_OF).equals(whole)
