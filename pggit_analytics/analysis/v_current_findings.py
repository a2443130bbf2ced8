"""What is wrong now, since when, and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.frames import CURRENT_FINDINGS, SEVERITIES

#: alert type -> what to do when the evidence recommends nothing
ADVICE = {
    "ANOMALY": (
        "Look at what else ran at that moment: locks, checkpoints, vacuum; the metric's metadata says what it did"
    ),
    "DEGRADATION": "Compare with what changed when it began: releases, data volume, query plans, missing ANALYZE",
    "CORRELATION": "Look for what the two operations share: tables, locks, disk, connections",
    "THRESHOLD_EXCEEDED": (
        "Check for lock waits and time-outs first; if this duration is normal now, recalculate the baseline"
    ),
    "INCIDENT": "Start with the operation that got slow first; the others usually follow from it",
    "FORECAST": "Act before the date in the evidence: add capacity, archive data or tune the operation",
    "SELF_HEALTH": "The monitoring itself is in trouble: run pggit-analytics doctor",
    "BASELINE_RECALC_ERROR": (
        "Read the error in the evidence, repair its cause and recalculate the baseline; the old one still applies"
    ),
}


def v_current_findings(alerts: pl.DataFrame, snoozes: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """The alerts open at ``as_of``: opened by then, and not resolved by then.

    Args:
        alerts: `frames.ALERTS`.
        snoozes: `frames.SNOOZES`. One is in force from created_at until before snooze_until; one of either operation
            covers a pair, whose names are in the evidence.
        as_of: with a time zone.

    Returns:
        `frames.CURRENT_FINDINGS`, the most severe first, then the oldest, then by alert_id. last_seen_at is at most
        ``as_of``; advice is the recommendation in the evidence, else one for the alert's type.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
    """
    as_of = check_as_of(as_of)
    resolved_at = pl.col("resolved_at")
    found = (
        alerts.filter((pl.col("opened_at") <= as_of) & (resolved_at.is_null() | (resolved_at > as_of)))
        .sort(pl.col("severity").cast(SEVERITIES), "opened_at", "alert_id")
        .with_columns(
            pl.col("opened_at").alias("since"),
            pl.min_horizontal("last_seen_at", pl.lit(as_of)),
            (pl.col("acknowledged_at") <= as_of).fill_null(value=False).alias("is_acknowledged"),
        )
    )
    in_force = snoozes.filter((pl.col("snooze_until") > as_of) & (pl.col("created_at") <= as_of))
    silences = in_force.select("alert_type", "operation_type").rows()
    evidence = [_object(text) for text in found["evidence"]]
    rows = list(zip(found["alert_type"], found["operation_type"], evidence, strict=True))
    return found.with_columns(
        pl.Series("is_snoozed", [_is_snoozed(*row, silences) for row in rows], pl.Boolean),
        pl.Series("advice", [_advice(alert_type, about) for alert_type, _, about in rows], pl.String),
    ).select(list(CURRENT_FINDINGS.columns))


def _object(text: str) -> dict[str, Any]:
    """The JSON object, empty for any other JSON."""
    value = json.loads(text)
    return value if isinstance(value, dict) else {}


def _is_snoozed(
    alert_type: str,
    operation_type: str | None,
    evidence: dict[str, Any],
    silences: Sequence[tuple[str | None, str | None]],
) -> bool:
    named = (operation_type, evidence.get("operation_type_1"), evidence.get("operation_type_2"))
    operations = [name for name in named if isinstance(name, str)]
    return any(
        silenced_type in (None, alert_type) and (silenced is None or silenced in operations)
        for silenced_type, silenced in silences
    )


def _advice(alert_type: str, evidence: dict[str, Any]) -> str:
    recommendation = evidence.get("recommendation")
    return recommendation if recommendation and isinstance(recommendation, str) else ADVICE[alert_type]
