"""Rounding of the dashboards, against exact fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import floor

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pggit_analytics.analysis.rounding import divided, milliseconds, rounded_quotient, tenths_of_milliseconds

SETTINGS = settings(max_examples=200, deadline=None, database=None)


def evaluated(expression: pl.Expr, **columns: int | float | None) -> float | None:
    return pl.select(**{name: pl.lit(value) for name, value in columns.items()}).select(expression)[0, 0]


@SETTINGS
@given(above=st.integers(0, 10**17), below=st.integers(1, 10**15), decimals=st.integers(0, 3))
def test_a_quotient_is_the_nearest_number_of_that_many_decimals_halves_up(
    above: int, below: int, decimals: int
) -> None:
    nearest = floor(Fraction(above, below) * 10**decimals + Fraction(1, 2))
    answer = evaluated(rounded_quotient(pl.col("a").cast(pl.Int64), pl.col("b"), decimals), a=above, b=below)
    assert answer == pytest.approx(float(Decimal(nearest).scaleb(-decimals)), rel=1e-15)


@pytest.mark.parametrize(("above", "below"), [(1, 0), (None, 3), (3, None)])
def test_a_quotient_of_nothing_or_by_nothing_is_null(above: int | None, below: int | None) -> None:
    quotient = rounded_quotient(pl.col("a").cast(pl.Int64), pl.col("b").cast(pl.Int64), 1)
    assert evaluated(quotient, a=above, b=below) is None


@SETTINGS
@given(duration_us=st.integers(0, 10**12))
def test_milliseconds_are_the_float_nearest_to_the_decimal_number(duration_us: int) -> None:
    assert evaluated(milliseconds(pl.col("d")), d=duration_us) == float(Decimal(duration_us).scaleb(-3))


@SETTINGS
@given(duration_us=st.integers(0, 10**12))
def test_tenths_of_milliseconds_round_halves_up(duration_us: int) -> None:
    nearest = Decimal(duration_us).scaleb(-3).quantize(Decimal("0.1"), ROUND_HALF_UP)
    assert evaluated(tenths_of_milliseconds(pl.col("d")), d=duration_us) == float(nearest)


@given(
    st.lists(st.one_of(st.integers(0, 2**53), st.floats(-1e15, 1e15)), min_size=1, max_size=5), st.integers(1, 10**6)
)
def test_a_quotient_is_divided_however_the_divisor_comes(values: list[float], by: int) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64, strict=False), "key": 0})
    joined = frame.join(pl.DataFrame({"key": 0, "by": by}), on="key")
    expected = [value / by for value in values]
    assert frame.select(divided(pl.col("x"), float(by)))["x"].to_list() == expected
    assert joined.select(divided(pl.col("x"), pl.col("by")))["x"].to_list() == expected
