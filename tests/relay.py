"""Stands between clients and PostgreSQL and counts what passes, without changing it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from psycopg import conninfo

from pggit_analytics.postgres.connection import Database

#: messages by which a client has a statement run: Query and Execute
_RUN = (b"Q", b"E")


@dataclass(slots=True)
class Traffic:
    """What has passed so far."""

    connections: int = 0
    statements: int = 0
    #: from the server
    bytes_received: int = 0

    def since(self, earlier: Traffic) -> Traffic:
        """What has passed after an earlier look."""
        return Traffic(
            self.connections - earlier.connections,
            self.statements - earlier.statements,
            self.bytes_received - earlier.bytes_received,
        )


class Relay:
    """Clients reach the database by ``database``; what they send and receive is counted before it is passed on."""

    def __init__(self, database: Database) -> None:
        self._parts = conninfo.conninfo_to_dict(database.conninfo)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self._traffic = Traffic()
        url = conninfo.make_conninfo(
            database.conninfo,
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            sslmode="disable",
            gssencmode="disable",
        )
        self.database = Database(url, database.schema)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one in self._sockets:
            _cut(one)
            one.close()

    def seen(self) -> Traffic:
        """What has passed until now."""
        with self._lock:
            return self._traffic.since(Traffic())

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                with self._lock:
                    self._traffic.connections += 1
                for pump in (self._upwards, self._downwards):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._parts["host"]), self._parts.get("port", "5432")
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, int(port)))

    def _upwards(self, client: socket.socket, server: socket.socket) -> None:
        unread, has_started = b"", False
        with suppress(OSError):
            while data := client.recv(65536):
                unread += data
                run, unread, has_started = _statements(unread, has_started)
                with self._lock:
                    self._traffic.statements += run
                server.sendall(data)
        _cut(client, server)

    def _downwards(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with self._lock:
                    self._traffic.bytes_received += len(data)
                client.sendall(data)
        _cut(client, server)


def _statements(data: bytes, has_started: bool) -> tuple[int, bytes, bool]:
    """How many statements the whole messages in ``data`` run, what is left of it, and whether the start-up is over.

    A message is its type, its length in four bytes which count themselves, and its body; the first one has no type.
    """
    run = at = 0
    while True:
        head = 1 if has_started else 0
        if len(data) < at + head + 4:
            break
        length = int.from_bytes(data[at + head : at + head + 4], "big")
        if len(data) < at + head + length:
            break
        run += has_started and data[at : at + 1] in _RUN
        at += head + length
        has_started = True
    return run, data[at:], has_started


def _cut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
