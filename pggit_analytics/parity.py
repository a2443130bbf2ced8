"""The table of twins: which SQL object and which dataframe function give the same answer, and how that is compared.

A twin's SQL query and its dataframe function yield the same columns. Rows, their order, keys, flags, severities and
instants agree exactly, floating statistics to `TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import polars as pl

from pggit_analytics import frames
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import detect_combined_anomalies
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.detect_threshold_exceeded import detect_threshold_exceeded
from pggit_analytics.analysis.recalculate_all_baselines_rolling import recalculate_all_baselines_rolling
from pggit_analytics.analysis.v_baseline_recalc_execution_summary import v_baseline_recalc_execution_summary
from pggit_analytics.analysis.v_baseline_recalc_health import v_baseline_recalc_health
from pggit_analytics.analysis.v_current_findings import v_current_findings
from pggit_analytics.analysis.v_merge_bottleneck_analysis import v_merge_bottleneck_analysis
from pggit_analytics.analysis.v_merge_conflict_hotspots import v_merge_conflict_hotspots
from pggit_analytics.analysis.v_merge_phase_timeline import v_merge_phase_timeline
from pggit_analytics.analysis.v_merge_success_rate_analysis import v_merge_success_rate_analysis
from pggit_analytics.analysis.v_notification_delivery_status import v_notification_delivery_status

#: relative difference allowed between two floating statistics
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the dataframe side looks at."""

    #: `frames.METRICS`
    metrics: pl.DataFrame | pl.LazyFrame
    #: `frames.BASELINES`
    baselines: pl.DataFrame = field(default_factory=frames.BASELINES.empty)
    #: `frames.OPERATION_TYPES`
    operation_types: pl.DataFrame = field(default_factory=frames.OPERATION_TYPES.empty)
    #: `frames.ACTIVE_BASELINES`
    active_baselines: pl.DataFrame = field(default_factory=frames.ACTIVE_BASELINES.empty)
    #: operations with an open alert that holds their baseline
    held_operations: frozenset[str] = frozenset()
    #: `frames.MERGES`
    merges: pl.DataFrame = field(default_factory=frames.MERGES.empty)
    #: `frames.MERGE_SPANS`
    merge_spans: pl.DataFrame = field(default_factory=frames.MERGE_SPANS.empty)
    #: `frames.BASELINE_RECORDS`
    baseline_records: pl.DataFrame = field(default_factory=frames.BASELINE_RECORDS.empty)
    #: `frames.RECALC_EXECUTIONS`
    recalc_executions: pl.DataFrame = field(default_factory=frames.RECALC_EXECUTIONS.empty)
    #: `frames.NOTIFICATIONS`
    notifications: pl.DataFrame = field(default_factory=frames.NOTIFICATIONS.empty)
    #: `frames.ALERTS`
    alerts: pl.DataFrame = field(default_factory=frames.ALERTS.empty)
    #: `frames.SNOOZES`
    snoozes: pl.DataFrame = field(default_factory=frames.SNOOZES.empty)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arguments of all twins; the defaults are those of the SQL functions."""

    as_of: datetime
    #: operations to ask the SQL functions about, in ascending order
    operations: tuple[str, ...]
    lookback_hours: int = 24
    lookback_days: int = 7
    z_score_threshold: Decimal = Decimal("3.0")
    threshold_percent: Decimal = Decimal("20.0")
    correlation_threshold: Decimal = Decimal("0.75")
    min_samples: int = 10
    force: bool = False


@dataclass(frozen=True, slots=True)
class Twin:
    """One meaning in two engines."""

    #: the SQL function or view
    sql_object: str
    #: yields the columns of ``columns``; its parameters are the fields of `Parameters`
    query: str
    #: the same rows from frames
    compute: Callable[[Inputs, Parameters], pl.DataFrame]
    #: columns compared, a subset of what ``compute`` returns
    columns: frames.FrameSchema
    #: statements to run before ``query``, which must not see the database as it was before them
    prepare: str | None = None


def _of_each_operation(call: str, columns: str) -> str:
    return f"""
        SELECT {columns}
        FROM unnest(%(operations)s::TEXT[]) WITH ORDINALITY AS o (name, position)
        CROSS JOIN LATERAL {call} WITH ORDINALITY AS f
        ORDER BY o.position, f.ordinality
    """  # noqa: S608 - constants of this module


_COMBINED = frames.FrameSchema(
    "combined anomalies",
    {
        name: frames.ANOMALIES.columns[name]
        for name in (
            "operation_type",
            "metric_id",
            "anomaly_type",
            "severity",
            "z_score",
            "degradation_percent",
            "alert_required",
            "detected_at",
        )
    },
)


def _correlated(inputs: Inputs, parameters: Parameters) -> pl.DataFrame:
    return detect_correlated_degradation(
        inputs.metrics,
        inputs.operation_types,
        as_of=parameters.as_of,
        lookback_hours=parameters.lookback_hours,
        correlation_threshold=parameters.correlation_threshold,
    )


_STORED = ("min", "max", "p50", "p75", "p90", "p95", "p99")


def _recalculated(inputs: Inputs, parameters: Parameters) -> pl.DataFrame:
    """Statistics only where they are stored, and the identity only where it is known beforehand."""
    result = recalculate_all_baselines_rolling(
        inputs.metrics,
        inputs.active_baselines,
        inputs.operation_types,
        inputs.held_operations,
        as_of=parameters.as_of,
        lookback_days=parameters.lookback_days,
        min_samples=parameters.min_samples,
        force=parameters.force,
    )
    is_updated = pl.col("status") == "UPDATED"
    statistics = [*(f"{name}_us" for name in _STORED), "mean_us", "stddev_us"]
    return result.with_columns(
        pl.when(~is_updated).then(pl.col("baseline_id")).alias("baseline_id"),
        *(pl.when(is_updated).then(pl.col(name)).alias(name) for name in statistics),
    )


#: the SQL functions that detect and the baselines
DETECTION_TWINS = (
    Twin(
        "detect_anomalies_statistical",
        _of_each_operation(
            "detect_anomalies_statistical(o.name, %(lookback_hours)s, %(z_score_threshold)s, %(as_of)s)",
            "f.metric_id, f.operation_type, f.duration_ms::FLOAT8, f.baseline_p99_ms::FLOAT8, f.z_score::FLOAT8, "
            "f.deviation_percent::FLOAT8, f.severity, f.detected_at",
        ),
        lambda inputs, p: detect_anomalies_statistical(
            inputs.metrics,
            inputs.baselines,
            as_of=p.as_of,
            lookback_hours=p.lookback_hours,
            z_score_threshold=p.z_score_threshold,
        ),
        frames.STATISTICAL,
    ),
    Twin(
        "detect_performance_degradation",
        _of_each_operation(
            "detect_performance_degradation(o.name, %(lookback_days)s, %(threshold_percent)s, %(as_of)s)",
            "o.name, f.period_start, f.period_end, f.p99_old_ms::FLOAT8, f.p99_new_ms::FLOAT8, "
            "f.degradation_percent::FLOAT8, f.trend, f.confidence::FLOAT8, f.severity, %(as_of)s::TIMESTAMPTZ",
        ),
        lambda inputs, p: detect_performance_degradation(
            inputs.metrics, as_of=p.as_of, lookback_days=p.lookback_days, threshold_percent=p.threshold_percent
        ),
        frames.DEGRADATIONS,
    ),
    Twin(
        "detect_combined_anomalies",
        _of_each_operation(
            "detect_combined_anomalies(o.name, %(lookback_hours)s, %(as_of)s)",
            "f.operation_type, f.metric_id, f.anomaly_type, f.severity, f.z_score::FLOAT8, "
            "f.degradation_percent::FLOAT8, f.alert_required, f.detected_at",
        ),
        lambda inputs, p: detect_combined_anomalies(
            inputs.metrics, inputs.baselines, as_of=p.as_of, lookback_hours=p.lookback_hours
        ),
        _COMBINED,
    ),
    Twin(
        "detect_threshold_exceeded",
        _of_each_operation(
            "detect_threshold_exceeded(o.name, %(lookback_hours)s, %(as_of)s)",
            "f.operation_type, f.metric_id, f.duration_ms::FLOAT8, f.baseline_p99_ms::FLOAT8, "
            "f.threshold_ms::FLOAT8, f.exceeded_count, f.severity, f.detected_at",
        ),
        lambda inputs, p: detect_threshold_exceeded(
            inputs.metrics, inputs.baselines, as_of=p.as_of, lookback_hours=p.lookback_hours
        ),
        frames.THRESHOLDS,
    ),
    Twin(
        "correlated_operation_pairs",
        """
        SELECT
            p.operation_type_1, p.operation_type_2, p.correlation_coefficient::FLOAT8, p.shared_minutes,
            p.shared_bottleneck, p.confidence::FLOAT8, p.recommendation, p.detected_at
        FROM correlated_operation_pairs(%(lookback_hours)s, %(correlation_threshold)s, %(as_of)s)
            WITH ORDINALITY AS p
        ORDER BY p.ordinality
        """,
        _correlated,
        frames.CORRELATIONS,
    ),
    Twin(
        "detect_correlated_degradation",
        """
        SELECT
            p.operation_type_1, p.operation_type_2, p.correlation_coefficient::FLOAT8,
            p.shared_bottleneck, p.confidence::FLOAT8, p.recommendation, p.detected_at
        FROM detect_correlated_degradation(%(lookback_hours)s, %(correlation_threshold)s, %(as_of)s)
            WITH ORDINALITY AS p
        ORDER BY p.ordinality
        """,
        _correlated,
        frames.FrameSchema(
            "correlated degradation",
            {name: dtype for name, dtype in frames.CORRELATIONS.columns.items() if name != "shared_minutes"},
        ),
    ),
    Twin(
        "recalculate_all_baselines_rolling",
        """
        SELECT
            r.operation_type, CASE WHEN r.status <> 'UPDATED' THEN r.baseline_id END, r.sample_count,
            r.p99_old_ms::FLOAT8, r.p99_new_ms::FLOAT8, r.percent_change::FLOAT8, r.status, r.message,
            b.min_microseconds, b.max_microseconds, b.p50_microseconds, b.p75_microseconds, b.p90_microseconds,
            b.p95_microseconds, b.p99_microseconds, b.mean_microseconds::FLOAT8, b.stddev_microseconds::FLOAT8
        FROM recalculated AS r
        LEFT JOIN performance_baselines AS b ON b.baseline_id = r.baseline_id AND r.status = 'UPDATED'
        ORDER BY r.ordinality
        """,
        _recalculated,
        frames.BASELINE_RECALCULATIONS,
        prepare="""
        CREATE TEMPORARY TABLE recalculated ON COMMIT DROP AS
        SELECT *
        FROM recalculate_all_baselines_rolling(%(lookback_days)s, %(min_samples)s, %(force)s, 3600, %(as_of)s)
            WITH ORDINALITY
        """,
    ),
)

#: how a view is asked about a moment, until the end of the transaction
_TRAVEL = """
SELECT set_config(
    'pggit.as_of', to_char(%(as_of)s::TIMESTAMPTZ AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"Z"'), TRUE
)
"""

#: columns of views whose type is not that of the frame -> how they are read
_READ_AS: dict[pl.DataType | type[pl.DataType], str] = {
    pl.Float64: "::FLOAT8",
    pl.Int64: "::BIGINT",
    pl.String: "::TEXT",
}


def _of_view(view: str, schema: frames.FrameSchema, compute: Callable[[Inputs, Parameters], pl.DataFrame]) -> Twin:
    """The twin of a view, in the view's own row order."""
    columns = ", ".join(f"{name}{_READ_AS.get(dtype, '')}" for name, dtype in schema.columns.items())
    return Twin(view, f"SELECT {columns} FROM {view}", compute, schema, prepare=_TRAVEL)  # noqa: S608 - constants


#: the views
DASHBOARD_TWINS = (
    _of_view(
        "v_merge_bottleneck_analysis",
        frames.MERGE_BOTTLENECKS,
        lambda inputs, p: v_merge_bottleneck_analysis(inputs.merges, inputs.merge_spans, as_of=p.as_of),
    ),
    _of_view(
        "v_merge_success_rate_analysis",
        frames.MERGE_SUCCESS_RATES,
        lambda inputs, p: v_merge_success_rate_analysis(inputs.merges, as_of=p.as_of),
    ),
    _of_view(
        "v_merge_conflict_hotspots",
        frames.MERGE_HOTSPOTS,
        lambda inputs, p: v_merge_conflict_hotspots(inputs.merges, as_of=p.as_of),
    ),
    _of_view(
        "v_merge_phase_timeline",
        frames.MERGE_PHASES,
        lambda inputs, p: v_merge_phase_timeline(inputs.merge_spans, as_of=p.as_of),
    ),
    _of_view(
        "v_baseline_recalc_health",
        frames.BASELINE_HEALTH,
        lambda inputs, p: v_baseline_recalc_health(inputs.baseline_records, as_of=p.as_of),
    ),
    _of_view(
        "v_baseline_recalc_execution_summary",
        frames.EXECUTION_SUMMARIES,
        lambda inputs, p: v_baseline_recalc_execution_summary(inputs.recalc_executions, as_of=p.as_of),
    ),
    _of_view(
        "v_notification_delivery_status",
        frames.DELIVERY_STATUS,
        lambda inputs, p: v_notification_delivery_status(inputs.notifications, as_of=p.as_of),
    ),
    _of_view(
        "v_current_findings",
        frames.CURRENT_FINDINGS,
        lambda inputs, p: v_current_findings(inputs.alerts, inputs.snoozes, as_of=p.as_of),
    ),
)

TWINS = DETECTION_TWINS + DASHBOARD_TWINS

#: SQL functions and views without a dataframe twin of their own, and why.
SQL_ONLY = {
    "alert_headline": "writes: part of raise_alert",
    "alert_key": "writes: part of raise_alert",
    "alert_message": "writes: part of raise_alert",
    "alert_repeat_interval": "writes: part of raise_alert",
    "alert_setting": "writes: part of raise_alert",
    "note_changed_metrics": "writes: recording",
    "paging_source": "writes: part of raise_alert",
    "alerts_allowed": "one implementation for every writer, called by the pipeline as well",
    "analysis_time": "the clock; on the dataframe side the as_of is an argument",
    "baseline_at": "the look-up that the extraction does for all operations at once",
    "bottleneck_recommendation": "part of correlated_operation_pairs and compared there",
    "check_alert_arguments": "writes: part of raise_alert",
    "check_argument": "argument check; the errors of both sides are compared in the tests of arguments",
    "check_as_of": "argument check; the errors of both sides are compared in the tests of arguments",
    "check_operation_type": "argument check; the errors of both sides are compared in the tests of arguments",
    "default_threshold_multiplier": "a default taken when a baseline is written, by both sides through this function",
    "end_performance_trace": "writes: recording",
    "enqueue_alert_messages": "writes: part of raise_alert",
    "evidence_number": "writes: part of raise_alert",
    "integer_sqrt": "part of detect_anomalies_statistical and compared there",
    "lock_alerts": "writes: part of raise_alert",
    "p99_between": "part of detect_performance_degradation and compared there",
    "raise_alert": "one implementation for every writer, called by the pipeline as well",
    "recalculate_baseline": "part of recalculate_all_baselines_rolling and compared there",
    "record_performance_metric": "writes: recording",
    "register_operation_types": "writes: recording",
    "resolve_missing_alerts": "one implementation for every writer, called by the pipeline as well",
    "shared_bottleneck": "part of correlated_operation_pairs and compared there",
    "start_performance_trace": "writes: recording",
    "utc_text": "writes: part of raise_alert",
    "acknowledge_alert": "writes: answers to alerts",
    "add_blackout": "writes: answers to alerts",
    "alert_facts": "writes: part of raise_alert",
    "check_alert_id": "argument check: answers to alerts",
    "check_person": "argument check: answers to alerts",
    "check_self_health": "writes: the monitoring watches itself",
    "check_silence": "argument check: answers to alerts",
    "group_alerts": "writes: part of raise_alerts_of_findings",
    "interval_setting": "the value of one setting",
    "next_digest_at": "writes: part of raise_alert",
    "operation_facts": "writes: part of raise_alert",
    "operation_groups": "writes: part of raise_alerts_of_findings",
    "resolve_alert": "one implementation for every writer",
    "incidents_at": "the look-up of what earlier runs wrote; the dataframe side is given it",
    "raise_alerts_of_incidents": "writes: incidents, which the dataframes alone find",
    "replace_incidents": "writes: incidents, which the dataframes alone find",
    "v_open_incidents": "shows the incidents that the pipeline wrote; in the dataframes they are the result of "
    "find_incidents",
    "self_health_faults": "part of check_self_health",
    "set_alert_verdict": "writes: answers to alerts",
    "silent_detector_since": "part of check_self_health",
    "silent_operations": "part of check_self_health",
    "snooze_alerts": "writes: answers to alerts",
    "activate_scheduler": "writes: scheduling",
    "check_job": "argument check: scheduling",
    "check_performance_anomalies": "writes: the pipeline's monitoring run in SQL, compared by running both",
    "check_pg_cron": "argument check: scheduling",
    "check_scheduler": "argument check: scheduling",
    "claim_job_window": "writes: scheduling",
    "collect_findings": "writes: part of check_performance_anomalies",
    "deactivate_scheduler": "writes: scheduling",
    "finish_job_window": "writes: scheduling",
    "job_lock_key": "scheduling: one implementation, called from Python as well",
    "lock_job": "scheduling: one implementation, called from Python as well",
    "missed_jobs": "scheduling: one implementation, called from Python as well",
    "missing_function_of_job": "scheduling: one implementation, called from Python as well",
    "pg_cron_jobs": "scheduling: one implementation, called from Python as well",
    "raise_alerts_of_findings": "writes: part of check_performance_anomalies",
    "replace_findings": "writes: part of check_performance_anomalies",
    "run_claimed_job": "writes: scheduling",
    "run_job": "writes: scheduling",
    "run_scheduled_job": "writes: scheduling",
    "schedule_install": "writes: scheduling",
    "schedule_line": "scheduling: one implementation, called from Python as well",
    "schedule_list": "scheduling: one implementation, called from Python as well",
    "schedule_pause": "writes: scheduling",
    "schedule_remove": "writes: scheduling",
    "schedule_resume": "writes: scheduling",
    "unlock_job": "scheduling: one implementation, called from Python as well",
    "count_old_rows": "counts what retention would delete; nothing is found or decided by it",
    "any_alert_open": "writes: part of claim_notifications",
    "breaker_limits": "writes: the outbox",
    "check_claim_arguments": "argument check: the outbox",
    "check_finish_arguments": "argument check: the outbox",
    "claim_notifications": "writes: the outbox",
    "due_messages": "writes: part of claim_notifications",
    "finish_notification": "writes: the outbox",
    "lease_messages": "writes: part of claim_notifications",
    "lock_outbox": "writes: part of claim_notifications",
    "note_channel_outcome": "writes: part of finish_notification",
    "notification_silenced_until": "writes: part of claim_notifications",
    "pace_webhooks": "writes: part of claim_notifications",
    "redrive_notifications": "writes: the outbox",
    "renew_notification_leases": "writes: the outbox",
    "retry_delay": "writes: part of finish_notification",
    "silenced_until": "writes: the outbox",
    "webhook_min_interval": "writes: part of claim_notifications",
    "delete_old_alerts": "writes: retention",
    "delete_old_baselines": "writes: retention",
    "delete_old_logs": "writes: retention",
    "delete_old_merges": "writes: retention",
    "delete_old_metrics": "writes: retention",
    "delete_old_notifications": "writes: retention",
    "delete_old_results": "writes: retention",
    "finish_merge": "writes: recording; in Python Recorder.merge",
    "get_notification_delivery_stats": "totals of the outbox for a person; what the dataframes know of it is "
    "v_notification_delivery_status, by hour",
    "record_merge_phase": "writes: recording",
    "retention_cutoff": "argument check: retention",
    "start_merge": "writes: recording",
    "complete_webhook_address": "delivery inside the database: nothing is found or decided by it",
    "decrypt_webhook_address": "delivery inside the database: nothing is found or decided by it",
    "deliver_claimed_message": "delivery inside the database: nothing is found or decided by it",
    "deliver_pending_alerts_by_row": "delivery inside the database: nothing is found or decided by it",
    "deliver_pending_notifications": "delivery inside the database: nothing is found or decided by it",
    "deliver_webhook": "delivery inside the database: nothing is found or decided by it",
    "encrypt_webhook_address": "delivery inside the database: nothing is found or decided by it",
    "get_webhook_decrypted": "delivery inside the database: nothing is found or decided by it",
    "is_public_address": "delivery inside the database: nothing is found or decided by it",
    "seconds_to_next_send": "delivery inside the database: nothing is found or decided by it",
    "send_messages": "delivery inside the database: nothing is found or decided by it",
    "send_to_address": "delivery inside the database: nothing is found or decided by it",
    "send_to_webhook": "delivery inside the database: nothing is found or decided by it",
    "store_webhook_encrypted": "delivery inside the database: nothing is found or decided by it",
    "webhook_decrypt": "delivery inside the database: nothing is found or decided by it",
    "webhook_encrypt": "delivery inside the database: nothing is found or decided by it",
    "webhook_hmac": "delivery inside the database: nothing is found or decided by it",
    "webhook_key_id": "delivery inside the database: nothing is found or decided by it",
    "webhook_master_key": "delivery inside the database: nothing is found or decided by it",
    "webhook_payload": "delivery inside the database: nothing is found or decided by it",
    "webhook_random_bytes": "delivery inside the database: nothing is found or decided by it",
    "webhook_text": "delivery inside the database: nothing is found or decided by it",
}

_ENGINE = "part of the engine that decides what a person is told; SQL reads its findings from tables"

#: Dataframe functions without an SQL twin, and why.
DATAFRAME_ONLY = {
    "breach_forecasts": _ENGINE,
    "level_changes": _ENGINE,
    "level_episodes": _ENGINE,
    "slow_calls": _ENGINE,
    "trace_parents": _ENGINE,
    "taken": "the columns of a detector's result that incidents are made of",
    "combine": "part of detect_combined_anomalies and compared there",
    "correlated_minutes": "part of detect_correlated_degradation and compared there",
    "joined_by_operation": "puts together the shares of a run on several machines; what they hold is compared",
    "joined_runs": "the order of rows in memory; nothing is decided on it",
    "minute_sums": "part of detect_correlated_degradation and compared there",
    "operation_course": "the course of an operation for a chart; nothing is decided on it",
    "percentiles_of_groups": "part of detect_performance_degradation and of the baselines, compared there",
    "slow_points": "the points of a chart; nothing is decided on them",
    "slow_since": "an estimate for the reader; nothing is decided on it",
}


def differences(from_sql: pl.DataFrame, from_frames: pl.DataFrame) -> list[str]:
    """What differs between two results, one line per fault; empty when they say the same.

    Args:
        from_sql, from_frames: the same columns in the same order; row order counts.
    """
    if from_sql.schema != from_frames.schema:
        return [f"columns differ: {from_sql.schema} in SQL, {from_frames.schema} in the dataframes"]
    if from_sql.height != from_frames.height:
        return [f"{from_sql.height} rows in SQL, {from_frames.height} in the dataframes"]
    return [
        f"row {row}, {name}: {from_sql[row, name]!r} in SQL, {from_frames[row, name]!r} in the dataframes"
        for name in from_sql.columns
        for row in _differing_rows(from_sql[name], from_frames[name])
    ]


def _differing_rows(one: pl.Series, two: pl.Series) -> list[int]:
    differs = one.ne_missing(two)
    if one.dtype == pl.Float64:
        scale = pl.DataFrame({"one": one.abs(), "two": two.abs()}).max_horizontal()
        # an infinite scale would excuse anything
        is_close = (((one - two).abs() <= TOLERANCE * scale) & scale.is_finite()).fill_null(value=False)
        differs = differs & ~is_close
    return differs.arg_true().to_list()
