"""One state of a source, for as many connections as read it: rows committed meanwhile are in none of them.

One connection exports its snapshot and keeps its transaction open; others, on any machine, adopt it while that lasts. A
snapshot belongs to a server, so all of them must reach the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pggit_analytics.errors import DatabaseError
from pggit_analytics.postgres.connection import Database, first_line
from pggit_analytics.postgres.sources import Source, check_columns, subquery


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a source that is held for others."""

    #: by which other connections adopt it; no secret
    name: str
    #: of each operation the number of its rows in the window
    rows: Mapping[str, int]


def begin_reading(connection: psycopg.Connection, database: Database, snapshot: str | None = None) -> None:
    """Begin a transaction of one state, that of ``snapshot`` or (None) the present one, in which nothing can change.

    Raises:
        DatabaseError: the server does not know the snapshot.
    """
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    if snapshot is not None:
        try:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        except psycopg.Error as exc:
            raise DatabaseError(
                f"{database.place} does not know the snapshot of this run ({first_line(exc)}); every worker must read "
                "from the server that the run itself reads from"
            ) from exc
    # This connection may only hold the snapshot while others read.
    connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")


def exported(connection: psycopg.Connection) -> str:
    """The name of the connection's snapshot, which others may adopt until its transaction ends."""
    row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    return str(row[0])


@contextmanager
def held_snapshot(
    database: Database, source: Source, start: datetime, end: datetime, operations: Sequence[str] | None
) -> Iterator[Snapshot]:
    """Hold the present state of the source, and count the rows with start <= created_at <= end.

    Raises:
        InvalidSource, PermissionDenied, NotDeployed, DatabaseUnavailable: see `sources.check_source`.
    """
    with database.connect(own_path=False) as connection:
        begin_reading(connection, database)
        check_columns(connection, database, source)
        statement = (
            "SELECT operation_type::text, count(*) "  # noqa: S608 - the query is the source
            f"FROM {subquery(source)} AS source "
            "WHERE created_at BETWEEN $1 AND $2 AND ($3::text[] IS NULL OR operation_type::text = ANY ($3)) "
            "GROUP BY operation_type::text"
        )
        with psycopg.RawCursor(connection) as cursor:
            names = None if operations is None else list(operations)
            counted = cursor.execute(statement.encode(), (start, end, names)).fetchall()
        yield Snapshot(exported(connection), dict(counted))
