"""Percentiles against R's published definition, NumPy and exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pggit_analytics.analysis.percentiles import percentile, percentiles_of_groups, rounded_half_up
from tests.unit.timings import SETTINGS

PROBABILITIES = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]


def _of(values: list[int], p: float) -> float:
    frame = pl.DataFrame({"us": values}, schema={"us": pl.Int64})
    return frame.select(percentile(pl.col("us"), p)).item()


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [
        # R: quantile(c(1, 2, 3, 4)) is 1, 1.75, 2.5, 3.25, 4 (type 7, the default)
        ([4, 2, 3, 1], 0.25, 1.75),
        ([4, 2, 3, 1], 0.5, 2.5),
        ([4, 2, 3, 1], 0.75, 3.25),
        ([4, 2, 3, 1], 1.0, 4.0),
        # R: quantile(1:100, 0.99) is 99.01
        (list(range(1, 101)), 0.99, 99.01),
        ([7], 0.99, 7.0),
        ([7, 7, 7], 0.5, 7.0),
        ([0, 10**12], 0.5, 5e11),
    ],
)
def test_published_values_are_met(values: list[int], p: float, expected: float) -> None:
    assert _of(values, p) == pytest.approx(expected, rel=1e-12)


@settings(**SETTINGS)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from(PROBABILITIES))
def test_whatever_the_values_it_is_numpys_linear_percentile(values: list[int], p: float) -> None:
    assert _of(values, p) == pytest.approx(float(np.percentile(values, 100 * p, method="linear")), rel=1e-9)


@settings(**SETTINGS)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from(["0.5", "0.75", "0.9", "0.99"]))
def test_whatever_the_values_it_is_the_exact_fraction(values: list[int], p: str) -> None:
    ordered, position = sorted(values), Fraction(p) * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    exact = ordered[low] + (ordered[high] - ordered[low]) * (position - low)
    assert _of(values, float(p)) == pytest.approx(float(exact), rel=1e-9, abs=1e-3)


def test_groups_have_their_own_and_an_empty_frame_has_none() -> None:
    frame = pl.DataFrame({"name": ["a", "a", "b"], "us": [1, 2, 9]})
    found = frame.group_by("name").agg(percentile(pl.col("us"), 0.5).alias("p")).sort("name")
    assert found.rows() == [("a", 1.5), ("b", 9.0)]
    assert frame.clear().select(percentile(pl.col("us"), 0.5)).item() is None


def test_halves_are_rounded_up() -> None:
    values = pl.DataFrame({"x": [0.0, 0.4999, 0.5, 1.5, 2.5, 2.4999, 899999999999.5]})
    assert values.select(rounded_half_up(pl.col("x"))).to_series().to_list() == [0, 0, 1, 2, 3, 2, 900000000000]


#: many groups and ties; whole magnitudes apart, neighbours, and one value again and again
GROUPED = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.booleans(),
        st.one_of(st.integers(0, 10), st.integers(990, 1010), st.integers(0, 10**14), st.just(5000)),
    ),
    min_size=1,
    max_size=200,
)


def check_groups(rows: list[tuple[str, bool, int]], *, in_memory: bool) -> None:
    """Each group of name and is_new has the percentiles that Polars gives it, to the last bit."""
    frame = pl.DataFrame(rows, schema={"name": pl.String, "is_new": pl.Boolean, "duration_us": pl.Int64}, orient="row")
    wanted = {f"p{100 * p:.0f}": p for p in PROBABILITIES}
    found = percentiles_of_groups(frame.lazy(), ["name", "is_new"], wanted, in_memory=in_memory).sort("name", "is_new")
    exact = (percentile(pl.col("duration_us"), p).alias(name) for name, p in wanted.items())
    expected = frame.group_by("name", "is_new").agg(pl.len().cast(pl.Int64).alias("n"), *exact).sort("name", "is_new")
    assert found.select(expected.columns).rows() == expected.rows()


@settings(**SETTINGS)
@given(GROUPED)
def test_in_two_readings_each_group_has_the_same_percentiles_to_the_last_bit(rows: list[tuple[str, bool, int]]) -> None:
    check_groups(rows, in_memory=False)


@settings(**SETTINGS)
@given(GROUPED, st.integers(1, 4))
def test_of_groups_that_come_in_long_runs_each_has_the_same_percentiles_to_the_last_bit(
    rows: list[tuple[str, bool, int]], repetitions: int
) -> None:
    """The values of each row of ``rows`` 64 times and more, so that the runs are looked at where they are."""
    long = [(name, is_new, duration + step) for name, is_new, duration in rows for step in range(64 * repetitions)]
    check_groups(long, in_memory=True)


def test_no_rows_have_no_groups_in_one_reading_or_two() -> None:
    frame = pl.LazyFrame(schema={"name": pl.String, "duration_us": pl.Int64})
    for in_memory in (True, False):
        assert percentiles_of_groups(frame, ["name"], {"p50": 0.5}, in_memory=in_memory).is_empty()
