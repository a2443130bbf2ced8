"""Reads what the dashboards are made of into frames, all in one snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import polars as pl
import psycopg
from psycopg.rows import dict_row

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.frames import (
    ALERTS,
    BASELINE_RECORDS,
    MERGE_SPANS,
    MERGES,
    NOTIFICATIONS,
    RECALC_EXECUTIONS,
    SNOOZES,
    FrameSchema,
)
from pggit_analytics.postgres.connection import Database


class DashboardInputs(NamedTuple):
    """What the dataframe twins of the views look at; the names are those of `parity.Inputs`."""

    #: `frames.MERGES`
    merges: pl.DataFrame
    #: `frames.MERGE_SPANS`
    merge_spans: pl.DataFrame
    #: `frames.BASELINE_RECORDS`
    baseline_records: pl.DataFrame
    #: `frames.RECALC_EXECUTIONS`
    recalc_executions: pl.DataFrame
    #: `frames.NOTIFICATIONS`
    notifications: pl.DataFrame
    #: `frames.ALERTS`
    alerts: pl.DataFrame
    #: `frames.SNOOZES`
    snoozes: pl.DataFrame


_MERGES = """
    SELECT merge_id, branch_from, branch_into, created_at, resolution_strategy, status,
           (duration_ms * 1000)::BIGINT AS duration_us
    FROM merge_relationships
    WHERE created_at BETWEEN %(as_of)s - INTERVAL '720 hours' AND %(as_of)s
"""

# Spans of the merges of the last day by their trace, wherever they lie; phases of that day whether of a merge or not.
_MERGE_SPANS = """
    WITH recent AS MATERIALIZED (
        SELECT merge_id
        FROM merge_relationships
        WHERE created_at BETWEEN %(as_of)s - INTERVAL '24 hours' AND %(as_of)s
    ),

    found AS (
        SELECT s.metric_id
        FROM recent AS m
        CROSS JOIN LATERAL (
            SELECT p.metric_id FROM performance_metrics AS p WHERE p.distributed_trace_parent_id = m.merge_id
            UNION ALL
            SELECT w.metric_id FROM performance_metrics AS w WHERE w.distributed_trace_id = m.merge_id
        ) AS s
        UNION
        SELECT f.metric_id
        FROM performance_metrics AS f
        WHERE f.operation_type = ANY (%(phases)s)
          AND f.created_at BETWEEN %(as_of)s - INTERVAL '24 hours' AND %(as_of)s
    )

    SELECT p.operation_type, (p.duration_ms * 1000)::BIGINT AS duration_us, p.created_at,
           p.distributed_trace_id, p.distributed_trace_parent_id
    FROM performance_metrics AS p
    JOIN found USING (metric_id)
    WHERE p.created_at <= %(as_of)s
"""

_BASELINE_RECORDS = """
    SELECT baseline_id, operation_type, is_active, nullif(valid_from, '-infinity') AS valid_from,
           nullif(valid_to, 'infinity') AS valid_to, sample_count, p99_microseconds AS p99_us, created_at,
           CASE WHEN isfinite(last_updated) THEN last_updated END AS last_updated
    FROM performance_baselines
    WHERE valid_from <= %(as_of)s AND (valid_to IS NULL OR valid_to > %(as_of)s)
"""

_RECALC_EXECUTIONS = """
    SELECT execution_start, execution_end, status
    FROM baseline_recalc_execution
    WHERE execution_start BETWEEN %(as_of)s - INTERVAL '2160 hours' AND %(as_of)s
"""

_NOTIFICATIONS = """
    SELECT created_at, status, delivered_at, retry_count::BIGINT AS retry_count
    FROM alert_notification_queue
    WHERE created_at BETWEEN %(as_of)s - INTERVAL '168 hours' AND %(as_of)s
"""

_ALERTS = """
    SELECT alert_id, operation_type, alert_type, severity, alert_source, evidence::TEXT AS evidence, opened_at,
           last_seen_at, resolved_at, acknowledged_at
    FROM performance_alerts
    WHERE opened_at <= %(as_of)s AND (resolved_at IS NULL OR resolved_at > %(as_of)s)
"""

_SNOOZES = """
    SELECT operation_type, alert_type, created_at, least(snooze_until, '9999-01-01 00:00+00') AS snooze_until
    FROM alert_snooze
    WHERE snooze_until > %(as_of)s AND created_at <= %(as_of)s
"""

_PHASES = ["merge_auto_resolve", "merge_base_find", "merge_conflict_detect"]


def extract_dashboards(database: Database, as_of: datetime) -> DashboardInputs:
    """Everything the views look at when they look back from ``as_of``, as of one snapshot.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
        DatabaseError: see `connection.translated`.
    """
    as_of = check_as_of(as_of)
    with database.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return DashboardInputs(
            merges=_frame(connection, MERGES, _MERGES, as_of),
            merge_spans=_frame(connection, MERGE_SPANS, _MERGE_SPANS, as_of),
            baseline_records=_frame(connection, BASELINE_RECORDS, _BASELINE_RECORDS, as_of),
            recalc_executions=_frame(connection, RECALC_EXECUTIONS, _RECALC_EXECUTIONS, as_of),
            notifications=_frame(connection, NOTIFICATIONS, _NOTIFICATIONS, as_of),
            alerts=_frame(connection, ALERTS, _ALERTS, as_of),
            snoozes=_frame(connection, SNOOZES, _SNOOZES, as_of),
        )


def _frame(connection: psycopg.Connection, schema: FrameSchema, statement: str, as_of: datetime) -> pl.DataFrame:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement.encode(), {"as_of": as_of, "phases": _PHASES}).fetchall()
    return schema.check(schema.frame(rows))
