"""Durations far from the mean of the last hours, by z-score."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from math import isqrt, sqrt

import polars as pl

from pggit_analytics.analysis.arguments import Number, check_as_of, check_number, check_whole, lookback
from pggit_analytics.analysis.moments import Moments, exact_moments
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import INSTANT

#: fewer rows give no statistics
MINIMUM_ROWS = 5


def detect_anomalies_statistical(
    metrics: pl.DataFrame | pl.LazyFrame,
    baselines: pl.DataFrame,
    *,
    as_of: datetime,
    lookback_hours: int = 24,
    z_score_threshold: Number = 3.0,
) -> pl.DataFrame:
    """The metrics more than ``z_score_threshold`` population standard deviations from their operation's mean.

    With x in whole microseconds, n rows, S = sum(x), Q = sum(x^2): z = (n x - S) / sqrt(D), D = n Q - S^2. Whether
    |z| exceeds a threshold is decided on these whole numbers, never on a rounded z. In n <= 10 values no |z| can
    exceed 3: it is at most sqrt(n - 1) (Shiffler 1988, Maximum Z Scores and Outliers, who has (n - 1) / sqrt(n) for
    the standard deviation of a sample).

    Args:
        metrics: `frames.METRICS`, any number of operations.
        baselines: `frames.BASELINES` valid at ``as_of``.
        as_of: end of the window [as_of - lookback, as_of], with a time zone.
        lookback_hours: 1 to 87600.
        z_score_threshold: more than 0.

    Returns:
        `frames.STATISTICAL`, by operation, |z| descending, metric_id. Slow (z > 0) and fast (z < 0) outliers.
        Nothing for an operation with fewer than 5 rows, without spread or with a mean of 0.
        severity: |z| >= 4 CRITICAL, >= 3 WARNING, else INFO.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    check_whole("lookback_hours", lookback_hours, 1, 87600)
    threshold = check_number("z_score_threshold", z_score_threshold, 0, 1_000_000, low_excluded=True)
    start = lookback(as_of, hours=lookback_hours)
    window = between(metrics, start, as_of).select("metric_id", "operation_type", "duration_us")

    excess = pl.col("n").cast(pl.Int128) * pl.col("duration_us").cast(pl.Int128) - pl.col("sum").cast(pl.Int128)
    z_score = divided(pl.col("excess"), pl.col("root"))
    limits = _limits(window, threshold)
    outliers = (
        window.join(limits.lazy().select("operation_type", "slow_us", "fast_us"), on="operation_type")
        .filter((pl.col("duration_us") > pl.col("slow_us")) | (pl.col("duration_us") < pl.col("fast_us")))
        .collect(engine="streaming")
    )
    return (
        outliers.join(limits, on="operation_type")
        .with_columns(excess.alias("excess"))
        .with_columns(z_score.alias("z_score"))
        .join(baselines.select("operation_type", "p99_us"), on="operation_type", how="left")
        .sort(pl.col("operation_type"), -pl.col("z_score").abs(), pl.col("metric_id"))
        .select(
            "metric_id",
            "operation_type",
            divided(pl.col("duration_us"), 1000.0).alias("duration_ms"),
            divided(pl.col("p99_us"), 1000.0).alias("baseline_p99_ms"),
            "z_score",
            divided(100.0 * pl.col("excess").cast(pl.Float64), pl.col("sum")).alias("deviation_percent"),
            pl.when(pl.col("excess").abs() > pl.col("below_4").cast(pl.Int128))
            .then(pl.lit("CRITICAL"))
            .when(pl.col("excess").abs() > pl.col("below_3").cast(pl.Int128))
            .then(pl.lit("WARNING"))
            .otherwise(pl.lit("INFO"))
            .alias("severity"),
            pl.lit(as_of).cast(INSTANT).alias("detected_at"),
        )
    )


def _limits(window: pl.LazyFrame, threshold: Decimal) -> pl.DataFrame:
    """Per operation the two durations that enclose the rows not reported, and what z is computed from.

    |n x - S| > sqrt(t^2 D) holds for whole numbers exactly when |n x - S| > isqrt(floor(t^2 D)).
    """
    return pl.DataFrame(
        [_limits_of(m, threshold) for m in exact_moments(window) if _has_statistics(m)],
        schema={
            "operation_type": pl.String,
            "n": pl.Int64,
            "sum": pl.String,
            "root": pl.Float64,
            "slow_us": pl.Int64,
            "fast_us": pl.Int64,
            "below_4": pl.String,
            "below_3": pl.String,
        },
        orient="row",
    )


def _has_statistics(moments: Moments) -> bool:
    return moments.n >= MINIMUM_ROWS and moments.total > 0 and moments.dispersion > 0


def _limits_of(moments: Moments, threshold: Decimal) -> tuple[object, ...]:
    name, n, total, _ = moments
    dispersion = moments.dispersion
    numerator, denominator = threshold.as_integer_ratio()
    margin = isqrt(numerator * numerator * dispersion // (denominator * denominator))
    slow, fast = (total + margin) // n, max(-((margin - total) // n), 0)
    below_4, below_3 = isqrt(16 * dispersion - 1), isqrt(9 * dispersion - 1)
    # The largest whole numbers pass as text: they may leave 64 bits.
    return name, n, str(total), sqrt(dispersion), min(slow, 2**63 - 1), fast, str(below_4), str(below_3)
