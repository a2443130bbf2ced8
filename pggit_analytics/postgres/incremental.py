"""Reads metrics as `extract` does, but from the database only what the local store does not hold.

Each run compares row versions (`row_versions`) in its snapshot: rows written since the horizon of the last one are
read, and the others are counted. Where they are not as many as stored, something was deleted or re-written: the hours
that differ are read again. Where triggers have noted what was changed or added late, only the hours that they name are
looked at, and what was written lately; everything is counted once a day all the same. What cannot be compared (another
server, a restart, a damaged store) is read as a whole.

Of this run's snapshot only rows before its own horizon are kept; later ones are read again by the next run.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
from psycopg import sql

from pggit_analytics.analysis.ordered_calls import instant, joined_runs
from pggit_analytics.config import StoreSettings
from pggit_analytics.frames import INSTANT, METRICS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract import (
    HELD_ROWS,
    SLICE_ROWS,
    Metrics,
    Reader,
    check_arguments,
    expected_rows,
    extract_metrics,
    selection,
    slices,
)
from pggit_analytics.postgres.row_versions import (
    CHANGES,
    MOST_COMPARABLE,
    TABLE,
    Circumstances,
    Watch,
    circumstances,
    identity,
    written_between,
)
from pggit_analytics.postgres.sources import NATIVE, Source, check_columns
from pggit_analytics.postgres.store import HOUR_US, Manifest, Segment, Store, StoreUnavailable

_log = logging.getLogger(__name__)

#: first and last instant of what is read at once
_Piece = tuple[datetime, datetime]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)

#: no moment that a run can look back from is later
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

#: rows by their transaction: whether it came before the present horizon
_NOTHING_NEW = pl.DataFrame(schema={**METRICS.columns, "is_settled": pl.Boolean})

#: timings are noted as late when they had ended this long before, and counted again after so long; microseconds
_LATE_US, _COUNT_AGAIN_US = HOUR_US, 24 * HOUR_US

#: more spans of time than this are looked through as one
_MOST_SPANS = 24

#: bytes of a stored row, roughly and rather too many
_ROW_BYTES = 20


def read_metrics(
    database: Database,
    source: Source,
    *,
    start: datetime,
    end: datetime,
    operations: Iterable[str] | None = None,
    store: StoreSettings | None = None,
    held_rows: int = HELD_ROWS,
    slice_rows: int = SLICE_ROWS,
) -> Metrics:
    """The metrics that `extract_metrics` would read, with the help of a store where there is one.

    Only the schema's own table is stored: of what a query yields nobody knows when it changes. A store that is in use
    by another run or cannot be written is left aside, with one line in the log.

    Raises:
        PggitAnalyticsError: see `extract_metrics`.
    """
    names = None if operations is None else tuple(operations)
    check_arguments(start, end, names, slice_rows)
    if store is not None and source.name != NATIVE:
        _log.info("reading without the store: nobody knows when what source %s yields changes", source.name)
    elif store is not None:
        try:
            start, end = start.astimezone(UTC), end.astimezone(UTC)
            with_store = _Run(database, source, start, end, names, store, held_rows, slice_rows).metrics()
        except StoreUnavailable as exc:
            _log.warning("reading without the store: %s", exc)
        else:
            if with_store is not None:
                return with_store
    return extract_metrics(
        database, source, start=start, end=end, operations=names, held_rows=held_rows, slice_rows=slice_rows
    )


@dataclass(slots=True)
class _Contents:
    """What the store will hold, and the rows that only this run may use."""

    segments: list[Segment]
    #: `frames.METRICS` of transactions from the horizon on
    unsettled: pl.DataFrame = field(default_factory=METRICS.empty)
    #: rows that came from the database
    moved: int = 0
    #: whether all the rows were counted
    are_counted: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """One reading of a window."""

    database: Database
    source: Source
    start: datetime
    end: datetime
    operations: tuple[str, ...] | None
    settings: StoreSettings
    held_rows: int
    slice_rows: int

    def metrics(self) -> Metrics | None:
        """The rows, or None where reading them without the store is the better way.

        Raises:
            StoreUnavailable: the store cannot be used.
        """
        with self.database.connect(own_path=False) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            name = identity(connection, self.database)
            connection.commit()
            if name is None:
                return None
            # the lock first: the snapshot is then later than that of the run before
            with Store(self.settings.directory, name) as store:
                # This connection only holds the snapshot while connectorx reads.
                connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
                check_columns(connection, self.database, self.source)
                now = circumstances(connection, self.database)
                if now.objection or identity(connection, self.database) != name:
                    _log.info("reading without the store: %s", now.objection or "the pooler has changed the server")
                    return None
                return self._with(store, connection, now)

    def _with(self, store: Store, connection: psycopg.Connection, now: Circumstances) -> Metrics | None:
        known = _comparable(store.load(), now)
        since = _hour(self.start)
        if known is not None and known.since <= since:
            since = known.since
        elif not self._is_worth_it(connection, anew=known is None):
            _log.info("reading without the store: it would have to hold more than what is asked for")
            return None
        update = _Update(self, store, connection, now, since)
        contents = update.of_nothing() if known is None else update.of(known)
        if contents is None:
            _log.info("reading without the store: too many rows may be of transactions that have not ended")
            return None
        boot, uptime = _uptime()
        manifest = Manifest(
            now.fingerprint,
            now.horizon,
            now.position,
            since,
            watch=now.watch.fingerprint,
            # transactions from this horizon on are also from an earlier one on
            reach=now.watch.reach or (known.reach if known is not None and _is_steady(known, now.watch) else 0),
            unsettled=tuple(contents.unsettled.select(_hour_of_row().unique().sort()).to_series()),
            written=now.watch.now,
            counted=now.watch.now if known is None or contents.are_counted else known.counted,
            boot=boot,
            uptime=uptime,
        )
        manifest = self._kept(store, manifest, contents.segments)
        if known is None or _content(manifest) != _content(known):
            store.commit(manifest)
        metrics = self._lent(store, manifest, contents)
        if manifest.size > self.settings.max_gigabytes * 1e9:
            store.clear()
            _log.warning(
                "the store of %.1f GB is over max_gigabytes = %g and was not kept; raise it, or set enabled = false",
                manifest.size / 1e9,
                self.settings.max_gigabytes,
            )
        return metrics

    def _is_worth_it(self, connection: psycopg.Connection, *, anew: bool) -> bool:
        """Whether the store should reach back to this window, from whose start on it then has to hold everything.

        Not for some operations only, for a window long past or for one too large.
        """
        if anew and self.operations is not None:
            return False
        window = expected_rows(connection, selection(self.source, self.start, self.end, None))
        whole = expected_rows(connection, selection(self.source, self.start, _LAST, None))
        return whole - window <= self.slice_rows and whole * _ROW_BYTES <= self.settings.max_gigabytes * 1e9

    def _kept(self, store: Store, manifest: Manifest, segments: list[Segment]) -> Manifest:
        """The manifest of these segments, without the days that are too old."""
        oldest = min(self.start, self.end - self.settings.keep)
        first = _hour(oldest) // 24 if oldest > _EPOCH else 0
        if 24 * first > manifest.since:
            segments = [segment for segment in segments if segment.day >= first]
            manifest = replace(manifest, since=24 * first)
        return replace(manifest, segments=tuple(store.merged(segments)))

    def _lent(self, store: Store, manifest: Manifest, contents: _Contents) -> Metrics:
        """The rows of the window; as a DataFrame where they are few."""
        first, last = _hour(self.start), _hour(self.end)
        needed = [s for s in manifest.segments if any(first <= hour <= last for hour in s.hours)]
        frame, loan = store.lend(needed, contents.unsettled)
        try:
            window = self._of_window(frame)
            if sum(segment.rows for segment in needed) <= self.held_rows:
                rows = joined_runs(window)
                loan.cleanup()
                return Metrics(rows, rows.height, moved=contents.moved)
            if self.operations is not None:
                return Metrics(window, _count(window), loan, contents.moved)
            # whole hours are counted already
            inside = sum(rows for s in needed for hour, rows in s.hours.items() if first < hour < last)
            edges = store.scan([s for s in needed if s.hours.keys() & {first, last}])
            others = self._of_window(edges.filter(_hour_of_row().is_in([first, last])))
            count = inside + _count(others) + _count(self._of_window(contents.unsettled.lazy()))
            return Metrics(window, count, loan, contents.moved)
        except BaseException:
            loan.cleanup()
            raise

    def _of_window(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        window = rows.filter(pl.col("created_at").is_between(self.start, self.end))
        return window if self.operations is None else window.filter(pl.col("operation_type").is_in(self.operations))


def _content(manifest: Manifest) -> Manifest:
    """The manifest without what is another at every moment; it may stay as it was."""
    return replace(manifest, position=0, reach=0, written=0, boot="", uptime=0)


def _uptime() -> tuple[str, int]:
    """A name for this machine's start, and the microseconds since then; the name is empty where there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    except (OSError, AttributeError):
        return "", 0


def _is_steady(known: Manifest, now: Watch) -> bool:
    """Whether the server's clock was not set since, by as much as would hide what is new."""
    boot, uptime = _uptime()
    passed = now.now - known.written
    return boot != "" and boot == known.boot and abs(passed - (uptime - known.uptime)) < _LATE_US // 2


def _comparable(known: Manifest | None, now: Circumstances) -> Manifest | None:
    """The manifest, if its row versions can be compared with those of this snapshot, which is a later one."""
    if (
        known is None
        or known.fingerprint != now.fingerprint
        or known.horizon > now.horizon
        or known.position > now.position
        or now.next_transaction - known.horizon >= MOST_COMPARABLE
    ):
        return None
    return known


@dataclass(frozen=True, slots=True)
class _Told:
    """The hours since 1970 of rows added late, and of rows removed."""

    added: frozenset[int]
    removed: frozenset[int]


class _Update:
    """Brings the contents of a store up to a snapshot, from an hour on."""

    def __init__(self, run: _Run, store: Store, connection: psycopg.Connection, now: Circumstances, since: int) -> None:
        self._store = store
        self._connection = connection
        self._now = now
        self._since = since
        self._end = run.end
        self._source = run.source
        self._most = run.slice_rows
        self._read = Reader(connection, run.database, run.source)
        self._table = sql.Identifier(run.database.schema, TABLE)
        self._changes = sql.Identifier(run.database.schema, CHANGES)

    def of_nothing(self) -> _Contents | None:
        """Everything, read for the first time; None when too many rows are of transactions from the horizon on."""
        unsettled = self._unsettled()
        if unsettled is None:
            return None
        pieces = self._pieces(_instant(self._since), self._end)
        if self._end < _LAST:
            pieces.append((self._end + _MICROSECOND, _LAST))
        return self._read_again(_Contents([], unsettled, unsettled.height), pieces)

    def of(self, known: Manifest) -> _Contents | None:
        """The known contents with what has changed, and with the hours before them; None as above."""
        pieces: list[_Piece] = []
        if self._since < known.since:
            pieces = self._pieces(_instant(self._since), _instant(known.since) - _MICROSECOND)
        if known.horizon == self._now.next_transaction:  # no transaction has ended since
            return self._read_again(_Contents(list(known.segments)), pieces)
        written = written_between(known.horizon, self._now.next_transaction)
        told, total = self._told(known), 0
        if told is None:
            total, place = self._counted(known, written)
        else:
            place = self._places(known, told.added)
        new = self._written(written, place) if place else _NOTHING_NEW
        are_too_many = new.height > self._most
        unsettled: pl.DataFrame | None
        # the hours to be compared with what is stored; None = all
        compared: frozenset[int] | None
        if are_too_many:  # read by hours, in pieces that fit into memory
            unsettled, added, compared = self._unsettled(), METRICS.empty(), None
        else:
            inside = new.filter(_hour_of_row() >= known.since)
            unsettled, added = _plain(new.filter(~pl.col("is_settled"))), _plain(inside.filter("is_settled"))
            if told is not None:
                compared = told.removed
            else:
                compared = frozenset() if total - inside.height == known.rows else None
        if unsettled is None:
            return None
        stored, counts = known.hours, self._histogram(known, written, compared)
        differing = {
            hour
            for hour in ({*counts, *stored} if compared is None else compared)
            if counts[hour][0] != stored[hour] or (are_too_many and counts[hour][1])
        }
        pieces += self._pieces_of_hours({hour: sum(counts[hour]) for hour in differing if sum(counts[hour])})
        segments = self._store.without(known.segments, differing)
        added = added.filter(~_hour_of_row().is_in(sorted(differing)))
        # as those read by pieces come, and as whoever reads them wants to have them
        segments += self._store.write(added.sort("operation_type", "created_at"))
        return self._read_again(_Contents(segments, unsettled, new.height, told is None or are_too_many), pieces)

    def _told(self, known: Manifest) -> _Told | None:
        """What the triggers have noted since the known horizon; None where the rows have to be counted."""
        if (
            self._now.watch.fingerprint is None
            or self._now.watch.fingerprint != known.watch
            or not known.reach
            or self._since < known.since
            or not 0 <= self._now.watch.now - known.counted < _COUNT_AGAIN_US
            or not _is_steady(known, self._now.watch)
        ):
            return None
        rows = self._connection.execute(
            sql.SQL(
                "SELECT floor(extract(EPOCH FROM hour) / 3600)::BIGINT, change FROM {changes} "
                "WHERE transaction_id >= {horizon} AND hour >= {since} AND hour <= {last}"
            ).format(
                changes=self._changes,
                horizon=known.horizon,
                since=_literal(_instant(known.since)),
                last=_literal(_LAST),
            )
        ).fetchall()
        hours = {what: frozenset(hour for hour, change in rows if change == what) for what in ("added", "removed")}
        return _Told(**hours)

    def _places(self, known: Manifest, added: frozenset[int]) -> sql.Composable:
        """The condition of rows that may have been written since the known horizon, by when they ended."""
        lately = instant(known.reach - _LATE_US)
        # the number noted is that of the outermost transaction, whose subtransactions may be of the horizon or later
        late = frozenset(hour for hour in added.union(known.unsettled) if _instant(hour) < lately)
        recent = sql.SQL("created_at >= {}").format(_literal(lately))
        return sql.SQL("({} OR {})").format(recent, _in(late)) if late else recent

    def _read_again(self, contents: _Contents, pieces: Sequence[_Piece]) -> _Contents:
        """The contents with all rows of some pieces of time; one is written while the next is read."""
        with ThreadPoolExecutor(max_workers=1) as writer:
            written: Future[list[Segment]] | None = None
            for start, end in pieces:
                frame = self._read(self._read.statements(start, end, None, includes_end=True))
                contents.moved += frame.height
                frame = _without(frame, contents.unsettled)
                if written is not None:
                    contents.segments += written.result()
                written = writer.submit(self._store.write, frame)
            if written is not None:
                contents.segments += written.result()
        return contents

    def _unsettled(self) -> pl.DataFrame | None:
        """The rows that the next run has to look for again; None when they are too many."""
        if self._now.horizon == self._now.next_transaction:
            return METRICS.empty()
        rows = self._written(written_between(self._now.horizon, self._now.next_transaction), sql.SQL("TRUE"))
        return None if rows.height > self._most else _plain(rows)

    def _counted(self, known: Manifest, written: sql.Composable) -> tuple[int, sql.Composable | None]:
        """How many rows there are from the known hours on, and the condition of rows that may be newly written."""
        row = self._connection.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE created_at >= {known}), (min(ctid) FILTER (WHERE {written}))::TEXT "
                "FROM {table} WHERE created_at >= {since} AND created_at <= {last}"
                if self._since < known.since
                else "SELECT count(*), (min(ctid) FILTER (WHERE {written}))::TEXT "
                "FROM {table} WHERE created_at >= {since} AND created_at <= {last}"
            ).format(
                known=_literal(_instant(known.since)),
                written=written,
                table=self._table,
                since=_literal(_instant(self._since)),
                last=_literal(_LAST),
            )
        ).fetchone()
        assert row is not None, "an aggregate returns one row"
        return row[0], None if row[1] is None else sql.SQL("ctid >= {}::TID").format(sql.Literal(row[1]))

    def _written(self, written: sql.Composable, place: sql.Composable) -> pl.DataFrame:
        """The rows that meet the condition, as `_NOTHING_NEW`; one more than may be when they are too many."""
        statement = sql.SQL(
            "SELECT metric_id::BIGINT AS metric_id, operation_type::TEXT AS operation_type, "
            "(duration_ms * 1000)::BIGINT AS duration_us, created_at, NOT ({unsettled}) AS is_settled FROM {table} "
            "WHERE {place} AND created_at >= {since} AND created_at <= {last} AND {written} LIMIT {most}"
        ).format(
            unsettled=written_between(self._now.horizon, self._now.next_transaction),
            table=self._table,
            place=place,
            since=_literal(_instant(self._since)),
            last=_literal(_LAST),
            written=written,
            most=sql.Literal(self._most + 1),
        )
        rows = self._read.rows([statement.as_string(None)])
        return rows.with_columns(pl.col("created_at").cast(INSTANT)).select(_NOTHING_NEW.columns)

    def _histogram(
        self, known: Manifest, written: sql.Composable, hours: frozenset[int] | None
    ) -> defaultdict[int, tuple[int, int]]:
        """Hours since 1970, all known ones or these -> number of rows written before the known horizon, and since."""
        counts: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        if hours is not None and not hours:
            return counts
        place = sql.SQL("created_at >= {}").format(_literal(_instant(known.since))) if hours is None else _in(hours)
        rows = self._connection.execute(
            sql.SQL(
                "SELECT floor(extract(EPOCH FROM h.hour) / 3600)::BIGINT, sum(h.old)::BIGINT, sum(h.new)::BIGINT FROM ("
                "SELECT date_trunc('hour', created_at AT TIME ZONE 'UTC') AS hour, "
                "count(*) FILTER (WHERE NOT {written}) AS old, count(*) FILTER (WHERE {written}) AS new "
                "FROM {table} WHERE {place} AND created_at <= {last} GROUP BY 1) AS h GROUP BY 1"
            ).format(written=written, table=self._table, place=place, last=_literal(_LAST))
        )
        counts.update({hour: (old, new) for hour, old, new in rows})
        return counts

    def _pieces(self, start: datetime, end: datetime) -> list[_Piece]:
        """[start, end] in equal pieces of as many rows as fit, by the planner's estimate."""
        expected = expected_rows(self._connection, selection(self._source, start, end, None))
        bounds = slices(start, end, -(-expected // self._most))
        return [(low, high - _MICROSECOND if high < end else high) for low, high in bounds]

    def _pieces_of_hours(self, counts: dict[int, int]) -> list[_Piece]:
        """The hours, those that follow each other together while they fit."""
        pieces: list[tuple[int, int, int]] = []
        for hour in sorted(counts):
            if pieces and pieces[-1][1] == hour and pieces[-1][2] + counts[hour] <= self._most:
                low, _, rows = pieces.pop()
                pieces.append((low, hour + 1, rows + counts[hour]))
            else:
                pieces.append((hour, hour + 1, counts[hour]))
        return [(_instant(low), _instant(high) - _MICROSECOND) for low, high, _ in pieces]


def _in(hours: frozenset[int]) -> sql.Composable:
    """The condition of rows that ended in these hours, or of all between them where they are too scattered."""
    spans: list[tuple[int, int]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + 1)
        else:
            spans.append((hour, hour + 1))
    if len(spans) > _MOST_SPANS:
        spans = [(spans[0][0], spans[-1][1])]
    conditions = [
        sql.SQL("created_at >= {} AND created_at < {}").format(_literal(_instant(low)), _literal(_instant(high)))
        for low, high in spans
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def _without(rows: pl.DataFrame, gone: pl.DataFrame) -> pl.DataFrame:
    """The rows less those that are gone; of equal ones, where no key forbids them, as many as are gone."""
    columns = list(METRICS.columns)
    copy = pl.int_range(pl.len()).over(columns).alias("copy")
    candidates = rows.join(gone, on="metric_id", how="semi").with_columns(copy)
    kept = candidates.join(gone.with_columns(copy), on=[*columns, "copy"], how="anti")
    return pl.concat([rows.join(gone, on="metric_id", how="anti"), kept.select(columns)])


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    return METRICS.check(rows.select(list(METRICS.columns)))


def _hour_of_row() -> pl.Expr:
    return pl.col("created_at").dt.epoch("us") // HOUR_US


def _hour(instant: datetime) -> int:
    """Hours since 1970 at its beginning."""
    return (instant - _EPOCH) // _HOUR


def _instant(hour: int) -> datetime:
    return _EPOCH + hour * _HOUR


def _literal(instant: datetime) -> sql.Composable:
    return sql.SQL("{}::TIMESTAMPTZ").format(sql.Literal(instant.isoformat(" ", "microseconds")))
