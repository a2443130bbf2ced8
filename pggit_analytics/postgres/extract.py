"""Reads metrics and what is known about the operations into frames.

Metrics come through connectorx: one bulk COPY per slice of time, cast and filtered by the server, and packed where
they come from the schema's own table (`packed`). All slices are read in one snapshot, which a psycopg connection
exports and every connection of connectorx adopts, read-only: rows committed while reading never appear, and a query of
the user can change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pggit_analytics.errors import DatabaseError, InvalidArgument, InvalidData
from pggit_analytics.frames import ACTIVE_BASELINES, BASELINES, METRICS, OPERATION_TYPES, FrameSchema
from pggit_analytics.postgres.connection import Database, connectorx_url
from pggit_analytics.postgres.packed import packed_statements, unpacked
from pggit_analytics.postgres.snapshots import begin_reading, exported
from pggit_analytics.postgres.sources import NATIVE, Source, check_columns, subquery

_log = logging.getLogger(__name__)

#: up to so many rows of the schema's own table come as a DataFrame; more, and of a query already more than a slice, in
#: slices of this length
HELD_ROWS, SLICE_ROWS = 11_000_000, 2_000_000

#: the longest duration whose whole microseconds float64 holds exactly (285 years)
_MAX_DURATION_MS = 2**53 / 1000


class Spool(Protocol):
    """Files that a LazyFrame reads."""

    def cleanup(self) -> None:
        """Remove them."""


@dataclass(slots=True)
class Metrics:
    """Extracted metrics (`frames.METRICS`, in no order to rely on); close it, or use it as a context manager.

    A LazyFrame reads from a temporary directory, which is gone after `close`.
    """

    frame: pl.DataFrame | pl.LazyFrame
    #: number of rows in ``frame``
    rows: int
    _spool: Spool | None = None
    #: how many rows the database sent; None = those of ``frame``
    moved: int | None = None

    @property
    def described(self) -> str:
        """How many timings these are, for a person."""
        if self.moved is None:
            return f"{self.rows:,} timings"
        return f"{self.rows:,} timings, {self.moved:,} of them read from the database now"

    def close(self) -> None:
        """Remove the temporary files, if there are any."""
        if self._spool is not None:
            self._spool.cleanup()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def extract_metrics(
    database: Database,
    source: Source,
    *,
    start: datetime,
    end: datetime,
    operations: Sequence[str] | None = None,
    held_rows: int = HELD_ROWS,
    slice_rows: int = SLICE_ROWS,
    progress: Callable[[int, int], None] | None = None,
    snapshot: str | None = None,
) -> Metrics:
    """Read the metrics with start <= created_at <= end, of ``operations`` or (None) of all.

    Where the server expects more than ``held_rows`` (of a query, whose rows do not come packed, ``slice_rows``), the
    range is read in equal slices of time, each written to a temporary Parquet file while the next is read, so that
    memory is bounded by two slices. ``progress`` is called with the slices read and their total.

    Durations are rounded to whole microseconds. Rows whose created_at is NULL lie in no range and are not read.
    ``snapshot`` is the state to read, held by another connection (`snapshots`); None = the present one.

    Raises:
        InvalidArgument: a bound without a time zone, start after end, no operations, slice_rows < 1.
        InvalidSource: see `check_source`.
        InvalidData: rows with a NULL, a negative or a not finite value; counted.
        DatabaseUnavailable, PermissionDenied, NotDeployed, DatabaseError: see `connection.translated`.
        ConfigurationError: connectorx cannot use an option of the database URL.
    """
    check_arguments(start, end, operations, slice_rows)
    start, end = start.astimezone(UTC), end.astimezone(UTC)  # arithmetic in another zone would follow its clock
    with database.connect(own_path=False) as connection:
        begin_reading(connection, database, snapshot)
        check_columns(connection, database, source)
        expected = expected_rows(connection, selection(source, start, end, operations))
        most = held_rows if source.name == NATIVE else slice_rows
        bounds = slices(start, end, 1 if expected <= most else -(-expected // slice_rows))
        read = Reader(connection, database, source)
        statements = [read.statements(low, high, operations, includes_end=high == end) for low, high in bounds]
        if len(statements) == 1:
            frame = read(statements[0])
            _report(1, 1, frame.height, most, progress)
            return Metrics(frame, frame.height)
        return _spooled(read, statements, slice_rows, progress)


def check_arguments(start: datetime, end: datetime, operations: Sequence[str] | None, slice_rows: int) -> None:
    """Refuse what `extract_metrics` does not take.

    Raises:
        InvalidArgument: a bound without a time zone, start after end, no operations, slice_rows < 1.
    """
    for name, value in (("start", start), ("end", end)):
        if value.utcoffset() is None:
            raise InvalidArgument(f"{name} is {value.isoformat(' ')}, expected an instant with a time zone")
    if start > end:
        raise InvalidArgument(f"start is {start.isoformat(' ')}, expected it not to be after end {end.isoformat(' ')}")
    if operations is not None and not operations:
        raise InvalidArgument("operations is empty, expected at least one name, or None for all")
    if slice_rows < 1:
        raise InvalidArgument(f"slice_rows is {slice_rows}, expected at least 1")


def selection(
    source: Source, start: datetime, end: datetime, operations: Sequence[str] | None, *, includes_end: bool = True
) -> str:
    """The SELECT for connectorx, which takes no parameters. Every column is cast to a type that arrives exactly.

    The casts are no-ops for the types of the schema's own table, so its covering index stays usable.
    """
    conditions = [
        sql.SQL("created_at >= {}::timestamptz").format(_literal(start)),
        sql.SQL("created_at {} {}::timestamptz").format(sql.SQL("<=" if includes_end else "<"), _literal(end)),
    ]
    if operations is not None:
        names = sql.SQL(", ").join(sql.Literal(name) for name in operations)
        conditions.append(sql.SQL("operation_type::text = ANY (ARRAY[{}]::text[])").format(names))
    where = sql.SQL(" AND ").join(conditions).as_string(None)
    return (
        "SELECT metric_id::bigint AS metric_id, operation_type::text AS operation_type, "  # noqa: S608 - see the above
        "duration_ms::double precision AS duration_ms, created_at::timestamptz AS created_at "
        f"FROM {subquery(source)} AS source WHERE {where}"
    )


def _literal(instant: datetime) -> sql.Literal:
    return sql.Literal(instant.isoformat(" ", "microseconds"))


def expected_rows(connection: psycopg.Connection, statement: str) -> int:
    """The planner's estimate; costs no reading."""
    row = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.encode()).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def slices(start: datetime, end: datetime, count: int) -> list[tuple[datetime, datetime]]:
    """``count`` equal parts of the range; fewer where it has not that many microseconds, at least one."""
    width = end - start
    edges = [start, *(start + width * number // count for number in range(1, count)), end]
    return [(low, high) for low, high in pairwise(edges) if low < high] or [(start, end)]


class Reader:
    """Reads statements through connectorx in the snapshot of a connection, and checks what comes."""

    def __init__(self, connection: psycopg.Connection, database: Database, source: Source) -> None:
        self._url = connectorx_url(connection)
        self._password = connection.info.password
        self._place = database.place
        self._source = source
        self._schema = database.schema
        snapshot = sql.Literal(exported(connection)).as_string(None)
        self._begin = [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT {snapshot}",
        ]

    def statements(
        self, start: datetime, end: datetime, operations: Sequence[str] | None, *, includes_end: bool
    ) -> list[str]:
        """The SELECTs that read a slice. The schema's own table comes packed; its constraints keep bad values out."""
        if self._source.name == NATIVE:
            names = None if operations is None else tuple(operations)
            return packed_statements(self._schema, start, end, names, includes_end=includes_end)
        return [selection(self._source, start, end, operations, includes_end=includes_end)]

    def __call__(self, statements: list[str]) -> pl.DataFrame:
        """The rows of a slice as `frames.METRICS`."""
        frame = self.rows(statements)
        if self._source.name == NATIVE:
            return unpacked(frame)
        _check_values(frame, self._source)
        duration_us = (pl.col("duration_ms") * 1000).round().cast(pl.Int64).alias("duration_us")
        return METRICS.check(frame.select("metric_id", "operation_type", duration_us, "created_at"))

    def rows(self, statements: list[str]) -> pl.DataFrame:
        """What the statements yield, run side by side."""
        import connectorx

        try:
            read_sql: Callable[..., pl.DataFrame] = connectorx.read_sql
            return read_sql(self._url, statements, return_type="polars", pre_execution_query=self._begin)
        except BaseException as exc:
            # A panic inside connectorx derives from BaseException, and its class cannot be imported.
            if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
                raise
            raise self._error(exc) from None  # its text may hold the password

    def _error(self, exc: BaseException) -> DatabaseError:
        """connectorx's error without its text's further lines, and never with the password."""
        text = (str(exc).splitlines() or [type(exc).__name__])[0].removeprefix("db error: ")
        if self._password:
            text = text.replace(self._password, "***")
        return DatabaseError(f"source {self._source.name}: reading the metrics failed: {text} in {self._place}")


def _check_values(frame: pl.DataFrame, source: Source) -> None:
    """Refuse rows that no statistic can take.

    Raises:
        InvalidData: counting them by fault.
    """
    duration = pl.col("duration_ms")
    faults = {
        "NULL metric_id": pl.col("metric_id").is_null(),
        "NULL operation_type": pl.col("operation_type").is_null(),
        "NULL duration_ms": duration.is_null(),
        "negative duration_ms": duration < 0,
        "NaN or too large duration_ms": duration.is_nan() | (duration > _MAX_DURATION_MS),
    }
    counts = frame.select(condition.sum().alias(fault) for fault, condition in faults.items()).row(0, named=True)
    found = ", ".join(
        f"{count} {'row' if count == 1 else 'rows'} with {fault}" for fault, count in counts.items() if count
    )
    if found:
        raise InvalidData(
            f"source {source.name} yields {found} among {frame.height}; repair or exclude them; nothing written"
        )


def _spooled(
    read: Reader, statements: Sequence[list[str]], slice_rows: int, progress: Callable[[int, int], None] | None
) -> Metrics:
    """Read the statements one after the other, each into a Parquet file of a temporary directory.

    A slice is written while the next is read, which hides the cost of writing: two slices are in memory.
    """
    spool = TemporaryDirectory(prefix="pggit_analytics_")
    directory = Path(spool.name)
    try:
        rows = 0
        with ThreadPoolExecutor(max_workers=1) as writer:
            written: Future[None] | None = None
            for number, statement in enumerate(statements, start=1):
                frame = read(statement)
                rows += frame.height
                if written is not None:
                    written.result()
                written = writer.submit(_write, frame, directory / f"{number:06}.parquet")
                _report(number, len(statements), frame.height, slice_rows, progress)
            if written is not None:
                written.result()
        return Metrics(pl.scan_parquet(directory / "*.parquet"), rows, spool)
    except BaseException:
        spool.cleanup()
        raise


def _write(frame: pl.DataFrame, file: Path) -> None:
    frame.write_parquet(file, statistics=False)


def _report(number: int, count: int, rows: int, slice_rows: int, progress: Callable[[int, int], None] | None) -> None:
    """Say that a slice has been read, and when it was far larger than meant: memory is bounded by its size."""
    if rows > 2 * slice_rows:
        _log.warning(
            "slice %d of %d has %d rows where %d were meant: the planner's estimate is off, ANALYZE the tables read",
            number,
            count,
            rows,
            slice_rows,
        )
    if progress:
        progress(number, count)


def extract_baselines(database: Database, as_of: datetime) -> pl.DataFrame:
    """The baselines valid at ``as_of``, as `frames.BASELINES`, by operation; the latest where several are.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    statement = """
        SELECT DISTINCT ON (operation_type COLLATE "C")
               operation_type, baseline_id, p99_microseconds AS p99_us,
               alert_threshold_multiplier::double precision AS alert_threshold_multiplier
        FROM performance_baselines
        WHERE valid_from <= %(as_of)s AND %(as_of)s < coalesce(valid_to, 'infinity')
        ORDER BY operation_type COLLATE "C", valid_from DESC, baseline_id DESC
    """
    return _frame(database, BASELINES, statement, {"as_of": as_of})


def extract_active_baselines(database: Database, as_of: datetime) -> pl.DataFrame:
    """The baselines in force, whenever they became valid, as `ACTIVE_BASELINES`, by operation.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    statement = """
        SELECT operation_type, baseline_id, p99_microseconds AS p99_us, valid_from > %(as_of)s AS is_newer_than_as_of
        FROM performance_baselines
        WHERE is_active
        ORDER BY operation_type COLLATE "C"
    """
    return _frame(database, ACTIVE_BASELINES, statement, {"as_of": as_of})


def extract_operation_types(database: Database) -> pl.DataFrame:
    """What is known of the operations, as `frames.OPERATION_TYPES`, by operation.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    statement = """
        SELECT operation_type, category, typical_duration_ms::double precision AS typical_duration_ms, is_tracked
        FROM performance_operation_types
        ORDER BY operation_type COLLATE "C"
    """
    return _frame(database, OPERATION_TYPES, statement, {})


def extract_held_operations(database: Database) -> frozenset[str]:
    """The operations with an open alert that says they are slow; a baseline must not learn the incident.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    statement = """
        SELECT DISTINCT operation_type
        FROM performance_alerts
        WHERE resolved_at IS NULL
          AND operation_type IS NOT NULL
          AND alert_type IN ('DEGRADATION', 'INCIDENT', 'THRESHOLD_EXCEEDED')
    """
    with database.connect() as connection:
        return frozenset(row[0] for row in connection.execute(statement))


def _frame(database: Database, schema: FrameSchema, statement: str, parameters: dict[str, Any]) -> pl.DataFrame:
    """The rows of a small statement as a checked frame."""
    for name, value in parameters.items():
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise InvalidArgument(f"{name} is {value.isoformat(' ')}, expected an instant with a time zone")
    with database.connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return schema.check(schema.frame(cursor.execute(statement.encode(), parameters).fetchall()))
