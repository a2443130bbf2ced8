"""How the recalculations of baselines went, by day of the last 90 days."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.rounding import rounded_quotient
from pggit_analytics.frames import EXECUTION_SUMMARIES

LOOKBACK_HOURS = 2160

#: column -> status it counts
_STATUSES = {"successful": "SUCCESS", "timeouts": "TIMEOUT", "errors": "ERROR", "running": "RUNNING"}

_SECOND_US = 1_000_000


def v_baseline_recalc_execution_summary(executions: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The recalculations begun in [as_of - 90 days, as_of] (days of 24 hours), by UTC date.

    Args:
        executions: `frames.RECALC_EXECUTIONS`. One that ended after ``as_of`` was still RUNNING then.
        as_of: with a time zone.

    Returns:
        `frames.EXECUTION_SUMMARIES`, latest date first. The success rate (one decimal) is of all that were tried;
        durations (seconds, two decimals) are of those that had ended. Halves up.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    start, end, total = pl.col("execution_start"), pl.col("execution_end"), pl.col("total_operations_updated")
    return (
        executions.lazy()
        .filter(start.is_between(lookback(as_of, hours=LOOKBACK_HOURS), as_of))
        .with_columns(
            pl.when(end > as_of).then(pl.lit("RUNNING")).otherwise("status").alias("status"),
            pl.when(end <= as_of).then((end - start).dt.total_microseconds()).alias("duration_us"),
        )
        .group_by(start.dt.date().alias("execution_day"))
        .agg(
            pl.len().cast(pl.Int64).alias("total_operations_updated"),
            *((pl.col("status") == status).sum().cast(pl.Int64).alias(name) for name, status in _STATUSES.items()),
            pl.col("duration_us").sum().alias("sum_us"),
            pl.col("duration_us").count().cast(pl.Int64).alias("ended"),
            pl.col("duration_us").max().alias("max_us"),
        )
        .with_columns(
            rounded_quotient(100 * pl.col("successful"), total, 1).alias("success_rate_percent"),
            rounded_quotient(pl.col("sum_us"), _SECOND_US * pl.col("ended"), 2).alias("avg_duration_sec"),
            rounded_quotient(pl.col("max_us"), _SECOND_US, 2).alias("max_duration_sec"),
        )
        .sort("execution_day", descending=True)
        .select(list(EXECUTION_SUMMARIES.columns))
        .collect()
    )
