"""Reads what runs have left: the runs, the incidents as they wrote them, and the traces of single calls.

Everything here can be read with the role ``pggit_reader``; nothing is locked or written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import polars as pl
import psycopg

from pggit_analytics.analysis.incidents import WINDOW, Incidents
from pggit_analytics.frames import INCIDENT_OPERATIONS, INCIDENTS, INSTANT, RUNS, SUPPRESSED, FrameSchema
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_incidents import read_frame

#: Calls by trace. ``trace``: the distributed_trace_id of its root; ``depth``: 0 for the root, 1 for its parts, and so
#: on. ``share_percent``: of the time of the root, NULL where the root was not recorded or took no time. ``is_asked``:
#: one of the calls that were asked about. ``created_at`` is when the call ended.
SPANS = FrameSchema(
    "spans",
    {
        "trace": pl.String,
        "depth": pl.Int64,
        "operation_type": pl.String,
        "duration_ms": pl.Float64,
        "share_percent": pl.Float64,
        "created_at": INSTANT,
        "metric_id": pl.Int64,
        "is_asked": pl.Boolean,
    },
    nullable=frozenset({"share_percent"}),
)

#: a trace goes no deeper than this
_DEEPEST = 30

_RUNS = """
    SELECT run_id, flow, as_of, started_at, finished_at, status, rows_read, rows_written, error_message
    FROM analysis_runs
    ORDER BY as_of DESC, run_id DESC
    LIMIT %(limit)s
"""

#: in the order of the dataframes, whatever the collation of the database
_BYTEWISE = 'COLLATE "C"'

_INCIDENTS = """
    SELECT {columns}
    FROM incidents_at(%(start)s, %(end)s) AS i
    {join}
    ORDER BY {order}
"""

_SUPPRESSED = """
    SELECT operation_type, kind, onset, reason, detail, incident_key, detected_at
    FROM suppressed_findings
    WHERE detected_at = (
        SELECT max(s.detected_at) FROM suppressed_findings AS s WHERE s.detected_at BETWEEN %(start)s AND %(end)s
    )
    ORDER BY operation_type COLLATE "C", kind COLLATE "C", onset, reason COLLATE "C"
"""

# From the calls asked about up to the roots of their traces, then down to every part of these. UNION ends circles.
_SPANS = """
    WITH RECURSIVE asked AS (
        SELECT m.metric_id, coalesce(m.distributed_trace_parent_id, m.distributed_trace_id) AS trace
        FROM performance_metrics AS m
        WHERE m.operation_type = ANY (%(operations)s)
          AND m.created_at BETWEEN %(start)s AND %(end)s
          AND (m.distributed_trace_id IS NOT NULL OR m.distributed_trace_parent_id IS NOT NULL)
        ORDER BY m.duration_ms DESC, m.metric_id
        LIMIT %(calls)s
    ),

    above AS (
        SELECT trace FROM asked
        UNION
        SELECT m.distributed_trace_parent_id
        FROM above AS a
        JOIN performance_metrics AS m ON m.distributed_trace_id = a.trace
        WHERE m.distributed_trace_parent_id IS NOT NULL
    ),

    below AS (
        SELECT a.trace, a.trace AS part, 0 AS depth
        FROM above AS a
        WHERE NOT EXISTS (
            SELECT
            FROM performance_metrics AS m
            WHERE m.distributed_trace_id = a.trace AND m.distributed_trace_parent_id IS NOT NULL
        )
        UNION
        SELECT b.trace, m.distributed_trace_id, b.depth + 1
        FROM below AS b
        JOIN performance_metrics AS m ON m.distributed_trace_parent_id = b.part
        WHERE m.distributed_trace_id IS NOT NULL AND b.depth < %(deepest)s
    ),

    spans AS (
        SELECT DISTINCT ON (b.trace, m.metric_id)
            b.trace, b.depth + (m.distributed_trace_id IS DISTINCT FROM b.part)::INT AS depth, m.operation_type,
            m.duration_ms, m.created_at, m.metric_id
        FROM below AS b
        CROSS JOIN LATERAL (
            SELECT * FROM performance_metrics AS m WHERE m.distributed_trace_id = b.part
            UNION
            SELECT * FROM performance_metrics AS m WHERE m.distributed_trace_parent_id = b.part
        ) AS m
        ORDER BY b.trace, m.metric_id, b.depth
    )

    SELECT s.trace, s.depth, s.operation_type, s.duration_ms::DOUBLE PRECISION AS duration_ms,
           100 * s.duration_ms::DOUBLE PRECISION / nullif(r.duration_ms, 0)::DOUBLE PRECISION AS share_percent,
           s.created_at, s.metric_id, s.metric_id IN (SELECT a.metric_id FROM asked AS a) AS is_asked
    FROM spans AS s
    LEFT JOIN LATERAL (
        SELECT max(o.duration_ms) AS duration_ms FROM spans AS o WHERE o.trace = s.trace AND o.depth = 0
    ) AS r ON TRUE
    ORDER BY max(s.duration_ms) FILTER (WHERE s.metric_id IN (SELECT a.metric_id FROM asked AS a))
                 OVER (PARTITION BY s.trace) DESC NULLS LAST,
             s.trace COLLATE "C", s.depth, s.created_at, s.metric_id
"""


def extract_runs(database: Database, limit: int) -> pl.DataFrame:
    """The latest runs, as `RUNS`.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with _reading(database) as connection:
        return read_frame(connection, RUNS, _RUNS, {"limit": limit})


def extract_written_incidents(database: Database, end: datetime) -> Incidents:
    """The latest state of each incident that runs of the `WINDOW` before ``end`` have written.

    ``suppressed`` is of the latest of these runs that left something out.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    span: dict[str, Any] = {"start": end - WINDOW, "end": end}
    own = ", ".join(f"i.{name}" if name != "evidence" else "i.evidence::TEXT" for name in INCIDENTS.columns)
    members = ", ".join(f"o.{name}" for name in INCIDENT_OPERATIONS.columns)
    join = "JOIN performance_incident_operations AS o USING (incident_key, detected_at)"
    by_key = f"incident_key {_BYTEWISE}"
    of_members = _INCIDENTS.format(columns=members, join=join, order=f"{by_key}, o.operation_type {_BYTEWISE}")
    with _reading(database) as connection:
        return Incidents(
            read_frame(connection, INCIDENTS, _INCIDENTS.format(columns=own, join="", order=by_key), span),
            read_frame(connection, INCIDENT_OPERATIONS, of_members, span),
            read_frame(connection, SUPPRESSED, _SUPPRESSED, span),
        )


def extract_spans(
    database: Database, operations: Sequence[str], *, start: datetime, end: datetime, calls: int
) -> pl.DataFrame:
    """The whole traces of the slowest calls of some operations, as `SPANS`; calls without a trace are passed over.

    Args:
        database: with the native table of metrics.
        operations: which calls are asked about.
        start, end: when they ended; both included.
        calls: of so many, the slowest.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    asked = {"operations": list(operations), "start": start, "end": end, "calls": calls, "deepest": _DEEPEST}
    with _reading(database) as connection:
        return read_frame(connection, SPANS, _SPANS, asked)


@contextmanager
def _reading(database: Database) -> Iterator[psycopg.Connection]:
    """A connection that sees one moment and cannot write."""
    with database.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection
