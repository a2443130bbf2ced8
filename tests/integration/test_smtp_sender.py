"""E-mail to real mail servers on loopback: with TLS or not at all, and what becomes of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from pggit_analytics.delivery.addresses import parse_address
from pggit_analytics.delivery.reply import Reply
from pggit_analytics.delivery.smtp import send
from pggit_analytics.delivery.sockets import Timeouts
from pggit_analytics.errors import InvalidArgument
from tests.servers import DRIP_PAUSE_S, Authority, MailServer

LOGIN = ("ann@example.com", "top/secret")
CREDENTIALS = "ann%40example.com:top%2Fsecret@"
RECIPIENTS = ["dba@example.com", "ops@example.com"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def mail(text: str = "get_history is 40 % slower\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "alerts@example.com",
        ", ".join(RECIPIENTS),
        "Slow: get_history",
    )
    message.set_content(text)
    return message


def post(
    port: int,
    authority: Authority | None,
    *,
    scheme: str = "smtp",
    credentials: str = "",
    options: str = "",
    recipients: list[str] | None = None,
    allow_private: bool = True,
    timeouts: Timeouts | None = None,
) -> Reply:
    text = f"{scheme}://{credentials}localhost:{port}?from=alerts%40example.com{options}"
    return send(
        parse_address("email", text, allow_private=True),
        mail(),
        RECIPIENTS if recipients is None else recipients,
        allow_private=allow_private,
        ca_file=authority and authority.ca_file,
        timeouts=timeouts,
    )


@contextlib.contextmanager
def silent_server(*lines: bytes, drips: bool = False) -> Iterator[int]:
    """A server that says ``lines``, one after each thing it is told, and nothing more (or one byte after the other)."""
    is_over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        # an OSError: the client has gone
        with connection, connection.makefile("rb") as told, contextlib.suppress(OSError):
            for line in lines:
                connection.sendall(line)
                if line is not lines[-1]:
                    told.readline()
            while drips and not is_over.wait(DRIP_PAUSE_S):
                connection.sendall(b"x")
            told.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize("is_implicit", [False, True])
def test_a_message_goes_out_over_tls_after_a_log_in(authority: Authority, is_implicit: bool) -> None:
    with MailServer(authority.context(), is_implicit=is_implicit, login=LOGIN) as server:
        reply = post(server.port, authority, scheme="smtps" if is_implicit else "smtp", credentials=CREDENTIALS)
        assert (reply.outcome, reply.http_status, reply.error, reply.retry_after_s) == ("delivered", None, None, None)
        assert reply.duration_ms > 0
        (taken,) = server.mails
        assert (taken.sender, list(taken.recipients)) == ("alerts@example.com", RECIPIENTS)
        assert (taken.is_over_tls, taken.user) == (True, LOGIN[0])
        assert b"Subject: Slow: get_history\r\n" in taken.content
        assert b"get_history is 40 % slower\r\n" in taken.content
        assert set(server.greetings) == {"[127.0.0.1]"}


def test_without_tls_only_where_the_address_says_so(authority: Authority) -> None:
    with MailServer() as server:
        reply = post(server.port, authority)
        assert (reply.outcome, reply.error) == ("retry", "localhost: offers no STARTTLS or no usable log-in")
        assert server.mails == []
        assert post(server.port, authority, options="&tls=none").outcome == "delivered"
        assert [taken.is_over_tls for taken in server.mails] == [False]


@pytest.mark.parametrize("is_implicit", [False, True])
@pytest.mark.parametrize(
    ("names", "is_known", "reason"),
    [
        (["localhost"], False, "its authority is not known; name it by ca_file"),
        (["elsewhere.example"], True, "it is for another host name"),
    ],
)
def test_a_wrong_certificate_is_tried_again_later_and_gets_no_password(
    authority: Authority, is_implicit: bool, names: list[str], is_known: bool, reason: str
) -> None:
    with MailServer(authority.context(*names), is_implicit=is_implicit, login=LOGIN) as server:
        scheme = "smtps" if is_implicit else "smtp"
        reply = post(server.port, authority if is_known else None, scheme=scheme, credentials=CREDENTIALS)
        assert reply.outcome == "retry"
        assert reply.error == f"localhost: its certificate is not trusted: {reason}"
        assert server.mails == []


@pytest.mark.parametrize(
    ("refusals", "outcome", "error"),
    [
        ({"DATA": "451 4.7.1 ann@example.com try later"}, "retry", "refused the message with 451 4.7.1"),
        ({"DATA": "554 5.7.1 ann@example.com is spam"}, "rejected", "refused the message with 554 5.7.1"),
        ({"MAIL": "550 no such sender"}, "rejected", "refused the sender with 550"),
        ({"MAIL": "421 4.3.2 closing"}, "retry", "refused the sender with 421 4.3.2"),
        ({"RCPT": "550 5.1.1 dba@example.com unknown"}, "rejected", "refused all recipients with 550 5.1.1"),
        ({"RCPT": "450 4.2.0 greylisted"}, "retry", "refused all recipients with 450 4.2.0"),
        (
            {"dba@example.com": "550 5.1.1 unknown", "ops@example.com": "450 4.2.0 later"},
            "retry",
            "refused all recipients with 450 4.2.0",
        ),
        ({"dba@example.com": "550 5.1.1 unknown"}, "delivered", "refused 1 of 2 recipients"),
    ],
)
def test_a_refusal_is_final_or_not_by_its_code_and_its_text_is_not_repeated(
    authority: Authority, refusals: dict[str, str], outcome: str, error: str
) -> None:
    with MailServer(authority.context(), refusals=refusals) as server:
        reply = post(server.port, authority)
        assert (reply.outcome, reply.error) == (outcome, f"localhost: {error}")
        assert len(server.mails) == (outcome == "delivered")


def test_a_wrong_password_is_final(authority: Authority) -> None:
    with MailServer(authority.context(), login=("ann@example.com", "another")) as server:
        reply = post(server.port, authority, credentials=CREDENTIALS)
        assert (reply.outcome, reply.error) == ("rejected", "localhost: refused the log-in with 535 5.7.8")


def test_a_private_server_needs_permission_and_gets_no_connection(authority: Authority) -> None:
    with MailServer(authority.context()) as server:
        reply = post(server.port, authority, allow_private=False)
        assert reply.outcome == "rejected"
        assert reply.error is not None
        assert reply.error.endswith("allow private ones on this webhook (--allow-private)")
        assert (server.greetings, server.mails) == ([], [])


def test_a_server_that_is_not_there_is_tried_again_later(authority: Authority) -> None:
    with MailServer() as gone:
        port = gone.port
    assert post(port, authority).error == "localhost: it refused the connection"


@pytest.mark.parametrize(
    ("lines", "drips", "timeouts", "reason"),
    [
        ([b""], False, Timeouts(20, 0.2, 20), "no answer within 0.2 s"),
        ([b"220 hello\r\n", b"250-half\r\n"], False, Timeouts(20, 0.2, 20), "no answer within 0.2 s"),
        ([b"220 hello\r\n", b"250-"], True, Timeouts(20, 20, 0.5), "no complete answer within 0.5 s"),
        ([b"220 hello\r\n", b"250-x\r\n" * 100_000], False, Timeouts(), "the answer has more than 512 KiB"),
    ],
)
def test_a_server_that_never_finishes_is_given_up(
    authority: Authority, lines: list[bytes], drips: bool, timeouts: Timeouts, reason: str
) -> None:
    with silent_server(*lines, drips=drips) as port:
        reply = post(port, authority, timeouts=timeouts)
        assert (reply.outcome, reply.error) == ("retry", f"localhost: {reason}")


def test_a_server_that_hangs_up_is_tried_again_later(authority: Authority) -> None:
    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        reply = post(listener.getsockname()[1], authority)
        thread.join()
    assert (reply.outcome, reply.error) == ("retry", "localhost: the connection was closed before there was an answer")


def test_what_is_not_a_mail_server_is_tried_again_later(authority: Authority) -> None:
    with silent_server(b"HTTP/1.1 400 topsecret\r\n") as port:
        reply = post(port, authority)
    assert (reply.outcome, reply.error) == ("retry", "localhost: the answer is not SMTP")


@pytest.mark.parametrize("recipients", [[], ["dba"], ["a@b\r\nRCPT TO:<c@d>"], ["a@b> SIZE=1"], ["a@b", ""]])
def test_what_is_no_mailbox_is_refused(authority: Authority, recipients: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"^the list of recipients (is empty|has '.*'), expected "):
        post(9, authority, recipients=recipients)
