"""The pairs of branches whose merges conflicted in the last 30 days."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.percentiles import percentile
from pggit_analytics.analysis.rounding import milliseconds, rounded_quotient
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import MERGE_HOTSPOTS

LOOKBACK_HOURS = 720


def v_merge_conflict_hotspots(merges: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The pairs of branches with at least one conflict in [as_of - 30 days, as_of] (days of 24 hours).

    Args:
        merges: `frames.MERGES`.
        as_of: with a time zone.

    Returns:
        `frames.MERGE_HOTSPOTS`, the highest conflict rate (one decimal, halves up) first, then the most attempts, then
        by name. Mean, maximum and p99 (linear interpolation) are in milliseconds, of conflicting merges whose duration
        is known.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    is_conflict = pl.col("status") == "CONFLICT"
    conflicts = pl.col("duration_us").filter(is_conflict).drop_nulls()
    return (
        between(merges, lookback(as_of, hours=LOOKBACK_HOURS), as_of)
        .group_by("branch_from", "branch_into")
        .agg(
            pl.len().cast(pl.Int64).alias("merge_attempts"),
            is_conflict.sum().cast(pl.Int64).alias("conflict_count"),
            conflicts.mean().alias("mean_us"),
            conflicts.max().alias("max_us"),
            percentile(conflicts, 0.99).alias("p99_us"),
        )
        .filter(pl.col("conflict_count") > 0)
        .with_columns(
            rounded_quotient(100 * pl.col("conflict_count"), pl.col("merge_attempts"), 1).alias(
                "conflict_rate_percent"
            ),
            (pl.col("mean_us") / 1000.0).alias("avg_conflict_resolve_ms"),
            milliseconds(pl.col("max_us")).alias("max_conflict_resolve_ms"),
            (pl.col("p99_us") / 1000.0).alias("p99_conflict_resolve_ms"),
        )
        .sort(
            ["conflict_rate_percent", "merge_attempts", "branch_from", "branch_into"],
            descending=[True, True, False, False],
        )
        .select(list(MERGE_HOTSPOTS.columns))
        .collect()
    )
