"""Incidents in the database: what a run needs to know of earlier ones and of people's wishes, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.incidents import WINDOW, Incidents, Thresholds
from pggit_analytics.errors import ConfigurationError, InvalidArgument, InvalidData
from pggit_analytics.frames import (
    INCIDENT_OPERATIONS,
    INCIDENTS,
    OPERATION_SETTINGS,
    SILENCES,
    SUPPRESSED,
    FrameSchema,
)
from pggit_analytics.postgres.write_back import RunRecord, insert_run

#: setting -> field of Thresholds and what its number is multiplied by
_SETTINGS = {
    "incident_minimum_effect_ms": ("minimum_effect_ms", 1.0),
    "incident_minimum_effect_percent": ("minimum_effect_percent", 1.0),
    "incident_warning_lost_seconds_per_hour": ("warning_lost_ms_per_hour", 1000.0),
    "incident_critical_lost_seconds_per_hour": ("critical_lost_ms_per_hour", 1000.0),
    "incident_warning_lost_percent": ("warning_lost_share", 0.01),
    "incident_critical_lost_percent": ("critical_lost_share", 0.01),
    "incident_warning_times": ("warning_times", 1.0),
}

OPERATION_SETTINGS_QUERY = """
    SELECT operation_type, direction, minimum_effect_ms, minimum_effect_percent, sensitivity, expected_pages_per_week,
           sla_ms
    FROM operation_settings
    ORDER BY operation_type COLLATE "C"
"""

# What comes back every day is unrolled; a day is one of UTC, and none lasts longer than one.
SILENCES_QUERY = """
    SELECT 'snoozed' AS kind, operation_type, alert_type, least(created_at, snooze_until) AS starts_at,
           least(snooze_until, %(as_of)s::TIMESTAMPTZ + INTERVAL '3650 days') AS ends_at, reason
    FROM alert_snooze
    WHERE snooze_until > %(start)s
    UNION ALL
    SELECT 'maintenance', b.operation_type, b.alert_type, w.starts_at, w.ends_at, b.reason
    FROM alert_blackouts AS b
    CROSS JOIN LATERAL (
        SELECT g.at::DATE AS day
        FROM generate_series(
            ((%(start)s AT TIME ZONE 'UTC')::DATE - 1)::TIMESTAMP, %(as_of)s AT TIME ZONE 'UTC', INTERVAL '1 day'
        ) AS g (at)
    ) AS d
    CROSS JOIN LATERAL (
        SELECT (d.day + b.start_time) AT TIME ZONE 'UTC' AS starts_at,
               (d.day + b.start_time + b.duration) AT TIME ZONE 'UTC' AS ends_at
    ) AS w
    WHERE b.enabled
      AND w.starts_at <= %(as_of)s
      AND w.ends_at > %(start)s
      AND b.webhook_id IS NULL
      AND (b.days_of_week IS NULL OR extract(ISODOW FROM d.day) = ANY (b.days_of_week))
    ORDER BY 1, 4, 5, 2, 3
"""

# a run of the same as_of is to be replaced, and so not known
_PREVIOUS = """
    CREATE TEMPORARY TABLE pggit_known_incidents ON COMMIT DROP AS
    SELECT i.*
    FROM incidents_at(%(start)s, %(as_of)s::TIMESTAMPTZ - INTERVAL '1 microsecond') AS i
"""

_NEW: tuple[tuple[LiteralString, LiteralString, FrameSchema], ...] = (
    ("incidents", "performance_incidents", INCIDENTS),
    ("incident_operations", "performance_incident_operations", INCIDENT_OPERATIONS),
    ("suppressed", "suppressed_findings", SUPPRESSED),
)

_COUNTS = """
    SELECT
        (SELECT count(*) FROM performance_alerts WHERE alert_id > %(alert)s),
        (
            SELECT count(*) FROM alert_notification_queue
            WHERE notification_queue_id > %(message)s AND alert_id IS NOT NULL
        )
"""


@dataclass(frozen=True, slots=True)
class IncidentInputs:
    """What a run needs to know of earlier runs and of people's wishes; the arguments of `find_incidents`."""

    previous: Incidents
    #: `frames.OPERATION_SETTINGS`
    settings: pl.DataFrame
    #: `frames.SILENCES`
    silences: pl.DataFrame
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class IncidentsWritten:
    """What writing the incidents of one run changed."""

    run_id: int
    #: rows inserted; a row that was there already, equal in every value, is neither written nor deleted
    rows_written: int
    rows_deleted: int
    alerts_opened: int
    alerts_resolved: int
    messages_queued: int
    #: False: as_of is old or not the newest, and nobody asked for alerts
    alerts_written: bool


def extract_incident_inputs(
    connection: psycopg.Connection, as_of: datetime, *, window: timedelta = WINDOW
) -> IncidentInputs:
    """Read what `find_incidents` is to be given besides the findings, within the caller's transaction.

    Args:
        connection: not in autocommit; unqualified names are those of the project's schema. To be sure that no other run
            writes between reading and `write_incidents`, call ``lock_alerts()`` first, in the same transaction.
        as_of: the moment to be analysed, with a time zone; incidents written for it or for later moments are not read.
        window: length of the window of the metrics.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, or the connection is in autocommit.
        ConfigurationError: a threshold of analytics_settings is missing or no number.
    """
    as_of = check_as_of(as_of)
    _check_transaction(connection)
    span = {"start": as_of - window, "as_of": as_of}
    return IncidentInputs(
        _previous(connection, span),
        read_frame(connection, OPERATION_SETTINGS, OPERATION_SETTINGS_QUERY, span),
        read_frame(connection, SILENCES, SILENCES_QUERY, span),
        read_thresholds(connection),
    )


def write_incidents(
    connection: psycopg.Connection,
    incidents: Incidents,
    run: RunRecord,
    *,
    notify: bool = False,
    run_id: int | None = None,
) -> IncidentsWritten:
    """Write the incidents of a run and the alerts that follow, within the caller's transaction.

    The rows of the run's ``as_of`` become exactly these, within the scope that was looked at: the same again change
    nothing. Alerts are raised when ``alerts_allowed`` says so, with the source ``incidents``: whether they page is the
    setting ``alert_source``. Until the caller commits no other run can write, so two at once take turns.

    Args:
        connection: not in autocommit; unqualified names are those of the project's schema.
        incidents: of `find_incidents`.
        run: the run; its row in analysis_runs is written, unless ``run_id`` names one of this transaction.
        notify: raise alerts even if ``as_of`` is old or not the newest.
        run_id: the run that these incidents are part of.

    Raises:
        InvalidArgument: an instant has no time zone, or the connection is in autocommit.
        InvalidData: a frame is not of its schema or of another ``as_of``.
        psycopg.Error: the database said no; the caller's transaction is to be rolled back.
    """
    as_of = check_as_of(run.as_of)
    _check_transaction(connection)
    frames = {"incidents": incidents.incidents, "incident_operations": incidents.operations}
    frames["suppressed"] = incidents.suppressed
    for name, _, schema in _NEW:
        _check(schema, frames[name], as_of)
    connection.execute("SELECT lock_alerts()")
    (allowed,) = _row(connection, "SELECT alerts_allowed(%s, %s)", (as_of, notify))
    if run_id is None:
        run_id = insert_run(connection, run, "SUCCESS", None)
    for name, table, schema in _NEW:
        _load(connection, name, table, schema, frames[name])
    scope = None if incidents.scope is None else list(incidents.scope)
    written, deleted = _row(connection, "SELECT * FROM replace_incidents(%s, %s, %s)", (scope, run_id, as_of))
    opened, resolved, queued = _alert(connection, scope, as_of) if allowed else (0, 0, 0)
    connection.execute(
        "UPDATE analysis_runs SET rows_written = rows_written + %s, finished_at = clock_timestamp() WHERE run_id = %s",
        (written, run_id),
    )
    for name, _, _ in _NEW:
        connection.execute(sql.SQL("DROP TABLE {}").format(_temporary(name)))
    return IncidentsWritten(run_id, written, deleted, opened, resolved, queued, allowed)


def _check_transaction(connection: psycopg.Connection) -> None:
    if connection.autocommit:
        raise InvalidArgument("the connection is in autocommit; a run is written in one transaction, pass one without")


def _check(schema: FrameSchema, frame: pl.DataFrame, as_of: datetime) -> None:
    moment = as_of.astimezone(UTC).isoformat()
    if strangers := schema.check(frame).filter(pl.col("detected_at") != as_of).height:
        raise InvalidData(f"{schema.name}: {strangers} rows are not of the as_of {moment}")


def _previous(connection: psycopg.Connection, span: dict[str, datetime]) -> Incidents:
    connection.execute(_PREVIOUS, span)
    of_incidents = ", ".join(name for name in INCIDENTS.columns if name != "evidence")
    of_operations = ", ".join(f"o.{name}" for name in INCIDENT_OPERATIONS.columns)
    found = read_frame(
        connection,
        INCIDENTS,
        f'SELECT {of_incidents}, evidence::TEXT FROM pg_temp.pggit_known_incidents ORDER BY incident_key COLLATE "C"',  # noqa: S608
        {},
    )
    operations = read_frame(
        connection,
        INCIDENT_OPERATIONS,
        f"SELECT {of_operations} FROM performance_incident_operations AS o "  # noqa: S608 - constants
        "JOIN pg_temp.pggit_known_incidents AS i USING (incident_key, detected_at) "
        'ORDER BY o.incident_key COLLATE "C", o.operation_type COLLATE "C"',
        {},
    )
    connection.execute("DROP TABLE pg_temp.pggit_known_incidents")
    return Incidents(found, operations)


def read_thresholds(connection: psycopg.Connection) -> Thresholds:
    """The thresholds that analytics_settings holds.

    Raises:
        ConfigurationError: one is missing or no number.
    """
    values: dict[str, float] = {}
    for name, (member, factor) in _SETTINGS.items():
        values[member] = _number(connection, name) * factor
    return Thresholds(**values, resolve_after_runs=int(_number(connection, "alert_resolve_after_runs")))


def _number(connection: psycopg.Connection, name: str) -> float:
    (value,) = _row(connection, "SELECT alert_setting(%s)", (name,))
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigurationError(
            f"the setting {name} is {value!r}, expected a number of at least 0; correct it in analytics_settings"
        )
    return number


def read_frame(
    connection: psycopg.Connection, schema: FrameSchema, query: str, parameters: dict[str, Any]
) -> pl.DataFrame:
    """The rows of a query as a frame of the schema, whose columns it has by name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return schema.check(schema.frame(cursor.execute(query.encode(), parameters).fetchall()))


def _temporary(name: LiteralString) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"pggit_new_{name}")


def _load(
    connection: psycopg.Connection, name: LiteralString, table: LiteralString, schema: FrameSchema, frame: pl.DataFrame
) -> None:
    """Copy the frame into a temporary table with the columns of the table, but run_id."""
    temporary = _temporary(name)
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP").format(temporary, sql.Identifier(table))
    )
    connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN run_id").format(temporary))
    columns = sql.SQL(", ").join(map(sql.Identifier, schema.columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(temporary, columns)) as copy,
    ):
        for row in frame.iter_rows():
            copy.write_row(row)


def _alert(connection: psycopg.Connection, scope: list[str] | None, as_of: datetime) -> tuple[int, int, int]:
    """Raise and resolve what the temporary tables say; alerts opened, alerts resolved, messages queued."""
    newest = _row(
        connection,
        "SELECT coalesce((SELECT max(alert_id) FROM performance_alerts), 0), "
        "coalesce((SELECT max(notification_queue_id) FROM alert_notification_queue), 0)",
        (),
    )
    (resolved,) = _row(connection, "SELECT raise_alerts_of_incidents(%s, %s)", (scope, as_of))
    opened, queued = _row(connection, _COUNTS, {"alert": newest[0], "message": newest[1]})
    return opened, resolved, queued


def _row(
    connection: psycopg.Connection, query: LiteralString, parameters: tuple[object, ...] | dict[str, object]
) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, parameters).fetchone()
    assert row is not None, "every query given here returns one row"
    return row
