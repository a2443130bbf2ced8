"""Installs the SQL files of ``sql/`` into a schema: one transaction, repeatable, refusing what would break others.

What the files would make is found by running them in a scratch schema inside a savepoint and reading pg_catalog; the
savepoint is then rolled back and the target compared with what was read. A role that may not create schemas compares
its tables in pg_temp instead, and functions and views by name and owner mark only (pg_temp is never searched for
functions). Files that need what the server does not have are left out (`conditions`).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import psycopg
from psycopg import errors, sql

from pggit_analytics.errors import (
    DatabaseError,
    IncompatibleDatabase,
    InvalidArgument,
    PermissionDenied,
    PggitAnalyticsError,
)
from pggit_analytics.postgres.catalog import (
    OWN_COMMENT,
    Catalog,
    Column,
    Dependant,
    can_be_added,
    differences_of_routines,
    differences_of_tables,
    irreplaceable,
    namespace_oid,
    read_catalog,
    read_dependants,
    set_local_path,
)
from pggit_analytics.postgres.conditions import Conditions, Lack, Surroundings, explained, read_surroundings
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.migrations import KIND as MIGRATION
from pggit_analytics.postgres.migrations import Migration, pending, read_migrations
from pggit_analytics.resources import directory
from pggit_analytics.version import __version__

#: kind -> directory below sql/, in the order they are deployed
KINDS = {"table": "tables", "function": "functions", "trigger": "triggers", "view": "views", "role": "roles"}

#: row of deployed_objects that stands for the whole deployment
_PACKAGE = ("package", "pggit_analytics")

_REQUIRES = re.compile(r"^-- requires: *(.+)$", re.MULTILINE)
_FOLLOWS = re.compile(r"^-- follows: *(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """One SQL file, which makes the object it is named after."""

    kind: str
    name: str
    text: str
    md5: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def file(self) -> str:
        return f"sql/{KINDS[self.kind]}/{self.name}.sql"

    @property
    def requires(self) -> tuple[str, ...]:
        """Names in the line ``-- requires: a, b`` of its header."""
        return _listed(_REQUIRES, self.text)

    @property
    def follows(self) -> tuple[str, ...]:
        """Names in the line ``-- follows: a, b``: what is deployed before it, but need not be."""
        return _listed(_FOLLOWS, self.text)


def _listed(header: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = header.search(text)
    return tuple(name.strip() for name in found[1].split(",")) if found else ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment did, or with ``dry_run`` would do. Objects read ``table performance_metrics``."""

    schema: str
    dry_run: bool
    #: version installed now
    package_version: str
    #: version installed before, None for the first deployment
    previous_version: str | None
    #: objects that were not there
    created: tuple[str, ...]
    #: objects whose file or definition differed: functions and views are replaced whole, tables keep their rows
    replaced: tuple[str, ...]
    #: objects left alone
    unchanged: tuple[str, ...]
    #: objects that need an extension or a superuser, which are not there
    left_out: tuple[str, ...]
    #: changes to what existed, in words: columns and keys added, functions and views dropped to be made again
    changes: tuple[str, ...]
    #: migrations applied to the tables that were there
    migrations: tuple[str, ...]
    #: what the administrator should know, such as roles that could not be created
    notices: tuple[str, ...]

    @property
    def is_unchanged(self) -> bool:
        return not (self.created or self.replaced or self.changes or self.migrations)


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """What is installed, compared with the files of this package."""

    schema: str
    package_version: str
    #: None when nothing was deployed
    installed_version: str | None
    #: objects as in this package
    current: tuple[str, ...]
    #: objects that are not there
    missing: tuple[str, ...]
    #: objects there, but deployed from another file or not by `deploy`
    outdated: tuple[str, ...]
    #: objects deployed by another version that this one does not have; never dropped
    obsolete: tuple[str, ...]
    #: roles that do not exist; nothing depends on them but their members
    missing_roles: tuple[str, ...]
    #: objects that need an extension or a superuser, which are not there, each with the reason
    not_installed: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        """`deploy` would change nothing but, perhaps, create roles."""
        return self.installed_version == self.package_version and not (self.missing or self.outdated)


#: (kind, name) -> (source_md5, package_version), as deployed_objects says
_Recorded = dict[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Survey:
    """All that a deployment is decided on."""

    sources: list[Source]
    #: files that need what is not there, which are not in ``sources``
    left_out: dict[Source, Lack]
    #: what the files make
    expected: Catalog
    #: ``expected`` holds functions, triggers and views, not only tables
    is_complete: bool
    #: what is there
    actual: Catalog
    recorded: _Recorded


@dataclass(frozen=True, slots=True)
class _Preparation:
    """A change to what exists that has to precede the files."""

    description: str
    statement: sql.Composed | bytes


@dataclass(frozen=True, slots=True)
class _Migrations:
    #: not applied yet
    to_record: list[Migration]
    #: of these, the ones that have tables to work on
    to_run: list[Migration]


@dataclass(frozen=True, slots=True)
class _Plan:
    preparations: list[_Preparation]
    to_run: list[Source]
    migrations: _Migrations


def deploy(database: Database, *, dry_run: bool = False) -> Deployment:
    """Install or update every object in ``database.schema``; all of it or, on any error, nothing.

    Deployments of one schema wait for each other. With ``dry_run`` everything is tried and rolled back.

    Raises:
        IncompatibleDatabase: something there would be changed or broken; ``differences`` names every such object.
        PermissionDenied: the role may not create or change the objects.
        InvalidArgument: the schema's name cannot be used.
        DatabaseUnavailable, DatabaseError: see `Database.connect`.
    """
    check_schema_name(database.schema)
    with database.connect() as connection, _permission_explained(database):
        notices = _collected_notices(connection)
        begin(connection, database.schema)
        migrations = _pending_migrations(connection, database)
        for migration in migrations.to_run:
            if migration.is_before_tables:
                _run(connection, migration)
        survey = _surveyed(connection, database.schema)
        plan = _planned(connection, database, survey, migrations)
        _apply(connection, database.schema, plan)
        _record(connection, survey.sources, plan)
        if dry_run:
            connection.rollback()
    return _report(database.schema, dry_run, survey, plan, notices)


def status(database: Database) -> DeploymentStatus:
    """Compare what is installed with the files of this package; reads only.

    Raises:
        PermissionDenied: the role may not read ``deployed_objects``.
        InvalidArgument: the schema's name cannot be used.
        DatabaseUnavailable, DatabaseError: see `Database.connect`.
    """
    check_schema_name(database.schema)
    sources = read_sources()
    with database.connect() as connection:
        actual = read_catalog(connection, database.schema)
        recorded = _recorded(connection, actual)
        applied = _applied(recorded)
        migrations = read_migrations() if _holds_tables(sources, actual) else []
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        lacks = _lacks_of_what_is_there(sources, read_surroundings(connection), actual, roles)
    objects = [source for source in sources if source.kind != "role" and source not in lacks]
    there = [source for source in objects if _exists(source, actual)]
    current = [source for source in there if _recorded_md5(source, recorded) == source.md5]
    known = {(source.kind, source.name) for source in sources} | {_PACKAGE}
    known |= {(MIGRATION, migration.name) for migration in migrations}
    return DeploymentStatus(
        schema=database.schema,
        package_version=__version__,
        installed_version=_installed_version(recorded),
        current=_names(current),
        missing=_names(source for source in objects if source not in there)
        + tuple(str(migration) for migration in migrations if migration.name not in applied),
        outdated=_names(source for source in there if source not in current)
        + tuple(str(m) for m in migrations if applied.get(m.name, m.md5) != m.md5),
        obsolete=tuple(f"{kind} {name}" for kind, name in sorted(recorded) if (kind, name) not in known),
        missing_roles=tuple(
            source.name
            for source in sources
            if source.kind == "role" and _makes_role(source) and source not in lacks and source.name not in roles
        ),
        not_installed=tuple(
            f"{source}: {_reason_of_lack(source, lack, actual, recorded)}" for source, lack in lacks.items()
        ),
    )


def _lacks(sources: list[Source], surroundings: Surroundings) -> dict[Source, Lack]:
    """Which files are to be left out, and why; ``sources`` in the order they are deployed."""
    lacks: dict[Source, Lack] = {}
    by_name: dict[str, Lack] = {}
    for source in sources:
        lack = surroundings.lack(Conditions.of(source.text))
        lack = lack or next((by_name[name] for name in source.requires if name in by_name), None)
        if lack is not None:
            lacks[source] = by_name[source.name] = lack
    return lacks


def _lacks_of_what_is_there(
    sources: list[Source], surroundings: Surroundings, actual: Catalog, roles: set[str]
) -> dict[Source, Lack]:
    """The same for somebody who looks: what a superuser installed is there for everybody."""
    without_extension = _lacks(sources, surroundings.for_a_superuser())
    return {
        source: lack
        for source, lack in _lacks(sources, surroundings).items()
        if source in without_extension
        or not (_exists(source, actual) or (source.kind == "role" and source.name in roles))
    }


def _reason_of_lack(source: Source, lack: Lack, actual: Catalog, recorded: _Recorded) -> str:
    if lack.extension is not None and _exists(source, actual):
        return f"{lack.reason} any more, so it fails when it is called"
    if lack.extension is not None and _recorded_md5(source, recorded) is not None:
        return f"{lack.reason} any more"
    return lack.reason


def check_schema_name(schema: str) -> None:
    """Raise InvalidArgument unless PostgreSQL can have a schema of exactly this name."""
    reserved = schema.startswith("pg_") or schema == "information_schema"
    if not schema or reserved or "\0" in schema or len(schema.encode()) > 63:
        raise InvalidArgument(
            f"schema is {schema!r}, expected 1 to 63 bytes, not beginning with pg_ and not information_schema"
        )


def read_sources() -> list[Source]:
    """Every SQL file in the order it is deployed: by kind, then so that what a file requires comes before it.

    Raises:
        PggitAnalyticsError: a file requires itself, in a circle, or something that no file makes.
    """
    sources: list[Source] = []
    for kind, folder in KINDS.items():
        files = sorted((directory("sql") / folder).glob("*.sql"))
        sources += _ordered([_source(kind, file) for file in files], known={source.name for source in sources})
    return sources


def _source(kind: str, file: Path) -> Source:
    text = file.read_text(encoding="utf-8")
    return Source(kind, file.stem, text, hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())


def _ordered(sources: list[Source], known: set[str]) -> list[Source]:
    by_name = {source.name: source for source in sources}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for source in sources:
        unknown = [name for name in source.requires if name not in by_name and name not in known]
        if unknown:
            raise PggitAnalyticsError(f"{source.file} requires {unknown[0]}, which no file before it makes")
        sorter.add(source.name, *[name for name in (*source.requires, *source.follows) if name in by_name])
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as exc:
        raise PggitAnalyticsError(f"SQL files require each other: {', '.join(exc.args[1])}") from exc


def begin(connection: psycopg.Connection, schema: str) -> None:
    """Start the transaction as the only deployment or rollback of this schema, whatever the role's settings are."""
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    # Sources are UTF-8; their string literals hold no backslash escapes; faulty bodies are to fail here.
    connection.execute("SET LOCAL client_encoding TO 'UTF8'")
    connection.execute("SET LOCAL standard_conforming_strings TO on")
    connection.execute("SET LOCAL check_function_bodies TO on")
    # sql/bundles/foundation.sql takes the same lock.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('pggit_analytics deploy ' || %s, 0))", (schema,))


def _expected_catalog(connection: psycopg.Connection, sources: list[Source]) -> tuple[Catalog, bool]:
    """What the files make, and whether that includes functions, triggers and views."""
    row = connection.execute(
        "SELECT has_database_privilege(current_database(), 'CREATE'), pg_backend_pid()::TEXT"
    ).fetchone()
    is_complete, number = row or (False, "")
    scratch = f"pggit_analytics_scratch_{number}" if is_complete else "pg_temp"
    kinds = {"table", "function", "trigger", "view"} if is_complete else {"table"}
    with connection.transaction(force_rollback=True):
        if is_complete:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(scratch)))
        set_local_path(connection, scratch)
        for source in sources:
            if source.kind in kinds:
                _run(connection, source)
        return read_catalog(connection, scratch), is_complete


def _pending_migrations(connection: psycopg.Connection, database: Database) -> _Migrations:
    actual = read_catalog(connection, database.schema)
    applied = _applied(_recorded(connection, actual))
    place = f"schema {database.schema} of {database.place}"
    to_record = pending(read_migrations(), applied, place)
    return _Migrations(to_record, to_record if _holds_tables(read_sources(), actual) else [])


def _applied(recorded: _Recorded) -> dict[str, str]:
    """Name and MD5 of the migrations applied before."""
    return {name: md5 for (kind, name), (md5, _) in recorded.items() if kind == MIGRATION}


def _holds_tables(sources: list[Source], actual: Catalog) -> bool:
    return any(source.kind == "table" and _exists(source, actual) for source in sources)


def _surveyed(connection: psycopg.Connection, schema: str) -> _Survey:
    everything = read_sources()
    lacks = _lacks(everything, read_surroundings(connection))
    sources = [source for source in everything if source not in lacks]
    expected, is_complete = _expected_catalog(connection, sources)
    actual = read_catalog(connection, schema)
    return _Survey(sources, lacks, expected, is_complete, actual, _recorded(connection, actual))


def _planned(connection: psycopg.Connection, database: Database, survey: _Survey, migrations: _Migrations) -> _Plan:
    """How to get from what is there to what the files make; every preparation has been tried.

    Raises:
        IncompatibleDatabase: naming every difference.
    """
    expected, actual = survey.expected, survey.actual
    differences = differences_of_tables(expected, actual)
    if survey.is_complete:
        differences += differences_of_routines(expected, actual)
    else:
        differences += _foreign_by_name(survey.sources, actual)
    additions = _additions(expected, actual)
    drops, dropped, hindrances = _drops(read_dependants(connection, irreplaceable(expected, actual)), expected, actual)
    differences += hindrances + _failures(connection, additions)
    if differences:
        raise IncompatibleDatabase(_refusal(database, differences), tuple(differences))
    to_run = [source for source in survey.sources if _has_to_run(source, survey, dropped)]
    return _Plan(additions + drops, to_run, migrations)


def _foreign_by_name(sources: list[Source], actual: Catalog) -> list[str]:
    """Functions and views of others with a name of ours, when what ours would look like is not known."""
    functions = {source.name for source in sources if source.kind == "function"}
    views = {source.name for source in sources if source.kind == "view"}
    lines = [
        f"function {found} is not {OWN_COMMENT}' and would be replaced or make calls ambiguous"
        for found in actual.routines
        if found.name in functions and not found.is_own
    ]
    return lines + [
        f"{name} is not {OWN_COMMENT}', expected its view"
        for name, found in actual.relations.items()
        if name in views and not (found.is_own and found.kind == "v")
    ]


def _additions(expected: Catalog, actual: Catalog) -> list[_Preparation]:
    """Columns, their checks, and keys that existing tables lack."""
    tables = {name for name, relation in expected.relations.items() if relation.is_table}
    tables &= {name for name, relation in actual.relations.items() if relation.is_table}
    missing = {
        (table, column.name): column
        for table in sorted(tables)
        for column in expected.columns[table].values()
        if column.name not in actual.columns.get(table, {})
    }
    additions = [addition for column in missing.values() if can_be_added(column) for addition in _column_added(column)]
    additions += [
        _Preparation(f"check of {check.table}.{', '.join(check.columns)} added", check.statement.encode())
        for check in expected.checks
        if all(
            (check.table, column) in missing and can_be_added(missing[check.table, column]) for column in check.columns
        )
    ]
    keys = {key.identity for key in actual.keys}
    return additions + [
        _Preparation(f"unique key {key.table} ({', '.join(key.columns)}) added", key.statement.encode())
        for key in expected.keys
        if key.table in tables
        and key.identity not in keys
        # A column that cannot be added is a difference already.
        and all((key.table, c) not in missing or can_be_added(missing[key.table, c]) for c in key.columns)
    ]


def _column_added(column: Column) -> list[_Preparation]:
    begin = sql.SQL("ALTER TABLE {} ").format(sql.Identifier(column.table))
    described = f"column {column.table}.{column.name} {column.type}"
    if column.not_null:
        add = f"ADD COLUMN {{}} {column.type} DEFAULT {column.default} NOT NULL"
        return [_Preparation(f"{described} added", begin + _formatted(add, column.name))]
    additions = [_Preparation(f"{described} added", begin + _formatted(f"ADD COLUMN {{}} {column.type}", column.name))]
    if column.default is not None:
        # Apart from the column, so that rows already there keep NULL: their value is not known.
        give = f"ALTER COLUMN {{}} SET DEFAULT {column.default}"
        additions.append(_Preparation(f"{described} given its default", begin + _formatted(give, column.name)))
    return additions


def _formatted(template: str, identifier: str) -> sql.Composed:
    # The template is made of what pg_catalog printed about our own files.
    before, after = template.split("{}", 1)
    return sql.Composed([sql.SQL(before), sql.Identifier(identifier), sql.SQL(after)])


def _drops(
    dependants: list[Dependant], expected: Catalog, actual: Catalog
) -> tuple[list[_Preparation], frozenset[tuple[str, str]], list[str]]:
    """Statements that drop them, (kind, name) of each, and a difference for each that is not ours to drop."""
    routines = {("pg_proc", r.oid): r for r in actual.routines if r.is_own}
    views = {("pg_class", r.oid): r for r in actual.relations.values() if r.is_own and r.kind == "v"}
    ours = {(trigger.table, trigger.name) for trigger in expected.triggers}
    triggers = {("pg_trigger", t.oid): t for t in actual.triggers if (t.table, t.name) in ours}
    drops: list[_Preparation] = []
    dropped: set[tuple[str, str]] = set()
    differences: list[str] = []
    for dependant in dependants:
        key = (dependant.catalog, dependant.oid)
        described = f"{dependant.description} dropped to be made again"
        if key in routines:
            routine = routines[key]
            statement = _formatted(f"DROP ROUTINE {{}} ({routine.types})", routine.name)
            dropped.add(("function", routine.name))
        elif key in views:
            statement = _formatted("DROP VIEW {}", views[key].name)
            dropped.add(("view", views[key].name))
        elif key in triggers:
            trigger = triggers[key]
            statement = _formatted("DROP TRIGGER {} ON ", trigger.name) + sql.Identifier(trigger.table)
            dropped.add(("trigger", trigger.name))
        else:
            differences.append(
                f"{dependant.description} depends on {dependant.on}, which has to be dropped and made again"
            )
            continue
        drops.append(_Preparation(described, statement))
    return drops, frozenset(dropped), differences


def _failures(connection: psycopg.Connection, preparations: list[_Preparation]) -> list[str]:
    """Try each in turn and undo all; a line for each that PostgreSQL refuses, such as a key that rows violate."""
    lines: list[str] = []
    with connection.transaction(force_rollback=True):
        for preparation in preparations:
            try:
                with connection.transaction():
                    connection.execute(preparation.statement)
            except (errors.InsufficientPrivilege, psycopg.OperationalError):
                raise
            except psycopg.Error as exc:
                lines.append(f"{preparation.description.removesuffix(' added')} cannot be added: {_reason(exc)}")
    return lines


def _refusal(database: Database, differences: list[str]) -> str:
    beside = "pggit_analytics" if database.schema != "pggit_analytics" else "pggit_analytics_2"
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return (
        f"schema {database.schema} of {database.place} holds what deploying would change or break: "
        f"{differences[0]}{more}; nothing was changed. "
        f"Deploy beside it: pggit-analytics db deploy --schema {shlex.quote(beside)}"
    )


def _has_to_run(source: Source, survey: _Survey, dropped: frozenset[tuple[str, str]]) -> bool:
    if source.kind == "role" or (source.kind, source.name) in dropped:
        return True  # grants reach objects that other files have just made
    if not _exists(source, survey.actual) or _recorded_md5(source, survey.recorded) != source.md5:
        return True
    if source.kind == "table":
        return not _indexes(source, survey.expected) <= survey.actual.relations.keys()
    return survey.is_complete and _shape(source, survey.expected) != _shape(source, survey.actual)


def _indexes(source: Source, expected: Catalog) -> set[str]:
    """Names of a table's indexes, but for unique ones: those are compared by what they cover."""
    unique = {key.name for key in expected.keys}
    indexes = {relation.name for relation in expected.relations.values() if relation.table == source.name}
    return indexes - unique


def _exists(source: Source, catalog: Catalog) -> bool:
    found: dict[str, Callable[[], bool]] = {
        "table": lambda: source.name in catalog.relations and catalog.relations[source.name].is_table,
        "view": lambda: source.name in catalog.relations and catalog.relations[source.name].kind == "v",
        "function": lambda: any(routine.is_own for routine in catalog.routines_named(source.name)),
        "trigger": lambda: any(trigger.name == source.name for trigger in catalog.triggers),
        "role": lambda: False,
    }
    return found[source.kind]()


def _shape(source: Source, catalog: Catalog) -> object:
    """What must be equal for a function, trigger or view to be left alone."""
    name = source.name
    if source.kind == "function":
        return {(r.signature, r.definition, r.comment) for r in catalog.routines_named(name) if r.is_own}
    if source.kind == "trigger":
        return {(t.table, t.definition) for t in catalog.triggers if t.name == name}
    return [(relation.definition, relation.comment) for relation in catalog.relations.values() if relation.name == name]


def _apply(connection: psycopg.Connection, schema: str, plan: _Plan) -> None:
    if namespace_oid(connection, schema) is None:
        # IF NOT EXISTS would ask for the right to create schemas even where there is nothing to create.
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for preparation in plan.preparations:
        connection.execute(preparation.statement)
    files: list[Source | Migration] = [source for source in plan.to_run if source.kind == "table"]
    files += [migration for migration in plan.migrations.to_run if not migration.is_before_tables]
    files += [source for source in plan.to_run if source.kind != "table"]
    for file in files:
        _run(connection, file)


def _run(connection: psycopg.Connection, source: Source | Migration) -> None:
    try:
        connection.execute(source.text.encode())
    except (errors.InsufficientPrivilege, psycopg.OperationalError):
        raise
    except psycopg.Error as exc:
        raise DatabaseError(f"{source.file} cannot be run: {_reason(exc)}") from exc


def _reason(exc: psycopg.Error) -> str:
    detail = f" ({exc.diag.message_detail})" if exc.diag.message_detail else ""
    return f"{exc.diag.message_primary or type(exc).__name__}{detail}".replace("\n", " ")


def _recorded(connection: psycopg.Connection, actual: Catalog) -> _Recorded:
    """(kind, name) -> (source_md5, package_version) of what was deployed before."""
    wanted = {"kind", "name", "source_md5", "package_version"}
    if not wanted <= actual.columns.get("deployed_objects", {}).keys():
        return {}
    rows = connection.execute("SELECT kind, name, source_md5, package_version FROM deployed_objects").fetchall()
    return {(kind, name): (md5, version) for kind, name, md5, version in rows}


def _recorded_md5(source: Source, recorded: _Recorded) -> str | None:
    return recorded.get((source.kind, source.name), (None, ""))[0]


def _installed_version(recorded: _Recorded) -> str | None:
    return recorded[_PACKAGE][1] if _PACKAGE in recorded else None


def _record(connection: psycopg.Connection, sources: list[Source], plan: _Plan) -> None:
    """Write down what was installed; rows that would stay the same are not touched."""
    rows = [(source.kind, source.name, source.md5, __version__) for source in plan.to_run]
    rows += [(MIGRATION, m.name, m.md5, __version__) for m in plan.migrations.to_record]
    everything = "".join(source.md5 for source in sources).encode()
    rows.append((*_PACKAGE, hashlib.md5(everything, usedforsecurity=False).hexdigest(), __version__))
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO deployed_objects AS d (kind, name, source_md5, package_version)
            VALUES (%s, %s, %s, %s)
            ON CONFLICT (kind, name) DO UPDATE
            SET source_md5 = excluded.source_md5, package_version = excluded.package_version,
                deployed_at = clock_timestamp(), deployed_by = CURRENT_USER
            WHERE d.source_md5 <> excluded.source_md5
               OR (d.kind = 'package' AND d.package_version <> excluded.package_version)
            """,
            rows,
        )


def _report(schema: str, dry_run: bool, survey: _Survey, plan: _Plan, notices: list[str]) -> Deployment:
    recorded = survey.recorded

    def is_new(source: Source) -> bool:
        if source.kind == "role":
            return _recorded_md5(source, recorded) is None
        return not _exists(source, survey.actual)

    created = [source for source in plan.to_run if is_new(source)]
    replaced = [
        source
        for source in plan.to_run
        if source not in created and not (source.kind == "role" and _recorded_md5(source, recorded) == source.md5)
    ]
    return Deployment(
        schema=schema,
        dry_run=dry_run,
        package_version=__version__,
        previous_version=_installed_version(recorded),
        created=_names(created),
        replaced=_names(replaced),
        unchanged=_names(source for source in survey.sources if source not in created and source not in replaced),
        left_out=_names(list(survey.left_out)),
        changes=tuple(preparation.description for preparation in plan.preparations),
        migrations=tuple(str(migration) for migration in plan.migrations.to_run),
        notices=tuple(dict.fromkeys([*notices, *_notice_of_left_out(survey)])),
    )


def _notice_of_left_out(survey: _Survey) -> list[str]:
    """One line when it is news: by the first deployment of a version, and when something was there before."""

    def is_lost(source: Source, lack: Lack) -> bool:
        md5 = _recorded_md5(source, survey.recorded)
        return md5 is not None and (lack.extension is not None or md5 != source.md5)

    is_news = _installed_version(survey.recorded) != __version__ or any(
        is_lost(source, lack) for source, lack in survey.left_out.items()
    )
    if not (survey.left_out and is_news):
        return []
    return [explained(_names(list(survey.left_out)), survey.left_out.values())]


def _names(sources: list[Source] | Iterator[Source]) -> tuple[str, ...]:
    return tuple(str(source) for source in sources)


def _makes_role(source: Source) -> bool:
    return source.name.startswith("pggit_")


def _collected_notices(connection: psycopg.Connection) -> list[str]:
    """A list that fills with warnings and with notices of our own files; PostgreSQL's "already exists" is no news."""
    notices: list[str] = []

    def keep(diagnostic: errors.Diagnostic) -> None:
        message = diagnostic.message_primary or ""
        if diagnostic.severity_nonlocalized == "WARNING" or message.startswith(f"{OWN_COMMENT}: "):
            notices.append(message.removeprefix(f"{OWN_COMMENT}: "))

    connection.add_notice_handler(keep)
    return notices


@contextmanager
def _permission_explained(database: Database) -> Iterator[None]:
    try:
        yield
    except errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            f"{_reason(exc)} in {database.place}; nothing was changed. Deploy as the owner of the objects, or have an "
            f'administrator run: CREATE SCHEMA "{database.schema.replace(chr(34), chr(34) * 2)}" AUTHORIZATION <role>'
        ) from exc
