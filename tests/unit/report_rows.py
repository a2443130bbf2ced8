"""Rows of a report, made by hand: two days of calls, an incident in them, and everything else empty."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pggit_analytics import frames
from pggit_analytics.frames import FrameSchema
from pggit_analytics.parity import DASHBOARD_TWINS
from pggit_analytics.report.contents import Report, Rows, compose

AS_OF = datetime(2026, 3, 6, 12, tzinfo=UTC)
ONSET = AS_OF - timedelta(hours=6)
HOSTILE = "<script>alert(1)</script>&\"'`|<b>bold</b>]]>"
LONG = "a_very_long_operation_name_" * 18 + "with_500_char"
assert len(LONG) >= 498


def rows(schema: FrameSchema, *given: dict[str, Any]) -> pl.DataFrame:
    """A frame of rows whose columns left out are NULL."""
    return schema.check(schema.frame([dict.fromkeys(schema.columns) | one for one in given]))


def calls(
    name: str, *, days: float = 6.0, every: float = 120.0, ms: float = 10.0, slow_since: datetime | None = ONSET
) -> pl.DataFrame:
    """Calls of an operation that take 10 ms, give or take, and three times as long since the onset; no randomness."""
    count = int(days * 86400 / every)
    at = [AS_OF - timedelta(seconds=every * k) for k in range(count, 0, -1)]
    # the quantiles of a normal distribution in an order without a trend
    scatter = np.sin(np.arange(count) * 12.9898) * 0.25
    factor = np.array([3.0 if slow_since is not None and moment >= slow_since else 1.0 for moment in at])
    return frames.METRICS.check(
        pl.DataFrame(
            {
                "metric_id": np.arange(count),
                "operation_type": [name] * count,
                "duration_us": np.round(1000 * ms * np.exp(scatter) * factor).astype(np.int64),
                "created_at": at,
            },
            schema=frames.METRICS.columns,
        )
    )


def incident(name: str = "commit", key: str | None = None, **values: Any) -> dict[str, Any]:
    """A row of INCIDENTS: a step that goes on."""
    return {
        "incident_key": key or f"level:{name}",
        "kind": "step",
        "state": "open",
        "severity": "WARNING",
        "operation_type": name,
        "onset": ONSET,
        "onset_low": ONSET - timedelta(minutes=10),
        "onset_high": ONSET + timedelta(minutes=10),
        "opened_at": AS_OF,
        "last_found_at": AS_OF,
        "missed_runs": 0,
        "lost_ms": 36_000.0,
        "lost_ms_per_hour": 6_000.0,
        "evidence": json.dumps({"kind": "step"}),
        "detected_at": AS_OF,
    } | values


def member(name: str = "commit", key: str | None = None, **values: Any) -> dict[str, Any]:
    """A row of INCIDENT_OPERATIONS."""
    return {
        "incident_key": key or f"level:{name}",
        "operation_type": name,
        "kind": "step",
        "onset": ONSET,
        "onset_low": ONSET,
        "onset_high": ONSET,
        "size_ratio": 3.0,
        "opening_ratio": 3.0,
        "p": 1e-9,
        "calls_before": 1000,
        "calls": 180,
        "p50_before_ms": 10.0,
        "p99_before_ms": 12.8,
        "p50_now_ms": 30.0,
        "p95_now_ms": 37.0,
        "p99_now_ms": 38.4,
        "lost_ms": 36_000.0,
        "lost_ms_per_hour": 6_000.0,
        "detected_at": AS_OF,
    } | values


def run(as_of: datetime = AS_OF, number: int = 1, **values: Any) -> dict[str, Any]:
    """A row of RUNS that succeeded."""
    return {
        "run_id": number,
        "flow": "monitor_performance",
        "as_of": as_of,
        "started_at": as_of,
        "finished_at": as_of + timedelta(seconds=3),
        "status": "SUCCESS",
        "rows_read": 4320,
        "rows_written": 7,
    } | values


def nothing() -> Rows:
    """The rows of a database that was just deployed."""
    return Rows(
        as_of=AS_OF,
        incidents=frames.INCIDENTS.empty(),
        incident_operations=frames.INCIDENT_OPERATIONS.empty(),
        snoozed=frozenset(),
        suppressed=frames.SUPPRESSED.empty(),
        correlations=frames.CORRELATIONS.empty(),
        runs=frames.RUNS.empty(),
        operation_types=frames.OPERATION_TYPES.empty(),
        views={twin.sql_object: twin.columns.empty() for twin in DASHBOARD_TWINS},
        missed_jobs=(),
        scheduler=None,
        monitoring_period=None,
        coverage=frames.COVERAGE.empty(),
        metrics=frames.METRICS.empty(),
    )


def slow(*names: str) -> Rows:
    """Each of these operations has an open incident of its own."""
    metrics = pl.concat([calls(name) for name in names])
    coverage = metrics.group_by("operation_type").agg(
        pl.len().cast(pl.Int64).alias("calls"),
        pl.col("created_at").min().alias("first_at"),
        pl.col("created_at").max().alias("last_at"),
    )
    return replace(
        nothing(),
        incidents=rows(frames.INCIDENTS, *(incident(name) for name in names)),
        incident_operations=rows(frames.INCIDENT_OPERATIONS, *(member(name) for name in names)),
        runs=rows(frames.RUNS, run(), run(AS_OF - timedelta(hours=6), 2)),
        coverage=coverage,
        metrics=metrics,
    )


def full() -> Rows:
    """Something of everything."""
    given = slow("commit", "merge_branches", "get_objects")
    together = ("commit", "ensure_object", "branch_create")
    metrics = pl.concat([given.metrics, *(calls(name, every=50) for name in together[1:])])
    pair = {
        "correlation_coefficient": 0.9,
        "shared_minutes": 300,
        "shared_bottleneck": "OBJECT_STORAGE_IO",
        "confidence": 0.9,
        "recommendation": "Check the disks",
        "detected_at": AS_OF,
    }
    merges = {
        "branch_from": "develop",
        "branch_into": "main",
        "merge_attempts": 20,
        "conflict_count": 5,
        "conflict_rate_percent": 25.0,
    }
    health = {"is_active": True, "freshness": "STALE", "hours_since_update": 30.0, "sample_count": 500, "p99_ms": 9.5}
    messages = {"hour": ONSET, "notification_count": 3, "min_retries": 0, "max_retries": 1}
    phase = {"time_window": ONSET, "p99_phase_ms": 12.0, "sample_count": 3}
    views = {
        **given.views,
        "v_merge_conflict_hotspots": rows(frames.MERGE_HOTSPOTS, merges),
        "v_merge_phase_timeline": rows(
            frames.MERGE_PHASES,
            {**phase, "phase": "merge_base_find"},
            {**phase, "phase": "merge_base_find", "time_window": ONSET + timedelta(hours=1)},
            {**phase, "phase": "merge_conflict_detect"},
        ),
        "v_baseline_recalc_health": rows(
            frames.BASELINE_HEALTH, {**health, "operation_type": "commit", "created_at": ONSET}
        ),
        "v_notification_delivery_status": rows(
            frames.DELIVERY_STATUS, {**messages, "status": "delivered"}, {**messages, "status": "failed"}
        ),
        "v_current_findings": rows(
            frames.CURRENT_FINDINGS,
            {
                "operation_type": "get_objects",
                "alert_type": "DEGRADATION",
                "severity": "CRITICAL",
                "since": ONSET,
                "last_seen_at": AS_OF,
                "is_snoozed": False,
                "is_acknowledged": False,
                "evidence": '{"p99_old_ms": 5, "p99_new_ms": 20}',
                "advice": "Look",
                "alert_id": 7,
                "alert_source": "plan",
            },
        ),
    }
    return replace(
        given,
        incident_operations=rows(
            frames.INCIDENT_OPERATIONS,
            member("commit"),
            member("ensure_object", "level:commit", onset=ONSET + timedelta(hours=1)),
            member("merge_branches"),
            member("get_objects"),
        ),
        correlations=rows(
            frames.CORRELATIONS,
            {**pair, "operation_type_1": "branch_create", "operation_type_2": "commit"},
            {**pair, "operation_type_1": "commit", "operation_type_2": "ensure_object"},
        ),
        suppressed=rows(
            frames.SUPPRESSED,
            {
                "operation_type": "compress_branch",
                "kind": "step",
                "onset": ONSET,
                "reason": "below_minimum",
                "detail": "4 % slower",
                "detected_at": AS_OF,
            },
        ),
        views=views,
        metrics=metrics,
    )


def report(given: Rows) -> Report:
    """The report of these rows."""
    return compose(given, version="9.8.7", place="db.example.com:5432/app", schema="pggit")
