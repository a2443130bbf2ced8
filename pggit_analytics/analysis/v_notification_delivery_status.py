"""What became of the messages of the last 7 days, by hour and status."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import DELIVERY_STATUS

LOOKBACK_HOURS = 168


def v_notification_delivery_status(notifications: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The messages queued in [as_of - 7 days, as_of] (days of 24 hours), by UTC hour of queueing and status.

    Args:
        notifications: `frames.NOTIFICATIONS`. One delivered after ``as_of`` was still pending then.
        as_of: with a time zone.

    Returns:
        `frames.DELIVERY_STATUS`, latest hour first, then by status. The mean is of messages whose delivery is known.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    delivered_at = pl.col("delivered_at")
    taken_us = (delivered_at - pl.col("created_at")).dt.total_microseconds()
    return (
        between(notifications, lookback(as_of, hours=LOOKBACK_HOURS), as_of)
        .with_columns(pl.when(delivered_at <= as_of).then(taken_us).alias("taken_us"))
        .group_by(
            pl.col("created_at").dt.truncate("1h").alias("hour"),
            pl.when(delivered_at > as_of).then(pl.lit("pending")).otherwise("status").alias("status"),
        )
        .agg(
            pl.len().cast(pl.Int64).alias("notification_count"),
            (pl.col("taken_us").mean() / 1_000_000.0).alias("avg_delivery_time_seconds"),
            pl.col("retry_count").min().alias("min_retries"),
            pl.col("retry_count").max().alias("max_retries"),
        )
        .sort(["hour", "status"], descending=[True, False])
        .select(list(DELIVERY_STATUS.columns))
        .collect()
    )
