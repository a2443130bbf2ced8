"""Requests to real servers on loopback: where they may go, how long they may take, and what becomes of them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pggit_analytics.delivery.http import HttpSender
from pggit_analytics.errors import ConfigurationError
from tests.servers import (
    Authority,
    Behaviour,
    HttpServer,
    answers,
    answers_and_closes,
    closes,
    drips_headers,
    drips_the_body,
    floods,
    hangs,
    hangs_in_the_body,
    hangs_in_the_headers,
    redirects,
    says,
    waits_for,
)

#: what a path holds that must never be shown
PATH = "/services/T0/topsecret?token=topsecret"

#: of the public internet, as an answer of a name server
PUBLIC = "8.8.8.8"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


@pytest.fixture
def sender() -> Iterator[HttpSender]:
    with HttpSender() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Call it with the addresses that each look-up of a name gives, the last one for ever; it returns what is asked."""

    def answer(*look_ups: list[str]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, *args: object, **options: object) -> list[object]:
            found = look_ups[min(len(asked), len(look_ups) - 1)]
            asked.append(host)
            return [
                (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in found
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answer


def test_a_request_arrives_as_it_was_meant(server: HttpServer, sender: HttpSender) -> None:
    reply = sender.post(server.url + PATH, b'{"a": 1}', {"X-Mine": "yes"}, allow_private=True)
    assert (reply.outcome, reply.http_status, reply.error, reply.retry_after_s) == ("delivered", 200, None, None)
    assert reply.duration_ms > 0
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", PATH, b'{"a": 1}')
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-mine"] == "yes"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["user-agent"].startswith("pggit-analytics/")


@pytest.mark.parametrize(
    ("behaviour", "outcome", "error"),
    [
        (answers(204, ""), "delivered", None),
        (answers(400, "invalid_payload"), "rejected", "HTTP 400 Bad Request (invalid_payload)"),
        (answers(404, "/services/T0/topsecret not found"), "rejected", "HTTP 404 Not Found"),
        (answers(403, "topsecret"), "rejected", "HTTP 403 Forbidden"),
        (answers(408), "retry", "HTTP 408 Request Timeout"),
        (answers(425), "retry", "HTTP 425 Too Early"),
        (answers(429), "rate_limited", "HTTP 429 Too Many Requests"),
        (answers(500), "retry", "HTTP 500 Internal Server Error"),
        (answers(599), "retry", "HTTP 599"),
        (closes(), "retry", "the connection was closed before there was an answer"),
        (says(b"220 mail.test ESMTP\r\n"), "retry", "the answer is not HTTP"),
        (says(b"HTTP/1.1 topsecret\r\n\r\n"), "retry", "the answer is not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "retry", "the answer is not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), "delivered", None),
    ],
)
def test_an_answer_means_one_of_four_outcomes(
    server: HttpServer, sender: HttpSender, behaviour: Behaviour, outcome: str, error: str | None
) -> None:
    server.answer(behaviour)
    reply = sender.post(server.url + PATH, b"{}", {}, allow_private=True)
    assert (reply.outcome, reply.error) == (outcome, error and f"127.0.0.1: {error}")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "seconds"), [(429, 7.0), (503, 7.0), (400, None), (200, None)])
def test_a_pause_that_is_asked_for_is_passed_on(
    server: HttpServer, sender: HttpSender, status: int, seconds: float | None
) -> None:
    server.answer(answers(status, headers={"Retry-After": "7"}))
    assert sender.post(server.url, b"{}", {}, allow_private=True).retry_after_s == seconds


def test_a_server_that_is_not_there_is_tried_again_later(sender: HttpSender) -> None:
    with HttpServer() as gone:
        url = gone.url + PATH
    reply = sender.post(url, b"{}", {}, allow_private=True)
    assert (reply.outcome, reply.http_status, reply.error) == ("retry", None, "127.0.0.1: it refused the connection")


def test_a_name_that_is_not_known_is_tried_again_later(sender: HttpSender) -> None:
    for name in ("nowhere.invalid", "x" * 64 + ".invalid"):
        reply = sender.post(f"https://{name}{PATH}", b"{}", {}, allow_private=False)
        assert (reply.outcome, reply.error) == ("retry", f"{name}: its name is not known")


def test_a_look_up_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def getaddrinfo(*args: object, **options: object) -> list[object]:
        is_over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with HttpSender(connect_timeout_s=0.2) as sender:
        reply = sender.post("https://hooks.example.com", b"{}", {}, allow_private=False)
    is_over.set()
    assert reply.outcome == "retry"
    assert reply.error == "hooks.example.com: its name could not be looked up within 0.2 s"


# --- where requests may go


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0"])
def test_loopback_is_refused_in_every_spelling_and_gets_no_connection(
    server: HttpServer, sender: HttpSender, host: str
) -> None:
    reply = sender.post(f"http://{host}:{server.port}{PATH}", b"{}", {}, allow_private=False)
    assert (reply.outcome, reply.http_status) == ("rejected", None)
    assert reply.error is not None
    assert reply.error.startswith(f"{host}: ")
    assert reply.error.endswith("allow private ones on this webhook (--allow-private)")
    assert server.connections == 0


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "fd00::1"])
def test_ipv6_is_refused_as_well(sender: HttpSender, address: str) -> None:
    reply = sender.post(f"https://[{address}]{PATH}", b"{}", {}, allow_private=False)
    assert reply.outcome == "rejected"
    assert reply.error is not None
    assert reply.error.startswith(f"{address}: {address} is a ")


def test_ipv6_is_reached_where_private_targets_are_allowed(server: HttpServer, sender: HttpSender) -> None:
    url = f"http://[::ffff:127.0.0.1]:{server.port}"  # of IPv6, and there even without an interface that has IPv6
    assert sender.post(url, b"{}", {}, allow_private=True).outcome == "delivered"
    assert server.requests[0].headers["host"] == f"[::ffff:127.0.0.1]:{server.port}"


def test_a_name_that_was_public_and_then_is_loopback_is_refused(
    server: HttpServer, sender: HttpSender, names: Callable[..., list[str]]
) -> None:
    asked = names([PUBLIC], ["127.0.0.1"])
    socket.getaddrinfo("rebound.example", server.port)  # who asked first was told a public address
    reply = sender.post(f"http://rebound.example:{server.port}{PATH}", b"{}", {}, allow_private=False)
    assert reply.outcome == "rejected"
    assert reply.error is not None
    assert reply.error.startswith("rebound.example: 127.0.0.1 is a loopback address; ")
    assert asked == ["rebound.example"] * 2
    assert server.connections == 0


def test_the_sender_looks_a_name_up_only_once(
    server: HttpServer, sender: HttpSender, names: Callable[..., list[str]]
) -> None:
    asked = names(["127.0.0.1"], [PUBLIC])
    reply = sender.post(f"http://once.example:{server.port}", b"{}", {}, allow_private=True)
    assert reply.outcome == "delivered"
    assert asked == ["once.example"]


@pytest.mark.parametrize("addresses", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC]])
def test_a_name_with_one_private_address_among_public_ones_is_refused(
    server: HttpServer, sender: HttpSender, names: Callable[..., list[str]], addresses: list[str]
) -> None:
    names(addresses)
    reply = sender.post(f"http://mixed.example:{server.port}", b"{}", {}, allow_private=False)
    assert reply.outcome == "rejected"
    assert server.connections == 0


def test_the_peer_of_the_connection_is_checked_before_a_byte_is_sent(
    server: HttpServer, sender: HttpSender, names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a router that leads a public address elsewhere: the socket says where it ended up."""
    names([PUBLIC])
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connect(self, ("127.0.0.1", server.port)))
    reply = sender.post(f"http://public.example:{server.port}", b"{}", {}, allow_private=False)
    assert reply.outcome == "rejected"
    assert reply.error is not None
    assert reply.error.startswith("public.example: 127.0.0.1 is a loopback address; ")
    server.wait_for_closed_connections(1)
    assert server.requests == []


def test_the_next_address_of_a_name_is_tried(
    server: HttpServer, sender: HttpSender, names: Callable[..., list[str]]
) -> None:
    names(["::1", "127.0.0.1"])  # the server listens at the second only
    assert sender.post(f"http://two.example:{server.port}", b"{}", {}, allow_private=True).outcome == "delivered"


def test_a_connection_that_was_allowed_for_one_webhook_is_not_used_for_another(
    server: HttpServer, sender: HttpSender
) -> None:
    assert sender.post(server.url, b"{}", {}, allow_private=True).outcome == "delivered"
    assert sender.post(server.url, b"{}", {}, allow_private=False).outcome == "rejected"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data", "/elsewhere", "gopher://topsecret", "http://["]
)
def test_a_redirect_is_not_followed(server: HttpServer, sender: HttpSender, status: int, target: str) -> None:
    server.answer(redirects(target, status), answers())
    reply = sender.post(server.url + PATH, b"{}", {}, allow_private=True)
    assert (reply.outcome, reply.http_status) == ("rejected", status)
    assert reply.error == f"127.0.0.1: HTTP {status}: redirected; not followed"
    assert [request.path for request in server.requests] == [PATH]


def test_proxies_and_passwords_of_the_environment_are_not_used(
    server: HttpServer, sender: HttpSender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password topsecret\n", encoding="ascii")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with HttpServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        assert sender.post(server.url + PATH, b"{}", {}, allow_private=True).outcome == "delivered"
        assert proxy.connections == 0
    (request,) = server.requests
    assert "authorization" not in request.headers


def test_cookies_are_not_kept(server: HttpServer, sender: HttpSender) -> None:
    server.answer(answers(headers={"Set-Cookie": "session=1; Path=/"}))
    for _ in range(2):
        sender.post(server.url, b"{}", {}, allow_private=True)
    assert ["cookie" in request.headers for request in server.requests] == [False, False]


# --- TLS


def test_a_certificate_of_a_named_authority_is_trusted(authority: Authority) -> None:
    with HttpServer(context=authority.context()) as server, HttpSender(authority.ca_file) as sender:
        for _ in range(3):
            assert sender.post(server.url + PATH, b"{}", {}, allow_private=True).outcome == "delivered"
        assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize(
    ("names_of_certificate", "is_authority_known", "reason"),
    [
        (["localhost"], False, "its authority is not known; name it by ca_file"),
        (["elsewhere.example"], True, "it is for another host name"),
    ],
)
def test_a_wrong_certificate_is_tried_again_later_and_gets_no_request(
    authority: Authority, names_of_certificate: list[str], is_authority_known: bool, reason: str
) -> None:
    ca_file = authority.ca_file if is_authority_known else None
    with HttpServer(context=authority.context(*names_of_certificate)) as server, HttpSender(ca_file) as sender:
        reply = sender.post(server.url + PATH, b"{}", {}, allow_private=True)
        assert (reply.outcome, reply.http_status) == ("retry", None)
        assert reply.error == f"localhost: its certificate is not trusted: {reason}"
        assert server.requests == []


def test_the_certificate_must_be_for_the_name_not_for_the_address_it_leads_to(
    authority: Authority, names: Callable[..., list[str]]
) -> None:
    names(["127.0.0.1"])
    with HttpServer(context=authority.context("127.0.0.1")) as server, HttpSender(authority.ca_file) as sender:
        reply = sender.post(f"https://hooks.example:{server.port}", b"{}", {}, allow_private=True)
        assert reply.error == "hooks.example: its certificate is not trusted: it is for another host name"
    with HttpServer(context=authority.context("hooks.example")) as server, HttpSender(authority.ca_file) as sender:
        reply = sender.post(f"https://hooks.example:{server.port}", b"{}", {}, allow_private=True)
        assert reply.outcome == "delivered"


def test_a_server_without_tls_is_tried_again_later(server: HttpServer, sender: HttpSender) -> None:
    reply = sender.post(f"https://127.0.0.1:{server.port}{PATH}", b"{}", {}, allow_private=True)
    assert (reply.outcome, reply.error) == ("retry", "127.0.0.1: TLS could not be set up")


def test_a_tls_handshake_that_hangs_is_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, HttpSender(connect_timeout_s=0.3) as sender:
        reply = sender.post(f"https://127.0.0.1:{silent.getsockname()[1]}", b"{}", {}, allow_private=True)
    assert (reply.outcome, reply.error) == ("retry", "127.0.0.1: no answer within 0.3 s")


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("none", encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"empty\.pem cannot be used: holds no certificates in PEM$"):
        HttpSender(tmp_path / "empty.pem")
    with pytest.raises(ConfigurationError, match=r"missing\.pem cannot be used: No such file or directory$"):
        HttpSender(tmp_path / "missing.pem")


# --- time and size


@pytest.mark.parametrize(
    ("behaviour", "timeouts", "reason"),
    [
        (hangs(), (20, 0.2, 20), "no answer within 0.2 s"),
        (hangs_in_the_headers(), (20, 0.2, 20), "no answer within 0.2 s"),
        (hangs(), (20, 20, 0.5), "no complete answer within 0.5 s"),
        (drips_headers(), (20, 20, 0.5), "no complete answer within 0.5 s"),
    ],
)
@pytest.mark.parametrize("is_tls", [False, True])
def test_a_server_that_does_not_answer_is_given_up(
    authority: Authority, behaviour: Behaviour, timeouts: tuple[float, float, float], reason: str, is_tls: bool
) -> None:
    with (
        HttpServer(context=authority.context() if is_tls else None, name="localhost") as server,
        HttpSender(authority.ca_file, *timeouts) as sender,
    ):
        server.answer(behaviour)
        reply = sender.post(server.url + PATH, b"{}", {}, allow_private=True)
        assert (reply.outcome, reply.http_status, reply.error) == ("retry", None, f"localhost: {reason}")
        server.wait_for_closed_connections(1)


@pytest.mark.parametrize("behaviour", [hangs_in_the_body(), drips_the_body()])
def test_an_answer_whose_body_never_ends_counts_by_its_status(server: HttpServer, behaviour: Behaviour) -> None:
    server.answer(behaviour)
    with HttpSender(total_timeout_s=1.5) as sender:
        reply = sender.post(server.url, b"{}", {}, allow_private=True)
        assert (reply.outcome, reply.http_status) == ("delivered", 200)
        server.wait_for_closed_connections(1)


@pytest.mark.parametrize(("status", "outcome"), [(200, "delivered"), (500, "retry"), (302, "rejected")])
def test_ten_megabytes_are_not_read_whole(server: HttpServer, sender: HttpSender, status: int, outcome: str) -> None:
    server.answer(floods(10_000_000, status), answers())
    assert sender.post(server.url, b"{}", {}, allow_private=True).outcome == outcome
    server.wait_for_closed_connections(1)
    assert server.bytes_flooded < 10_000_000
    # and the rest of it is not taken for the next answer
    assert sender.post(server.url, b"{}", {}, allow_private=True).outcome == "delivered"
    assert server.connections == 2


# --- connections that are kept


def test_one_connection_serves_many_requests(server: HttpServer, sender: HttpSender) -> None:
    server.answer(answers(200), answers(500), answers(429), answers(404), answers(204, ""), answers())
    for _ in range(8):
        sender.post(server.url, b"{}", {}, allow_private=True)
    assert (len(server.requests), server.connections) == (8, 1)


def test_a_kept_connection_that_the_server_has_closed_is_replaced(server: HttpServer, sender: HttpSender) -> None:
    server.answer(answers_and_closes(), answers())
    assert sender.post(server.url, b"1", {}, allow_private=True).outcome == "delivered"
    server.wait_for_closed_connections(1)
    assert sender.post(server.url, b"2", {}, allow_private=True).outcome == "delivered"
    assert [(request.body, request.connection) for request in server.requests] == [(b"1", 1), (b"2", 2)]


def test_a_request_that_may_have_been_taken_is_not_sent_twice(server: HttpServer, sender: HttpSender) -> None:
    server.answer(answers(), closes())
    assert sender.post(server.url, b"1", {}, allow_private=True).outcome == "delivered"
    reply = sender.post(server.url, b"2", {}, allow_private=True)
    assert reply.outcome == "retry"
    assert reply.error == "127.0.0.1: the connection was closed before there was an answer"
    assert [request.body for request in server.requests] == [b"1", b"2"]


def test_threads_share_a_sender_and_no_request_waits_for_another(server: HttpServer, sender: HttpSender) -> None:
    all_are_there = threading.Event()
    server.answer(waits_for(all_are_there))
    with ThreadPoolExecutor(8) as threads:
        replies = [threads.submit(sender.post, server.url, str(i).encode(), {}, allow_private=True) for i in range(8)]
        server.wait_for_requests(8)
        all_are_there.set()
        assert {reply.result().outcome for reply in replies} == {"delivered"}
    assert {request.body for request in server.requests} == {str(i).encode() for i in range(8)}
    assert server.connections == 8


def test_a_closed_sender_can_go_on(server: HttpServer, sender: HttpSender) -> None:
    for _ in range(2):
        assert sender.post(server.url, b"{}", {}, allow_private=True).outcome == "delivered"
        sender.close()
    assert server.connections == 2


# --- secrets


def test_no_log_at_any_level_holds_the_path(
    server: HttpServer, sender: HttpSender, caplog: pytest.LogCaptureFixture
) -> None:
    broken_header = says(b"HTTP/1.1 200 OK\r\nX: y\r\nno header at all\r\nContent-Length: 0\r\n\r\n")
    server.answer(answers(), answers(500), redirects("/topsecret"), broken_header, closes())
    with caplog.at_level(logging.DEBUG):
        for _ in range(5):
            sender.post(server.url + PATH, b"topsecret", {"X-Signature": "topsecret"}, allow_private=True)
    assert len(server.requests) == 5
    assert "topsecret" not in caplog.text


def test_logs_of_others_are_left_alone(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    import requests

    with caplog.at_level(logging.DEBUG):
        requests.get(server.url + "/of-somebody-else", timeout=5)
    assert "/of-somebody-else" in caplog.text
