"""The plan's detectors as an engine: the baseline that others are compared with."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import combine
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.slow_since import slow_since
from pggit_analytics.evaluation import verdicts
from pggit_analytics.evaluation.verdicts import Context, Verdict
from pggit_analytics.frames import BASELINES, INSTANT, OPERATION_TYPES

#: the detector of outliers looks back a day, so it is run for each day of the week
_DAYS = 7
_BUCKET = timedelta(hours=6)


def plan_engine(metrics: pl.DataFrame, context: Context) -> Verdict:
    """The plan's functions with their defaults, run at the end of each day of the last week.

    Spikes are the slow outliers (z > 3) of each day. Changes are the degradations of the last run over 7 days, with the
    onset of `slow_since` (interval: its bucket); the trend tells drift from step. Pairs are those of the last day,
    groups their connected components. Pages are the rows of `detect_combined_anomalies` with alert_required, a
    degradation only on the first day it is found. The plan has no forecast, no improvement and no variance change.

    Args:
        metrics: `frames.METRICS`.
        context: the end of the week; limits and traces are not used.
    """
    ends = [context.as_of - timedelta(days=back) for back in reversed(range(_DAYS))]
    outliers = [detect_anomalies_statistical(metrics, BASELINES.empty(), as_of=end) for end in ends]
    degradations = [detect_performance_degradation(metrics, as_of=end) for end in ends]
    slow = pl.concat(outliers).filter(pl.col("z_score") > 0).unique("metric_id", keep="first", maintain_order=True)
    pairs = detect_correlated_degradation(metrics, OPERATION_TYPES.empty(), as_of=context.as_of)
    found = [combine(*both) for both in zip(outliers, degradations, strict=True)]
    return Verdict(
        spikes=slow.select("operation_type", "metric_id", score="z_score"),
        changes=_changes(metrics, degradations[-1], context.as_of),
        pairs=pairs.select("operation_type_1", "operation_type_2", score="correlation_coefficient"),
        groups=connected(list(pairs.select("operation_type_1", "operation_type_2").iter_rows())),
        pages=_pages(found),
    )


def connected(pairs: list[tuple[str, str]]) -> tuple[frozenset[str], ...]:
    """The sets of operations that pairs connect directly or through others, by their first names."""
    groups: list[frozenset[str]] = []
    for pair in pairs:
        touching = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touching]
        groups.append(frozenset(pair).union(*touching))
    return tuple(sorted(groups, key=min))


def _changes(metrics: pl.DataFrame, degradations: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    window = metrics.filter(pl.col("created_at").is_between(as_of - timedelta(days=_DAYS), as_of))
    onset, is_drift = pl.col("slow_since"), pl.col("trend") == "DEGRADING"
    return degradations.join(slow_since(window, degradations), on="operation_type").select(
        "operation_type",
        pl.when(is_drift).then(pl.lit("drift")).otherwise(pl.lit("step")).alias("kind"),
        onset.alias("onset"),
        onset.alias("onset_low"),
        (onset + _BUCKET).alias("onset_high"),
        (pl.col("p99_new_ms") / pl.col("p99_old_ms")).alias("size_ratio"),
        pl.lit(None, dtype=pl.Float64).alias("p"),
    )


def _pages(found: list[pl.DataFrame]) -> pl.DataFrame:
    required = pl.concat(found).filter("alert_required")
    once = required.unique(["operation_type", "metric_id"], keep="first", maintain_order=True)
    return once.select(
        pl.concat_list("operation_type").alias("operation_types"),
        pl.col("detected_at").cast(INSTANT).alias("at"),
        "severity",
    ).cast({"operation_types": verdicts.PAGES.columns["operation_types"]})
