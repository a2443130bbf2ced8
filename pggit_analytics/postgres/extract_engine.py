"""Reads what the engine wants to know besides the timings: limits, and which operations are parts of which others."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.breach_forecast import LIMITS
from pggit_analytics.analysis.shared_causes import LEAST_SHARE, TRACE_PARENTS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.sources import NATIVE, Source
from pggit_analytics.postgres.write_incidents import read_frame

#: calls of each operation that are asked for their parent, the latest of the window
SAMPLED_CALLS = 200

_LIMITS = """
    SELECT operation_type, sla_ms
    FROM operation_settings
    WHERE sla_ms IS NOT NULL
    ORDER BY operation_type COLLATE "C"
"""

# A week of spans is not moved for this: some descents of two indexes an operation say who calls whom. Where nothing has
# a parent, the partial index says so at once.
_TRACE_PARENTS = """
    WITH sampled AS MATERIALIZED (
        SELECT t.operation_type, m.distributed_trace_parent_id AS parent_id
        FROM performance_operation_types AS t
        CROSS JOIN LATERAL (
            SELECT m.distributed_trace_parent_id
            FROM performance_metrics AS m
            WHERE m.operation_type = t.operation_type AND m.created_at BETWEEN %(start)s AND %(end)s
            ORDER BY m.created_at DESC
            LIMIT %(calls)s
        ) AS m
        WHERE EXISTS (SELECT FROM performance_metrics AS p WHERE p.distributed_trace_parent_id IS NOT NULL)
    ),

    counted AS (
        SELECT s.operation_type, p.operation_type AS parent_type, count(*) AS calls
        FROM sampled AS s
        CROSS JOIN LATERAL (
            SELECT m.operation_type
            FROM performance_metrics AS m
            WHERE m.distributed_trace_id = s.parent_id
            ORDER BY m.distributed_trace_parent_id IS NOT NULL, m.metric_id
            LIMIT 1
        ) AS p
        WHERE p.operation_type <> s.operation_type
        GROUP BY s.operation_type, p.operation_type
    )

    SELECT DISTINCT ON (c.operation_type COLLATE "C")
        c.operation_type, c.parent_type, c.calls::DOUBLE PRECISION / a.calls AS share
    FROM counted AS c
    JOIN (SELECT operation_type, count(*) AS calls FROM sampled GROUP BY operation_type) AS a USING (operation_type)
    WHERE c.calls >= %(least)s * a.calls
    ORDER BY c.operation_type COLLATE "C", c.calls DESC, c.parent_type COLLATE "C"
"""


def extract_limits(database: Database) -> pl.DataFrame:
    """The limits that people set for operations, as `breach_forecast.LIMITS`.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        return read_frame(connection, LIMITS, _LIMITS, {})


def extract_trace_parents(database: Database, source: Source, start: datetime, end: datetime) -> pl.DataFrame:
    """Which operation is mostly part of which other, as `shared_causes.TRACE_PARENTS`; ``share`` is of the sample.

    Only the schema's own table has traces; for another source nothing is known.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    if source.name != NATIVE:
        return TRACE_PARENTS.empty()
    span = {"start": start, "end": end, "calls": SAMPLED_CALLS, "least": LEAST_SHARE}
    with database.connect() as connection:
        return read_frame(connection, TRACE_PARENTS, _TRACE_PARENTS, span)
