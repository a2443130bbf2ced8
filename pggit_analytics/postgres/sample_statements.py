"""Turns the counters of pg_stat_statements into timings: one metric an operation and interval, its mean duration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from pggit_analytics.analysis.statement_deltas import (
    Counters,
    Sample,
    StatementKey,
    StatementTiming,
    statement_deltas,
    statement_timings,
)
from pggit_analytics.config import StatementsSettings
from pggit_analytics.errors import ConfigurationError
from pggit_analytics.postgres.connection import Database, first_line

#: of a timing; the rest of a pattern's statements can be found by it
_MOST_QUERYIDS = 20

_REMEDY = (
    "add pg_stat_statements to shared_preload_libraries, restart the server and run "
    "CREATE EXTENSION pg_stat_statements as a superuser"
)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sample gave."""

    sampled_at: datetime
    #: seconds since the sample before; None = this is the first, which only remembers
    interval_s: float | None
    #: entries of this database
    statements: int
    #: entries that the role may not see
    hidden: int
    #: the statistics were reset, or are another server's
    was_reset: bool
    #: times that entries were evicted since the sample before
    evictions: int
    #: metrics written, one an operation
    timings: int
    calls: int


def sample_statements(database: Database, settings: StatementsSettings) -> Sampled:
    """Compare the statistics with the sample before, write what happened since, and remember them. One transaction.

    Args:
        database: where metrics are written and the sample is kept.
        settings: what statements are called, how many are recorded, and where the statistics are if elsewhere.

    Raises:
        ConfigurationError: pg_stat_statements is not there.
        DatabaseError: see `connection.translated`.
    """
    source = database
    if settings.database_url is not None:
        source = replace(database, conninfo=settings.database_url.get_secret_value())
    with database.connect() as connection:
        before = _kept(connection)
        now, texts = _read(source, with_texts=any(operation.pattern for operation in settings.operations))
        deltas = statement_deltas(before, now)
        timings = statement_timings(deltas, _names(settings, texts), settings.top)
        interval_s = None if before is None else (now.sampled_at - before.sampled_at).total_seconds()
        _write(connection, timings, now.sampled_at, interval_s)
        _keep(connection, now)
    is_same = before is not None and before.stats_reset == now.stats_reset
    return Sampled(
        sampled_at=now.sampled_at,
        interval_s=interval_s,
        statements=len(now.counters),
        hidden=now.hidden,
        was_reset=before is not None and not is_same,
        evictions=now.dealloc - before.dealloc if before is not None and is_same else 0,
        timings=len(timings),
        calls=sum(timing.calls for timing in timings),
    )


def _names(settings: StatementsSettings, texts: dict[int, str]) -> Callable[[int], str | None]:
    """The operation that a queryid belongs to: the first of the settings that fits."""

    def name_of(queryid: int) -> str | None:
        for operation in settings.operations:
            if operation.queryid == queryid:
                return operation.name
            if operation.pattern is not None and operation.pattern.search(texts.get(queryid, "")):
                return operation.name
        return None

    return name_of


# The moment comes first: an entry that is made between it and the reading is younger than the sample.
_INFO = "SELECT clock_timestamp(), stats_reset, dealloc FROM {}.pg_stat_statements_info"
_ENTRIES = """
    SELECT userid::BIGINT, toplevel, queryid, calls, total_exec_time, {since}, query
    FROM {schema}.pg_stat_statements({with_texts})
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _read(database: Database, *, with_texts: bool) -> tuple[Sample, dict[int, str]]:
    """The statistics now, and the text of each statement if asked for."""
    counters: dict[StatementKey, Counters] = {}
    texts: dict[int, str] = {}
    hidden = 0
    with database.connect(own_path=False) as connection, _explained(database):
        connection.read_only = True
        schema, knows_since = _extension(connection, database)
        info = connection.execute(sql.SQL(_INFO).format(sql.Identifier(schema))).fetchone()
        assert info is not None, "a view of one row"
        query = sql.SQL(_ENTRIES).format(
            schema=sql.Identifier(schema),
            since=sql.SQL("stats_since" if knows_since else "NULL::TIMESTAMPTZ"),
            with_texts=with_texts,
        )
        for userid, toplevel, queryid, calls, total, since, text in connection.execute(query):
            if queryid is None:  # another user's, without pg_read_all_stats
                hidden += 1
                continue
            counters[StatementKey(userid, toplevel, queryid)] = Counters(calls, total, since)
            if text is not None:
                texts.setdefault(queryid, text)
    sampled_at, stats_reset, dealloc = info
    return Sample(sampled_at, stats_reset, dealloc, hidden, counters), texts


def _extension(connection: psycopg.Connection, database: Database) -> tuple[str, bool]:
    """The schema it is in, and whether it knows when an entry was made."""
    row = connection.execute(
        """
        SELECT n.nspname, EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = to_regclass(format('%I.pg_stat_statements', n.nspname)) AND a.attname = 'stats_since')
        FROM pg_extension AS e
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'
        """
    ).fetchone()
    if row is None:
        raise ConfigurationError(f"pg_stat_statements is not installed in {database.place}; {_REMEDY}")
    return row[0], row[1]


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except errors.ObjectNotInPrerequisiteState as exc:
        raise ConfigurationError(f"{first_line(exc)} in {database.place}; {_REMEDY}") from exc


def _kept(connection: psycopg.Connection) -> Sample | None:
    """The sample before; held until the end of the transaction, so that two at once take turns."""
    connection.execute("LOCK TABLE statement_sampling IN SHARE ROW EXCLUSIVE MODE")
    row = connection.execute("SELECT sampled_at, stats_reset, dealloc, hidden FROM statement_sampling").fetchone()
    if row is None:
        return None
    counters = connection.execute(
        "SELECT userid, toplevel, queryid, calls, total_exec_ms, stats_since FROM statement_counters"
    )
    sampled_at, stats_reset, dealloc, hidden = row
    known = {StatementKey(*entry[:3]): Counters(*entry[3:]) for entry in counters}
    return Sample(sampled_at, stats_reset, dealloc, hidden, known)


_KEEP_COUNTERS = """
    WITH gone AS (
        DELETE FROM statement_counters AS c
        WHERE NOT EXISTS (
            SELECT FROM pg_temp.pggit_statements AS s
            WHERE s.userid = c.userid AND s.toplevel = c.toplevel AND s.queryid = c.queryid
        )
    )
    INSERT INTO statement_counters AS c (userid, toplevel, queryid, calls, total_exec_ms, stats_since)
    SELECT userid, toplevel, queryid, calls, total_exec_ms, stats_since FROM pg_temp.pggit_statements
    ON CONFLICT (userid, toplevel, queryid) DO UPDATE
    SET calls = excluded.calls, total_exec_ms = excluded.total_exec_ms, stats_since = excluded.stats_since
    WHERE (c.calls, c.total_exec_ms, c.stats_since)
        IS DISTINCT FROM (excluded.calls, excluded.total_exec_ms, excluded.stats_since)
"""


def _keep(connection: psycopg.Connection, now: Sample) -> None:
    connection.execute(
        "CREATE TEMPORARY TABLE pggit_statements (userid BIGINT, toplevel BOOLEAN, queryid BIGINT, calls BIGINT, "
        "total_exec_ms DOUBLE PRECISION, stats_since TIMESTAMPTZ) ON COMMIT DROP"
    )
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.pggit_statements FROM STDIN") as copy:
        for key, counters in now.counters.items():
            copy.write_row((*key, *counters))
    connection.execute(_KEEP_COUNTERS)
    connection.execute(
        "INSERT INTO statement_sampling (sampled_at, stats_reset, dealloc, hidden) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (is_latest) DO UPDATE SET (sampled_at, stats_reset, dealloc, hidden) = "
        "(excluded.sampled_at, excluded.stats_reset, excluded.dealloc, excluded.hidden)",
        (now.sampled_at, now.stats_reset, now.dealloc, now.hidden),
    )


def _write(
    connection: psycopg.Connection, timings: list[StatementTiming], sampled_at: datetime, interval_s: float | None
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at, user_name, metadata) "
            "VALUES (%s, round(%s::NUMERIC, 3), %s, NULL, %s)",
            [
                (timing.operation_type, timing.mean_ms, sampled_at, Jsonb(_metadata(timing, interval_s)))
                for timing in timings
            ],
        )


def _metadata(timing: StatementTiming, interval_s: float | None) -> dict[str, object]:
    return {
        "source": "pg_stat_statements",
        "calls": timing.calls,
        "total_ms": round(timing.total_ms, 3),
        "interval_s": interval_s,
        # as text: JSON's numbers are not that exact everywhere
        "queryids": [str(queryid) for queryid in timing.queryids[:_MOST_QUERYIDS]],
        **({"uncertain": True} if timing.is_uncertain else {}),
    }
