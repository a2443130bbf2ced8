"""Pairs of operations that slow down together."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

import polars as pl

from pggit_analytics.analysis.arguments import Number, check_as_of, check_number, check_whole, lookback
from pggit_analytics.analysis.engine import session
from pggit_analytics.analysis.rounding import divided
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import CORRELATIONS, INSTANT

#: operations looked at, those with the most rows
MAXIMUM_OPERATIONS = 50
#: a pair needs this many minutes in which both ran
MINIMUM_SHARED_MINUTES = 3

_MERGE = ["merge_branches", "merge_base_find", "merge_conflict_detect"]

#: bottleneck -> what to do about it
RECOMMENDATIONS = {
    "MERGE_PIPELINE_SATURATION": "Increase merge worker threads or optimize conflict detection algorithm",
    "OBJECT_STORAGE_IO": "Check disk I/O capacity; consider SSD upgrade or caching layer",
    "QUERY_CACHE_PRESSURE": "Increase shared_buffers or enable query result caching",
    "TRANSACTION_LOG_SATURATION": (
        "Optimize transaction log flushing or enable async commit for non-critical operations"
    ),
    "SHARED_RESOURCE_CONTENTION": "Investigate process lock contention with pg_locks",
}

# Pearson in two passes: the first takes the means over the shared minutes, the second sums about them. What the
# rounded means leave over is subtracted (Chan, Golub and LeVeque 1983, eq. 1.7), so that the order of adding does not
# show in the 9 decimals kept.
_PEARSON = """
    WITH shared AS (
        SELECT a.operation AS one, b.operation AS two, a.mean AS x, b.mean AS y
        FROM means AS a
        JOIN means AS b ON a.minute = b.minute AND a.operation < b.operation
    ),
    centres AS (
        SELECT one, two, avg(x) AS centre_x, avg(y) AS centre_y, count(*) AS shared_minutes
        FROM shared
        GROUP BY one, two
        HAVING count(*) >= $minimum AND min(x) < max(x) AND min(y) < max(y)
    ),
    deviations AS (
        SELECT one, two, shared_minutes, x - centre_x AS dx, y - centre_y AS dy
        FROM shared
        JOIN centres USING (one, two)
    ),
    sums AS (
        SELECT
            one, two, shared_minutes,
            sum(dx * dy) - sum(dx) * sum(dy) / shared_minutes AS sxy,
            sum(dx * dx) - sum(dx) * sum(dx) / shared_minutes AS sxx,
            sum(dy * dy) - sum(dy) * sum(dy) / shared_minutes AS syy
        FROM deviations
        GROUP BY one, two, shared_minutes
    )
    SELECT one, two, shared_minutes, sxy / sqrt(sxx * syy) AS r
    FROM sums
"""


def detect_correlated_degradation(
    metrics: pl.DataFrame | pl.LazyFrame,
    operation_types: pl.DataFrame,
    *,
    as_of: datetime,
    lookback_hours: int = 24,
    correlation_threshold: Number = 0.75,
) -> pl.DataFrame:
    """The pairs whose mean durations per UTC minute correlate (Pearson) over the minutes in which both ran.

    Args:
        metrics: `frames.METRICS`.
        operation_types: `frames.OPERATION_TYPES`. Tracked operations are looked at, at most the 50 with the most rows
            (then by name); an operation that is not listed counts as tracked.
        as_of: end of the window [as_of - lookback, as_of], with a time zone.
        lookback_hours: 1 to 87600.
        correlation_threshold: more than 0, at most 1.

    Returns:
        `frames.CORRELATIONS`, r descending, then by names. A pair needs 3 shared minutes and two different means on
        either side. r is rounded to 9 decimals and then compared; confidence is min(r, shared minutes / 60).

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    check_number("correlation_threshold", correlation_threshold, 0, 1, low_excluded=True)
    sums = minute_sums(metrics, operation_types, as_of=as_of, lookback_hours=lookback_hours)
    return correlated_minutes(sums, as_of=as_of, correlation_threshold=correlation_threshold)


def minute_sums(
    metrics: pl.DataFrame | pl.LazyFrame, operation_types: pl.DataFrame, *, as_of: datetime, lookback_hours: int = 24
) -> pl.DataFrame:
    """What of the metrics the correlation looks at: a row per operation and minute of each that may be looked at.

    What parts of the metrics yield, one below the other, is what the whole yields when no operation is in two parts.

    Args:
        metrics, operation_types, as_of, lookback_hours: see `detect_correlated_degradation`.

    Returns:
        operation_type, minute (since 1970), total_us and rows, in no particular order.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    check_whole("lookback_hours", lookback_hours, 1, 87600)
    untracked = operation_types.filter(~pl.col("is_tracked")).lazy()
    return (
        between(metrics, lookback(as_of, hours=lookback_hours), as_of)
        .join(untracked, on="operation_type", how="anti")
        .group_by("operation_type", (pl.col("created_at").dt.epoch("us") // 60_000_000).alias("minute"))
        .agg(pl.col("duration_us").sum().alias("total_us"), pl.len().cast(pl.Int64).alias("rows"))
        .collect(engine="streaming")
    )


def correlated_minutes(sums: pl.DataFrame, *, as_of: datetime, correlation_threshold: Number = 0.75) -> pl.DataFrame:
    """`detect_correlated_degradation` from the sums of its minutes.

    Args:
        sums: `minute_sums` of all operations.
        as_of, correlation_threshold: see `detect_correlated_degradation`.

    Returns:
        `frames.CORRELATIONS`.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    as_of = check_as_of(as_of)
    threshold = float(check_number("correlation_threshold", correlation_threshold, 0, 1, low_excluded=True))
    means = _means_of_busiest(sums)
    names = means["operation_type"].unique().sort()
    with session() as connection:
        # numbers, which are joined and grouped by in half the time that names take
        connection.register("means", means.with_columns(_position(names).alias("operation")))
        pairs: pl.DataFrame = connection.sql(_PEARSON, params={"minimum": MINIMUM_SHARED_MINUTES}).pl()
    one, two, bottleneck = pl.col("operation_type_1"), pl.col("operation_type_2"), pl.col("shared_bottleneck")
    return (
        pairs.select(
            names.gather(pairs["one"]).alias("operation_type_1"),
            names.gather(pairs["two"]).alias("operation_type_2"),
            "shared_minutes",
            rounded(pairs["r"]).alias("correlation_coefficient"),
        )
        .filter(pl.col("correlation_coefficient") > threshold)
        .with_columns(shared_bottleneck(one, two).alias("shared_bottleneck"))
        .with_columns(
            pl.min_horizontal("correlation_coefficient", pl.col("shared_minutes") / 60.0).alias("confidence"),
            bottleneck.replace_strict(RECOMMENDATIONS, return_dtype=pl.String).alias("recommendation"),
            pl.lit(as_of).cast(INSTANT).alias("detected_at"),
        )
        .sort(-pl.col("correlation_coefficient"), one, two)
        .select(list(CORRELATIONS.columns))
    )


def shared_bottleneck(one: pl.Expr, two: pl.Expr) -> pl.Expr:
    """What two operations that slow down together most likely share; the first rule that fits wins."""

    def both(names: list[str]) -> pl.Expr:
        return one.is_in(names) & two.is_in(names)

    rollbacks = ["rollback_commit", "rollback_cascade"]
    return (
        pl.when(both(_MERGE))
        .then(pl.lit("MERGE_PIPELINE_SATURATION"))
        .when(both(["commit", "branch_create"]))
        .then(pl.lit("OBJECT_STORAGE_IO"))
        .when(both(["get_history", "get_object_timeline"]))
        .then(pl.lit("QUERY_CACHE_PRESSURE"))
        .when(one.is_in(rollbacks) | two.is_in(rollbacks))
        .then(pl.lit("TRANSACTION_LOG_SATURATION"))
        .otherwise(pl.lit("SHARED_RESOURCE_CONTENTION"))
    )


def rounded(coefficients: pl.Series) -> pl.Series:
    """To 9 decimals, halves away from zero, of the 15 digits that PostgreSQL gives a float8 cast to NUMERIC."""
    nano = Decimal("1e-9")
    return pl.Series(
        [float(Decimal(f"{r:.15g}").quantize(nano, ROUND_HALF_UP)) for r in coefficients], dtype=pl.Float64
    )


def _position(names: pl.Series) -> pl.Expr:
    """Of an operation its position among the names, which are in order."""
    return pl.col("operation_type").cast(pl.Enum(names)).to_physical()


def _means_of_busiest(sums: pl.DataFrame) -> pl.DataFrame:
    """Mean duration (microseconds) per operation and minute of the operations with the most rows."""
    busiest = (
        sums.group_by("operation_type")
        .agg(pl.col("rows").sum())
        .sort(-pl.col("rows"), pl.col("operation_type"))
        .head(MAXIMUM_OPERATIONS)
    )
    mean = divided(pl.col("total_us"), pl.col("rows"))
    return sums.join(busiest, on="operation_type", how="semi").select("operation_type", "minute", mean.alias("mean"))
