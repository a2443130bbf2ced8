"""Real servers on loopback for the tests of delivery: HTTP and HTTPS, SMTP, and an authority for their certificates.

::

    with HttpServer() as server:
        server.answer(answers(500), answers(200))       # one after the other, the last one from then on
        ...                                             # send something to server.url
        assert [r.path for r in server.requests] == [...]

A server that hangs does so until its client goes away or the server is stopped; nothing sleeps.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

#: how long a test waits for what is bound to happen; only a failing test waits that long
PATIENCE_S = 20.0

#: the pause of a server that sends byte by byte: far below every read timeout
DRIP_PAUSE_S = 0.01


class Authority:
    """A certificate authority of its own; ``directory`` gets its certificate."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        #: for clients that shall trust it
        self.ca_file = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for ``names`` (default: those of loopback)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1"))).configure_cert(context)
        return context


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    method: str
    #: with the query
    path: str
    #: names in lower case
    headers: Mapping[str, str]
    body: bytes
    #: 1 for the first connection of the server, and so on
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


#: what a server does with one request
Behaviour = Callable[["Handler"], None]
Script = Callable[[Received], Behaviour]


def answers(status: int = 200, body: bytes | str = b"ok", headers: Mapping[str, str] | None = None) -> Behaviour:
    """A whole answer; the connection is kept."""
    content = body.encode() if isinstance(body, str) else body

    def behave(handler: Handler) -> None:
        handler.head(status, {"Content-Length": str(len(content)), **(headers or {})})
        handler.wfile.write(content)

    return behave


def redirects(location: str, status: int = 302) -> Behaviour:
    """An answer that sends the client elsewhere."""
    return answers(status, b"", {"Location": location})


def answers_and_closes(status: int = 200, body: bytes = b"ok") -> Behaviour:
    """A whole answer that promises to keep the connection, and closes it all the same."""

    def behave(handler: Handler) -> None:
        answers(status, body)(handler)
        handler.close_connection = True

    return behave


def closes() -> Behaviour:
    """No answer at all: the connection is closed once the request is read."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True

    return behave


def says(raw: bytes) -> Behaviour:
    """These bytes, whatever they are; then the connection is closed."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    return behave


def hangs() -> Behaviour:
    """Not a byte of an answer until the client goes away."""
    return hangs_after(b"")


def hangs_in_the_headers() -> Behaviour:
    """A status line and half a header, then nothing until the client goes away."""
    return hangs_after(b"HTTP/1.1 200 OK\r\nX-Half: ")


def hangs_in_the_body(status: int = 200) -> Behaviour:
    """All headers and half of the body, then nothing until the client goes away."""
    return hangs_after(b"HTTP/1.1 %d Whatever\r\nContent-Length: 10\r\n\r\nhalf" % status)


def hangs_after(raw: bytes) -> Behaviour:
    """These bytes, then nothing until the client goes away."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(raw)
        handler.wait_for_the_client_to_leave()

    return behave


def waits_for(event: threading.Event, then: Behaviour | None = None) -> Behaviour:
    """Nothing until a test sets ``event``, then another behaviour (default: a plain 200)."""

    def behave(handler: Handler) -> None:
        assert event.wait(PATIENCE_S), "the test never let the server answer"
        (then or answers())(handler)

    return behave


def drips_headers() -> Behaviour:
    """One byte of an endless header after the other."""
    return _drips(b"HTTP/1.1 200 OK\r\nX-Long: ")


def drips_the_body(status: int = 200) -> Behaviour:
    """All headers, then one byte of an endless body after the other."""
    return _drips(b"HTTP/1.1 %d Whatever\r\nContent-Length: 1000000\r\n\r\n" % status)


def _drips(start: bytes) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.is_stopping.wait(DRIP_PAUSE_S):
            handler.wfile.write(b"x")

    return behave


def floods(size: int = 10_000_000, status: int = 200) -> Behaviour:
    """A body of ``size`` bytes; `HttpServer.bytes_flooded` tells how much of it could be sent."""

    def behave(handler: Handler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        handler.head(status, {"Content-Length": str(size)})
        for _ in range(0, size, 10_000):
            handler.wfile.write(b"x" * 10_000)
            handler.server.bytes_flooded += 10_000

    return behave


class Handler(BaseHTTPRequestHandler):
    """Reads a request, records it, and does what the script says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.connection.close()
            self.server.closed(self.connection)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, headers, body, self.number)
        self.server.record(received)(self)

    do_POST = do_GET = do_PUT = do_HEAD = do_CONNECT = _serve  # noqa: N815

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Write a status line and headers."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def wait_for_the_client_to_leave(self) -> None:
        """Return when the client has closed the connection, or the server is stopped."""
        self.close_connection = True
        while self.rfile.read(1):
            pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are recorded, not printed."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        if context:
            # the handshake is the handler's: one that fails or hangs must not keep others from connecting
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.is_stopping = threading.Event()
        self.changed = threading.Condition()
        self.received: list[Received] = []
        self.script: Script = lambda request: answers()
        self.connections_opened = 0
        self.open_connections: list[socket.socket] = []
        self.connections_closed = 0
        self.bytes_flooded = 0

    def server_bind(self) -> None:
        socket.socket.bind(self.socket, self.server_address)  # without looking up the name of the host
        self.server_address = self.socket.getsockname()

    def record(self, request: Received) -> Behaviour:
        with self.changed:
            self.received.append(request)
            behaviour = self.script(request)
            self.changed.notify_all()
        return behaviour

    def opened(self, connection: socket.socket) -> int:
        with self.changed:
            self.connections_opened += 1
            self.open_connections.append(connection)
            if self.is_stopping.is_set():
                _shut(connection)
            self.changed.notify_all()
            return self.connections_opened

    def closed(self, connection: socket.socket) -> None:
        with self.changed:
            self.open_connections.remove(connection)
            self.connections_closed += 1
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: object) -> None:
        fault = sys.exc_info()[1]
        if not isinstance(fault, OSError):  # a client that goes away is none
            super().handle_error(request, client_address)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is gone already
        connection.shutdown(socket.SHUT_RDWR)


class HttpServer:
    """An HTTP server on loopback that records what it gets and does as a script says (default: answer 200).

    Args:
        host: the address to listen on.
        context: for HTTPS, see `Authority.context`.
        name: what `url` calls it; default the address, or ``localhost`` with TLS.
    """

    def __init__(
        self, host: str = "127.0.0.1", *, context: ssl.SSLContext | None = None, name: str | None = None
    ) -> None:
        self._server = _Server(host, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        shown = name or ("localhost" if context else f"[{host}]" if ":" in host else host)
        self.port: int = self._server.server_address[1]
        #: without a path
        self.url = f"{'https' if context else 'http'}://{shown}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the server and every connection; it answers no more."""
        self._server.is_stopping.set()
        self._server.shutdown()
        with self._server.changed:
            for connection in self._server.open_connections:
                _shut(connection)
        self._server.server_close()
        self._thread.join()

    def answer(self, *behaviours: Behaviour, script: Script | None = None) -> None:
        """Say what happens from now on: behaviours one after another, the last one for ever; or a function."""
        if script is not None:
            self._server.script = script
            return
        left = list(behaviours)
        self._server.script = lambda request: left.pop(0) if len(left) > 1 else left[0]

    @property
    def requests(self) -> list[Received]:
        """What has come in so far, in the order of arrival."""
        with self._server.changed:
            return list(self._server.received)

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._server.connections_opened

    @property
    def bytes_flooded(self) -> int:
        """How many bytes of `floods` were taken."""
        return self._server.bytes_flooded

    def wait_for_requests(self, count: int) -> list[Received]:
        """Return once ``count`` requests have come in."""
        self._wait(lambda: len(self._server.received) >= count, f"{count} requests")
        return self.requests

    def wait_for_closed_connections(self, count: int) -> None:
        """Return once ``count`` connections are closed again."""
        self._wait(lambda: self._server.connections_closed >= count, f"{count} closed connections")

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        with self._server.changed:
            assert self._server.changed.wait_for(is_so, PATIENCE_S), f"the server never saw {what}"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as a mail server took it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    is_over_tls: bool
    #: the user that logged in, None without a log-in
    user: str | None


class _MailHandler:
    def __init__(self, refusals: Mapping[str, str], needs_login: bool, is_implicit: bool) -> None:
        self.mails: list[Mail] = []
        #: what clients called themselves
        self.greetings: list[str] = []
        self._refusals = dict(refusals)
        self._needs_login = needs_login
        self._is_implicit = is_implicit

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._needs_login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if "MAIL" in self._refusals:
            return self._refusals["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        for key in ("RCPT", address):
            if key in self._refusals:
                return self._refusals[key]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self._refusals:
            return self._refusals["DATA"]
        user = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None
        content = envelope.original_content or b""
        is_over_tls = self._is_implicit or session.ssl is not None
        self.mails.append(Mail(envelope.mail_from or "", tuple(envelope.rcpt_tos), content, is_over_tls, user))
        return "250 OK"


class MailServer:
    """A mail server on loopback that keeps what it is given.

    Args:
        context: a certificate (see `Authority.context`); None = no TLS at all.
        is_implicit: TLS from the first byte, as on port 465; otherwise STARTTLS is offered.
        login: the user and password that must log in; None = nobody has to.
        refusals: replies by command ("MAIL", "RCPT", "DATA") or by recipient, as {"RCPT": "550 5.1.1 unknown"}.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        is_implicit: bool = False,
        login: tuple[str, str] | None = None,
        refusals: Mapping[str, str] | None = None,
    ) -> None:
        self._handler = _MailHandler(refusals or {}, login is not None, is_implicit)
        self._login = login
        self._controller = Controller(
            self._handler,
            hostname=self.host,
            port=_free_port(),
            server_hostname="mail.test",
            ssl_context=context if is_implicit else None,
            tls_context=None if is_implicit else context,
            require_starttls=context is not None and not is_implicit,
            auth_require_tls=not is_implicit,  # it does not know of TLS that was there before it
            authenticator=self._check,
        )
        self.port: int = self._controller.port

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._controller.stop()

    @property
    def mails(self) -> list[Mail]:
        """What was taken so far, in the order of arrival."""
        return list(self._handler.mails)

    @property
    def greetings(self) -> list[str]:
        """The names with which clients said EHLO."""
        return list(self._handler.greetings)

    def _check(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        is_right = self._login == (data.login.decode(), data.password.decode())
        return AuthResult(success=is_right, handled=False, auth_data=data)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((MailServer.host, 0))
        return int(probe.getsockname()[1])
