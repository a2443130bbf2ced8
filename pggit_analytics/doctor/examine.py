"""Makes every check by itself: what one of them cannot look at says nothing about the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import psycopg
from psycopg import sql

from pggit_analytics.config import Settings
from pggit_analytics.doctor import installation, messages, running, server, timings
from pggit_analytics.doctor.checks import (
    Answer,
    Check,
    Checker,
    NothingDeployed,
    Patient,
    Unknown,
    grant,
    unknown_when_refused,
)
from pggit_analytics.doctor.store import local_store
from pggit_analytics.errors import PggitAnalyticsError
from pggit_analytics.postgres.connection import Database

#: (group, name, what looks), in the order they are shown
CHECKS: tuple[tuple[str, str, Checker], ...] = (
    ("Server", "version", server.version),
    ("Server", "clock", server.clock),
    ("Server", "as_of", server.fixed_moment),
    ("Extensions", "pg_cron", partial(server.extension, name="pg_cron")),
    ("Extensions", "plpython3u", partial(server.extension, name="plpython3u")),
    ("Extensions", "pgcrypto", partial(server.extension, name="pgcrypto")),
    ("Extensions", "pg_stat_statements", partial(server.extension, name="pg_stat_statements")),
    ("Installation", "deployment", installation.deployed),
    ("Installation", "roles", installation.roles),
    ("Installation", "indexes", installation.indexes),
    ("Installation", "statistics", installation.statistics),
    ("Rights", "read", installation.may_read),
    ("Rights", "write", installation.may_write),
    ("Rights", "webhooks", installation.may_store_addresses),
    ("Timings", "source", timings.source),
    ("Timings", "freshness", timings.freshness),
    ("Timings", "baselines", timings.baselines),
    ("Timings", "imports", timings.imports),
    ("Runs", "scheduler", running.scheduler),
    ("Runs", "windows", running.windows),
    ("Runs", "jobs", running.last_runs),
    ("Runs", "monitoring", running.monitoring),
    ("Runs", "failures", running.failed_runs),
    ("Alerts", "source", messages.source),
    ("Alerts", "critical", messages.critical_rate),
    ("Alerts", "routes", messages.routes),
    ("Delivery", "key", messages.key),
    ("Delivery", "queue", messages.queue),
    ("Delivery", "given up", messages.failed_messages),
    ("Delivery", "channels", messages.channels),
)

#: what looks without a database
LOCAL_CHECKS: tuple[tuple[str, str, Callable[[Settings], Answer]], ...] = (
    ("This machine", "Prefect", lambda _: running.prefect()),
    ("This machine", "store", local_store),
)

_TIMEOUT_MS = 10_000


def _now() -> datetime:
    return datetime.now(UTC)


def examine(
    database: Database | None,
    settings: Settings,
    *,
    clock: Callable[[], datetime] = _now,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Check]:
    """Every check, in the order to be shown; writes nothing and raises nothing.

    Args:
        database: None = none is configured.
        settings: with the key and the source.
        clock: that of this machine.
        progress: told the group that is looked at.
    """
    progress("Connection")
    checks = []
    with _connection(database) as found:
        if isinstance(found, Check):
            checks.append(found)
            unreachable = Unknown("there is no connection to the database")
            checks += [_unknown(group, name, unreachable) for group, name, _ in CHECKS]
        else:
            assert database is not None, "there is a connection to it"
            patient = Patient(database, settings, found, clock)
            patient = replace(patient, closed_because=_closed_because(patient))
            checks.append(Check("Server", "connection", "ok", f"{database.place} as {patient.connection.info.user}"))
            for group, name, look in CHECKS:
                progress(f"{group}: {name}")
                checks.append(_looked(group, name, patient, look))
    return checks + [Check(group, name, a.status, a.finding, a.remedy) for group, name, a in _local(settings)]


def _local(settings: Settings) -> Iterator[tuple[str, str, Answer]]:
    for group, name, look in LOCAL_CHECKS:
        yield group, name, look(settings)


def _looked(group: str, name: str, patient: Patient, look: Checker) -> Check:
    try:
        with unknown_when_refused(patient):
            answer = look(patient)
    except Unknown as exc:
        return _unknown(group, name, exc)
    except Exception as exc:
        if os.environ.get("PGGIT_DEBUG"):
            raise
        # the text of a foreign error may repeat a connection string
        return _unknown(group, name, Unknown(f"unexpected {type(exc).__name__}", "export PGGIT_DEBUG=1  # and again"))
    return Check(group, name, answer.status, answer.finding, answer.remedy)


def _unknown(group: str, name: str, why: Unknown) -> Check:
    return Check(group, name, "unknown", str(why), why.remedy)


@contextmanager
def _connection(database: Database | None) -> Iterator[psycopg.Connection | Check]:
    """A connection that cannot write, or the check that says why there is none."""
    if database is None:
        yield Check(
            "Server",
            "connection",
            "fail",
            "no database is configured, and no embedded one was ever started",
            "export PGGIT_DATABASE_URL=postgresql://me@db.example.com/app",
        )
        return
    try:
        connecting = database.connect(autocommit=True, own_path=False)
        connection = connecting.__enter__()
    except PggitAnalyticsError as exc:
        yield Check(
            "Server",
            "connection",
            "fail",
            str(exc).partition("; ")[0],
            'psql "$PGGIT_DATABASE_URL" -c "SELECT version()"',
        )
        return
    try:
        connection.execute("SET default_transaction_read_only TO on")
        connection.execute(sql.SQL("SET statement_timeout TO {}").format(_TIMEOUT_MS))
        connection.execute(sql.SQL("SET search_path TO {}, pg_temp").format(sql.Identifier(database.schema)))
        yield connection
    finally:
        connecting.__exit__(None, None, None)


def _closed_because(patient: Patient) -> Unknown | None:
    """Why the tables of the schema cannot be looked at; None when they can."""
    schema = patient.database.schema
    row = patient.connection.execute(
        """
        SELECT has_schema_privilege(n.oid, 'USAGE'),
               EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'deployed_objects')
        FROM pg_namespace AS n
        WHERE n.nspname = %s
        """,
        (schema,),
    ).fetchone()
    if row is None or not row[1]:
        return NothingDeployed(f"nothing is deployed in the schema {schema}", patient.command("db deploy"))
    if not row[0]:
        user = patient.connection.info.user
        return Unknown(f"the role {user} may not use the schema {schema}", grant(patient, "pggit_reader"))
    return None
