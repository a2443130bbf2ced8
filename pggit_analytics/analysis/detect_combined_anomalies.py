"""Outliers and degradation of each operation, judged together."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_whole
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.frames import ANOMALIES, SEVERITIES


def detect_combined_anomalies(
    metrics: pl.DataFrame | pl.LazyFrame,
    baselines: pl.DataFrame,
    *,
    as_of: datetime,
    lookback_hours: int = 24,
) -> pl.DataFrame:
    """The outliers of the last hours (z-score 3) and the degradations of the last max(7, hours / 24) days (20 %).

    =================== ============ ============= ============ =============================== ==============
    slow outlier (z>3)  degradation  one row per   anomaly_type severity                        alert_required
    =================== ============ ============= ============ =============================== ==============
    yes                 > 20 %       slow outlier  COMBINED     CRITICAL                        true
    yes                 no           slow outlier  SPIKE        WARNING                         false
    no                  > 20 %       the operation DEGRADATION  CRITICAL from 50 %, WARNING     from 50 %
                                                                from 30 %, else INFO
    fast outlier (z<-3) any          fast outlier  SPIKE        INFO                            false
    =================== ============ ============= ============ =============================== ==============

    Args:
        metrics: `frames.METRICS`, reaching back far enough for both windows.
        baselines: `frames.BASELINES` valid at ``as_of``.
        as_of: end of both windows, with a time zone.
        lookback_hours: 1 to 87600.

    Returns:
        `frames.ANOMALIES`, by operation, severity, metric_id (NULL last).

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    check_whole("lookback_hours", lookback_hours, 1, 87600)
    outliers = detect_anomalies_statistical(metrics, baselines, as_of=as_of, lookback_hours=lookback_hours)
    degradations = detect_performance_degradation(metrics, as_of=as_of, lookback_days=combined_days(lookback_hours))
    return combine(outliers, degradations)


def combined_days(lookback_hours: int) -> int:
    """The days that the degradation looks back: max(7, ceil(hours / 24))."""
    return max(7, -(-lookback_hours // 24))


def combine(outliers: pl.DataFrame, degradations: pl.DataFrame) -> pl.DataFrame:
    """The decision matrix of `detect_combined_anomalies` on findings that exist already.

    Args:
        outliers: `frames.STATISTICAL` at a threshold of 3.
        degradations: `frames.DEGRADATIONS` at a threshold of 20 %.

    Returns:
        `frames.ANOMALIES`, by operation, severity, metric_id (NULL last).
    """
    is_slow, has_degraded = pl.col("z_score") > 0, pl.col("degradation_percent").is_not_null()
    of_metrics = outliers.join(
        degradations.select("operation_type", "degradation_percent"), on="operation_type", how="left"
    ).with_columns(
        pl.when(is_slow & has_degraded).then(pl.lit("COMBINED")).otherwise(pl.lit("SPIKE")).alias("anomaly_type"),
        pl.when(~is_slow)
        .then(pl.lit("INFO"))
        .when(has_degraded)
        .then(pl.lit("CRITICAL"))
        .otherwise(pl.lit("WARNING"))
        .alias("severity"),
        (is_slow & has_degraded).alias("alert_required"),
    )
    of_operations = degradations.join(outliers.filter(is_slow), on="operation_type", how="anti").with_columns(
        pl.lit("DEGRADATION").alias("anomaly_type"),
        (pl.col("severity") == "CRITICAL").alias("alert_required"),
    )
    columns = list(ANOMALIES.columns)
    return (
        pl.concat([of_metrics.select(columns), of_operations], how="diagonal")
        .select(columns)
        .sort(pl.col("operation_type"), pl.col("severity").cast(SEVERITIES), pl.col("metric_id"), nulls_last=True)
    )
