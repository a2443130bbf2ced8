"""A channel for benchmarks: an HTTP server in a process of its own that answers 200 at once and counts.

It reads no more of a request than where it ends, so that the time is spent in what is measured. `capacity` says what
it takes from a client that does as little.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from multiprocessing.connection import Connection
from time import perf_counter
from types import TracebackType

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = b"content-length:"


class Receiver:
    """The server, as long as the block lasts."""

    def __enter__(self) -> Receiver:
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.port: int = self._end.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.close()
        self._process.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def received(self) -> int:
        """Requests so far."""
        self._end.send(None)
        count: int = self._end.recv()
        return count


class _Protocol(asyncio.Protocol):
    """One connection; requests come one after another, each with a Content-Length."""

    count = 0

    def __init__(self) -> None:
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (size := _size(self._unread)) is not None and size <= len(self._unread):
            self._unread = self._unread[size:]
            _Protocol.count += 1
            self._transport.write(_ANSWER)


def _size(unread: bytes) -> int | None:
    """Bytes of the first request; None while its headers are not complete."""
    end = unread.find(b"\r\n\r\n")
    if end < 0:
        return None
    headers = unread[:end].lower()
    at = headers.find(_LENGTH)
    length = int(headers[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return end + 4 + length


def _serve(end: Connection) -> None:
    asyncio.run(_serve_until_closed(end))


async def _serve_until_closed(end: Connection) -> None:
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def answer() -> None:
        try:
            end.recv()
        except EOFError:
            loop.remove_reader(end.fileno())
            closed.set()
        else:
            end.send(_Protocol.count)

    server = await loop.create_server(_Protocol, "127.0.0.1", 0, backlog=512)
    loop.add_reader(end.fileno(), answer)
    end.send(server.sockets[0].getsockname()[1])
    await closed.wait()
    server.close()


def capacity(receiver: Receiver, body: bytes, seconds: float = 2.0) -> float:
    """Requests a second that it takes from one plain client on one connection that is kept."""
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with socket.create_connection(("127.0.0.1", receiver.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started, sent = perf_counter(), 0
        while perf_counter() - started < seconds:
            client.sendall(request)
            client.recv(4096)
            sent += 1
        return sent / (perf_counter() - started)


if __name__ == "__main__":
    with Receiver() as running:
        print(f"{capacity(running, b'x' * 2000):,.0f} requests/s")
