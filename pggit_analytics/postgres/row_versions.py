"""What PostgreSQL knows of the versions of a table's rows: who wrote them, and whether that is comparable over time.

Every row version names the transaction that wrote it (``xmin``). A snapshot's xmin, the *horizon*, is the oldest
transaction still running: all before it have ended. So of a later snapshot of the same server:

- a row of a transaction before the horizon was there at the earlier snapshot already, unless something has deleted it;
- every row that was not there, whoever wrote it and whenever it was committed, is of the horizon or later. That holds
  for rows of subtransactions and prepared transactions and for any metric_id and created_at.

An update writes a new version, a deletion leaves one row fewer. So rows of transactions before the horizon are the same
as at the earlier snapshot exactly when they are as many.

Counting them takes a scan of the table. Where triggers note which hours were changed (`Watch`), only those are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import psycopg
from psycopg import sql

from pggit_analytics.postgres.connection import Database

TABLE = "performance_metrics"

#: where triggers note the hours whose rows were changed, or added late; and the triggers
CHANGES = "performance_metrics_changes"
_TRIGGERS = (
    "performance_metrics_note_delete",
    "performance_metrics_note_update",
    "performance_metrics_register_operation_types",
)

#: as many transactions are named one by one, which the server compares fastest and in parallel
MOST_NAMED = 50_000

#: transaction numbers are stored in 32 bits; a horizon farther back than this cannot be told from one to come
MOST_COMPARABLE = 2**31

_IDENTITY = """
    SELECT
        (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()), t.oid::BIGINT,
        pg_is_in_recovery(), inet_server_addr(), inet_server_port(), current_setting('port')
    FROM pg_catalog.to_regclass({table}) AS t (oid)
"""

# What has to stay for row versions to be comparable: the server without a restart or a crash (which may forget
# commits, and resets the statistics), and the table's files and columns. A crash without a restart of the whole
# server resets the statistics too.
_CIRCUMSTANCES = """
    WITH RECURSIVE family AS (
        SELECT {table}::pg_catalog.regclass::OID AS relid
        UNION
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN family AS f ON i.inhparent = f.relid
    ),

    columns AS (
        SELECT
            a.attrelid,
            string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid, a.atttypmod), ',' ORDER BY a.attname)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attname IN ('metric_id', 'operation_type', 'duration_ms', 'created_at')
        GROUP BY a.attrelid
    )

    SELECT
        pg_snapshot_xmin(s.snapshot)::TEXT::BIGINT, pg_snapshot_xmax(s.snapshot)::TEXT::BIGINT,
        (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
            - '0/0')::BIGINT,
        concat_ws(
            ';', extract(EPOCH FROM pg_postmaster_start_time()), b.stats_reset, pg_is_in_recovery(),
            (
                SELECT string_agg(concat_ws(':', r.oid, pg_relation_filenode(r.oid), c), ';' ORDER BY r.oid)
                FROM family AS f
                JOIN pg_catalog.pg_class AS r ON r.oid = f.relid
                JOIN columns AS c ON c.attrelid = r.oid
            )
        ),
        (SELECT bool_and(r.relkind = 'p' OR (r.relkind = 'r' AND m.amname = 'heap'))
            FROM family AS f
            JOIN pg_catalog.pg_class AS r ON r.oid = f.relid
            LEFT JOIN pg_catalog.pg_am AS m ON m.oid = r.relam),
        (SELECT bool_or(row_security_active(f.relid)) FROM family AS f)
    FROM (SELECT pg_current_snapshot() AS snapshot) AS s, pg_catalog.pg_stat_bgwriter AS b
"""

# The triggers and their log: NULL while one of them is missing or off, may be passed over (by statements on a parent or
# child, or by logical replication), or the log may not be read. A trigger that was off in between is another row
# version in the catalogue; so is a function that was replaced.
_WATCH = """
    SELECT
        CASE
            WHEN count(*) = {triggers}
                AND bool_and(g.tgenabled = 'A' AND r.relkind = 'r' AND NOT r.relhassubclass)
                AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = {table}::regclass)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_origin)
            THEN concat_ws(
                ';', string_agg(concat_ws(' ', g.oid, g.xmin, p.oid, p.xmin), ';' ORDER BY g.tgname), c.oid,
                pg_relation_filenode(c.oid)
            )
        END,
        has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE'),
        (extract(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT
    FROM pg_catalog.to_regclass({changes}) AS c (oid)
    LEFT JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = {table}::regclass AND g.tgname = ANY ({names})
    LEFT JOIN pg_catalog.pg_class AS r ON r.oid = g.tgrelid
    LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
    GROUP BY c.oid
"""

_CHECKPOINT = """
    SELECT
        split_part(c.next_xid, ':', 1)::BIGINT * 4294967296 + split_part(c.next_xid, ':', 2)::BIGINT,
        (extract(EPOCH FROM c.checkpoint_time) * 1000000)::BIGINT
    FROM pg_catalog.pg_control_checkpoint() AS c
"""


@dataclass(frozen=True, slots=True)
class Watch:
    """The triggers that note what is not told by the rows of a transaction's own time."""

    #: while it stays, nothing went unnoted; None when they cannot be relied on
    fingerprint: str | None
    #: rows of the horizon and later transactions were written after it, by the server's clock; 0 = unknown
    reach: int
    #: the server's clock; both in microseconds since 1970
    now: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """A snapshot, and what has to stay the same for a later one to be compared with it."""

    #: all transactions before it have ended
    horizon: int
    #: no transaction from it on has ended; at least `horizon`
    next_transaction: int
    #: in the write-ahead log
    position: int
    fingerprint: str
    #: why row versions say nothing here; None when they do
    objection: str | None
    watch: Watch


def identity(connection: psycopg.Connection, database: Database) -> str | None:
    """A name for the table on this server, the same in every session; None where there is no such table."""
    row = connection.execute(sql.SQL(_IDENTITY).format(table=_name(database))).fetchone()
    if row is None or row[1] is None:
        return None
    allowed = connection.execute(
        "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
    ).fetchone()
    system = (
        connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone() if allowed == (True,) else ()
    )
    return sha256(repr((*row, system)).encode()).hexdigest()[:24]


def circumstances(connection: psycopg.Connection, database: Database) -> Circumstances:
    """Those of the current transaction's snapshot; the table is locked against changes of its definition already."""
    row = connection.execute(sql.SQL(_CIRCUMSTANCES).format(table=_name(database))).fetchone()
    assert row is not None, "the views of statistics have one row"
    horizon, next_transaction, position, fingerprint, is_plain, is_secured = row
    objection = None
    if not is_plain:
        objection = "performance_metrics is no plain table"
    elif is_secured:
        objection = "row security chooses the rows of performance_metrics"
    watch = _watch(connection, database, horizon)
    return Circumstances(horizon, next_transaction, position, fingerprint, objection, watch)


def _watch(connection: psycopg.Connection, database: Database, horizon: int) -> Watch:
    """That of the current transaction's snapshot, whose horizon this is.

    A transaction gets its number before it writes. So what has a number that was not given yet at a checkpoint was
    written after it.
    """
    row = connection.execute(
        sql.SQL(_WATCH).format(
            table=_name(database),
            changes=_name(database, CHANGES),
            names=sql.Literal(list(_TRIGGERS)),
            triggers=sql.Literal(len(_TRIGGERS)),
        )
    ).fetchone()
    assert row is not None, "to_regclass is one row"
    fingerprint, may_ask, now = row
    if not may_ask:
        return Watch(None, 0, now)
    checkpoint = connection.execute(_CHECKPOINT.encode()).fetchone()
    assert checkpoint is not None, "every server has had a checkpoint"
    next_transaction, at = checkpoint
    return Watch(fingerprint, at if next_transaction <= horizon and at <= now else 0, now)


def written_between(first: int, next_transaction: int) -> sql.Composable:
    """The condition of rows written by a transaction in [first, next_transaction).

    Rows older than 2^32 transactions can be taken for one of them; they are then counted with the new ones, and those
    that are kept no longer match their count.
    """
    if next_transaction - first <= 0:
        return sql.SQL("FALSE")
    if next_transaction - first <= MOST_NAMED:
        numbers = (number % 2**32 for number in range(first, next_transaction))
        # 0, 1 and 2 are no transactions
        named = sql.Literal("{" + ",".join(str(number) for number in numbers if number > 2) + "}")
        return sql.SQL("xmin = ANY ({}::XID[])").format(named)
    # sent as big-endian bytes, which compare as the numbers do
    low, high = first % 2**32, next_transaction % 2**32
    if low < high:
        return sql.SQL("(xidsend(xmin) >= {} AND xidsend(xmin) < {})").format(_bytes(low), _bytes(high))
    return sql.SQL("(xidsend(xmin) >= {} OR (xidsend(xmin) < {} AND xidsend(xmin) > {}))").format(
        _bytes(low), _bytes(high), _bytes(2)
    )


def _bytes(number: int) -> sql.Composable:
    return sql.SQL("{}::BYTEA").format(sql.Literal(f"\\x{number:08x}"))


def _name(database: Database, table: str = TABLE) -> sql.Literal:
    return sql.Literal(sql.Identifier(database.schema, table).as_string(None))
