"""Copies the merges of pgGit 0.2.1 to ``merge_relationships``, for the dashboards of merges; pgGit's are only read.

What pgGit says of a merge, and what becomes of it:

===================  ========================  ==========  ===============================
status               conflicts                 status      resolution_strategy
===================  ========================  ==========  ===============================
completed            none                      SUCCESS     auto; manual if it was asked for
completed            some                      CONFLICT    manual; auto if by heuristics
awaiting_resolution  any                       CONFLICT    NULL, as it is undecided
failed               any                       FAILED      NULL
aborted              any                       FAILED      rejected
in_progress          any                       not copied yet
===================  ========================  ==========  ===============================

Its timestamps have no zone and are read in that of the settings. A merge that pgGit completes at once has no
``completed_at``, so its duration is not known. One that nobody had to decide gets a ``merge_branches`` metric as well;
of the others the duration is mostly that of people, which is no timing of the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import psycopg
from psycopg import errors, sql
from psycopg.rows import namedtuple_row

from pggit_analytics.config import MergesSettings
from pggit_analytics.errors import ConfigurationError, InvalidSource, PermissionDenied
from pggit_analytics.postgres.connection import Database, first_line

SOURCE = "pggit-0.2.1"

#: a merge may become visible so long after it began, as its transaction commits late
_OVERLAP = timedelta(days=1)

#: longer ones do not fit the column
_LONGEST_MS = Decimal("99999999999.999")

#: of failed merges and of those that nobody had to decide
_TIMED = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Synced:
    """What a synchronisation did."""

    #: the table read
    table: str
    #: zone its timestamps are read in
    time_zone: str
    #: rows looked at: all, or those that are new or were not over
    read: int
    added: int
    changed: int
    #: merges that are not over: in progress, or waiting for somebody
    still_open: int
    metrics_added: int
    #: why rows were left out; one reason a row
    left_out: tuple[str, ...]


class MergeHistoryRow(NamedTuple):
    """A row of pgGit's ``merge_history``, its timestamps with a zone. Everything but the id may be NULL."""

    merge_id: str
    source_branch: str | None
    target_branch: str | None
    started_at: datetime | None
    completed_at: datetime | None
    status: str | None
    conflict_count: int | None
    unresolved_conflicts: int | None
    merge_strategy: str | None


class Merge(NamedTuple):
    """A row of ``merge_relationships``, and when it ended if that is a timing."""

    merge_id: str
    branch_from: str
    branch_into: str
    created_at: datetime
    resolution_strategy: str | None
    status: str
    duration_ms: Decimal | None
    conflict_count: int | None
    unresolved_count: int | None
    #: of the merge_branches metric; None = it gets none
    timed_at: datetime | None


def is_open(row: MergeHistoryRow) -> bool:
    """Whether it is to be looked at again."""
    return row.status in ("in_progress", "awaiting_resolution")


def merge_of(row: MergeHistoryRow) -> Merge | str | None:
    """The merge that a row stands for; None while it is in progress; a text why it cannot be copied."""
    if not row.source_branch or not row.target_branch:
        return f"merge {row.merge_id} does not name both branches"
    if row.started_at is None:
        return f"merge {row.merge_id} has no usable initiated_at"
    if row.status == "in_progress":
        return None
    conflicts = max(row.conflict_count or 0, row.unresolved_conflicts or 0)
    decided = _decided(row, conflicts)
    if decided is None:
        return f"merge {row.merge_id} has the status {row.status!r}"
    status, strategy = decided
    duration = _duration_ms(row)
    return Merge(
        row.merge_id,
        row.source_branch,
        row.target_branch,
        row.started_at,
        strategy,
        status,
        duration,
        None if row.conflict_count is None else max(row.conflict_count, 0),
        None if row.unresolved_conflicts is None else max(row.unresolved_conflicts, 0),
        row.completed_at if duration is not None and row.status in _TIMED and not conflicts else None,
    )


def _decided(row: MergeHistoryRow, conflicts: int) -> tuple[str, str | None] | None:
    """(status, resolution_strategy); None for a status that pgGit 0.2.1 does not have."""
    match row.status:
        case "completed" if conflicts:
            return "CONFLICT", "auto" if row.merge_strategy == "heuristic" else "manual"
        case "completed":
            return "SUCCESS", "manual" if row.merge_strategy == "manual" else "auto"
        case "awaiting_resolution":
            return "CONFLICT", None
        case "failed":
            return "FAILED", None
        case "aborted":
            return "FAILED", "rejected"
    return None


def _duration_ms(row: MergeHistoryRow) -> Decimal | None:
    """From beginning to end; None where that is not known, or the clock was set back meanwhile."""
    if row.started_at is None or row.completed_at is None or row.completed_at < row.started_at or is_open(row):
        return None
    duration = Decimal((row.completed_at - row.started_at) // timedelta(microseconds=1)) / 1000
    return duration if duration <= _LONGEST_MS else None


def sync_merges(database: Database, settings: MergesSettings, *, everything: bool = False) -> Synced:
    """Copy what is new or was not over; repeating it changes nothing. One transaction.

    Args:
        database: where the merges go, and where pgGit is unless the settings name another.
        settings: where pgGit keeps them.
        everything: look at all merges, not only at those that began since a day before the newest one known.

    Raises:
        InvalidSource: there is no such table, or it lacks a column.
        ConfigurationError: the time zone does not exist.
        PermissionDenied: the role may not read pgGit's table or write the merges.
        DatabaseError: see `connection.translated`.
    """
    source = database
    if settings.database_url is not None:
        source = replace(database, conninfo=settings.database_url.get_secret_value())
    with database.connect() as connection:
        known_until, open_merges = _state(connection)
        since = None if everything or known_until is None else known_until - _OVERLAP
        rows = _read(source, settings, since, open_merges)
        mapped = [(row, merge_of(row)) for row in rows]
        added, changed = _write(connection, [merge for _, merge in mapped if isinstance(merge, Merge)])
        metrics_added = _add_metrics(connection)
        starts = [row.started_at for row, merge in mapped if row.started_at is not None and not isinstance(merge, str)]
        still_open = [row.merge_id for row, merge in mapped if is_open(row) and not isinstance(merge, str)]
        _keep_state(connection, max([*starts, *filter(None, [known_until])], default=None), still_open)
    return Synced(
        table=f"{settings.schema_name}.merge_history",
        time_zone=settings.time_zone,
        read=len(rows),
        added=added,
        changed=changed,
        still_open=len(still_open),
        metrics_added=metrics_added,
        left_out=tuple(merge for _, merge in mapped if isinstance(merge, str)),
    )


def _state(connection: psycopg.Connection) -> tuple[datetime | None, list[str]]:
    """How far the last one came; held until the end of the transaction, so that two at once take turns."""
    connection.execute("INSERT INTO merge_sync_state (source) VALUES (%s) ON CONFLICT DO NOTHING", (SOURCE,))
    row = connection.execute(
        "SELECT known_until, open_merges FROM merge_sync_state WHERE source = %s FOR UPDATE", (SOURCE,)
    ).fetchone()
    assert row is not None, "it was just inserted"
    return row[0], row[1]


def _keep_state(connection: psycopg.Connection, known_until: datetime | None, open_merges: list[str]) -> None:
    # a merge of the future must not keep those of the present from being read
    connection.execute(
        "UPDATE merge_sync_state SET known_until = least(%s, clock_timestamp()), open_merges = %s, "
        "synced_at = clock_timestamp() WHERE source = %s",
        (known_until, open_merges, SOURCE),
    )


# Instants outside the years that Python knows, infinite ones among them, are none.
_ROWS = """
    SELECT
        m.id::TEXT AS merge_id, m.source_branch::TEXT, m.target_branch::TEXT,
        CASE WHEN m.initiated_at BETWEEN '0002-01-01' AND '9998-12-31'
            THEN m.initiated_at AT TIME ZONE %(zone)s END AS started_at,
        CASE WHEN m.completed_at BETWEEN '0002-01-01' AND '9998-12-31'
            THEN m.completed_at AT TIME ZONE %(zone)s END AS completed_at,
        m.status::TEXT, m.conflict_count, m.unresolved_conflicts, m.merge_strategy::TEXT
    FROM {} AS m
"""
_NEW_OR_OPEN = "WHERE m.initiated_at >= %(since)s AT TIME ZONE %(zone)s OR m.id = ANY (%(open)s::UUID[])"


def _read(
    database: Database, settings: MergesSettings, since: datetime | None, open_merges: Iterable[str]
) -> list[MergeHistoryRow]:
    query = sql.SQL(_ROWS).format(sql.Identifier(settings.schema_name, "merge_history"))
    if since is not None:
        query += sql.SQL(_NEW_OR_OPEN)
    with database.connect(own_path=False) as connection, _explained(database, settings):
        connection.read_only = True
        cursor = connection.cursor(row_factory=namedtuple_row)
        values = {"zone": settings.time_zone, "since": since, "open": list(open_merges)}
        return [MergeHistoryRow(*row) for row in cursor.execute(query, values)]


@contextmanager
def _explained(database: Database, settings: MergesSettings) -> Iterator[None]:
    """Say what is wrong with pgGit's table, or with what the settings say of it."""
    place = f"merge_history of pgGit in {database.place}"
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn) as exc:
        raise InvalidSource(
            f"{first_line(exc)}: no {place}; set schema_name in [merges] to the schema pgGit is in"
        ) from exc
    except errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            f"{first_line(exc)}: {place}; grant USAGE on the schema {settings.schema_name} and SELECT on the table"
        ) from exc
    except errors.InvalidParameterValue as exc:
        raise ConfigurationError(
            f"time_zone in [merges] is {settings.time_zone!r}: {first_line(exc)}; give a name such as Europe/Paris"
        ) from exc


_UPSERT = """
    WITH written AS (
        INSERT INTO merge_relationships AS m (
            merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms, conflict_count,
            unresolved_count)
        SELECT
            merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms, conflict_count,
            unresolved_count
        FROM pg_temp.pggit_synced_merges
        ORDER BY merge_id
        ON CONFLICT (merge_id) DO UPDATE
        SET (branch_from, branch_into, created_at, resolution_strategy, status, duration_ms, conflict_count,
             unresolved_count) = (
                excluded.branch_from, excluded.branch_into, excluded.created_at, excluded.resolution_strategy,
                excluded.status, excluded.duration_ms, excluded.conflict_count, excluded.unresolved_count)
        WHERE (m.branch_from, m.branch_into, m.created_at, m.resolution_strategy, m.status, m.duration_ms,
               m.conflict_count, m.unresolved_count) IS DISTINCT FROM (
                excluded.branch_from, excluded.branch_into, excluded.created_at, excluded.resolution_strategy,
                excluded.status, excluded.duration_ms, excluded.conflict_count, excluded.unresolved_count)
        RETURNING m.xmax = 0 AS is_new
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written
"""

_METRICS = """
    INSERT INTO performance_metrics (operation_type, duration_ms, created_at, distributed_trace_id, metadata)
    SELECT
        'merge_branches', s.duration_ms, s.timed_at, s.merge_id,
        jsonb_build_object('branch_from', s.branch_from, 'branch_into', s.branch_into, 'status', s.status,
                           'source', %s::TEXT)
    FROM pg_temp.pggit_synced_merges AS s
    WHERE s.timed_at IS NOT NULL
      AND NOT EXISTS (
          SELECT
          FROM performance_metrics AS m
          WHERE m.operation_type = 'merge_branches' AND m.distributed_trace_id = s.merge_id
      )
    ORDER BY s.timed_at, s.merge_id
"""


def _write(connection: psycopg.Connection, merges: list[Merge]) -> tuple[int, int]:
    """Insert and update; how many of each."""
    connection.execute(
        "CREATE TEMPORARY TABLE pggit_synced_merges (merge_id TEXT, branch_from TEXT, branch_into TEXT, "
        "created_at TIMESTAMPTZ, resolution_strategy TEXT, status TEXT, duration_ms NUMERIC(14, 3), "
        "conflict_count INTEGER, unresolved_count INTEGER, timed_at TIMESTAMPTZ) ON COMMIT DROP"
    )
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.pggit_synced_merges FROM STDIN") as copy:
        for merge in merges:
            copy.write_row(merge)
    row = connection.execute(_UPSERT).fetchone()
    assert row is not None, "an aggregate has one row"
    return row[0], row[1]


def _add_metrics(connection: psycopg.Connection) -> int:
    """Add the metrics that are not there yet; how many."""
    return connection.execute(_METRICS, (SOURCE,)).rowcount
