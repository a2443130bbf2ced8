"""Times operations from Python and writes them to ``performance_metrics`` in the background.

::

    with Recorder(Database(url)) as recorder:
        with recorder.time("merge_branches", new_trace=True) as merge:   # merge.trace_id is the merge's id
            with recorder.time("merge_base_find"):                       # its parent is that trace
                ...

        @recorder.time("commit", metadata={"client": "worker"})
        def commit(): ...                                                # or async def

What the timed code can rely on: nothing here raises into it or waits for the database. Timings wait in a bounded
buffer for a daemon thread that writes them by COPY, each batch in one transaction. While the database is away they are
kept, up to ``max_pending``; then the oldest are dropped and counted. A killed process loses what was not written yet,
never half a batch. The role needs USAGE on the schema and INSERT on ``performance_metrics``, nothing more.

A process made by fork starts with an empty buffer and its own thread and connection; what the parent had not written
stays the parent's. `multiprocessing` ends its processes without the handlers of `atexit`: call `Recorder.close` there.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import logging
import os
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, cast

import psycopg
from psycopg import errors

from pggit_analytics.errors import DatabaseUnavailable, InvalidArgument
from pggit_analytics.postgres.connection import Database, translated

if TYPE_CHECKING:
    from pggit_analytics.merge_recorder import Merge

P = ParamSpec("P")
R = TypeVar("R")

#: seconds between attempts while the database is away: doubled from the first to the last
_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 5.0

#: an id or a name must fit an index entry
_LONGEST_TEXT_BYTES = 2000

#: NUMERIC(14,3)
_DURATION_LIMIT_MS = Decimal("99999999999.9995")
_MICROSECOND = Decimal("0.001")

#: SQLSTATE classes of faults that lie in a row and not in the database: data, integrity, limits, RAISE of a trigger
_ROW_FAULTS = ("22", "23", "54", "P0001")

_COPY = """
    COPY performance_metrics (
        operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id, metadata
    ) FROM STDIN
"""

# The columns are those of `MergeRow`. Without a conflict target no right to read is needed. A merge that is there
# already stays as it is.
_INSERT_MERGE = """
    INSERT INTO merge_relationships (
        merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms
    )
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""

#: trace id of the innermost enclosing block that has one
_enclosing_trace: ContextVar[str | None] = ContextVar("pggit_analytics_enclosing_trace", default=None)


class MergeRow(NamedTuple):
    """One row of ``merge_relationships``, as text."""

    merge_id: str
    branch_from: str
    branch_into: str
    #: when the merge began
    created_at: str
    resolution_strategy: str | None
    status: str
    duration_ms: str


class _Row(NamedTuple):
    """One timing on its way to the database."""

    #: counts the rows of a recorder in the order they were recorded
    sequence: int
    #: as COPY takes them
    values: tuple[str | None, ...]
    #: the merge that was timed, if it was one
    merge: MergeRow | None = None


class _Refused(NamedTuple):
    """A message for each row of a batch that the database refused."""

    timings: list[str]
    merges: list[str]


class SpanLabels(NamedTuple):
    """What a caller may say about a timing besides its operation."""

    trace_id: str | None
    #: None = that of the enclosing block
    parent_id: str | None
    metadata: Mapping[str, Any] | None
    #: None = now
    created_at: datetime | None = None


class _Buffer:
    """Rows that wait for the writer, oldest first, and the batch it is writing. Bounded; safe for threads."""

    def __init__(self, batch_size: int, flush_interval_s: float, max_pending: int) -> None:
        self._batch_size = batch_size
        self._flush_interval_s = flush_interval_s
        self._max_pending = max_pending
        self._is_closed = False
        self._is_abandoned = False
        self.start_empty()

    def start_empty(self) -> None:
        """Forget everything, locks included: after a fork they may be held by threads that do not exist."""
        # Its lock is reentrant: a signal handler may record while its thread is recording.
        self._changed = threading.Condition()
        self._pending: deque[_Row] = deque()
        self._in_flight: list[_Row] = []
        self._sequence = 0
        self._flush_up_to = 0
        self._flush_count = 0
        self.dropped = 0
        self.written = 0

    def put(self, values: tuple[str | None, ...], merge: MergeRow | None = None) -> bool:
        """Add a row, for which the oldest may have to go; False when closed."""
        with self._changed:
            if self._is_closed:
                self.dropped += 1
                return False
            self._sequence += 1
            self._pending.append(_Row(self._sequence, values, merge))
            self._drop_oldest()
            if len(self._pending) == 1 or self._is_due():
                self._changed.notify_all()
            return True

    def count_dropped(self) -> None:
        with self._changed:
            self.dropped += 1

    def take(self) -> list[_Row] | None:
        """Wait for a batch to be due and return it; one that was kept back comes again. None: nothing will come."""
        with self._changed:
            if not self._in_flight:
                self._changed.wait_for(lambda: self._pending or self._is_closed)
                self._changed.wait_for(self._is_due, timeout=self._flush_interval_s)
                size = min(self._batch_size, len(self._pending))
                self._in_flight = [self._pending.popleft() for _ in range(size)]
            if self._is_abandoned:
                self.dropped += len(self._in_flight)
                self._in_flight = []
            return self._in_flight or None

    def _is_due(self) -> bool:
        is_asked_for = bool(self._pending) and self._pending[0].sequence <= self._flush_up_to
        is_full = len(self._pending) >= min(self._batch_size, self._max_pending)
        return self._is_closed or is_asked_for or is_full

    def settle(self, refused: int) -> None:
        """The batch in flight is written, save ``refused`` rows."""
        with self._changed:
            self.written += len(self._in_flight) - refused
            self.dropped += refused
            self._in_flight = []
            self._changed.notify_all()

    def give_back(self) -> None:
        """The batch in flight is not written: it waits again, as the oldest, but not for its batch to fill."""
        with self._changed:
            self._flush_up_to = max([self._flush_up_to, *(row.sequence for row in self._in_flight)])
            self._pending.extendleft(reversed(self._in_flight))
            self._in_flight = []
            self._drop_oldest()
            if self._is_abandoned:
                self._drop_all()
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt, but not when someone flushes or gives up."""
        with self._changed:
            seen = self._flush_count
            self._changed.wait_for(lambda: self._is_abandoned or self._flush_count != seen, timeout=seconds)

    def flush(self, timeout_s: float) -> bool:
        with self._changed:
            wanted = self._flush_up_to = self._sequence  # the latest there is
            self._flush_count += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._holds(wanted), timeout=timeout_s)

    def _holds(self, sequence: int) -> bool:
        return any(rows and rows[0].sequence <= sequence for rows in (self._in_flight, self._pending))

    def close(self) -> None:
        """Take no more rows; the writer ends when those there are written."""
        with self._changed:
            self._is_closed = True
            self._flush_count += 1
            self._changed.notify_all()

    def abandon(self) -> int:
        """Drop what waits; returns how many rows, with those in flight, may not have been written."""
        with self._changed:
            self._is_abandoned = True
            lost = len(self._pending) + len(self._in_flight)
            self._drop_all()
            self._changed.notify_all()
            return lost

    def _drop_oldest(self) -> None:
        while len(self._pending) > self._max_pending:
            self._pending.popleft()
            self.dropped += 1

    def _drop_all(self) -> None:
        self.dropped += len(self._pending)
        self._pending.clear()


class _Sink:
    """Writes batches over one connection, opened when needed. Used by the writer thread alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection | None = None
        self._stack = ExitStack()
        #: transaction whose COMMIT got no answer, and the rows it refused
        self._unconfirmed: tuple[str, _Refused] | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last batch may have been committed although its write failed."""
        return self._unconfirmed is not None

    def write(self, rows: list[_Row]) -> _Refused:
        """Write a batch in one transaction, once; returns what the database refused.

        After an error write the same batch again, or if not `is_in_doubt` any other.

        Raises:
            DatabaseError: translated by `translated`; nothing was written, unless `is_in_doubt`.
        """
        is_reused = self._connection is not None
        try:
            return self._write(rows)
        except Exception:
            self.close()
            if not is_reused:
                raise
        # The connection may have been lost long ago, so its failure says nothing about the database as it is now.
        try:
            return self._write(rows)
        except Exception:
            self.close()
            raise

    def _write(self, rows: list[_Row]) -> _Refused:
        with translated(self._database):
            connection = self._open()
            if self._unconfirmed and self._was_committed(connection, self._unconfirmed[0]):
                refused = self._unconfirmed[1]
            else:
                found = connection.execute("SELECT pg_current_xact_id()::TEXT").fetchone()
                refused = _Refused(_copy(connection, rows), _insert_merges(connection, rows))
                self._unconfirmed = (str(found and found[0]), refused)
                connection.commit()
            self._unconfirmed = None
            return refused

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.connect())
        return self._connection

    def _was_committed(self, connection: psycopg.Connection, transaction: str) -> bool:
        try:
            with connection.transaction():
                found = connection.execute("SELECT pg_xact_status(%s::XID8)", (transaction,)).fetchone()
        except errors.InvalidParameterValue:
            return False  # unknown to this server: one that took over without that transaction
        status = found and found[0]
        if status == "in progress":
            raise DatabaseUnavailable(f"the last transaction in {self._database.place} has not ended yet")
        return status == "committed"

    def close(self) -> None:
        """Close the connection without committing anything."""
        connection, self._connection = self._connection, None
        with suppress(Exception):
            if connection is not None:
                connection.close()
            self._stack.close()

    def leave_to_parent(self) -> None:
        """After a fork: let go of the parent's connection without a word to the server."""
        if self._connection is not None:
            with suppress(Exception):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, self._connection.fileno())
                os.close(nowhere)
        self.close()
        self._unconfirmed = None


def _copy(connection: psycopg.Connection, rows: list[_Row]) -> list[str]:
    """COPY the rows inside the running transaction; returns a message for each that the database refused.

    One faulty row fails the whole COPY, so its half is halved until the row stands alone.
    """
    try:
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row.values)
    except (psycopg.Error, UnicodeError) as exc:
        sqlstate = getattr(exc, "sqlstate", None)
        is_of_a_row = (
            sqlstate.startswith(_ROW_FAULTS) if sqlstate else isinstance(exc, psycopg.DataError | UnicodeError)
        )
        if not is_of_a_row:
            raise
        if len(rows) == 1:
            diagnostic = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
            return [diagnostic or type(exc).__name__]
    else:
        return []
    middle = len(rows) // 2
    return _copy(connection, rows[:middle]) + _copy(connection, rows[middle:])


def _insert_merges(connection: psycopg.Connection, rows: list[_Row]) -> list[str]:
    """Insert the merges among the rows inside the running transaction; returns a message for each refused one.

    Their timings are kept when the table is missing or closed to the role: it is needed for merges alone.
    """
    refused = []
    for merge in (row.merge for row in rows if row.merge is not None):
        try:
            with connection.transaction():
                connection.execute(_INSERT_MERGE.encode(), merge)
        except (psycopg.Error, UnicodeError) as exc:
            if isinstance(exc, psycopg.OperationalError):
                raise
            diagnostic = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
            refused.append(diagnostic or type(exc).__name__)
    return refused


class Recorder:
    """Collects timings and writes them to ``performance_metrics`` of one database; safe for threads and asyncio.

    Args:
        database: where to, and the schema.
        batch_size: rows of one COPY and one transaction; a full batch is written at once.
        flush_interval_s: seconds a timing waits at most for its batch to fill.
        max_pending: rows that may wait, besides the batch being written; more drop the oldest.
        logger: gets one warning per outage and one line when it ends, never an address with its password.

    Raises:
        InvalidArgument: a number is out of range.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch_size: int = 500,
        flush_interval_s: float = 5.0,
        max_pending: int = 10_000,
        logger: logging.Logger | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("max_pending", max_pending)):
            if value < 1:
                raise InvalidArgument(f"{name} is {value}, expected at least 1")
        if not 0 < flush_interval_s <= threading.TIMEOUT_MAX:
            raise InvalidArgument(f"flush_interval_s is {flush_interval_s}, expected more than 0 seconds")
        self._logger = logger or logging.getLogger(__name__)
        self._buffer = _Buffer(batch_size, flush_interval_s, max_pending)
        self._sink = _Sink(database)
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()
        self._last_error: str | None = None
        _recorders.add(self)
        atexit.register(self.close)

    @property
    def written(self) -> int:
        """Timings committed to the database by this process."""
        return self._buffer.written

    @property
    def dropped(self) -> int:
        """Timings given up: unusable values, refused by the database, too many waiting, or left when closing."""
        return self._buffer.dropped

    @property
    def last_error(self) -> str | None:
        """Why a value was last unusable or refused, or a batch not written; None = that never happened."""
        return self._last_error

    def time(
        self,
        operation_type: str,
        *,
        trace_id: str | None = None,
        parent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        new_trace: bool = False,
    ) -> Span:
        """Time a ``with`` block, or as a decorator every call of a function or coroutine function.

        Args:
            operation_type: any name; one that is not known yet gets registered.
            trace_id: the trace this belongs to; None = none, or with ``new_trace`` a fresh one (32 hex digits).
            parent_id: the trace that started this one; None = that of the enclosing block that has a trace, if any.
                Tasks inherit the enclosing block from the code that made them, threads do not.
            metadata: a JSON object; None = none.
            new_trace: start a trace, so that blocks inside have it as parent.
        """
        return Span(self, operation_type, SpanLabels(trace_id, parent_id, metadata), new_trace)

    def merge(self, branch_from: str, branch_into: str, *, metadata: Mapping[str, Any] | None = None) -> Merge:
        """Time a merge as a ``with`` block, with its phases and how it ended: see `pggit_analytics.merge_recorder`.

        Args:
            branch_from: the branch that is merged, 1 to 2000 bytes.
            branch_into: the branch that takes it, 1 to 2000 bytes.
            metadata: a JSON object for the ``merge_branches`` metric; None = none.
        """
        from pggit_analytics.merge_recorder import Merge

        return Merge(self, branch_from, branch_into, SpanLabels(None, None, metadata))

    def note_merge_fault(self, exc: Exception) -> None:
        """Say that something about a merge cannot be recorded; its timing is."""
        self._last_error = _message(exc)
        self._logger.warning("a merge cannot be recorded as it should be: %s", self._last_error)

    def record(
        self,
        operation_type: str,
        duration_ms: float | Decimal,
        *,
        trace_id: str | None = None,
        parent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> None:
        """Record an operation that was timed elsewhere. Unusable values are dropped and counted, never raised.

        Args:
            operation_type: 1 to 2000 bytes.
            duration_ms: at least 0; kept to the microsecond.
            trace_id: as in `time`.
            parent_id: as in `time`.
            metadata: a JSON object; None = none. What JSON cannot hold becomes ``{"metadata_error": why}``.
            created_at: when it ended, with its time zone; None = now.
        """
        try:
            duration = _duration_text(duration_ms)
        except Exception as exc:
            self._refuse(exc)
        else:
            self._record(operation_type, duration, SpanLabels(trace_id, parent_id, metadata, created_at))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Have everything recorded so far written; False when that took longer than the limit."""
        return self._buffer.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what waits and end the thread. Also called at the end of the process; a second call does nothing.

        Returns:
            Whether everything was written within the limit; otherwise the rest is dropped and counted.
        """
        atexit.unregister(self.close)
        self._buffer.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if not thread.is_alive():
                self._thread = None
        lost = self._buffer.abandon()
        if lost:
            self._logger.warning("recording of timings closed, %d not written: %s", lost, self._last_error)
        return not lost

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record(self, operation_type: str, duration: str, labels: SpanLabels, merge: MergeRow | None = None) -> None:
        try:
            values = (
                checked_text("operation_type", operation_type),
                duration,
                _instant_text(labels.created_at),
                None if labels.trace_id is None else checked_text("trace_id", labels.trace_id),
                _parent_text(labels.parent_id),
                _metadata_text(labels.metadata),
            )
        except Exception as exc:
            self._refuse(exc)
            return
        try:
            if self._buffer.put(values, merge):
                self._ensure_thread()
        except Exception as exc:  # no thread to be had: the next timing tries again
            self._last_error = _message(exc)

    def _refuse(self, exc: Exception) -> None:
        self._last_error = _message(exc)
        self._buffer.count_dropped()

    def _ensure_thread(self) -> None:
        if self._thread is None:
            with self._thread_lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="pggit-analytics-recorder", daemon=True)
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        failures = 0
        while (batch := self._buffer.take()) is not None:
            try:
                refused = self._sink.write(batch)
            except Exception as exc:
                self._note_failure(exc, is_first=failures == 0)
                if not self._sink.is_in_doubt:
                    self._buffer.give_back()
                self._buffer.pause(min(_FIRST_PAUSE_S * 2**failures, _LAST_PAUSE_S))
                failures = min(failures + 1, 10)
            else:
                if failures:
                    self._logger.info("timings are being written again; %d dropped so far", self.dropped)
                failures = 0
                self._note_refused(refused)
                self._buffer.settle(len(refused.timings))
        self._sink.close()

    def _note_failure(self, exc: Exception, *, is_first: bool) -> None:
        self._last_error = _message(exc)
        if is_first:
            self._logger.warning("timings cannot be written, they are kept and tried again: %s", self._last_error)

    def _note_refused(self, refused: _Refused) -> None:
        for what, messages in (("timing", refused.timings), ("merge", refused.merges)):
            if messages:
                self._last_error = f"the database refused a {what}: {messages[-1]}"
                self._logger.warning("the database refused %d %ss: %s", len(messages), what, messages[-1])

    def _start_empty_after_fork(self) -> None:
        self._thread = None
        self._thread_lock = threading.RLock()
        self._buffer.start_empty()
        self._sink.leave_to_parent()
        self._last_error = None


class Span:
    """One timed block; made by `Recorder.time`, one for each block.

    Attributes:
        trace_id: the trace of the block, None without one; with ``new_trace`` known from its beginning.
        metadata: may be added to inside the block.
    """

    def __init__(self, recorder: Recorder, operation_type: str, labels: SpanLabels, new_trace: bool) -> None:
        self._recorder = recorder
        self._operation_type = operation_type
        self._labels = labels
        self._new_trace = new_trace
        self.trace_id = labels.trace_id
        self.metadata = _own_metadata(labels.metadata)
        self._parent_id: str | None = None
        self._outer_trace: str | None = None
        self._started_ns = 0

    def __enter__(self) -> Span:
        given = self._labels
        self._outer_trace = _enclosing_trace.get()
        self.trace_id = uuid.uuid4().hex if given.trace_id is None and self._new_trace else given.trace_id
        self._parent_id = self._outer_trace if given.parent_id is None else given.parent_id
        if self.trace_id is not None:
            _enclosing_trace.set(self.trace_id)
        self._started_ns = perf_counter_ns()
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        elapsed_ns = perf_counter_ns() - self._started_ns
        if self.trace_id is not None:
            # Not reset(): a generator may end in another context than it began in, where a reset would raise.
            _enclosing_trace.set(self._outer_trace)
        metadata = self.metadata
        if error is not None:
            metadata = {**_own_metadata(metadata), "error": error.__name__}
        whole_us = (elapsed_ns + 500) // 1000
        duration = f"{whole_us // 1000}.{whole_us % 1000:03d}"
        labels = SpanLabels(self.trace_id, self._parent_id, metadata or None)
        merge = self._merge_row(duration, has_failed=error is not None)
        self._recorder._record(self._operation_type, duration, labels, merge)

    def _again(self) -> Span:
        """Another one like it, for the next call of a decorated function."""
        return Span(self._recorder, self._operation_type, self._labels, self._new_trace)

    def _merge_row(self, duration: str, *, has_failed: bool) -> MergeRow | None:  # noqa: ARG002
        """The merge that was timed: none, unless it is a `Merge`."""
        return None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, timed; of a coroutine function from its start to its end."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", timed_coroutine)

        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return timed


def _message(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def checked_text(name: str, value: object) -> str:
    """A name or an id as it is; InvalidArgument unless it is text of 1 to 2000 bytes without NUL."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} is of type {type(value).__name__}, expected str")
    if not 1 <= len(value.encode()) <= _LONGEST_TEXT_BYTES or "\0" in value:
        raise InvalidArgument(f"{name} is {value[:60]!r}, expected 1 to {_LONGEST_TEXT_BYTES} bytes without NUL")
    return value


def _parent_text(parent_id: str | None) -> str | None:
    parent = _enclosing_trace.get() if parent_id is None else parent_id
    return None if parent is None else checked_text("parent_id", parent)


def _duration_text(duration_ms: float | Decimal) -> str:
    """Milliseconds with three decimals, halves rounded away from zero as PostgreSQL does."""
    try:
        exact = duration_ms if isinstance(duration_ms, Decimal) else Decimal(str(duration_ms))
    except ArithmeticError as exc:
        raise InvalidArgument(f"duration_ms is {duration_ms!r}, expected a number") from exc
    if not (exact.is_finite() and 0 <= exact < _DURATION_LIMIT_MS):
        raise InvalidArgument(f"duration_ms is {duration_ms}, expected at least 0 and at most 99999999999.999")
    # A context of our own: the caller's may trap inexact results.
    return str(exact.quantize(_MICROSECOND, rounding=ROUND_HALF_UP, context=Context(prec=28)))


def _instant_text(created_at: datetime | None) -> str:
    if created_at is None:
        return datetime.now(UTC).isoformat()
    if created_at.utcoffset() is None:
        raise InvalidArgument(f"created_at is {created_at.isoformat()}, expected an instant with a time zone")
    return created_at.astimezone(UTC).isoformat()


def _metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    """JSON as PostgreSQL takes it. A timing is not given up for its metadata: what does not fit is replaced."""
    if metadata is None:
        return None
    try:
        text = json.dumps(dict(metadata), default=str, allow_nan=False, ensure_ascii=False)
        text.encode()
    except Exception as exc:
        return json.dumps({"metadata_error": type(exc).__name__})
    if "\\u0000" in text:
        return json.dumps({"metadata_error": "NUL character"})
    return text


def _own_metadata(metadata: object) -> dict[str, Any]:
    try:
        return dict(cast("Mapping[str, Any]", metadata)) if metadata is not None else {}
    except Exception as exc:
        return {"metadata_error": type(exc).__name__}


#: every recorder of the process, for the child of a fork
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _start_all_empty() -> None:
    for recorder in list(_recorders):
        recorder._start_empty_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_empty)
