"""How the merges of the last 7 days were resolved, by hour."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.percentiles import percentile
from pggit_analytics.analysis.rounding import rounded_quotient, tenths_of_milliseconds
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import MERGE_SUCCESS_RATES

LOOKBACK_HOURS = 168

#: column -> strategy it counts
_STRATEGIES = {"auto_resolved": "auto", "manual_resolved": "manual", "rejected": "rejected"}


def v_merge_success_rate_analysis(merges: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The merges begun in [as_of - 7 days, as_of] (days of 24 hours), counted by UTC hour and resolution strategy.

    Args:
        merges: `frames.MERGES`.
        as_of: with a time zone.

    Returns:
        `frames.MERGE_SUCCESS_RATES`, latest hour first; hours without merges have no row. ``undecided`` counts merges
        without a strategy, ``total_attempts`` all. Percentages are of all attempts. Mean and p99 (linear interpolation)
        are in milliseconds, of merges whose duration is known. One decimal, halves up.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    strategy, duration = pl.col("resolution_strategy"), pl.col("duration_us")
    total = pl.col("total_attempts")
    return (
        between(merges, lookback(as_of, hours=LOOKBACK_HOURS), as_of)
        .group_by(pl.col("created_at").dt.truncate("1h").alias("hour"))
        .agg(
            pl.len().cast(pl.Int64).alias("total_attempts"),
            *((strategy == name).sum().cast(pl.Int64).alias(column) for column, name in _STRATEGIES.items()),
            strategy.null_count().cast(pl.Int64).alias("undecided"),
            duration.cast(pl.Int128).sum().alias("sum_us"),
            duration.count().cast(pl.Int64).alias("timed"),
            percentile(duration.drop_nulls(), 0.99).alias("p99_us"),
        )
        .with_columns(
            rounded_quotient(100 * pl.col("auto_resolved"), total, 1).alias("auto_resolve_percent"),
            rounded_quotient(100 * pl.col("manual_resolved"), total, 1).alias("manual_resolve_percent"),
            rounded_quotient(100 * pl.col("rejected"), total, 1).alias("rejection_rate_percent"),
            rounded_quotient(pl.col("sum_us"), 1000 * pl.col("timed"), 1).alias("avg_merge_ms"),
            tenths_of_milliseconds(pl.col("p99_us")).alias("p99_merge_ms"),
        )
        .sort("hour", descending=True)
        .select(list(MERGE_SUCCESS_RATES.columns))
        .collect()
    )
