"""Percentiles as PostgreSQL's ``percentile_cont`` computes them, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from pggit_analytics.analysis.order_statistics import quantile
from pggit_analytics.analysis.ordered_calls import LONG_RUN, comes_in_long_runs

#: buckets are as wide as 4 / 64 of the fourth root of a value: less than 1 % of it from 1 ms on
_BUCKETS = 64.0


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


def percentiles_of_groups(
    rows: pl.LazyFrame, keys: Sequence[str], wanted: Mapping[str, float], *, in_memory: bool
) -> pl.DataFrame:
    """Exact percentiles of ``duration_us`` of each group, without holding the rows where these are not in memory yet.

    Args:
        rows: with the columns ``keys`` and ``duration_us`` (Int64, >= 0, no NULL).
        keys: the columns that make a group.
        wanted: name of a percentile -> 0 to 1.
        in_memory: whether the rows are there already; then they are read once instead of twice.

    Returns:
        ``keys``, ``n`` (rows) and what is wanted, the same numbers as by `percentile`.

    The first reading counts the rows of each group by buckets, the second counts the values in the buckets that hold
    the order statistics: selection by two passes (Munro and Paterson 1980, Selection and sorting with limited storage).
    """
    if in_memory:
        held = rows.select(*keys, "duration_us").collect()
        if all(comes_in_long_runs(held[key]) for key in keys):
            edges = pl.concat([held[key].rle().struct.field("len").cum_sum() for key in keys]).unique().sort()
            if edges.len() * LONG_RUN <= held.height:
                return _percentiles_of_runs(held, [0, *edges], keys, wanted)
        exact = (percentile(pl.col("duration_us"), p).alias(name) for name, p in wanted.items())
        return held.lazy().group_by(keys).agg(pl.len().cast(pl.Int64).alias("n"), *exact).collect()
    # roots are rounded correctly, so a larger value is never in a lower bucket
    bucket = (pl.col("duration_us").cast(pl.Float64).sqrt().sqrt() * _BUCKETS).cast(pl.Int32).alias("_bucket")
    bucketed = rows.select(*keys, "duration_us", bucket)
    count = pl.len().cast(pl.Int64).alias("_rows")
    buckets = bucketed.group_by(*keys, "_bucket").agg(count).collect(engine="streaming").sort(*keys, "_bucket")
    buckets = buckets.with_columns(
        (pl.col("_rows").cum_sum() - pl.col("_rows")).over(keys).alias("_before"),
        pl.col("_rows").sum().over(keys).alias("n"),
    )
    places = {name: (pl.col("n").cast(pl.Float64) - 1.0) * p for name, p in wanted.items()}
    before, after = pl.col("_before"), pl.col("_before") + pl.col("_rows")
    holding = buckets.filter(
        pl.any_horizontal((before <= place.ceil()) & (after > place.floor()) for place in places.values())
    )
    values = (
        bucketed.join(holding.lazy().select(*keys, "_bucket"), on=[*keys, "_bucket"], how="semi")
        .group_by(*keys, "_bucket", "duration_us")
        .agg(count)
        .collect(engine="streaming")
        .join(holding.drop("_rows"), on=[*keys, "_bucket"])
        .sort(*keys, "duration_us")
        .with_columns((before + (pl.col("_rows").cum_sum() - pl.col("_rows")).over(*keys, "_bucket")).alias("_before"))
    )

    def at(rank: pl.Expr) -> pl.Expr:
        return pl.col("duration_us").filter((before <= rank) & (after > rank)).first().cast(pl.Float64)

    between = (
        (at(place.floor()) + (at(place.ceil()) - at(place.floor())) * (place - place.floor()).first()).alias(name)
        for name, place in places.items()
    )
    return values.group_by(keys).agg(pl.col("n").first(), *between)


def _percentiles_of_runs(
    rows: pl.DataFrame, edges: Sequence[int], keys: Sequence[str], wanted: Mapping[str, float]
) -> pl.DataFrame:
    """The same of rows whose groups come many rows at a time: no row is moved but those of one group.

    Args:
        rows, keys, wanted: as above.
        edges: where each run of rows of the same group begins, and where the last one ends.
    """
    durations = rows["duration_us"].to_numpy()
    groups = (
        rows.select(pl.col(keys).gather(list(edges[:-1])))
        .with_row_index("_run")
        .group_by(keys, maintain_order=True)
        .agg("_run")
    )
    counts: list[int] = []
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for runs in groups["_run"]:
        values = np.concatenate([durations[edges[run] : edges[run + 1]] for run in runs])
        counts.append(values.size)
        for name, p in wanted.items():
            found[name].append(quantile(values, p))
    return groups.select(keys).with_columns(
        pl.Series("n", counts, dtype=pl.Int64),
        *(pl.Series(name, values, dtype=pl.Float64) for name, values in found.items()),
    )
