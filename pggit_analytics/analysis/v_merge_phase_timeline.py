"""How long each phase of merging took, by minute of the last 24 hours."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.percentiles import percentile
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import MERGE_PHASES

LOOKBACK_HOURS = 24

PHASES = ("merge_auto_resolve", "merge_base_find", "merge_conflict_detect")


def v_merge_phase_timeline(spans: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The p99 of each phase in each UTC minute of [as_of - 24 h, as_of], over all metrics of the phase.

    Args:
        spans: `frames.MERGE_SPANS`.
        as_of: with a time zone.

    Returns:
        `frames.MERGE_PHASES`, latest minute first, then by phase; linear interpolation, in milliseconds.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    return (
        between(spans, lookback(as_of, hours=LOOKBACK_HOURS), as_of)
        .filter(pl.col("operation_type").is_in(PHASES))
        .group_by(pl.col("created_at").dt.truncate("1m").alias("time_window"), phase="operation_type")
        .agg(
            (percentile(pl.col("duration_us"), 0.99) / 1000.0).alias("p99_phase_ms"),
            pl.len().cast(pl.Int64).alias("sample_count"),
        )
        .sort(["time_window", "phase"], descending=[True, False])
        .select(list(MERGE_PHASES.columns))
        .collect()
    )
