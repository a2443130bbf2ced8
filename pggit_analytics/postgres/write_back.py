"""Writes what one run found: the run, its result rows, and the alerts and messages that follow, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, LiteralString

import polars as pl
import psycopg
from psycopg import sql

from pggit_analytics.analysis.engine_findings import EngineFindings
from pggit_analytics.errors import InvalidArgument, InvalidData, PggitAnalyticsError
from pggit_analytics.frames import ANOMALIES, CORRELATIONS, DEGRADATIONS, INSTANT, SLOW_SINCE, THRESHOLDS, FrameSchema
from pggit_analytics.postgres.connection import Database

#: longest error text kept of a failed run, in characters
MAX_ERROR_LENGTH = 1000

_SQL_TYPES: dict[pl.DataType | type[pl.DataType], LiteralString] = {
    pl.String: "TEXT",
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE PRECISION",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    INSTANT: "TIMESTAMPTZ",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything one run found; every ``detected_at`` is the ``as_of`` of the run."""

    #: ANOMALIES
    anomalies: pl.DataFrame
    #: DEGRADATIONS
    degradations: pl.DataFrame
    #: CORRELATIONS
    correlations: pl.DataFrame
    #: THRESHOLDS
    thresholds: pl.DataFrame
    #: the operations that were analysed; None = all of them
    operations: tuple[str, ...] | None = None
    #: names met in the data, to be registered where they are new
    seen_operation_types: tuple[str, ...] = ()
    #: SLOW_SINCE of degraded operations, which becomes part of their alerts' evidence
    slow_since: pl.DataFrame = field(default_factory=SLOW_SINCE.empty)
    #: what incidents are made of (`write_incidents`); None = the engine was not asked
    engine: EngineFindings | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of a run apart from its findings."""

    flow: str
    #: the instant that was analysed
    as_of: datetime
    #: start of the range of ``created_at`` looked at; it ends at ``as_of``
    window_start: datetime
    started_at: datetime
    rows_read: int
    package_version: str
    prefect_flow_run_id: str | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write-back changed."""

    run_id: int
    #: result rows inserted; a row that was there already, equal in every value, is neither written nor deleted
    rows_written: int
    #: result rows of the same as_of that vanished or were replaced
    rows_deleted: int
    alerts_opened: int
    alerts_resolved: int
    messages_queued: int
    alerts_written: bool
    #: why there are no alerts; None when they were written
    alerts_withheld_because: str | None


@dataclass(frozen=True, slots=True)
class _Stage:
    """A frame of findings on its way into the database."""

    #: attribute of `Findings`, and the end of the temporary table's name
    name: LiteralString
    schema: FrameSchema
    #: columns that name an operation
    operations: tuple[LiteralString, ...] = ("operation_type",)

    @property
    def temporary(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", f"pggit_new_{self.name}")


_STAGES = (
    _Stage("anomalies", ANOMALIES),
    _Stage("degradations", DEGRADATIONS),
    _Stage("correlations", CORRELATIONS, operations=("operation_type_1", "operation_type_2")),
    _Stage("thresholds", THRESHOLDS),
)

_MAY_ALERT = """
    SELECT alerts_allowed(%(as_of)s, %(notify)s),
        CASE
            WHEN %(as_of)s < now() - INTERVAL '1 hour' THEN 'is more than an hour old'
            WHEN %(as_of)s > now() + INTERVAL '5 minutes' THEN 'lies in the future'
            ELSE 'is older than that of a finished run'
        END
"""

_INSERT_RUN = """
    INSERT INTO analysis_runs (
        flow, as_of, "window", started_at, status, rows_read, rows_written,
        package_version, prefect_flow_run_id, error_message)
    VALUES (
        %(flow)s, %(as_of)s, tstzrange(%(window_start)s, %(as_of)s, '[]'), %(started_at)s, %(status)s, %(rows_read)s,
        %(rows_written)s,
        %(package_version)s, %(prefect_flow_run_id)s, %(error_message)s)
    RETURNING run_id
"""

_FINISH_RUN = """
    UPDATE analysis_runs SET rows_written = %(rows_written)s, finished_at = clock_timestamp() WHERE run_id = %(run_id)s
"""

# In order of the names, as everyone who registers several: two at once then wait instead of deadlocking.
_REGISTER_OPERATION_TYPES = """
    INSERT INTO performance_operation_types (operation_type)
    SELECT DISTINCT seen.operation_type
    FROM unnest(%(names)s::TEXT[]) AS seen (operation_type)
    WHERE NOT EXISTS (
        SELECT FROM performance_operation_types AS known WHERE known.operation_type = seen.operation_type
    )
    ORDER BY seen.operation_type
    ON CONFLICT (operation_type) DO NOTHING
"""

_SET_SLOW_SINCE = """
    UPDATE pg_temp.pggit_new_degradations AS d
    SET slow_since = s.slow_since
    FROM unnest(%(operation_type)s::TEXT[], %(slow_since)s::TIMESTAMPTZ[]) AS s (operation_type, slow_since)
    WHERE d.operation_type = s.operation_type
"""

# Both work on the temporary tables that `_load` fills, as the monitoring run inside the database does.
_REPLACE = "SELECT rows_written, rows_deleted FROM replace_findings(%(operations)s, %(run_id)s, %(as_of)s)"
_RAISE_ALERTS = "SELECT raise_alerts_of_findings(%(operations)s, %(as_of)s)"

# Whoever raises alerts holds the lock that this transaction holds, so what is newer than before is its own.
_NEWEST = """
    SELECT
        coalesce((SELECT max(alert_id) FROM performance_alerts), 0),
        coalesce((SELECT max(notification_queue_id) FROM alert_notification_queue), 0)
"""

_COUNT_NEWER = """
    SELECT
        (SELECT count(*) FROM performance_alerts WHERE alert_id > %(alert_id)s),
        (
            SELECT count(*) FROM alert_notification_queue
            WHERE notification_queue_id > %(queue_id)s AND alert_id IS NOT NULL
        )
"""


def write_back(
    connection: psycopg.Connection, findings: Findings, run: RunRecord, *, notify: bool = False
) -> WriteResult:
    """Write a successful run and everything that follows from it, within the caller's transaction.

    The rows of the run's ``as_of`` become exactly the findings, within the scope analysed: the same findings again
    change nothing. Alerts are raised when ``alerts_allowed`` says so. Nothing is visible to others before the caller
    commits; until then no other run can write, so two at once take turns.

    Args:
        connection: not in autocommit; unqualified names are those of the project's schema (`Database.connect`).
        findings: as the detectors made them.
        run: the run itself; ``as_of``, ``window_start`` and ``started_at`` with a time zone.
        notify: raise alerts even if ``as_of`` is old or not the newest.

    Raises:
        InvalidArgument: an instant has no time zone, or the connection is in autocommit.
        InvalidData: a frame is not of its schema, of another ``as_of``, or outside the scope.
        psycopg.Error: the database said no; the caller's transaction is to be rolled back.
    """
    _check(connection, findings, run)
    connection.execute("SELECT lock_alerts()")
    allowed, reason = _row(connection, _MAY_ALERT, {"as_of": run.as_of, "notify": notify})
    run_id = insert_run(connection, run, "SUCCESS", None)
    register_operation_types(connection, findings.seen_operation_types)

    for stage in _STAGES:
        _load(connection, stage, getattr(findings, stage.name))
    _add_slow_since(connection, findings.slow_since)
    operations = None if findings.operations is None else list(findings.operations)
    scope: dict[str, object] = {"operations": operations, "run_id": run_id, "as_of": run.as_of}
    written, deleted = _row(connection, _REPLACE, scope)
    opened, resolved, queued = _alert(connection, scope) if allowed else (0, 0, 0)

    connection.execute(_FINISH_RUN, {"rows_written": written, "run_id": run_id})
    for stage in _STAGES:
        connection.execute(sql.SQL("DROP TABLE {}").format(stage.temporary))
    return WriteResult(
        run_id=run_id,
        rows_written=written,
        rows_deleted=deleted,
        alerts_opened=opened,
        alerts_resolved=resolved,
        messages_queued=queued,
        alerts_written=allowed,
        alerts_withheld_because=None if allowed else f"as_of {run.as_of.astimezone(UTC).isoformat()} {reason}",
    )


def record_failed_run(database: Database, run: RunRecord, error: BaseException) -> bool:
    """Record that a run failed, in a transaction of its own; True if that worked.

    Best effort: the run's own error is what the caller has to report, so none is raised here. Only this package's
    messages are kept; those of other libraries may repeat a connection string and are reduced to the name of the type.
    """
    text = str(error) if isinstance(error, PggitAnalyticsError) else type(error).__name__
    try:
        with database.connect() as connection:
            insert_run(connection, run, "FAILED", text[:MAX_ERROR_LENGTH])
    except PggitAnalyticsError:
        return False
    return True


def _check(connection: psycopg.Connection, findings: Findings, run: RunRecord) -> None:
    if connection.autocommit:
        raise InvalidArgument("the connection is in autocommit; a run is written in one transaction, pass one without")
    for name in ("as_of", "window_start", "started_at"):
        if getattr(run, name).tzinfo is None:
            raise InvalidArgument(f"{name} is {getattr(run, name).isoformat()}, expected an instant with a time zone")
    SLOW_SINCE.check(findings.slow_since)
    for stage in _STAGES:
        frame = stage.schema.check(getattr(findings, stage.name))
        if strangers := frame.filter(pl.col("detected_at") != pl.lit(run.as_of.astimezone(UTC), INSTANT)).height:
            raise InvalidData(f"{stage.name}: {strangers} rows are not of the as_of {run.as_of.isoformat()}")
        if findings.operations is not None:
            named = {name for column in stage.operations for name in frame[column].unique()}
            if outside := sorted(named - set(findings.operations)):
                raise InvalidData(f"{stage.name}: {', '.join(outside)} is not among the operations analysed")


def register_operation_types(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """Add the names that are new to performance_operation_types, as category UNKNOWN and tracked."""
    connection.execute(_REGISTER_OPERATION_TYPES, {"names": [name for name in names if name]})


def insert_run(
    connection: psycopg.Connection, run: RunRecord, status: str, error_message: str | None, *, rows_written: int = 0
) -> int:
    """Write the run's row in analysis_runs; its id."""
    (run_id,) = _row(
        connection,
        _INSERT_RUN,
        {
            "flow": run.flow,
            "as_of": run.as_of,
            "window_start": run.window_start,
            "started_at": run.started_at,
            "status": status,
            "rows_read": run.rows_read,
            "rows_written": rows_written,
            "package_version": run.package_version,
            "prefect_flow_run_id": run.prefect_flow_run_id,
            "error_message": error_message,
        },
    )
    return int(run_id)


def _load(connection: psycopg.Connection, stage: _Stage, frame: pl.DataFrame) -> None:
    """Copy the frame into the stage's temporary table, every value exactly as it is."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_SQL_TYPES[dtype]))
        for name, dtype in stage.schema.columns.items()
    )
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(stage.temporary, columns))
    if not frame.is_empty():
        copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(stage.temporary)
        with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
            # quoted text: an empty string is then not taken for NULL
            copy.write(frame.write_csv(include_header=False, quote_style="non_numeric").encode())
    connection.execute(sql.SQL("ANALYZE {}").format(stage.temporary))


def _add_slow_since(connection: psycopg.Connection, slow_since: pl.DataFrame) -> None:
    """Give the loaded degradations a column of that name, NULL where it is not known."""
    connection.execute("ALTER TABLE pg_temp.pggit_new_degradations ADD COLUMN slow_since TIMESTAMPTZ")
    if not slow_since.is_empty():
        connection.execute(_SET_SLOW_SINCE, slow_since.to_dict(as_series=False))


def _alert(connection: psycopg.Connection, scope: dict[str, object]) -> tuple[int, int, int]:
    """Raise and resolve what the temporary tables say; alerts opened, alerts resolved, messages queued."""
    newest_alert, newest_message = _row(connection, _NEWEST, {})
    (resolved,) = _row(connection, _RAISE_ALERTS, scope)
    opened, queued = _row(connection, _COUNT_NEWER, {"alert_id": newest_alert, "queue_id": newest_message})
    return opened, resolved, queued


def _row(connection: psycopg.Connection, query: LiteralString, parameters: dict[str, object]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, parameters).fetchone()
    assert row is not None, "every query given here returns one row"
    return row
