"""Where the time of each merge of the last 24 hours went."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of, lookback
from pggit_analytics.analysis.rounding import milliseconds, rounded_quotient
from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import MERGE_BOTTLENECKS

LOOKBACK_HOURS = 24

#: longest total that is OK, and longest that is only DEGRADED
OK_US, DEGRADED_US = 99_000, 150_000

#: name within this module -> operation that times the phase
_PHASES = {"lca": "merge_base_find", "detect": "merge_conflict_detect", "resolve": "merge_auto_resolve"}


def v_merge_bottleneck_analysis(merges: pl.DataFrame, spans: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The phases of each merge begun in [as_of - 24 h, as_of], and which of them took longest.

    Args:
        merges: `frames.MERGES`.
        spans: `frames.MERGE_SPANS`, those of these merges at least; those after ``as_of`` are not looked at.
        as_of: with a time zone.

    Returns:
        `frames.MERGE_BOTTLENECKS`, longest merges first, those without a total last, then by merge_id. The total is
        the merge's ``merge_branches`` metric, else its own duration. A phase is its longest metric, NULL without any,
        and then counts 0 when phases are compared; primary_bottleneck is UNKNOWN on a tie. Percentages have one decimal
        and are NULL without a total or when it is 0. sla_status: OK up to 99 ms, DEGRADED up to 150 ms, else
        CRITICAL; UNKNOWN without a total.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    known = spans.lazy().filter(pl.col("created_at") <= as_of)
    total = pl.col("total")
    return (
        between(merges, lookback(as_of, hours=LOOKBACK_HOURS), as_of)
        .join(_longest_phases(known), on="merge_id", how="left")
        .join(_longest_whole(known), on="merge_id", how="left")
        .with_columns(pl.coalesce("whole", "duration_us").alias("total"))
        .sort(["total", "merge_id"], descending=[True, False], nulls_last=True)
        .select(
            "merge_id",
            "branch_from",
            "branch_into",
            pl.col("created_at").alias("merge_start"),
            milliseconds(pl.col("lca")).alias("lca_find_ms"),
            milliseconds(pl.col("detect")).alias("conflict_detect_ms"),
            milliseconds(pl.col("resolve")).alias("auto_resolve_ms"),
            milliseconds(total).alias("total_merge_ms"),
            _primary_bottleneck().alias("primary_bottleneck"),
            rounded_quotient(100 * pl.col("lca"), total, 1).alias("lca_percent"),
            rounded_quotient(100 * pl.col("detect"), total, 1).alias("conflict_detect_percent"),
            rounded_quotient(100 * pl.col("resolve"), total, 1).alias("resolution_percent"),
            pl.when(total <= OK_US)
            .then(pl.lit("OK"))
            .when(total <= DEGRADED_US)
            .then(pl.lit("DEGRADED"))
            .when(total > DEGRADED_US)
            .then(pl.lit("CRITICAL"))
            .otherwise(pl.lit("UNKNOWN"))
            .alias("sla_status"),
        )
        .collect()
        .select(list(MERGE_BOTTLENECKS.columns))
    )


def _longest_phases(spans: pl.LazyFrame) -> pl.LazyFrame:
    """Per merge the longest metric (microseconds) of each phase, NULL without one."""
    duration, operation = pl.col("duration_us"), pl.col("operation_type")
    return (
        spans.filter(pl.col("distributed_trace_parent_id").is_not_null())
        .group_by(merge_id="distributed_trace_parent_id")
        .agg(duration.filter(operation == name).max().alias(phase) for phase, name in _PHASES.items())
    )


def _longest_whole(spans: pl.LazyFrame) -> pl.LazyFrame:
    """Per merge its longest ``merge_branches`` metric (microseconds)."""
    return (
        spans.filter((pl.col("operation_type") == "merge_branches") & pl.col("distributed_trace_id").is_not_null())
        .group_by(merge_id="distributed_trace_id")
        .agg(pl.col("duration_us").max().alias("whole"))
    )


def _primary_bottleneck() -> pl.Expr:
    lca, detect, resolve = (pl.col(phase).fill_null(0) for phase in _PHASES)
    return (
        pl.when(lca > pl.max_horizontal(detect, resolve))
        .then(pl.lit("LCA_FINDING"))
        .when(detect > pl.max_horizontal(lca, resolve))
        .then(pl.lit("CONFLICT_DETECTION"))
        .when(resolve > pl.max_horizontal(lca, detect))
        .then(pl.lit("CONFLICT_RESOLUTION"))
        .otherwise(pl.lit("UNKNOWN"))
    )
