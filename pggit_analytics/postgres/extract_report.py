"""Reads what the report shows: incidents, findings, runs and the rows of the views, all as of one moment and snapshot.

Everything here can be read with the role ``pggit_reader``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.incidents import WINDOW
from pggit_analytics.frames import (
    CORRELATIONS,
    COVERAGE,
    INCIDENT_OPERATIONS,
    INCIDENTS,
    OPERATION_TYPES,
    RUNS,
    SUPPRESSED,
    FrameSchema,
)
from pggit_analytics.parity import DASHBOARD_TWINS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.sources import Source, check_columns, subquery

#: the detector whose runs write incidents and pairs
_FLOW = "monitor_performance"


@dataclass(frozen=True, slots=True)
class _Query:
    """Where the rows of a frame are; the columns are those of the schema."""

    columns: FrameSchema
    source: str
    condition: str = "TRUE"
    #: None: that of the view
    order: str | None = None


_QUERIES = (
    _Query(INCIDENTS, "incidents_at(%(start)s, %(as_of)s)", "TRUE", "incident_key"),
    _Query(
        INCIDENT_OPERATIONS,
        "performance_incident_operations",
        "(incident_key, detected_at) IN "
        "(SELECT i.incident_key, i.detected_at FROM incidents_at(%(start)s, %(as_of)s) AS i)",
        "incident_key, operation_type",
    ),
    _Query(SUPPRESSED, "suppressed_findings", "detected_at = %(latest)s", "operation_type, kind, onset, reason"),
    _Query(
        CORRELATIONS,
        "performance_correlations",
        "detected_at = %(latest)s",
        "correlation_coefficient DESC, operation_type_1, operation_type_2",
    ),
    _Query(
        RUNS,
        "(SELECT * FROM analysis_runs WHERE as_of <= %(as_of)s ORDER BY as_of DESC, run_id DESC LIMIT 100) AS r",
        "TRUE",
        "as_of DESC, run_id DESC",
    ),
    _Query(OPERATION_TYPES, "performance_operation_types", "TRUE", 'operation_type COLLATE "C"'),
)

_READ_AS: dict[pl.DataType | type[pl.DataType], str] = {
    pl.Float64: "::FLOAT8",
    pl.Int64: "::BIGINT",
    pl.String: "::TEXT",
}


@dataclass(frozen=True, slots=True)
class ReportRows:
    """What the report is made of, as it stood at ``as_of``."""

    as_of: datetime
    #: `frames.INCIDENTS`: the latest state of each that runs of the last 7 days have seen
    incidents: pl.DataFrame
    #: `frames.INCIDENT_OPERATIONS` of these
    incident_operations: pl.DataFrame
    #: incident_key of those for which a snooze is in force
    snoozed: frozenset[str]
    #: `frames.SUPPRESSED` of the latest monitoring run
    suppressed: pl.DataFrame
    #: `frames.CORRELATIONS` of the latest monitoring run
    correlations: pl.DataFrame
    #: `frames.RUNS`, the latest first, at most 100
    runs: pl.DataFrame
    #: `frames.OPERATION_TYPES`
    operation_types: pl.DataFrame
    #: view -> its rows, in the frame of its twin
    views: Mapping[str, pl.DataFrame]
    #: jobs whose present window nobody has run
    missed_jobs: tuple[str, ...]
    #: who runs the jobs; None = nobody
    scheduler: str | None
    #: how often a scheduler looks for what got slow
    monitoring_period: timedelta | None


def extract_report(database: Database, as_of: datetime | None = None) -> ReportRows:
    """Everything the report shows but timings, in one snapshot; nothing is written.

    Args:
        database: where the schema is deployed, with its views.
        as_of: the moment to look back from, with a time zone; None = that of the setting ``pggit.as_of``, else now.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
        DatabaseError: see `connection.translated`.
    """
    if as_of is not None:
        as_of = check_as_of(as_of)
    with database.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if as_of is None:
            as_of = _value(connection, "SELECT analysis_time()", {})
        as_of = as_of.astimezone(UTC)
        named = {"as_of": as_of, "start": as_of - WINDOW, "flow": _FLOW}
        named["latest"] = _value(
            connection,
            "SELECT max(as_of) FROM analysis_runs "
            "WHERE flow = %(flow)s AND status = 'SUCCESS' AND as_of BETWEEN %(start)s AND %(as_of)s",
            named,
        )
        incidents, operations, suppressed, correlations, runs, types = (
            _frame(connection, query, named) for query in _QUERIES
        )
        # until the end of the transaction, which moves every view
        _value(connection, "SELECT set_config('pggit.as_of', %(text)s, TRUE)", {"text": as_of.isoformat()})
        views = {
            twin.sql_object: _frame(connection, _Query(twin.columns, twin.sql_object), named)
            for twin in DASHBOARD_TWINS
        }
        return ReportRows(
            as_of=as_of,
            incidents=incidents,
            incident_operations=operations,
            snoozed=frozenset(_column(connection, "SELECT incident_key FROM v_open_incidents WHERE is_snoozed", named)),
            suppressed=suppressed,
            correlations=correlations,
            runs=runs,
            operation_types=types,
            views=views,
            missed_jobs=tuple(_column(connection, "SELECT job FROM missed_jobs(%(as_of)s)", named)),
            scheduler=_value(connection, "SELECT max(scheduler) FROM active_scheduler", named),
            monitoring_period=_value(
                connection, "SELECT max(period) FROM scheduled_jobs WHERE job = 'check_performance_anomalies'", named
            ),
        )


def extract_coverage(database: Database, source: Source, *, start: datetime, end: datetime) -> pl.DataFrame:
    """How many calls of each operation the source has in start <= created_at <= end, as `frames.COVERAGE`.

    Raises:
        InvalidSource, PermissionDenied, DatabaseError: see `check_source`.
    """
    statement = sql.SQL(
        "SELECT operation_type::TEXT AS operation_type, count(*)::BIGINT AS calls, "
        "min(created_at)::TIMESTAMPTZ AS first_at, max(created_at)::TIMESTAMPTZ AS last_at "
        "FROM {} AS source WHERE created_at >= {}::TIMESTAMPTZ AND created_at <= {}::TIMESTAMPTZ GROUP BY 1 ORDER BY 1"
    ).format(
        sql.SQL(subquery(source)),
        sql.Literal(start.isoformat(" ")),
        sql.Literal(end.isoformat(" ")),
    )
    with database.connect(own_path=False) as connection:
        connection.read_only = True
        check_columns(connection, database, source)
        with connection.cursor(row_factory=dict_row) as cursor:
            # without parameters a percent sign in a source is just one
            return COVERAGE.check(COVERAGE.frame(cursor.execute(statement).fetchall()))


def _frame(connection: psycopg.Connection, query: _Query, named: dict[str, Any]) -> pl.DataFrame:
    schema = query.columns
    columns = ", ".join(f"{name}{_READ_AS.get(dtype, '')} AS {name}" for name, dtype in schema.columns.items())
    order = f" ORDER BY {query.order}" if query.order else ""
    statement = f"SELECT {columns} FROM {query.source} WHERE {query.condition}{order}"  # noqa: S608 - constants
    with connection.cursor(row_factory=dict_row) as cursor:
        return schema.check(schema.frame(cursor.execute(statement.encode(), named).fetchall()))


def _column(connection: psycopg.Connection, query: str, named: dict[str, Any]) -> list[str]:
    return [row[0] for row in connection.execute(query.encode(), named)]


def _value(connection: psycopg.Connection, query: str, named: dict[str, Any]) -> Any:
    row = connection.execute(query.encode(), named).fetchone()
    assert row is not None, "an aggregate without groups returns one row"
    return row[0]
