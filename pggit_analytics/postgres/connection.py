"""Addresses and connections; driver errors become this package's errors here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from psycopg import conninfo, errors, sql

from pggit_analytics.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    NotDeployed,
    PermissionDenied,
)

#: seconds until an unreachable server counts as away
CONNECT_TIMEOUT_S = 5

#: libpq settings that connectorx understands as well
_SHARED_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options")


@dataclass(frozen=True, slots=True)
class Database:
    """One database and the schema that the project's objects live in."""

    #: libpq connection string or URL; may hold a password and is therefore never shown
    conninfo: str
    schema: str = "pggit"

    def __repr__(self) -> str:
        return f"Database({self.place}, schema={self.schema!r})"

    @property
    def place(self) -> str:
        """Where it is, without user or password: ``host:port/dbname``.

        Raises:
            ConfigurationError: the connection string cannot be parsed.
        """
        parts = self._parameters()
        host = parts.get("host") or parts.get("hostaddr") or "local socket"
        return f"{host}:{parts.get('port', '5432')}/{parts.get('dbname', '')}"

    def _parameters(self) -> dict[str, str]:
        try:
            return {name: str(value) for name, value in conninfo.conninfo_to_dict(self.conninfo).items()}
        except psycopg.ProgrammingError:
            # The driver's message repeats the string, which may hold a password.
            raise ConfigurationError(
                "the database URL cannot be read; expected postgresql://user:password@host:5432/dbname"
            ) from None

    @property
    def connectorx_url(self) -> str:
        """The same address as connectorx wants it: a URL, a socket directory percent-encoded in the host."""
        parts = self._parameters()
        user = quote(parts.get("user", ""), safe="")
        password = f":{quote(parts['password'], safe='')}" if "password" in parts else ""
        at = "@" if user or password else ""
        host = quote(parts.get("host") or parts.get("hostaddr") or "/var/run/postgresql", safe="")
        port = f":{parts['port']}" if "port" in parts else ""
        options = "&".join(f"{name}={quote(parts[name], safe='')}" for name in _SHARED_OPTIONS if name in parts)
        return f"postgresql://{user}{password}{at}{host}{port}/{quote(parts.get('dbname', ''), safe='')}" + (
            f"?{options}" if options else ""
        )

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """A connection whose unqualified names are this schema's; commits on success, rolls back on an error.

        Raises:
            DatabaseUnavailable: the server is away or refuses the log-in.
            DatabaseError: any other fault of the database during the block, translated by `translated`.
        """
        parts = self._parameters()
        parts.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        parts.setdefault("application_name", "pggit_analytics")
        with (
            translated(self),
            psycopg.connect(conninfo.make_conninfo("", **parts), autocommit=autocommit) as connection,
        ):
            set_search_path(connection, self.schema)
            yield connection


def set_search_path(connection: psycopg.Connection, schema: str) -> None:
    """Look names up in ``schema`` alone (after pg_catalog), for the whole session."""
    path = sql.SQL("SET search_path TO {}, pg_temp").format(sql.Identifier(schema))
    connection.execute(path)
    if not connection.autocommit:
        connection.commit()


@contextmanager
def translated(database: Database) -> Iterator[None]:
    """Turn driver errors inside the block into this package's, each with its remedy.

    Raises:
        DatabaseUnavailable, NotDeployed, PermissionDenied, DatabaseError.
    """
    try:
        yield
    except errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            f"{_first_line(exc)} in {database.place}; grant the role pggit_pipeline (to write) or pggit_reader "
            "(to read), or connect as another user"
        ) from exc
    except (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName) as exc:
        raise NotDeployed(
            f"{_first_line(exc)} in {database.place}; run: pggit-analytics db deploy --schema {database.schema}"
        ) from exc
    except psycopg.OperationalError as exc:
        if exc.sqlstate is None or exc.sqlstate.startswith(("08", "28", "3D", "57P")):
            raise DatabaseUnavailable(
                f"cannot reach {database.place}: {_first_line(exc)}; check the URL, the password and that the "
                "server is running"
            ) from exc
        raise DatabaseError(f"{_first_line(exc)} in {database.place}") from exc
    except psycopg.Error as exc:
        raise DatabaseError(f"{_first_line(exc)} in {database.place}") from exc


def _first_line(exc: psycopg.Error) -> str:
    if exc.diag.message_primary:
        return exc.diag.message_primary
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0] if lines else type(exc).__name__
