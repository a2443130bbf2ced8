"""What a check says, and what it may ask: one connection that cannot write."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.rows import DictRow, dict_row

from pggit_analytics.config import Settings
from pggit_analytics.errors import NotDeployed, PermissionDenied, PggitAnalyticsError
from pggit_analytics.postgres.connection import Database, first_line

#: unknown: it could not be looked at; the finding says why
Status = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    group: str
    name: str
    status: Status
    #: in words, with the figures
    finding: str
    #: a command to type; None where there is nothing to do
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A check without its place: what a checker returns."""

    status: Status
    finding: str
    remedy: str | None = None


class Unknown(Exception):
    """Something cannot be looked at.

    Attributes:
        remedy: what would open it.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


class NothingDeployed(Unknown):
    """There is nothing to look at."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks of a database look at."""

    database: Database
    settings: Settings
    #: autocommit, read only
    connection: psycopg.Connection
    #: clock of this machine
    clock: Callable[[], datetime]
    #: why the schema cannot be looked at; None when it can
    closed_because: Unknown | None = None

    @property
    def role(self) -> str:
        """Who looks."""
        return str(self.one("SELECT current_user"))

    def rows(self, query: LiteralString, **values: object) -> list[DictRow]:
        """The rows of a query on this schema.

        Raises:
            Unknown: nothing is deployed, or the role may not look.
        """
        if self.closed_because is not None:
            raise self.closed_because
        return self.server_rows(query, **values)

    def row(self, query: LiteralString, **values: object) -> DictRow:
        """The only row of a query on this schema."""
        (found,) = self.rows(query, **values)
        return found

    def server_rows(self, query: LiteralString, **values: object) -> list[DictRow]:
        """The rows of a query on the catalogs, which need no deployment."""
        return self.connection.cursor(row_factory=dict_row).execute(query, values).fetchall()

    def one(self, query: LiteralString, **values: object) -> Any:
        """The only value of a query on the catalogs."""
        row = self.connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def command(self, text: str) -> str:
        """``pggit-analytics`` with its arguments, for this schema."""
        schema = "" if self.database.schema == "pggit" else f" --schema {shlex.quote(self.database.schema)}"
        return f"pggit-analytics {text}{schema}"

    def psql(self, statement: LiteralString | str, *names: str, comment: str = "") -> str:
        """``psql`` with a statement; ``{}`` in it are names."""
        text = sql.SQL(statement).format(*map(sql.Identifier, names)).as_string(None)
        # an embedded database has no secret in its address, any other may
        where = '"$PGGIT_DATABASE_URL"' if self.settings.database_url else shlex.quote(self.database.conninfo)
        return f"psql {where} -c {shlex.quote(text)}{f'  # {comment}' if comment else ''}"


Checker = Callable[[Patient], Answer]


@contextmanager
def unknown_when_refused(patient: Patient) -> Iterator[None]:
    """Turn what the database refuses into an Unknown with its remedy.

    Raises:
        Unknown: the reason.
    """
    try:
        yield
    except errors.InsufficientPrivilege as exc:
        raise Unknown(first_line(exc), grant(patient, "pggit_pipeline")) from exc
    except (errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedColumn) as exc:
        raise Unknown(first_line(exc), patient.command("db deploy")) from exc
    except errors.QueryCanceled as exc:
        raise Unknown("it took longer than 10 seconds", patient.command("doctor")) from exc
    except psycopg.Error as exc:
        raise Unknown(first_line(exc)) from exc
    except PermissionDenied as exc:
        raise Unknown(str(exc).partition("; ")[0], grant(patient, "pggit_pipeline")) from exc
    except NotDeployed as exc:
        raise Unknown(str(exc).partition("; ")[0], patient.command("db deploy")) from exc
    except PggitAnalyticsError as exc:
        raise Unknown(str(exc)) from exc


def grant(patient: Patient, role: str) -> str:
    """The command that gives the current role another one."""
    return patient.psql("GRANT {} TO {}", role, str(patient.connection.info.user), comment="as an administrator")


def listed(names: Iterable[str], limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest
