"""A p99 that rose from the first half of the last days to the second."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from pggit_analytics.analysis.arguments import Number, check_as_of, check_number, check_whole, lookback
from pggit_analytics.analysis.percentiles import percentiles_of_groups
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import DEGRADATIONS, INSTANT

#: fewer rows in one half give no p99
MINIMUM_ROWS = 5
#: a trend needs this many dates
MINIMUM_DATES = 3


def detect_performance_degradation(
    metrics: pl.DataFrame | pl.LazyFrame,
    *,
    as_of: datetime,
    lookback_days: int = 7,
    threshold_percent: Number = 20.0,
) -> pl.DataFrame:
    """The operations whose p99 rose by more than ``threshold_percent`` from one half of the window to the other.

    A day is 24 hours; the halves are [start, middle) and [middle, as_of]. The trend is the least squares line through
    the p99 of each UTC date (dates with rows only).

    Args:
        metrics: `frames.METRICS`, any number of operations.
        as_of: end of the window, with a time zone.
        lookback_days: 1 to 3650.
        threshold_percent: more than 0.

    Returns:
        `frames.DEGRADATIONS` by operation. Nothing for an operation with fewer than 5 rows in one half or an old p99
        of 0. severity: >= 50 % CRITICAL, >= 30 % WARNING, else INFO. trend: DEGRADING or IMPROVING when the line moves
        by more than 5 % of the old p99 over the window, else STABLE. confidence: the r squared of the line, 0 with
        fewer than 3 dates or a constant p99.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    check_whole("lookback_days", lookback_days, 1, 3650)
    threshold = float(check_number("threshold_percent", threshold_percent, 0, 1_000_000, low_excluded=True))
    start, middle = lookback(as_of, hours=24 * lookback_days), lookback(as_of, hours=12 * lookback_days)
    window = between(metrics, start, as_of).select("operation_type", "duration_us", "created_at")

    in_memory = isinstance(metrics, pl.DataFrame)

    halves = _p99_of_halves(window, middle, in_memory=in_memory)
    degradation = divided(100.0 * (pl.col("p99_new") - pl.col("p99_old")), pl.col("p99_old"))
    degraded = (
        halves.filter((pl.col("n_old") >= MINIMUM_ROWS) & (pl.col("n_new") >= MINIMUM_ROWS) & (pl.col("p99_old") > 0))
        .with_columns(degradation.alias("degradation_percent"))
        .filter(pl.col("degradation_percent") > threshold)
    )
    if degraded.is_empty():
        return DEGRADATIONS.empty()
    change = pl.col("slope") * float(lookback_days)
    return (
        degraded.join(_trends(window, degraded, in_memory=in_memory), on="operation_type")
        .sort("operation_type")
        .select(
            "operation_type",
            pl.lit(start.date()).alias("period_start"),
            pl.lit(as_of.date()).alias("period_end"),
            divided(pl.col("p99_old"), 1000.0).alias("p99_old_ms"),
            divided(pl.col("p99_new"), 1000.0).alias("p99_new_ms"),
            "degradation_percent",
            pl.when(change > 0.05 * pl.col("p99_old"))
            .then(pl.lit("DEGRADING"))
            .when(change < -0.05 * pl.col("p99_old"))
            .then(pl.lit("IMPROVING"))
            .otherwise(pl.lit("STABLE"))
            .alias("trend"),
            "confidence",
            degradation_severity(pl.col("degradation_percent")).alias("severity"),
            pl.lit(as_of).cast(INSTANT).alias("detected_at"),
        )
    )


def degradation_severity(percent: pl.Expr) -> pl.Expr:
    """CRITICAL from 50 %, WARNING from 30 %, else INFO."""
    return (
        pl.when(percent >= 50.0)
        .then(pl.lit("CRITICAL"))
        .when(percent >= 30.0)
        .then(pl.lit("WARNING"))
        .otherwise(pl.lit("INFO"))
    )


def _p99_of_halves(window: pl.LazyFrame, middle: datetime, *, in_memory: bool) -> pl.DataFrame:
    """Per operation the number of rows and the p99 (microseconds) of both halves; NULL for a half without rows."""
    is_new = pl.col("created_at") >= middle
    halves = percentiles_of_groups(
        window.with_columns(is_new.alias("is_new")), ["operation_type", "is_new"], {"p99": 0.99}, in_memory=in_memory
    )
    old = halves.filter(~pl.col("is_new")).select("operation_type", n_old="n", p99_old="p99")
    new = halves.filter(pl.col("is_new")).select("operation_type", n_new="n", p99_new="p99")
    return old.join(new, on="operation_type")


def _trends(window: pl.LazyFrame, degraded: pl.DataFrame, *, in_memory: bool) -> pl.DataFrame:
    """Per operation the slope (microseconds a day) and r squared of its daily p99; both 0 where there is no trend.

    Sums are taken in date order, as the SQL function takes them, so that both get the same last digit.
    """
    day, p99 = pl.col("day"), pl.col("p99")
    d_day, d_p99, days = pl.col("d_day"), pl.col("d_p99"), pl.len().over("operation_type")
    dated = window.join(degraded.lazy().select("operation_type"), on="operation_type", how="semi").with_columns(
        pl.col("created_at").dt.date().alias("utc_date")
    )
    daily = (
        percentiles_of_groups(dated, ["operation_type", "utc_date"], {"p99": 0.99}, in_memory=in_memory)
        .sort("operation_type", "utc_date")
        .with_columns((pl.col("utc_date") - date(2000, 1, 1)).dt.total_days().cast(pl.Float64).alias("day"))
    )
    centred = daily.with_columns(
        (day - divided(_sum_in_order(day).over("operation_type"), days)).alias("d_day"),
        (p99 - divided(_sum_in_order(p99).over("operation_type"), days)).alias("d_p99"),
    )
    fit = centred.group_by("operation_type").agg(
        _sum_in_order(d_day * d_p99).alias("sxy"),
        _sum_in_order(d_day * d_day).alias("sxx"),
        _sum_in_order(d_p99 * d_p99).alias("syy"),
        ((pl.len() >= MINIMUM_DATES) & (p99.min() < p99.max())).alias("has_trend"),
    )
    slope = divided(pl.col("sxy"), pl.col("sxx"))
    r_squared = pl.min_horizontal(divided(pl.col("sxy") * pl.col("sxy"), pl.col("sxx") * pl.col("syy")), 1.0)
    return fit.select(
        "operation_type",
        pl.when("has_trend").then(slope).otherwise(0.0).alias("slope"),
        pl.when("has_trend").then(r_squared).otherwise(0.0).alias("confidence"),
    )


def _sum_in_order(terms: pl.Expr) -> pl.Expr:
    """The sum, added strictly one after the other; ``Expr.sum`` adds in blocks."""
    return terms.cum_sum().last()
