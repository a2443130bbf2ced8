"""Exact sums of durations and of their squares."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from pggit_analytics.analysis.engine import session


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


def exact_moments(timings: pl.DataFrame) -> list[Moments]:
    """The `Moments` of each operation in a frame with ``operation_type`` and ``duration_us`` (Int64, no NULL)."""
    with session() as connection:
        connection.register("timings", timings)
        # HUGEINT: squares of microseconds leave 64 bits
        rows = connection.sql(
            """
            SELECT operation_type, count(*), sum(duration_us::HUGEINT), sum(duration_us::HUGEINT * duration_us)
            FROM timings
            GROUP BY operation_type
            """
        ).fetchall()
    return [Moments(*row) for row in rows]
