"""Connections that reach only where they may, and end in time whatever the other side does.

A time-out of a socket is one of silence: a server that sends a byte now and then is never silent. Here every operation
of a socket also draws on what is left of the exchange it belongs to, in time and in bytes.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from pggit_analytics.delivery.guard import check_peer
from pggit_analytics.errors import ConfigurationError

#: bytes of one answer, headers included; what channels answer has some hundred
_MAX_RECEIVED = 512 * 1024

#: X509_V_ERR_... of OpenSSL, in words
_CERTIFICATE_FAULTS = {
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is not known; name it by ca_file",
    20: "its authority is not known; name it by ca_file",
    62: "it is for another host name",
    64: "it is for another address",
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect and again to set up TLS, of silence, and for the whole of one exchange."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 20.0


class Fault(OSError):
    """A connection did not do what it should; the text may be shown to anybody."""


class TooSlow(Fault, TimeoutError):
    """Something took longer than it may."""


class _Exchange:
    """What is left of one request and its answer."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._deadline = time.monotonic() + timeouts.total_s
        self._bytes_left = _MAX_RECEIVED

    def remaining_s(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self.too_slow()
        return remaining

    def too_slow(self) -> TooSlow:
        return TooSlow(f"no complete answer within {self.timeouts.total_s:g} s")

    def received(self, size: int) -> int:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise Fault(f"the answer has more than {_MAX_RECEIVED // 1024} KiB")
        return size


_current: ContextVar[_Exchange | None] = ContextVar("pggit_exchange", default=None)


@contextmanager
def exchange(timeouts: Timeouts) -> Iterator[None]:
    """Bound all that this thread does with the sockets of this module until the end of the block.

    Whatever is over its time raises `TooSlow`.
    """
    token = _current.set(_Exchange(timeouts))
    try:
        yield
    finally:
        _current.reset(token)


def is_exchanging() -> bool:
    """Whether this thread is within `exchange`."""
    return _current.get() is not None


@contextmanager
def _bounded(sock: socket.socket) -> Iterator[_Exchange | None]:
    current = _current.get()
    if current is None:  # a connection that is closed later, outside
        yield None
        return
    remaining, timeout = current.remaining_s(), sock.gettimeout()
    is_last = timeout is None or timeout >= remaining
    if is_last:
        sock.settimeout(remaining)
    try:
        yield current
    except TimeoutError as exc:
        raise (current.too_slow() if is_last else TooSlow(f"no answer within {timeout:g} s")) from exc


class BoundedSocket(socket.socket):
    """A socket that keeps to the limits of the current `exchange`."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        """See `socket.socket.recv_into`."""
        with _bounded(self) as current:
            size = super().recv_into(*args, **options)
        return current.received(size) if current else size

    def sendall(self, *args: Any) -> None:
        """See `socket.socket.sendall`."""
        with _bounded(self):
            super().sendall(*args)


class BoundedTlsSocket(ssl.SSLSocket):
    """The same with TLS."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        """See `ssl.SSLSocket.recv_into`."""
        with _bounded(self) as current:
            size = super().recv_into(*args, **options)
        return current.received(size) if current else size

    def send(self, *args: Any) -> int:
        """See `ssl.SSLSocket.send`, which ``sendall`` is made of."""
        with _bounded(self):
            return super().send(*args)

    def do_handshake(self, block: bool = False) -> None:
        """See `ssl.SSLSocket.do_handshake`; the time-out of the socket is one for the whole of it."""
        with _bounded(self):
            super().do_handshake(block)


def trusting_context(ca_file: Path | None) -> ssl.SSLContext:
    """What clients check certificates and host names with: the public authorities and those of ``ca_file``.

    Raises:
        ConfigurationError: there are no certificates in ``ca_file``.
    """
    context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = BoundedTlsSocket
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as exc:  # which ssl.SSLError is
            reason = "holds no certificates in PEM" if isinstance(exc, ssl.SSLError) else exc.strerror
            raise ConfigurationError(f"ca_file {ca_file} cannot be used: {reason}") from None
    return context


def open_connection(host: str, port: int, *, allow_private: bool) -> BoundedSocket:
    """Connect to the first address of ``host`` that can be reached, within the current `exchange`.

    The name is looked up once. Unless ``allow_private``, each of its addresses must be one of the public internet,
    before anything is connected to, and so must the peer of the connection, before anything is sent.

    Raises:
        ForbiddenAddress: one of them is not.
        OSError: the name is not known, or none of its addresses can be connected to.
    """
    current = _current.get()
    assert current is not None, "open_connection outside of exchange()"
    addresses = _look_up(host, port, current)
    if not allow_private:
        for _, address in addresses:
            check_peer(address[0])
    faults: list[OSError] = []
    for family, address in addresses:
        try:
            return _connected(family, address, current, allow_private)
        except OSError as exc:
            faults.append(exc)
    raise faults[-1] if faults else socket.gaierror(socket.EAI_NONAME, "no address")


def _connected(
    family: socket.AddressFamily, address: tuple[Any, ...], current: _Exchange, allow_private: bool
) -> BoundedSocket:
    sock = BoundedSocket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(min(current.timeouts.connect_s, current.remaining_s()))
        sock.connect(address)
        if not allow_private:
            check_peer(sock.getpeername()[0])
    except BaseException as exc:
        sock.close()
        if isinstance(exc, TimeoutError):
            raise TooSlow(f"no connection within {current.timeouts.connect_s:g} s") from exc
        raise
    return sock


def _look_up(host: str, port: int, current: _Exchange) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """The addresses of a name; the resolver knows no time-out, so it is left behind when it takes too long."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    if _is_address(host):
        return [(found[0], found[4]) for found in ask()]
    answer: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()
    threading.Thread(target=_answer, args=(ask, answer), name="pggit-look-up", daemon=True).start()
    patience = min(current.timeouts.connect_s, current.remaining_s())
    try:
        found = answer.get(timeout=patience)
    except queue.Empty:
        raise TooSlow(f"its name could not be looked up within {patience:.3g} s") from None
    if isinstance(found, Exception):
        raise found
    return [(each[0], each[4]) for each in found]


def _answer(ask: partial[list[Any]], answer: queue.SimpleQueue[list[Any] | Exception]) -> None:
    try:
        answer.put(ask())
    except OSError as exc:
        answer.put(exc)
    except UnicodeError:  # a label that is empty or longer than 63
        answer.put(socket.gaierror(socket.EAI_NONAME, "not a host name"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def what_went_wrong(fault: BaseException) -> str:
    """One line on an exception of a connection, with no text of the libraries that raised it: it may hold secrets."""
    causes = list(_causes(fault))
    for cause in causes:
        if isinstance(cause, Fault):
            return str(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            known = _CERTIFICATE_FAULTS.get(cause.verify_code, f"OpenSSL's fault {cause.verify_code}")
            return f"its certificate is not trusted: {known}"
    for kind, text in _FAULTS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    return "the connection failed"


#: the more telling first: the former are often the cause of the latter
_FAULTS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "TLS could not be set up"),
    (socket.gaierror, "its name is not known"),
    (ConnectionRefusedError, "it refused the connection"),
    (TimeoutError, "it took too long"),
    (ConnectionError, "the connection was closed before there was an answer"),
    (http.client.HTTPException, "the answer is not HTTP"),
    (OSError, "it cannot be reached"),
)


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, in whichever way libraries pass that on."""
    seen: set[int] = set()
    pending: list[object] = [fault]
    while pending:
        each = pending.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
