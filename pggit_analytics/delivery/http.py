"""Requests to channels: to where they may go, in bounded time, and with an answer that is one of four."""

from __future__ import annotations

import http.client
import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from pggit_analytics.delivery.reply import Reply, outcome_of_status, retry_after
from pggit_analytics.delivery.sockets import (
    BoundedSocket,
    Timeouts,
    exchange,
    is_exchanging,
    open_connection,
    trusting_context,
    what_went_wrong,
)
from pggit_analytics.errors import ForbiddenAddress
from pggit_analytics.version import __version__

#: bytes of an answer's body that are read; a connection whose answer is longer is given up
_MAX_BODY = 64 * 1024

#: connections kept for each host, one for each thread that may send to it at once
_KEPT_CONNECTIONS = 16

#: an answer that is one word of this form is the channel's own code for a fault (``channel_is_archived``): no text of
#: which a path or a token could be a part
_FAULT_CODE = re.compile(rb"[a-z]{2,20}(_[a-z]{2,20}){1,5}")

_HEADERS = {
    "User-Agent": f"pggit-analytics/{__version__}",
    "Content-Type": "application/json",
    "Accept": "*/*",
    # a short answer gains nothing by compression, and a compressed one could be of any length
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
}


class HttpSender:
    """Sends requests; may be used by several threads at once, and keeps connections between requests.

    No setting of the environment has a say in where requests go or what they carry: no proxy, no ``.netrc``, no
    cookie, no redirect.

    Args:
        ca_file: certificates (PEM) trusted besides the public ones.
        connect_timeout_s: for a connection, and again for its TLS.
        read_timeout_s: of silence.
        total_timeout_s: for everything, from looking up the name to the end of the answer.

    Raises:
        ConfigurationError: ``ca_file`` holds no certificates.
    """

    def __init__(
        self,
        ca_file: Path | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 10.0,
        total_timeout_s: float = 20.0,
    ) -> None:
        self._timeouts = Timeouts(connect_timeout_s, read_timeout_s, total_timeout_s)
        self._context = trusting_context(ca_file)
        self._sessions: dict[tuple[str, str, int, bool], requests.Session] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that were kept. The sender can go on being used."""
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> Reply:
        """Send one request and judge the answer by its status; faults of the network are replies, too.

        Args:
            url: an `Address`'s ``url``.
            body: sent as it is.
            headers: besides the usual ones; ``Content-Type`` is ``application/json`` unless it says otherwise.
            allow_private: whether the address connected to may be one that `guard.check_peer` refuses.
        """
        return self._request("POST", url, body, headers, allow_private)

    def get(self, url: str, *, allow_private: bool) -> Reply:
        """The same for a request without a body, of whose answer only the status counts."""
        return self._request("GET", url, None, {"Content-Type": None}, allow_private)

    def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str | None], allow_private: bool
    ) -> Reply:
        host = urlsplit(url).hostname or ""
        session = self._session(url, allow_private)
        started = time.perf_counter()
        try:
            with exchange(self._timeouts):
                response = session.send(
                    _prepared(method, url, body, headers),
                    stream=True,
                    allow_redirects=False,
                    proxies={},
                    timeout=(self._timeouts.connect_s, self._timeouts.read_s),
                )
                answer = _read(response)
        except ForbiddenAddress as exc:
            return Reply("rejected", None, f"{host}: {exc}", None, _since(started))
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError) as exc:
            return Reply("retry", None, f"{host}: {what_went_wrong(exc)}", None, _since(started))
        return _judge(host, response, answer, _since(started))

    def _session(self, url: str, allow_private: bool) -> requests.Session:
        parts = urlsplit(url)
        # never without a port: urllib3 would take the end of an address of IPv6 for one
        port = parts.port or (443 if parts.scheme == "https" else 80)
        key = (parts.scheme, parts.hostname or "", port, allow_private)
        with self._lock:
            if key not in self._sessions:
                context = self._context if parts.scheme == "https" else None
                self._sessions[key] = _new_session(key[1], key[2], context, allow_private)
            return self._sessions[key]


def _prepared(method: str, url: str, body: bytes | None, headers: Mapping[str, str | None]) -> requests.PreparedRequest:
    """The request. A session makes the same one and takes three times as long, looking for what is not set."""
    merged: CaseInsensitiveDict[str | None] = CaseInsensitiveDict(_HEADERS)
    merged.update(headers)
    prepared = requests.PreparedRequest()
    prepared.prepare(method, url, {name: value for name, value in merged.items() if value is not None}, data=body)
    return prepared


def _since(started: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - started) * 1000


def _read(response: requests.Response) -> bytes:
    """The body; empty when it is long or does not come to its end: the status alone says what became of the message."""
    try:
        answer: bytes = response.raw.read(_MAX_BODY + 1, decode_content=False)
    except (HTTPError, http.client.HTTPException, OSError):
        answer = b""
    finally:
        response.close()  # of a body read to its end this keeps the connection
    return answer if len(answer) <= _MAX_BODY else b""


def _judge(host: str, response: requests.Response, answer: bytes, duration_ms: float) -> Reply:
    status = response.status_code
    outcome = outcome_of_status(status)
    error = None if outcome == "delivered" else f"{host}: {_meaning(status, answer.strip())}"
    pause = retry_after(response.headers, datetime.now(UTC)) if outcome in {"retry", "rate_limited"} else None
    return Reply(outcome, status, error, pause, duration_ms)


def _meaning(status: int, answer: bytes) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirected; not followed"
    phrase = http.client.responses.get(status, "")
    code = f" ({answer.decode()})" if _FAULT_CODE.fullmatch(answer) else ""
    return f"HTTP {status} {phrase}".rstrip() + code


class _Session(requests.Session):
    """A session that knows no redirect: `requests` would read its whole answer even when it is not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


class _Adapter(HTTPAdapter):
    """Sends through one pool of connections, and thus to one host, whatever a request says."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__(max_retries=0)
        self._pool = pool

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> HTTPConnectionPool:  # noqa: ARG002
        return self._pool

    def cert_verify(self, *args: Any, **options: Any) -> None:
        """The context of the pool does."""

    def close(self) -> None:
        """Close the connections of the pool."""
        super().close()
        self._pool.close()


class _HttpConnection(HTTPConnection):
    """Connects through the guard; that is where urllib3 gets every socket, before TLS."""

    def __init__(self, *args: Any, allow_private: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._allow_private = allow_private

    def _new_conn(self) -> BoundedSocket:
        return _guarded(self, self._allow_private)


class _HttpsConnection(HTTPSConnection):
    """The same with TLS, which checks the certificate against the name, not the address."""

    def __init__(self, *args: Any, allow_private: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._allow_private = allow_private

    def _new_conn(self) -> BoundedSocket:
        return _guarded(self, self._allow_private)


def _guarded(connection: HTTPConnection | HTTPSConnection, allow_private: bool) -> BoundedSocket:
    try:
        return open_connection(connection._dns_host, connection.port, allow_private=allow_private)
    except OSError as exc:  # as the original does: urllib3 takes some for an early answer otherwise
        raise NewConnectionError(connection, "no connection") from exc


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def _new_session(host: str, port: int, context: SSLContext | None, allow_private: bool) -> requests.Session:
    options: dict[str, Any] = {"maxsize": _KEPT_CONNECTIONS, "allow_private": allow_private}
    pool = _HttpsPool(host, port, ssl_context=context, **options) if context else _HttpPool(host, port, **options)
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    session.mount("https://" if context else "http://", _Adapter(pool))
    return session


def _is_not_ours(record: logging.LogRecord) -> bool:  # noqa: ARG001
    return not is_exchanging()


# urllib3 logs paths, which are secrets here, some of them even as warnings. What is worth knowing is in the reply.
for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_is_not_ours)
