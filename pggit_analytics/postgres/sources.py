"""Where the timings come from: a SELECT that yields the canonical columns, and the check that it does.

The canonical columns are ``metric_id`` (integer, unique), ``operation_type`` (text), ``duration_ms`` (a number, not
NULL, >= 0) and ``created_at`` (timestamptz, when the operation ended; a row without it is not read).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors, sql

from pggit_analytics.config import SourceSettings
from pggit_analytics.errors import InvalidSource, PermissionDenied
from pggit_analytics.postgres.connection import Database, first_line

#: name of the source that reads the schema's own table
NATIVE = "native"

#: canonical column -> (what it must be, type names of PostgreSQL that are it; None = any text-like type)
_CANONICAL: dict[str, tuple[str, frozenset[str] | None]] = {
    "metric_id": ("an integer", frozenset({"bigint", "integer", "smallint"})),
    "operation_type": ("text", None),
    "duration_ms": (
        "a number of milliseconds",
        frozenset({"numeric", "double precision", "real", "bigint", "integer", "smallint"}),
    ),
    "created_at": ("timestamp with time zone", frozenset({"timestamp with time zone"})),
}

#: what to write instead of the columns people are most likely to have
_REMEDIES = {
    ("created_at", "timestamp without time zone"): (
        " (write: created_at AT TIME ZONE 'UTC' AS created_at, with the zone it was recorded in)"
    ),
    ("metric_id", "uuid"): (" (write: ('x' || substr(md5(metric_id::text), 1, 16))::bit(64)::bigint AS metric_id)"),
}

#: pgGit 0.2.1 keeps an uuid and timestamps without a zone, which are read as UTC. Unfinished operations have no
#: duration or no end and are left out.
_PGGIT_0_2_1 = """
SELECT ('x' || substr(md5(metric_id::text), 1, 16))::bit(64)::bigint AS metric_id,
       operation_type,
       duration_ms,
       completed_at AT TIME ZONE 'UTC' AS created_at
FROM pggit.performance_metrics
WHERE duration_ms IS NOT NULL AND completed_at IS NOT NULL
"""

#: where a query may hold a semicolon that ends nothing: comments, strings, quoted names, dollar quotes
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | \b[eE]'(?:[^'\\]|\\.|'')*'
  | '(?:[^']|'')*'
  | "(?:[^"]|"")*"
  | (?<![\w$]) \$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? \$(?P=tag)\$
  | (?P<end> ; )
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """One place to read timings from."""

    #: for messages
    name: str
    #: a single SELECT that yields the canonical columns
    query: str


def native(schema: str) -> Source:
    """The table ``performance_metrics`` of the schema."""
    query = sql.SQL("SELECT metric_id, operation_type, duration_ms, created_at FROM {}").format(
        sql.Identifier(schema, "performance_metrics")
    )
    return Source(NATIVE, query.as_string(None))


def pggit_0_2_1() -> Source:
    """The table ``pggit.performance_metrics`` as pgGit 0.2.1 creates it."""
    return Source("pggit-0.2.1", _PGGIT_0_2_1)


def configured(settings: SourceSettings, database: Database) -> tuple[Database, Source]:
    """The source of the settings and the database to read it from, ``database`` unless they name another."""
    if settings.database_url is not None:
        database = replace(database, conninfo=settings.database_url.get_secret_value())
    if settings.query is not None:
        return database, Source("query", settings.query)
    return database, pggit_0_2_1() if settings.preset == "pggit-0.2.1" else native(database.schema)


def subquery(source: Source) -> str:
    """The source's query in parentheses, ready to follow FROM. A trailing semicolon is dropped, comments are kept.

    Raises:
        InvalidSource: it is empty or holds more than one statement.
    """
    query = source.query
    for token in _TOKEN.finditer(query):
        if token["end"]:
            if not _is_blank(query[token.end() :]):
                raise InvalidSource(f"source {source.name}: more than one statement; give a single SELECT")
            query = query[: token.start()]
            break
    if _is_blank(query):
        raise InvalidSource(f"source {source.name}: the query is empty; give a single SELECT")
    # The line end closes a trailing comment.
    return f"(\n{query}\n)"


def _is_blank(text: str) -> bool:
    """Nothing but white space, comments and semicolons."""
    return not re.sub(r"--[^\n]*|/\*.*?\*/|;|\s", "", text, flags=re.DOTALL)


def check_source(database: Database, source: Source) -> None:
    """Check that the source yields the canonical columns; reads no rows.

    Raises:
        InvalidSource: naming every missing or unusable column and those found, or what is wrong with the query.
        PermissionDenied: the role may not read it.
        NotDeployed: the schema's own table is not there.
        DatabaseUnavailable: the server is away or refuses the log-in.
    """
    with database.connect(own_path=False) as connection:
        connection.read_only = True
        check_columns(connection, database, source)


def check_columns(connection: psycopg.Connection, database: Database, source: Source) -> None:
    """`check_source` on a connection of the role, in its current transaction."""
    columns = _described(connection, database, source)
    faults = []
    for name, (expected, types) in _CANONICAL.items():
        found = [(type_name, is_text) for column, type_name, is_text in columns if column == name]
        if len(found) != 1:
            faults.append(f"{name} is missing" if not found else f"{name} appears {len(found)} times")
            continue
        type_name, is_text = found[0]
        if not (is_text if types is None else type_name in types):
            faults.append(f"{name} is {type_name}, expected {expected}{_REMEDIES.get((name, type_name), '')}")
    if faults:
        names = ", ".join(f"{column} {type_name}" for column, type_name, _ in columns) or "none"
        raise InvalidSource(f"source {source.name}: {'; '.join(faults)} (columns found: {names})")


def _described(connection: psycopg.Connection, database: Database, source: Source) -> Sequence[tuple[str, str, bool]]:
    """Name, type name and whether it is text-like of each column of the source."""
    statement = f"SELECT * FROM {subquery(source)} AS source LIMIT 0".encode()  # noqa: S608 - the query is the source
    try:
        # Binary results need the extended protocol, which takes one statement only.
        description = connection.execute(statement, binary=True).description or []
    except psycopg.Error as exc:
        if source.name == NATIVE or isinstance(exc, psycopg.OperationalError):
            raise  # the connection's edge translates these
        raise _refusal(exc, database, source) from exc
    oids = [column.type_code for column in description]
    rows = connection.execute(
        "SELECT oid::bigint, format_type(oid, NULL), typcategory IN ('S', 'E') "
        "FROM pg_catalog.pg_type WHERE oid::bigint = ANY (%s::bigint[])",
        (oids,),
    )
    types = {oid: (type_name, is_text) for oid, type_name, is_text in rows}
    return [(column.name, *types[column.type_code]) for column in description]


def _refusal(exc: psycopg.Error, database: Database, source: Source) -> InvalidSource | PermissionDenied:
    """The error to raise for a user's query that the server refuses."""
    reason = f"source {source.name}: {first_line(exc)} in {database.place}"
    if isinstance(exc, errors.InsufficientPrivilege):
        return PermissionDenied(f"{reason}; grant SELECT on it to the role, or connect as another user")
    return InvalidSource(f"{reason}; the query must be a single SELECT that this role can run")
