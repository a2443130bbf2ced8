"""A baseline for every tracked operation from its last days."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from math import sqrt

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, check_flag, check_whole, lookback
from pggit_analytics.analysis.moments import exact_moments
from pggit_analytics.analysis.percentiles import percentiles_of_groups, rounded_half_up
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import BASELINE_RECALCULATIONS

_PERCENTILES = {"p50_us": 0.5, "p75_us": 0.75, "p90_us": 0.9, "p95_us": 0.95, "p99_us": 0.99}
_EXTREMES = {"min_us": 0.0, "max_us": 1.0}
_STATISTICS = ("min_us", "max_us", *_PERCENTILES, "mean_us", "stddev_us")


def recalculate_all_baselines_rolling(
    metrics: pl.DataFrame | pl.LazyFrame,
    active_baselines: pl.DataFrame,
    operation_types: pl.DataFrame,
    held_operations: Collection[str],
    *,
    as_of: datetime,
    lookback_days: int = 7,
    min_samples: int = 10,
    force: bool = False,
) -> pl.DataFrame:
    """What becomes of the baseline of every tracked operation; nothing is written.

    Args:
        metrics: `frames.METRICS`.
        active_baselines: `frames.ACTIVE_BASELINES`.
        operation_types: `frames.OPERATION_TYPES`.
        held_operations: operations with an open DEGRADATION, INCIDENT or THRESHOLD_EXCEEDED alert; a higher p99 of
            theirs is not adopted, so that a baseline does not learn an incident.
        as_of: end of the window [as_of - lookback, as_of], with a time zone.
        lookback_days: 1 to 365, of 24 hours.
        min_samples: 1 to 1000.
        force: adopt the new baseline even if it changed by less than 5 % or would be held.

    Returns:
        `frames.BASELINE_RECALCULATIONS` by operation. status: UPDATED, UNCHANGED, HELD or INSUFFICIENT_DATA, as the
        SQL function describes them (its TIMEOUT and ERROR belong to a loop that this computation does not have).
        baseline_id is that of the active baseline, NULL without one. Percentiles are whole microseconds, halves up;
        the standard deviation is that of the population.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    check_whole("lookback_days", lookback_days, 1, 365)
    check_whole("min_samples", min_samples, 1, 1000)
    check_flag("force", force)
    window = between(metrics, lookback(as_of, hours=24 * lookback_days), as_of)
    tracked = operation_types.filter("is_tracked").select("operation_type")
    watched = window.join(tracked.lazy(), on="operation_type", how="semi")
    statistics = _statistics(watched, in_memory=isinstance(metrics, pl.DataFrame))

    rows = (
        tracked.join(statistics, on="operation_type", how="left")
        .join(active_baselines.rename({"p99_us": "old_us"}), on="operation_type", how="left")
        .with_columns(
            pl.col("sample_count").fill_null(0),
            pl.col("operation_type").is_in(list(held_operations)).alias("is_held"),
        )
        .sort("operation_type")
        .with_columns(_status(min_samples=min_samples, force=force).alias("status"))
    )
    new, old = pl.col("p99_us"), pl.col("old_us")
    is_computed = pl.col("status") != "INSUFFICIENT_DATA"
    change = 100.0 * (new - old).cast(pl.Float64) / old.cast(pl.Float64)
    message = pl.col("status").replace_strict(
        {
            "HELD": "a higher p99 is not adopted while an alert of this operation is open",
            "UNCHANGED": "the p99 changed by less than 5 %",
            "UPDATED": "baseline replaced",
        },
        default=None,
        return_dtype=pl.String,
    )
    samples = pl.format("{} samples, at least {} needed", "sample_count", pl.lit(min_samples))
    return rows.with_columns(
        divided(old, 1000.0).alias("p99_old_ms"),
        pl.when(is_computed).then(divided(new, 1000.0)).alias("p99_new_ms"),
        pl.when(is_computed & (old != 0)).then(change).alias("percent_change"),
        *(pl.when(is_computed).then(pl.col(name)).alias(name) for name in _STATISTICS),
        pl.when(~is_computed)
        .then(samples)
        .when((pl.col("status") == "UPDATED") & pl.col("baseline_id").is_null())
        .then(pl.lit("first baseline"))
        .when(pl.col("is_newer_than_as_of"))
        .then(pl.lit("the active baseline is newer than this moment"))
        .otherwise(message)
        .alias("message"),
    ).select(list(BASELINE_RECALCULATIONS.columns))


def _status(*, min_samples: int, force: bool) -> pl.Expr:
    new, old, forced = pl.col("p99_us"), pl.col("old_us"), pl.lit(force)
    return (
        pl.when(pl.col("sample_count") < min_samples)
        .then(pl.lit("INSUFFICIENT_DATA"))
        .when(pl.col("is_newer_than_as_of"))
        .then(pl.lit("UNCHANGED"))
        .when(~forced & (100 * (new - old).abs() < 5 * old))
        .then(pl.lit("UNCHANGED"))
        .when(~forced & (new > old) & pl.col("is_held"))
        .then(pl.lit("HELD"))
        .otherwise(pl.lit("UPDATED"))
    )


def _statistics(window: pl.LazyFrame, *, in_memory: bool) -> pl.DataFrame:
    """Per operation: count, extremes, percentiles, mean and population standard deviation, in microseconds."""
    order = percentiles_of_groups(window, ["operation_type"], _PERCENTILES | _EXTREMES, in_memory=in_memory).select(
        "operation_type",
        pl.col("n").alias("sample_count"),
        *(rounded_half_up(pl.col(name)) for name in (*_EXTREMES, *_PERCENTILES)),
    )
    moments = pl.DataFrame(
        [(m.operation_type, m.total / m.n, sqrt(m.dispersion) / m.n) for m in exact_moments(window)],
        schema={"operation_type": pl.String, "mean_us": pl.Float64, "stddev_us": pl.Float64},
        orient="row",
    )
    return order.join(moments, on="operation_type")
