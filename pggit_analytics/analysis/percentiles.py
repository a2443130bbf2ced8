"""Percentiles as PostgreSQL's ``percentile_cont`` computes them, to the last bit."""

from __future__ import annotations

import polars as pl


def percentile(values: pl.Expr, p: float) -> pl.Expr:
    """Linear interpolation at position p (n - 1) of the sorted values: lo + (hi - lo) * fraction in float64.

    Args:
        values: numbers without NULL, to be aggregated (alone or per group); whole numbers below 2**53.
        p: 0 to 1.

    Returns:
        One Float64 per group; NULL for an empty group.

    Polars' own ``interpolation="linear"`` weighs differently in the last bit, so only the two order statistics are
    taken from it. Definition 7 of Hyndman and Fan (1996), Sample Quantiles in Statistical Packages.
    """
    position = (values.len().cast(pl.Float64) - 1.0) * p
    low = values.quantile(p, interpolation="lower")
    high = values.quantile(p, interpolation="higher")
    return low + (high - low) * (position - position.floor())


def rounded_half_up(value: pl.Expr) -> pl.Expr:
    """The nearest whole number (Int64) of a value >= 0, halves up."""
    return (value + 0.5).floor().cast(pl.Int64)
