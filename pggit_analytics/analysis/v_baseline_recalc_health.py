"""How fresh the baseline of each operation is."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.rounding import milliseconds, rounded_quotient
from pggit_analytics.frames import BASELINE_HEALTH

#: microseconds in an hour
HOUR_US = 3_600_000_000


def v_baseline_recalc_health(baselines: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The age of the baseline in force of each operation.

    In force at ``as_of``: valid then, and either active or replaced since; the one that began last is meant. Its last
    update is last_updated, or, when that moved after ``as_of``, the moment it became valid.

    Args:
        baselines: `frames.BASELINE_RECORDS`.
        as_of: with a time zone.

    Returns:
        `frames.BASELINE_HEALTH` by operation. freshness: CURRENT within 24 hours, STALE within 7 days (of 24 hours),
        else VERY_STALE; UNKNOWN, with NULL hours, where no update is known. Hours have one decimal, halves up.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    valid_from, valid_to, last_updated = pl.col("valid_from"), pl.col("valid_to"), pl.col("last_updated")
    updated_at = pl.when(last_updated <= as_of).then(last_updated).when(last_updated > as_of).then(valid_from)
    age = pl.col("age_us")
    return (
        baselines.lazy()
        .filter(
            valid_from.is_null() | (valid_from <= as_of),
            pl.when(valid_to.is_null()).then("is_active").otherwise(valid_to > as_of),
        )
        .sort(["operation_type", "valid_from", "baseline_id"], descending=[False, True, True], nulls_last=True)
        .unique("operation_type", keep="first", maintain_order=True)
        .with_columns((pl.lit(as_of) - updated_at).dt.total_microseconds().alias("age_us"))
        .select(
            "operation_type",
            "is_active",
            pl.when(age < 24 * HOUR_US)
            .then(pl.lit("CURRENT"))
            .when(age < 168 * HOUR_US)
            .then(pl.lit("STALE"))
            .when(age.is_not_null())
            .then(pl.lit("VERY_STALE"))
            .otherwise(pl.lit("UNKNOWN"))
            .alias("freshness"),
            rounded_quotient(age, HOUR_US, 1).alias("hours_since_update"),
            "sample_count",
            milliseconds(pl.col("p99_us")).alias("p99_ms"),
            "created_at",
        )
        .collect()
        .select(list(BASELINE_HEALTH.columns))
    )
