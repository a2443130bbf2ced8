"""Every frame that crosses a boundary: its columns, their Polars types and units, and where NULL may stand.

Durations are whole microseconds (``_us``, Int64) on the way in and milliseconds (``_ms``, Float64) in results, as in
the database. Instants are UTC with microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pggit_analytics.errors import InvalidData

INSTANT = pl.Datetime("us", "UTC")

#: order of severities, most severe first
SEVERITIES = pl.Enum(["CRITICAL", "WARNING", "INFO"])


@dataclass(frozen=True, slots=True)
class FrameSchema:
    """The columns of one boundary frame."""

    name: str
    #: column -> type, in order
    columns: dict[str, pl.DataType | type[pl.DataType]]
    #: columns that may hold NULL
    nullable: frozenset[str] = frozenset()

    def empty(self) -> pl.DataFrame:
        """A frame of this schema without rows."""
        return pl.DataFrame(schema=self.columns)

    def frame(self, rows: list[dict[str, object]]) -> pl.DataFrame:
        """A frame of this schema from rows given as dicts."""
        return pl.DataFrame(rows, schema=self.columns)

    def check(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame itself, if it has exactly these columns and types and NULL only where allowed.

        Raises:
            InvalidData: naming every difference.
        """
        faults = [
            f"column {name} is {frame.schema.get(name, 'missing')}, expected {dtype}"
            for name, dtype in self.columns.items()
            if frame.schema.get(name) != dtype
        ]
        faults += [f"unexpected column {name}" for name in frame.columns if name not in self.columns]
        if not faults:
            counts = frame.null_count().row(0, named=True)
            faults = [
                f"column {name} holds {count} NULL"
                for name, count in counts.items()
                if count and name not in self.nullable
            ]
        if faults:
            raise InvalidData(f"{self.name}: {'; '.join(faults)}")
        return frame


#: One row per finished operation. ``duration_us`` >= 0; ``created_at`` is when it ended.
METRICS = FrameSchema(
    "metrics",
    {"metric_id": pl.Int64, "operation_type": pl.String, "duration_us": pl.Int64, "created_at": INSTANT},
)

#: The baselines valid at the as_of, at most one per operation.
BASELINES = FrameSchema(
    "baselines",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "p99_us": pl.Int64,
        "alert_threshold_multiplier": pl.Float64,
    },
)

#: The baselines in force when baselines are recalculated, at most one per operation. ``is_newer_than_as_of`` marks one
#: that became valid only after the as_of.
ACTIVE_BASELINES = FrameSchema(
    "active baselines",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "p99_us": pl.Int64,
        "is_newer_than_as_of": pl.Boolean,
    },
)

#: What is known of the operations. ``typical_duration_ms`` is NULL where nobody has stated one.
OPERATION_TYPES = FrameSchema(
    "operation types",
    {
        "operation_type": pl.String,
        "category": pl.String,
        "typical_duration_ms": pl.Float64,
        "is_tracked": pl.Boolean,
    },
    nullable=frozenset({"typical_duration_ms"}),
)

#: Result of `detect_anomalies_statistical`. ``baseline_p99_ms`` is NULL without a baseline.
STATISTICAL = FrameSchema(
    "statistical anomalies",
    {
        "metric_id": pl.Int64,
        "operation_type": pl.String,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "z_score": pl.Float64,
        "deviation_percent": pl.Float64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
    nullable=frozenset({"baseline_p99_ms"}),
)

#: Result of `detect_performance_degradation`, one row per degraded operation.
DEGRADATIONS = FrameSchema(
    "degradations",
    {
        "operation_type": pl.String,
        "period_start": pl.Date,
        "period_end": pl.Date,
        "p99_old_ms": pl.Float64,
        "p99_new_ms": pl.Float64,
        "degradation_percent": pl.Float64,
        "trend": pl.String,
        "confidence": pl.Float64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `detect_combined_anomalies`. A DEGRADATION row speaks of the whole operation: the columns of one
#: metric are NULL. ``degradation_percent`` is NULL where the operation has not degraded.
ANOMALIES = FrameSchema(
    "anomalies",
    {
        "operation_type": pl.String,
        "metric_id": pl.Int64,
        "anomaly_type": pl.String,
        "severity": pl.String,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "z_score": pl.Float64,
        "deviation_percent": pl.Float64,
        "degradation_percent": pl.Float64,
        "alert_required": pl.Boolean,
        "detected_at": INSTANT,
    },
    nullable=frozenset(
        {"metric_id", "duration_ms", "baseline_p99_ms", "z_score", "deviation_percent", "degradation_percent"}
    ),
)

#: Result of `detect_correlated_degradation`, one row per pair, names in ascending order.
CORRELATIONS = FrameSchema(
    "correlations",
    {
        "operation_type_1": pl.String,
        "operation_type_2": pl.String,
        "correlation_coefficient": pl.Float64,
        "shared_minutes": pl.Int64,
        "shared_bottleneck": pl.String,
        "confidence": pl.Float64,
        "recommendation": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `slow_since`, one row per operation.
SLOW_SINCE = FrameSchema("slow since", {"operation_type": pl.String, "slow_since": INSTANT})

#: Result of `detect_threshold_exceeded`, one row per operation: its slowest metric over the threshold.
THRESHOLDS = FrameSchema(
    "thresholds exceeded",
    {
        "operation_type": pl.String,
        "metric_id": pl.Int64,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "threshold_ms": pl.Float64,
        "exceeded_count": pl.Int64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `recalculate_all_baselines_rolling`, one row per tracked operation. The statistics are NULL where there
#: are too few samples; the old p99 and the change are NULL without an old baseline (or an old p99 of 0).
BASELINE_RECALCULATIONS = FrameSchema(
    "baseline recalculations",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "sample_count": pl.Int64,
        "p99_old_ms": pl.Float64,
        "p99_new_ms": pl.Float64,
        "percent_change": pl.Float64,
        "status": pl.String,
        "message": pl.String,
        "min_us": pl.Int64,
        "max_us": pl.Int64,
        "p50_us": pl.Int64,
        "p75_us": pl.Int64,
        "p90_us": pl.Int64,
        "p95_us": pl.Int64,
        "p99_us": pl.Int64,
        "mean_us": pl.Float64,
        "stddev_us": pl.Float64,
    },
    nullable=frozenset(
        {
            "baseline_id",
            "p99_old_ms",
            "p99_new_ms",
            "percent_change",
            "min_us",
            "max_us",
            "p50_us",
            "p75_us",
            "p90_us",
            "p95_us",
            "p99_us",
            "mean_us",
            "stddev_us",
        }
    ),
)

# What the incidents are made of and become.

#: What people have set for single operations, at most one row each; NULL means the default. ``direction``: slower,
#: faster or both. ``sensitivity``: 1 is usual, more tells more. ``sla_ms``: limit of the 95th percentile.
OPERATION_SETTINGS = FrameSchema(
    "operation settings",
    {
        "operation_type": pl.String,
        "direction": pl.String,
        "minimum_effect_ms": pl.Float64,
        "minimum_effect_percent": pl.Float64,
        "sensitivity": pl.Float64,
        "expected_pages_per_week": pl.Float64,
        "sla_ms": pl.Float64,
    },
    nullable=frozenset(
        {"minimum_effect_ms", "minimum_effect_percent", "sensitivity", "expected_pages_per_week", "sla_ms"}
    ),
)

#: Spans in which nobody wants to hear. ``kind``: snoozed or maintenance; NULL in ``operation_type`` or ``alert_type``
#: means all of them.
SILENCES = FrameSchema(
    "silences",
    {
        "kind": pl.String,
        "operation_type": pl.String,
        "alert_type": pl.String,
        "starts_at": INSTANT,
        "ends_at": INSTANT,
        "reason": pl.String,
    },
    nullable=frozenset({"operation_type", "alert_type", "reason"}),
)

#: Result of `find_incidents`, one row an incident and moment. ``incident_key`` is the same in every run.
#: ``operation_type`` is what it is about: the first mover of several. ``kind``: step, drift, episode, calls,
#: improvement or forecast; ``state``: open, worsening or recovered. ``ended_because``: recovered, new_level or merged.
#: ``opened_at``, ``last_found_at``: moments of runs. ``missed_runs``: the latest runs in a row that did not find it.
#: ``lost_ms``: what users lost since the onset, ``lost_ms_per_hour``: what they lose now. ``expected_breach_at`` is of
#: a forecast. ``evidence``: JSON text, as it was at ``opened_at``.
INCIDENTS = FrameSchema(
    "incidents",
    {
        "incident_key": pl.String,
        "kind": pl.String,
        "state": pl.String,
        "severity": pl.String,
        "operation_type": pl.String,
        "onset": INSTANT,
        "onset_low": INSTANT,
        "onset_high": INSTANT,
        "ended_at": INSTANT,
        "ended_because": pl.String,
        "opened_at": INSTANT,
        "last_found_at": INSTANT,
        "missed_runs": pl.Int64,
        "lost_ms": pl.Float64,
        "lost_ms_per_hour": pl.Float64,
        "first_mover": pl.String,
        "bottleneck": pl.String,
        "bottleneck_support": pl.Float64,
        "merged_into": pl.String,
        "expected_breach_at": INSTANT,
        "evidence": pl.String,
        "detected_at": INSTANT,
    },
    nullable=frozenset(
        {
            "ended_at",
            "ended_because",
            "first_mover",
            "bottleneck",
            "bottleneck_support",
            "merged_into",
            "expected_breach_at",
        }
    ),
)

#: The operations of each incident. ``size_ratio``: level now to before, ``opening_ratio`` the same when it opened (or
#: the operation joined). ``calls``: since the onset. Percentiles are NULL where there are no calls.
INCIDENT_OPERATIONS = FrameSchema(
    "incident operations",
    {
        "incident_key": pl.String,
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "onset_low": INSTANT,
        "onset_high": INSTANT,
        "ended_at": INSTANT,
        "size_ratio": pl.Float64,
        "opening_ratio": pl.Float64,
        "p": pl.Float64,
        "calls_before": pl.Int64,
        "calls": pl.Int64,
        "p50_before_ms": pl.Float64,
        "p99_before_ms": pl.Float64,
        "p50_now_ms": pl.Float64,
        "p95_now_ms": pl.Float64,
        "p99_now_ms": pl.Float64,
        "lost_ms": pl.Float64,
        "lost_ms_per_hour": pl.Float64,
        "detected_at": INSTANT,
    },
    nullable=frozenset({"ended_at", "p", "p50_before_ms", "p99_before_ms", "p50_now_ms", "p95_now_ms", "p99_now_ms"}),
)

#: What was found and not told, and why. ``reason``: direction, scatter_only, maintenance, too_few_calls, uncertain,
#: below_minimum, cost_shift, part_of_incident, long_over or snoozed; ``detail`` says it with figures.
SUPPRESSED = FrameSchema(
    "suppressed findings",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "reason": pl.String,
        "detail": pl.String,
        "incident_key": pl.String,
        "detected_at": INSTANT,
    },
    nullable=frozenset({"incident_key"}),
)

# What the dashboards (the views) read.

#: One row per attempted merge. ``duration_us`` is NULL until it has ended, ``resolution_strategy`` (auto, manual,
#: rejected) while undecided.
MERGES = FrameSchema(
    "merges",
    {
        "merge_id": pl.String,
        "branch_from": pl.String,
        "branch_into": pl.String,
        "created_at": INSTANT,
        "resolution_strategy": pl.String,
        "status": pl.String,
        "duration_us": pl.Int64,
    },
    nullable=frozenset({"resolution_strategy", "duration_us"}),
)

#: Metrics of merges and of their phases. A merge's id is the trace id of its ``merge_branches`` metric and the parent
#: id of its phases.
MERGE_SPANS = FrameSchema(
    "merge spans",
    {
        "operation_type": pl.String,
        "duration_us": pl.Int64,
        "created_at": INSTANT,
        "distributed_trace_id": pl.String,
        "distributed_trace_parent_id": pl.String,
    },
    nullable=frozenset({"distributed_trace_id", "distributed_trace_parent_id"}),
)

#: Baselines with their validity. ``valid_from`` NULL: since ever; ``valid_to`` NULL: not replaced.
BASELINE_RECORDS = FrameSchema(
    "baseline records",
    {
        "baseline_id": pl.Int64,
        "operation_type": pl.String,
        "is_active": pl.Boolean,
        "valid_from": INSTANT,
        "valid_to": INSTANT,
        "sample_count": pl.Int64,
        "p99_us": pl.Int64,
        "created_at": INSTANT,
        "last_updated": INSTANT,
    },
    nullable=frozenset({"valid_from", "valid_to", "last_updated"}),
)

#: Recalculations of baselines, one row per operation and run. ``execution_end`` is NULL only while RUNNING.
RECALC_EXECUTIONS = FrameSchema(
    "recalculation executions",
    {"execution_start": INSTANT, "execution_end": INSTANT, "status": pl.String},
    nullable=frozenset({"execution_end"}),
)

#: Queued messages, without what they say.
NOTIFICATIONS = FrameSchema(
    "notifications",
    {"created_at": INSTANT, "status": pl.String, "delivered_at": INSTANT, "retry_count": pl.Int64},
    nullable=frozenset({"delivered_at"}),
)

#: Alerts. ``evidence`` is JSON text; ``operation_type`` is NULL for an alert about no operation.
ALERTS = FrameSchema(
    "alerts",
    {
        "alert_id": pl.Int64,
        "operation_type": pl.String,
        "alert_type": pl.String,
        "severity": pl.String,
        "alert_source": pl.String,
        "evidence": pl.String,
        "opened_at": INSTANT,
        "last_seen_at": INSTANT,
        "resolved_at": INSTANT,
        "acknowledged_at": INSTANT,
    },
    nullable=frozenset({"operation_type", "resolved_at", "acknowledged_at"}),
)

#: Silences. NULL in ``operation_type`` or ``alert_type`` means all of them.
SNOOZES = FrameSchema(
    "snoozes",
    {"operation_type": pl.String, "alert_type": pl.String, "created_at": INSTANT, "snooze_until": INSTANT},
    nullable=frozenset({"operation_type", "alert_type"}),
)

#: Result of `v_merge_bottleneck_analysis`, one row per merge. A phase that did not happen is NULL, and so is its share.
MERGE_BOTTLENECKS = FrameSchema(
    "merge bottlenecks",
    {
        "merge_id": pl.String,
        "branch_from": pl.String,
        "branch_into": pl.String,
        "merge_start": INSTANT,
        "lca_find_ms": pl.Float64,
        "conflict_detect_ms": pl.Float64,
        "auto_resolve_ms": pl.Float64,
        "total_merge_ms": pl.Float64,
        "primary_bottleneck": pl.String,
        "lca_percent": pl.Float64,
        "conflict_detect_percent": pl.Float64,
        "resolution_percent": pl.Float64,
        "sla_status": pl.String,
    },
    nullable=frozenset(
        {
            "lca_find_ms",
            "conflict_detect_ms",
            "auto_resolve_ms",
            "total_merge_ms",
            "lca_percent",
            "conflict_detect_percent",
            "resolution_percent",
        }
    ),
)

#: Result of `v_merge_success_rate_analysis`, one row per hour. Times are NULL where no duration is known.
MERGE_SUCCESS_RATES = FrameSchema(
    "merge success rates",
    {
        "hour": INSTANT,
        "total_attempts": pl.Int64,
        "auto_resolved": pl.Int64,
        "manual_resolved": pl.Int64,
        "rejected": pl.Int64,
        "auto_resolve_percent": pl.Float64,
        "manual_resolve_percent": pl.Float64,
        "rejection_rate_percent": pl.Float64,
        "avg_merge_ms": pl.Float64,
        "p99_merge_ms": pl.Float64,
        "undecided": pl.Int64,
    },
    nullable=frozenset({"avg_merge_ms", "p99_merge_ms"}),
)

#: Result of `v_merge_conflict_hotspots`, one row per pair of branches. Times are NULL where no duration is known.
MERGE_HOTSPOTS = FrameSchema(
    "merge conflict hotspots",
    {
        "branch_from": pl.String,
        "branch_into": pl.String,
        "merge_attempts": pl.Int64,
        "conflict_count": pl.Int64,
        "conflict_rate_percent": pl.Float64,
        "avg_conflict_resolve_ms": pl.Float64,
        "max_conflict_resolve_ms": pl.Float64,
        "p99_conflict_resolve_ms": pl.Float64,
    },
    nullable=frozenset({"avg_conflict_resolve_ms", "max_conflict_resolve_ms", "p99_conflict_resolve_ms"}),
)

#: Result of `v_merge_phase_timeline`, one row per minute and phase.
MERGE_PHASES = FrameSchema(
    "merge phase timeline",
    {"time_window": INSTANT, "phase": pl.String, "p99_phase_ms": pl.Float64, "sample_count": pl.Int64},
)

#: Result of `v_baseline_recalc_health`, one row per operation. Hours are NULL where no update is known.
BASELINE_HEALTH = FrameSchema(
    "baseline health",
    {
        "operation_type": pl.String,
        "is_active": pl.Boolean,
        "freshness": pl.String,
        "hours_since_update": pl.Float64,
        "sample_count": pl.Int64,
        "p99_ms": pl.Float64,
        "created_at": INSTANT,
    },
    nullable=frozenset({"hours_since_update"}),
)

#: Result of `v_baseline_recalc_execution_summary`, one row per date. Durations are NULL where none had ended.
EXECUTION_SUMMARIES = FrameSchema(
    "recalculation summaries",
    {
        "execution_day": pl.Date,
        "total_operations_updated": pl.Int64,
        "successful": pl.Int64,
        "timeouts": pl.Int64,
        "errors": pl.Int64,
        "success_rate_percent": pl.Float64,
        "avg_duration_sec": pl.Float64,
        "max_duration_sec": pl.Float64,
        "running": pl.Int64,
    },
    nullable=frozenset({"avg_duration_sec", "max_duration_sec"}),
)

#: Result of `v_notification_delivery_status`, one row per hour and status. The average is NULL where none is known.
DELIVERY_STATUS = FrameSchema(
    "notification delivery status",
    {
        "hour": INSTANT,
        "status": pl.String,
        "notification_count": pl.Int64,
        "avg_delivery_time_seconds": pl.Float64,
        "min_retries": pl.Int64,
        "max_retries": pl.Int64,
    },
    nullable=frozenset({"avg_delivery_time_seconds"}),
)

#: Result of `v_current_findings`, one row per open alert.
CURRENT_FINDINGS = FrameSchema(
    "current findings",
    {
        "operation_type": pl.String,
        "alert_type": pl.String,
        "severity": pl.String,
        "since": INSTANT,
        "last_seen_at": INSTANT,
        "is_snoozed": pl.Boolean,
        "is_acknowledged": pl.Boolean,
        "evidence": pl.String,
        "advice": pl.String,
        "alert_id": pl.Int64,
        "alert_source": pl.String,
    },
    nullable=frozenset({"operation_type"}),
)

# What the report reads besides.

#: Finished runs of flows. ``error_message`` is NULL unless the run failed.
RUNS = FrameSchema(
    "runs",
    {
        "run_id": pl.Int64,
        "flow": pl.String,
        "as_of": INSTANT,
        "started_at": INSTANT,
        "finished_at": INSTANT,
        "status": pl.String,
        "rows_read": pl.Int64,
        "rows_written": pl.Int64,
        "error_message": pl.String,
    },
    nullable=frozenset({"error_message"}),
)

#: How much is known of each operation in a window: its calls, the first and the last of them.
COVERAGE = FrameSchema(
    "coverage", {"operation_type": pl.String, "calls": pl.Int64, "first_at": INSTANT, "last_at": INSTANT}
)
