"""Addresses and connections; driver errors become this package's errors here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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

#: libpq settings that connectorx takes as they are
_PASSED_ON = ("application_name", "connect_timeout", "options", "channel_binding")

#: libpq settings that connectorx does not know, and whose absence would weaken or break the connection
_UNKNOWN_TO_CONNECTORX = ("sslcrl", "sslcrldir", "sslpassword", "requirepeer", "require_auth")

#: the same for single values
_VALUES_UNKNOWN_TO_CONNECTORX = {
    "gssencmode": "require",
    "ssl_min_protocol_version": "TLSv1.3",
    "sslrootcert": "system",
}

#: certificate authorities that connectorx trusts besides the one it is given
_EXTRA_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


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
        if "service" in parts:
            return f"service {parts['service']}"
        host = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "local socket"
        port = parts.get("port") or os.environ.get("PGPORT") or "5432"
        return f"{host}:{port}/{parts.get('dbname') or os.environ.get('PGDATABASE', '')}"

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
        """The address for connectorx, taken from a connection made for that purpose: see `connectorx_url`."""
        with self.connect(own_path=False) as connection:
            return connectorx_url(connection)

    @contextmanager
    def connect(self, *, autocommit: bool = False, own_path: bool = True) -> Iterator[psycopg.Connection]:
        """A connection whose unqualified names are this schema's; commits on success, rolls back on an error.

        ``own_path=False`` leaves names to the search path of the role, as the user's own queries expect.

        Raises:
            DatabaseUnavailable: the server is away or refuses the log-in.
            DatabaseError: any other fault of the database during the block, translated by `translated`.
        """
        parts = self._parameters()
        parts.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        parts.setdefault("application_name", "pggit_analytics")
        parts["client_encoding"] = "UTF8"  # statements are sent as such, whatever the database's encoding
        with (
            translated(self),
            psycopg.connect(conninfo.make_conninfo("", **parts), autocommit=autocommit) as connection,
        ):
            if own_path:
                set_search_path(connection, self.schema)
            yield connection


def connectorx_url(connection: psycopg.Connection) -> str:
    """The address of a live connection as connectorx wants it. Holds the password: never show it.

    libpq has resolved what connectorx does not know (several hosts, services, password files, the environment), so
    the URL names the one server that answered. It asks for at least the protection that the live connection has:

    - TLS where that uses TLS, never the choice between both;
    - sslmode verify-ca: the certificate authority is verified (connectorx does so given sslmode=require and a root);
    - sslmode verify-full: connectorx cannot compare host names. SCRAM channel binding takes their place: the server
      must prove that it knows this role's password and owns the certificate shown.

    Raises:
        ConfigurationError: connectorx cannot honour a setting of the connection; named, with the remedy.
    """
    given = {o.keyword.decode(): o.val.decode() for o in connection.pgconn.info if o.val}
    _refuse_unknown(given)
    info = connection.info
    options = {name: given[name] for name in _PASSED_ON if name in given}
    options |= _tls_options(connection, given)
    if not info.host.startswith(("/", "@")) and info.hostaddr:
        options["hostaddr"] = info.hostaddr
    password = f":{quote(info.password, safe='')}" if info.password else ""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return (
        f"postgresql://{quote(info.user, safe='')}{password}@{quote(info.host, safe='')}:{info.port}"
        f"/{quote(info.dbname, safe='')}?{query}"
    )


def _refuse_unknown(given: Mapping[str, str]) -> None:
    for name in _UNKNOWN_TO_CONNECTORX:
        if name in given:
            raise ConfigurationError(f"connectorx, which reads the metrics, cannot honour {name}; leave it out")
    for name, value in _VALUES_UNKNOWN_TO_CONNECTORX.items():
        if given.get(name) == value:
            raise ConfigurationError(
                f"connectorx, which reads the metrics, cannot honour {name}={value}; use another value"
            )


def _tls_options(connection: psycopg.Connection, given: Mapping[str, str]) -> dict[str, str]:
    """The options that give connectorx the protection of the live connection."""
    if not connection.pgconn.ssl_in_use:
        return {"sslmode": "disable"}
    options = {"sslmode": "require"}
    root = _file(given, "sslrootcert", "root.crt")
    # libpq, too, verifies under sslmode=require once there is a root certificate.
    if root and given.get("sslmode") in ("require", "verify-ca", "verify-full"):
        options["sslrootcert"] = root
        if given["sslmode"] == "verify-full" or any(os.environ.get(name) for name in _EXTRA_AUTHORITIES):
            _demand_channel_binding(given)
            options["channel_binding"] = "require"
    certificate, key = _file(given, "sslcert", "postgresql.crt"), _file(given, "sslkey", "postgresql.key")
    if certificate and key:
        options |= {"sslcert": certificate, "sslkey": key}
    return options


def _file(given: Mapping[str, str], name: str, default: str) -> str | None:
    """The file libpq uses for the setting: the one given, else its default if that exists."""
    if name in given:
        return given[name]
    path = Path.home() / ".postgresql" / default
    return str(path) if path.is_file() else None


def _demand_channel_binding(given: Mapping[str, str]) -> None:
    """Find out at once whether the server does channel binding; connectorx would try for half a minute.

    Raises:
        ConfigurationError: it does not.
    """
    try:
        psycopg.connect(conninfo.make_conninfo("", **{**given, "channel_binding": "require"})).close()
    except psycopg.OperationalError as exc:
        raise ConfigurationError(
            f"sslmode={given['sslmode']} needs a log-in with SCRAM channel binding here ({first_line(exc)}), because "
            "connectorx cannot compare host names and trusts SSL_CERT_FILE and SSL_CERT_DIR; set a scram-sha-256 "
            "password for the role, or use sslmode=verify-ca without these variables"
        ) from exc


def set_search_path(connection: psycopg.Connection, schema: str) -> None:
    """Look names up in ``schema`` alone (after pg_catalog), for the whole session.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role may not use it; PostgreSQL would pass over it in silence.
    """
    path = sql.SQL("SET search_path TO {}, pg_temp").format(sql.Identifier(schema))
    connection.execute(path)
    usable = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = %s"
    if connection.execute(usable, (schema,)).fetchone() == (False,):
        raise errors.InsufficientPrivilege(f"permission denied for schema {schema}")
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
            f"{first_line(exc)} in {database.place}; grant the role pggit_pipeline (to write) or pggit_reader "
            "(to read), or connect as another user"
        ) from exc
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.InvalidSchemaName) as exc:
        raise NotDeployed(
            f"{first_line(exc)} in {database.place}: pggit_analytics is not installed in its schema {database.schema}, "
            f"or not all of it, or another schema is meant; run: pggit-analytics db deploy --schema {database.schema}"
        ) from exc
    except psycopg.OperationalError as exc:
        if exc.sqlstate is None or exc.sqlstate.startswith(("08", "28", "3D", "57P")):
            raise DatabaseUnavailable(
                f"cannot reach {database.place}: {first_line(exc)}; check the URL, the password and that the "
                "server is running"
            ) from exc
        raise DatabaseError(f"{first_line(exc)} in {database.place}") from exc
    except psycopg.Error as exc:
        raise DatabaseError(f"{first_line(exc)} in {database.place}") from exc


def first_line(exc: psycopg.Error) -> str:
    """The server's message, else the driver's, cut to its first line."""
    lines = [line.strip() for line in (exc.diag.message_primary or str(exc)).splitlines() if line.strip()]
    return lines[0] if lines else type(exc).__name__
