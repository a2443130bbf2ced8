"""Rounding that every engine does alike: on whole numbers, halves up."""

from __future__ import annotations

import polars as pl


def rounded_quotient(numerator: pl.Expr, denominator: pl.Expr | int, decimals: int) -> pl.Expr:
    """``numerator / denominator`` to so many decimals, halves up, as Float64.

    Args:
        numerator: whole numbers >= 0.
        denominator: whole numbers >= 0.
        decimals: 0 to 3.

    Returns:
        NULL where either is NULL or the denominator is 0.
    """
    scale = 10**decimals
    divisor = pl.lit(denominator) if isinstance(denominator, int) else denominator
    # 128 bits: a sum of durations times the scale may leave 64
    above, below = numerator.cast(pl.Int128), divisor.cast(pl.Int128)
    quotient = pl.when(below > 0).then((2 * scale * above + below) // (2 * below))
    return _shifted(quotient, scale, decimals)


def tenths_of_milliseconds(duration_us: pl.Expr) -> pl.Expr:
    """Microseconds >= 0, whole or not, as milliseconds to one decimal, halves up; NULL stays NULL."""
    tenths = (duration_us.cast(pl.Float64) + 50.0).floor().cast(pl.Int64) // 100
    return _shifted(tenths, 10, 1)


def milliseconds(duration_us: pl.Expr) -> pl.Expr:
    """Whole microseconds as milliseconds; NULL stays NULL."""
    return _shifted(duration_us, 1000, 3)


def divided(numerator: pl.Expr, denominator: pl.Expr | float) -> pl.Expr:
    """The nearest Float64 to the quotient, whatever other rows there are; NULL stays NULL.

    A divisor that is one value for all rows, by itself or because there is one row to join, Polars turns into a factor,
    its reciprocal, and the product may be off in the last bit. By a column that differs, as far as Polars can tell,
    it divides.

    Args:
        numerator: finite numbers.
        denominator: a column, or a number.
    """
    numbers = numerator.cast(pl.Float64)
    divisor = denominator.cast(pl.Float64) if isinstance(denominator, pl.Expr) else denominator
    return numbers / (numbers * 0.0 + divisor)


def _shifted(whole: pl.Expr, scale: int, decimals: int) -> pl.Expr:
    # Polars multiplies by the reciprocal, which may be off in the last bit; round finds the nearest number again.
    return (whole.cast(pl.Float64) / float(scale)).round(decimals)
