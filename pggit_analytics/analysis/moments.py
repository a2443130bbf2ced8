"""Exact sums of durations and of their squares."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl


class Moments(NamedTuple):
    """The sums that mean and variance are made of, in whole microseconds."""

    operation_type: str
    #: number of rows
    n: int
    #: sum of x
    total: int
    #: sum of x^2
    squares: int

    @property
    def dispersion(self) -> int:
        """n sum(x^2) - sum(x)^2, which is n^2 times the population variance."""
        return self.n * self.squares - self.total * self.total


def exact_moments(timings: pl.LazyFrame) -> list[Moments]:
    """The `Moments` of each operation in a frame with ``operation_type`` and ``duration_us`` (Int64, no NULL)."""
    # squares of microseconds leave 64 bits
    duration = pl.col("duration_us").cast(pl.Int128)
    sums = timings.group_by("operation_type").agg(
        pl.len(), duration.sum().alias("total"), (duration * duration).sum().alias("squares")
    )
    return [Moments(*row) for row in sums.collect(engine="streaming").iter_rows()]
