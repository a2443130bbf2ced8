"""Operations that took far longer than the p99 of their baseline."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, check_whole, lookback
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import INSTANT


def detect_threshold_exceeded(
    metrics: pl.DataFrame | pl.LazyFrame,
    baselines: pl.DataFrame,
    *,
    as_of: datetime,
    lookback_hours: int = 24,
) -> pl.DataFrame:
    """The operations with a metric over their baseline's p99 times its alert_threshold_multiplier.

    Args:
        metrics: `frames.METRICS`.
        baselines: `frames.BASELINES` valid at ``as_of``; multipliers have at most 3 decimals.
        as_of: end of the window [as_of - lookback, as_of], with a time zone.
        lookback_hours: 1 to 87600.

    Returns:
        `frames.THRESHOLDS` by operation: the slowest such metric (the lowest metric_id of equals) and how many there
        were. severity: CRITICAL from twice the threshold and for every ``rollback_`` operation, else WARNING.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    check_whole("lookback_hours", lookback_hours, 1, 87600)
    # in thousandths of microseconds, where both sides are whole
    multiplier = (pl.col("alert_threshold_multiplier") * 1000.0).round().cast(pl.Int128)
    threshold = pl.col("p99_us").cast(pl.Int128) * multiplier
    duration = pl.col("duration_us").cast(pl.Int128) * 1000
    return (
        between(metrics, lookback(as_of, hours=lookback_hours), as_of)
        .join(baselines.lazy(), on="operation_type")
        .filter(duration > threshold)
        .sort(-pl.col("duration_us"), pl.col("metric_id"))
        .group_by("operation_type", maintain_order=True)
        .agg(pl.all().first(), pl.len().cast(pl.Int64).alias("exceeded_count"))
        .sort("operation_type")
        .select(
            "operation_type",
            "metric_id",
            divided(pl.col("duration_us"), 1000.0).alias("duration_ms"),
            divided(pl.col("p99_us"), 1000.0).alias("baseline_p99_ms"),
            divided(pl.col("p99_us") * pl.col("alert_threshold_multiplier"), 1000.0).alias("threshold_ms"),
            "exceeded_count",
            pl.when((duration >= 2 * threshold) | pl.col("operation_type").str.starts_with("rollback_"))
            .then(pl.lit("CRITICAL"))
            .otherwise(pl.lit("WARNING"))
            .alias("severity"),
            pl.lit(as_of).cast(INSTANT).alias("detected_at"),
        )
        .collect(engine="streaming")
    )
