"""What a schema holds, read from pg_catalog, and how two schemas differ. Nothing here parses SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

#: how the comment of every function and view of this project begins
OWN_COMMENT = "pggit_analytics"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, index or sequence."""

    oid: int
    name: str
    #: pg_class.relkind
    kind: str
    comment: str | None
    #: the query of a view
    definition: str | None
    #: the table of an index
    table: str | None

    @property
    def is_table(self) -> bool:
        return self.kind in {"r", "p"}

    @property
    def is_own(self) -> bool:
        return (self.comment or "").startswith(OWN_COMMENT)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or view."""

    table: str
    name: str
    #: with its modifiers, such as numeric(14,3)
    type: str
    not_null: bool
    #: expression of the default
    default: str | None
    #: the default is the same whenever it is computed
    constant: bool
    identity: bool
    generated: bool

    @property
    def fills_itself(self) -> bool:
        """An INSERT need not name it."""
        return self.default is not None or self.identity or self.generated


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key, a unique constraint or a unique index: what ON CONFLICT can rely on."""

    table: str
    name: str
    #: key columns or expressions, ascending by name: their order does not matter to ON CONFLICT
    columns: list[str]
    predicate: str | None
    nulls_not_distinct: bool
    #: statement that adds it
    statement: str

    @property
    def identity(self) -> tuple[str, tuple[str, ...], str | None, bool]:
        return self.table, tuple(self.columns), self.predicate, self.nulls_not_distinct


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint."""

    table: str
    columns: list[str]
    #: statement that adds it
    statement: str


@dataclass(frozen=True, slots=True)
class Routine:
    """A function or procedure."""

    oid: int
    name: str
    #: types of the input arguments, which together with the name identify it
    types: str
    #: names, types and defaults of all arguments
    arguments: str
    #: type of the result; NULL for a procedure
    result: str | None
    kind: str
    #: fewest and most arguments of a call
    fewest: int
    most: int
    comment: str | None
    #: body, language and properties
    definition: str

    @property
    def is_own(self) -> bool:
        return (self.comment or "").startswith(OWN_COMMENT)

    @property
    def signature(self) -> tuple[str, str, str | None, str]:
        """What CREATE OR REPLACE cannot change."""
        return self.types, self.arguments, self.result, self.kind

    def __str__(self) -> str:
        return f"{self.name}({self.types})"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a table."""

    oid: int
    name: str
    table: str
    definition: str


@dataclass(frozen=True, slots=True)
class Dependant:
    """An object that would have to be dropped before others can be."""

    #: catalog that holds it, such as pg_proc
    catalog: str
    oid: int
    #: as PostgreSQL describes it
    description: str
    #: what it depends on
    on: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything the deployment compares. Empty for a schema that does not exist."""

    relations: dict[str, Relation]
    columns: dict[str, dict[str, Column]]
    keys: list[Key]
    checks: list[Check]
    routines: list[Routine]
    triggers: list[Trigger]

    def routines_named(self, name: str) -> list[Routine]:
        return [routine for routine in self.routines if routine.name == name]


_RELATIONS = """
SELECT c.oid::BIGINT AS oid, c.relname AS name, c.relkind::TEXT AS kind,
       obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid, TRUE) END AS definition,
       t.relname AS table
FROM pg_class AS c
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_class AS t ON t.oid = i.indrelid
WHERE c.relnamespace = %s
ORDER BY c.relname
"""

_COLUMNS = r"""
SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       d.adbin IS NOT NULL
           AND d.adbin::TEXT !~ 'SQLVALUEFUNCTION|NEXTVALUEEXPR|COERCEVIAIO'
           AND NOT EXISTS (
               SELECT FROM regexp_matches(d.adbin::TEXT, ':(?:op)?funcid (\d+)', 'g') AS m (found)
               JOIN pg_proc AS p ON p.oid = m.found[1]::OID
               WHERE p.provolatile <> 'i') AS constant,
       a.attidentity <> '' AS identity, a.attgenerated <> '' AS generated
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum
"""

# A deferrable key cannot serve ON CONFLICT.
_KEYS = """
SELECT t.relname AS table, c.relname AS name,
       (SELECT array_agg(pg_get_indexdef(i.indexrelid, n, TRUE) ORDER BY pg_get_indexdef(i.indexrelid, n, TRUE))
        FROM generate_series(1, i.indnkeyatts::INTEGER) AS n) AS columns,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       i.indnullsnotdistinct AS nulls_not_distinct,
       CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.indexrelid, 0, TRUE)
            ELSE format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s',
                        t.relname, k.conname, pg_get_constraintdef(k.oid, TRUE)) END AS statement
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
WHERE t.relnamespace = %s AND t.relkind IN ('r', 'p') AND i.indisunique AND i.indisvalid AND i.indimmediate
ORDER BY t.relname, c.relname
"""

_CHECKS = """
SELECT t.relname AS table,
       ARRAY(SELECT a.attname::TEXT FROM pg_attribute AS a
             WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey)) AS columns,
       format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s',
              t.relname, k.conname, pg_get_constraintdef(k.oid, TRUE)) AS statement
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
WHERE t.relnamespace = %s AND k.contype = 'c' AND cardinality(k.conkey) > 0
ORDER BY t.relname, k.conname
"""

# The search path is left out of the settings: every function has its schema's.
_ROUTINES = """
SELECT p.oid::BIGINT AS oid, p.proname AS name, oidvectortypes(p.proargtypes) AS types,
       pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.prokind::TEXT AS kind,
       p.pronargs - p.pronargdefaults AS fewest,
       CASE WHEN p.provariadic <> 0 THEN 100 ELSE p.pronargs END AS most,
       obj_description(p.oid, 'pg_proc') AS comment,
       concat_ws(' ', l.lanname, p.provolatile, p.proparallel, p.proisstrict, p.prosecdef, p.proleakproof, p.procost,
                 p.prorows, ARRAY(SELECT s FROM unnest(p.proconfig) AS s WHERE s NOT LIKE 'search_path=%%'),
                 p.prosrc, pg_get_function_sqlbody(p.oid)) AS definition
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = %s
ORDER BY p.proname, types
"""

_TRIGGERS = """
SELECT g.oid::BIGINT AS oid, g.tgname AS name, c.relname AS table,
       concat_ws(' ', pg_get_triggerdef(g.oid, TRUE), g.tgenabled) AS definition
FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid
WHERE c.relnamespace = %s AND NOT g.tgisinternal
ORDER BY c.relname, g.tgname
"""

# A view's dependence is held by its rule and its row type; both are followed to the view itself. Deepest first.
_DEPENDANTS = """
WITH RECURSIVE found (classid, objid, origin, depth) AS (
    SELECT s.classid::OID, s.objid::OID, pg_describe_object(s.classid::OID, s.objid::OID, 0), 0
    FROM unnest(%s::REGCLASS[], %s::OID[]) AS s (classid, objid)
    UNION
    SELECT n.classid, n.objid, f.origin, f.depth + 1
    FROM found AS f
    JOIN pg_depend AS d ON d.refclassid = f.classid AND d.refobjid = f.objid AND d.deptype IN ('n', 'a', 'i')
    LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::REGCLASS AND r.oid = d.objid
    CROSS JOIN LATERAL (
        SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::REGCLASS END AS classid,
               coalesce(r.ev_class, d.objid) AS objid
    ) AS n
    WHERE (n.classid, n.objid) <> (f.classid, f.objid) AND f.depth < 100
)
SELECT classid::REGCLASS::TEXT AS catalog, objid::BIGINT AS oid, pg_describe_object(classid, objid, 0) AS description,
       min(origin) AS on
FROM found
WHERE classid <> 'pg_type'::REGCLASS
GROUP BY classid, objid
ORDER BY max(depth) DESC, classid, objid
"""


def namespace_oid(connection: psycopg.Connection, schema: str) -> int | None:
    """The schema's oid, None where it does not exist; ``pg_temp`` means this session's own."""
    row = connection.execute(
        "SELECT CASE WHEN %(name)s = 'pg_temp' THEN pg_my_temp_schema()"
        " ELSE (SELECT oid FROM pg_namespace WHERE nspname = %(name)s) END::BIGINT",
        {"name": schema},
    ).fetchone()
    return row[0] if row else None


def read_catalog(connection: psycopg.Connection, schema: str) -> Catalog:
    """Everything in ``schema``, its own names without their schema. The search path is changed for the transaction."""
    set_local_path(connection, schema)
    oid = namespace_oid(connection, schema) or 0

    def rows(record: Callable[..., _T], query: str) -> list[_T]:
        with connection.cursor(row_factory=class_row(record)) as cursor:  # type: ignore[arg-type]
            return cursor.execute(query.encode(), (oid,)).fetchall()

    columns: dict[str, dict[str, Column]] = {}
    for column in rows(Column, _COLUMNS):
        columns.setdefault(column.table, {})[column.name] = column
    return Catalog(
        relations={relation.name: relation for relation in rows(Relation, _RELATIONS)},
        columns=columns,
        keys=rows(Key, _KEYS),
        checks=rows(Check, _CHECKS),
        routines=_without_schema(connection, schema, rows(Routine, _ROUTINES)),
        triggers=rows(Trigger, _TRIGGERS),
    )


def _without_schema(connection: psycopg.Connection, schema: str, routines: list[Routine]) -> list[Routine]:
    """A procedure that commits has no search path of its own and names the schema; without it two can be compared."""
    row = connection.execute("SELECT quote_ident(%s)", (schema,)).fetchone()
    # also of what is not there: such a procedure may call what comes later
    call = re.compile(rf"(?<![\w\"]){re.escape(row[0] if row else schema)}\.(\w+\()")
    return [
        replace(routine, definition=call.sub(r"\1", routine.definition)) if routine.kind == "p" else routine
        for routine in routines
    ]


def read_dependants(connection: psycopg.Connection, objects: Iterable[tuple[str, int]]) -> list[Dependant]:
    """The objects (catalog, oid) themselves and all that hangs on them, in an order in which they can be dropped."""
    pairs = list(objects)
    if not pairs:
        return []
    with connection.cursor(row_factory=class_row(Dependant)) as cursor:
        parameters = ([catalog for catalog, _ in pairs], [oid for _, oid in pairs])
        return cursor.execute(_DEPENDANTS.encode(), parameters).fetchall()


def set_local_path(connection: psycopg.Connection, schema: str) -> None:
    """Look names up in ``schema`` alone until the transaction or savepoint ends."""
    path = sql.SQL("SET LOCAL search_path TO {}, pg_temp").format(sql.Identifier(schema))
    connection.execute(path)


def differences_of_tables(expected: Catalog, actual: Catalog) -> list[str]:
    """Why existing relations cannot serve, one line each."""
    lines: list[str] = []
    for name, wanted in expected.relations.items():
        found = actual.relations.get(name)
        if found is None:
            continue
        if wanted.is_table:
            if found.is_table:
                lines += _differences_of_columns(name, expected, actual)
            else:
                lines.append(f"{name} is {_KINDS.get(found.kind, 'another object')}, expected a table")
        elif wanted.kind == "i" and (found.kind not in {"i", "I"} or found.table != wanted.table):
            owner = f" of {found.table}" if found.table else ""
            lines.append(
                f"{name} is {_KINDS.get(found.kind, 'another object')}{owner}, expected an index of {wanted.table}"
            )
        elif wanted.kind == "v" and not (found.kind == "v" and found.is_own):
            lines.append(
                f"{name} is {_KINDS.get(found.kind, 'another object')} that is not pggit_analytics', expected its view"
            )
    return lines


_KINDS = {
    "r": "a table",
    "p": "a partitioned table",
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "i": "an index",
    "I": "a partitioned index",
    "S": "a sequence",
    "c": "a composite type",
}


def _differences_of_columns(table: str, expected: Catalog, actual: Catalog) -> list[str]:
    wanted, found = expected.columns.get(table, {}), actual.columns.get(table, {})
    lines = [line for name, column in wanted.items() if (line := _difference_of_column(column, found.get(name)))]
    lines += [
        f"column {table}.{name} {column.type} is NOT NULL without a default, inserts would fail"
        for name, column in found.items()
        if name not in wanted and column.not_null and not column.fills_itself
    ]
    return lines


def _difference_of_column(wanted: Column, found: Column | None) -> str | None:
    name = f"column {wanted.table}.{wanted.name}"
    faults = [
        (
            found is None and not can_be_added(wanted),
            f"{name} {wanted.type} is missing and existing rows have no value for it",
        ),
    ]
    if found is not None:
        faults += [
            (found.type != wanted.type, f"{name} is {found.type}, expected {wanted.type}"),
            (found.generated and not wanted.generated, f"{name} is generated, expected a plain column"),
            (found.not_null and not wanted.not_null, f"{name} is NOT NULL, expected NULL to be allowed"),
            (wanted.not_null and not found.not_null, f"{name} may be NULL, expected NOT NULL"),
            (
                wanted.not_null and wanted.fills_itself and not found.fills_itself,
                f"{name} has no default, inserts would fail",
            ),
        ]
    return next((line for is_fault, line in faults if is_fault), None)


def can_be_added(column: Column) -> bool:
    """Existing rows can have a true value: NULL or a constant. The present time would be invented."""
    return not column.identity and not column.generated and (not column.not_null or column.constant)


def differences_of_routines(expected: Catalog, actual: Catalog) -> list[str]:
    """Functions of others in the way of ours, one line each."""
    lines: list[str] = []
    for found in actual.routines:
        if found.is_own:
            continue
        same_name = expected.routines_named(found.name)
        if any(wanted.types == found.types for wanted in same_name):
            lines.append(f"function {found} is not pggit_analytics' and would be replaced")
        lines += [
            f"function {found} is not pggit_analytics' and would make calls of {wanted} ambiguous"
            for wanted in same_name
            if wanted.types != found.types and found.fewest <= wanted.most and wanted.fewest <= found.most
        ][:1]
    return lines


def irreplaceable(expected: Catalog, actual: Catalog) -> list[tuple[str, int]]:
    """Our own functions and views (catalog, oid) that CREATE OR REPLACE cannot turn into the expected ones."""
    signatures = {(routine.name, routine.signature) for routine in expected.routines}
    names = {routine.name for routine in expected.routines}
    routines = [
        ("pg_proc", found.oid)
        for found in actual.routines
        if found.is_own and found.name in names and (found.name, found.signature) not in signatures
    ]
    views = [
        ("pg_class", found.oid)
        for name, found in actual.relations.items()
        if found.is_own and found.kind == "v" and name in expected.relations and not _extends(name, expected, actual)
    ]
    return routines + views


def _extends(view: str, expected: Catalog, actual: Catalog) -> bool:
    """The expected columns are the present ones, perhaps with more behind them."""
    wanted = [(column.name, column.type) for column in expected.columns.get(view, {}).values()]
    found = [(column.name, column.type) for column in actual.columns.get(view, {}).values()]
    return wanted[: len(found)] == found
