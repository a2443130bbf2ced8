"""Since when an operation is slow."""

from __future__ import annotations

import polars as pl

from pggit_analytics.analysis.percentiles import percentiles_of_groups
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.frames import SLOW_SINCE

#: width of the time buckets, which bounds how exactly an onset is told
BUCKET = "6h"
#: either side of an onset has this many buckets
MINIMUM_BUCKETS = 2


def slow_since(metrics: pl.DataFrame | pl.LazyFrame, degradations: pl.DataFrame) -> pl.DataFrame:
    """The moment that best splits each degraded operation's recent p99 into a lower before and a higher after.

    The p99 of every 6-hour bucket (UTC) is taken on a log scale; the split is the one with the greatest sum of squares
    between the two sides, the first step of binary segmentation (Scott and Knott 1974). It tells a step within one
    bucket; of a drift, roughly the middle.

    Args:
        metrics: `frames.METRICS` of the degradations' window.
        degradations: `frames.DEGRADATIONS`.

    Returns:
        `frames.SLOW_SINCE`, by operation: the first bucket of the slow side. Nothing for an operation whose p99 has
        no split into a lower before and a higher after.
    """
    level, seen, buckets = pl.col("level"), pl.col("seen"), pl.col("buckets")
    before = divided(pl.col("sum_before"), seen)
    after = divided(pl.col("sum_all") - pl.col("sum_before"), buckets - seen)
    rows = (
        metrics.lazy()
        .join(degradations.lazy().select("operation_type"), on="operation_type", how="semi")
        .with_columns(pl.col("created_at").dt.truncate(BUCKET).alias("bucket"))
    )
    in_memory = isinstance(metrics, pl.DataFrame)
    return (
        percentiles_of_groups(rows, ["operation_type", "bucket"], {"p99": 0.99}, in_memory=in_memory)
        .sort("operation_type", "bucket")
        .with_columns((pl.col("p99") + 1.0).log().alias("level"))
        .with_columns(
            (level.cum_sum() - level).over("operation_type").alias("sum_before"),
            level.sum().over("operation_type").alias("sum_all"),
            (level.cum_count() - 1).over("operation_type").cast(pl.Float64).alias("seen"),
            pl.len().over("operation_type").cast(pl.Float64).alias("buckets"),
        )
        .filter((seen >= MINIMUM_BUCKETS) & (buckets - seen >= MINIMUM_BUCKETS) & (after > before))
        .with_columns((divided(seen * (buckets - seen), buckets) * (after - before) ** 2).alias("gain"))
        .sort("operation_type", -pl.col("gain"), "bucket")
        .group_by("operation_type", maintain_order=True)
        .agg(pl.col("bucket").first().alias("slow_since"))
        .select(list(SLOW_SINCE.columns))
    )
