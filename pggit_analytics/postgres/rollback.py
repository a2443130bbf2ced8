"""Takes this project's functions (stage 1), or views and functions (stage 2), out of a schema; tables and rows stay.

Whose an object is, its comment says, as for `deploy`. Nothing is dropped by CASCADE: where something of others depends
on what would go, all of it stays and each such thing is named. `deploy` afterwards makes everything anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from pggit_analytics.errors import (
    DatabaseError,
    IncompatibleDatabase,
    InvalidArgument,
    NotDeployed,
    PermissionDenied,
)
from pggit_analytics.postgres.catalog import (
    OWN_COMMENT,
    Catalog,
    Dependant,
    Routine,
    namespace_oid,
    read_catalog,
    read_dependants,
)
from pggit_analytics.postgres.connection import Database, first_line
from pggit_analytics.postgres.deploy import begin, check_schema_name

#: how long to wait for those who use an object; whoever comes after waits behind
_LOCK_TIMEOUT = "10s"

#: (catalog, oid), as pg_depend names an object
_Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback dropped, or with ``dry_run`` would drop. Objects read ``function analysis_time()``."""

    schema: str
    stage: int
    dry_run: bool
    #: in the order they are dropped
    dropped: tuple[str, ...]
    #: functions that stay because a view that stays, or a function that stays, calls them
    kept: tuple[str, ...]
    #: functions and scheduled jobs of others whose text names something dropped; they will fail when they run
    callers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Drop:
    description: str
    statement: sql.Composed


def roll_back(database: Database, stage: int, *, dry_run: bool = False) -> Rollback:
    """Drop the functions with their triggers (stage 1), or those and the views (stage 2); all of it or nothing.

    In stage 1 the views go on working: the functions they call, directly or not, stay.

    Raises:
        InvalidArgument: the stage is neither 1 nor 2, or the schema's name cannot be used.
        NotDeployed: the schema does not exist.
        IncompatibleDatabase: something of others depends on what would go; ``differences`` names every such object.
        PermissionDenied: the role does not own the objects.
        DatabaseUnavailable, DatabaseError: see `Database.connect`; also when somebody uses an object for too long.
    """
    if stage not in (1, 2):
        raise InvalidArgument(f"stage is {stage}, expected 1 (functions) or 2 (views and functions)")
    check_schema_name(database.schema)
    with database.connect() as connection, _explained(database):
        begin(connection, database.schema)
        connection.execute(f"SET LOCAL lock_timeout TO '{_LOCK_TIMEOUT}'".encode())
        namespace = namespace_oid(connection, database.schema)
        if namespace is None:
            raise NotDeployed(f"{database.place} has no schema {database.schema}, so there is nothing to roll back")
        catalog = read_catalog(connection, database.schema)
        kept = _called_by_views(connection, catalog) if stage == 1 else []
        drops = _drops(connection, database, catalog, _going(catalog, stage, kept))
        callers = _callers(connection, namespace, catalog, kept)
        for drop in drops:
            connection.execute(drop.statement)
        if dry_run:
            connection.rollback()
    return Rollback(
        schema=database.schema,
        stage=stage,
        dry_run=dry_run,
        dropped=tuple(drop.description for drop in drops),
        kept=tuple(f"function {routine}" for routine in kept),
        callers=tuple(callers),
    )


def _own_routines(catalog: Catalog) -> list[Routine]:
    return [routine for routine in catalog.routines if routine.is_own]


def _own_views(catalog: Catalog) -> dict[_Address, str]:
    return {("pg_class", r.oid): r.name for r in catalog.relations.values() if r.is_own and r.kind == "v"}


def _going(catalog: Catalog, stage: int, kept: list[Routine]) -> list[_Address]:
    routines: list[_Address] = [("pg_proc", routine.oid) for routine in _own_routines(catalog) if routine not in kept]
    return routines + (list(_own_views(catalog)) if stage == 2 else [])


def _called_by_views(connection: psycopg.Connection, catalog: Catalog) -> list[Routine]:
    """Our functions that our views need. What a view calls is in pg_depend, what a function calls only in its text."""
    routines = {routine.oid: routine for routine in _own_routines(catalog)}
    rows = connection.execute(
        "SELECT DISTINCT d.refobjid::BIGINT FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid"
        " WHERE d.classid = 'pg_rewrite'::REGCLASS AND d.refclassid = 'pg_proc'::REGCLASS"
        " AND r.ev_class = ANY (%s::OID[])",
        ([oid for _, oid in _own_views(catalog)],),
    ).fetchall()
    wanted = {oid for (oid,) in rows} & routines.keys()
    new = set(wanted)
    while new:
        texts = [routines[oid].definition for oid in new]
        new = {oid for oid, r in routines.items() if any(_names(text, [r.name]) for text in texts)} - wanted
        wanted |= new
    return [routine for routine in routines.values() if routine.oid in wanted]


def _names(text: str, names: Iterable[str]) -> bool:
    """Whether a text may call a routine of one of these names."""
    return any(re.search(rf"\b{re.escape(name)}\b\"?\s*\(", text) for name in names)


def _drops(connection: psycopg.Connection, database: Database, catalog: Catalog, going: list[_Address]) -> list[_Drop]:
    """A statement for each object that goes, dependants first.

    Raises:
        IncompatibleDatabase: one of them is not ours to drop.
    """
    routines = {("pg_proc", routine.oid): routine for routine in _own_routines(catalog)}
    views = _own_views(catalog)
    triggers = {("pg_trigger", t.oid): t for t in catalog.triggers if t.oid in _own_triggers(connection)}
    drops: list[_Drop] = []
    foreign: list[Dependant] = []
    for dependant in read_dependants(connection, going):
        address = (dependant.catalog, dependant.oid)
        if address in routines:
            routine = routines[address]
            # The types are what PostgreSQL printed about our own function.
            types = sql.SQL(f"({routine.types})")
            statement = sql.SQL("DROP ROUTINE ") + sql.Identifier(database.schema, routine.name) + types
            drops.append(_Drop(f"function {routine}", statement))
        elif address in views:
            name = views[address]
            drops.append(_Drop(f"view {name}", sql.SQL("DROP VIEW ") + sql.Identifier(database.schema, name)))
        elif address in triggers:
            trigger = triggers[address]
            statement = sql.SQL("DROP TRIGGER {} ON {}").format(
                sql.Identifier(trigger.name), sql.Identifier(database.schema, trigger.table)
            )
            drops.append(_Drop(f"trigger {trigger.name} of {trigger.table}", statement))
        else:
            foreign.append(dependant)
    if foreign:
        raise _refusal(database, foreign)
    return drops


def _own_triggers(connection: psycopg.Connection) -> set[int]:
    rows = connection.execute(
        "SELECT oid::BIGINT FROM pg_trigger WHERE starts_with(obj_description(oid, 'pg_trigger'), %s)", (OWN_COMMENT,)
    )
    return {oid for (oid,) in rows}


def _refusal(database: Database, foreign: list[Dependant]) -> IncompatibleDatabase:
    lines = tuple(f"{dependant.description} depends on {dependant.on}" for dependant in foreign)
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return IncompatibleDatabase(
        f"schema {database.schema} of {database.place} cannot be rolled back: {lines[0]}{more}; nothing was changed. "
        "Drop or change what depends on it first",
        lines,
    )


_ROUTINES_OF_OTHERS = """
SELECT pg_describe_object('pg_proc'::REGCLASS, p.oid, 0), p.prosrc
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname <> ALL (ARRAY['pg_catalog', 'information_schema'])
  AND NOT (p.pronamespace = %s AND starts_with(coalesce(obj_description(p.oid, 'pg_proc'), ''), %s))
  AND NOT EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_proc'::REGCLASS AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1
"""


def _callers(connection: psycopg.Connection, namespace: int, catalog: Catalog, kept: list[Routine]) -> list[str]:
    """Functions and jobs of others whose text calls a function that goes. PostgreSQL records no such dependence."""
    names = [routine.name for routine in _own_routines(catalog) if routine not in kept]
    found: list[tuple[Any, ...]] = connection.execute(_ROUTINES_OF_OTHERS.encode(), (namespace, OWN_COMMENT)).fetchall()
    row = connection.execute(
        "SELECT to_regclass('cron.job')::TEXT, has_schema_privilege('cron', 'USAGE') FROM"
        " pg_namespace WHERE nspname = 'cron'"
    ).fetchone()
    if row and row[0] and row[1]:
        found += connection.execute(
            "SELECT 'scheduled job ' || coalesce(jobname, jobid::TEXT), command FROM cron.job ORDER BY jobid"
        ).fetchall()
    return [description for description, text in found if _names(text or "", names)]


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            f"{first_line(exc)} in {database.place}; nothing was changed. Roll back as the owner of the objects"
        ) from exc
    except errors.LockNotAvailable as exc:
        raise DatabaseError(
            f"an object of schema {database.schema} of {database.place} is in use for more than {_LOCK_TIMEOUT}; "
            "nothing was changed. Try again when the sessions that use it (pg_locks) have ended"
        ) from exc
