"""Channels that do not do what they should: what each does, and what is to become of the messages to it.

Every fault is a server on loopback, or an address that leads nowhere good. Each is a webhook of its own, so that all of
them fit into one run of the worker::

    with Channels(scene) as channels:
        for fault in CHANNEL_FAULTS:
            channels.add(fault)
        channels.deliver()              # a process, to its end
        channels.mend()                 # all channels are well, and time has passed
        channels.deliver("--redrive")
    assert scene.account().faults == []
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import trustme

from tests.deliveries import SECRET, Deliveries, body
from tests.faults import TOKEN, Channel, Ended, Fault, Scene
from tests.servers import (
    DRIP_PAUSE_S,
    Behaviour,
    Handler,
    HttpServer,
    MailServer,
    answers,
    closes,
    floods,
    hangs,
    hangs_after,
    hangs_in_the_body,
    redirects,
    says,
)

#: messages to each channel
MESSAGES = 2

#: seconds that the worker is given; each message to a server that hangs costs the one of silence
_TIMEOUTS_S = {"CONNECT": 5.0, "READ": 1.5, "TOTAL": 3.0}

#: part of the password of every mail server, which is not to be found anywhere
PASSWORD = "P4SS/that-nobody-may-see"

#: of a service of PagerDuty
ROUTING_KEY = "R0UT1NG" + "k" * 25

_WELL = "well"

#: names that only the worker's own resolver knows, see `_RESOLVER`
_REBOUND, _DIVERTED = "rebound.test", "diverted.test"

# Run by the worker's process when it starts. A name that is public when first asked for and loopback from then on, and
# a public address behind which loopback answers, as behind a router.
_RESOLVER = f"""
import socket

PUBLIC, LOOPBACK = "8.8.8.8", "127.0.0.1"
look_up, reach = socket.getaddrinfo, socket.socket.connect
asked = []


def getaddrinfo(host, port, *args, **options):
    if host not in {{"{_REBOUND}", "{_DIVERTED}"}}:
        return look_up(host, port, *args, **options)
    asked.append(host)
    is_public = host == "{_DIVERTED}" or asked.count(host) == 1
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC if is_public else LOOPBACK, port))]


def connect(self, address):
    return reach(self, (LOOPBACK, *address[1:]) if address[0] == PUBLIC else address)


socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
"""

_EXPIRED = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_ISSUED = dt.datetime(2019, 1, 1, tzinfo=dt.UTC)


class Certificates:
    """An authority that the worker knows and one that it does not."""

    def __init__(self, directory: Path) -> None:
        self._known, self._unknown = trustme.CA(), trustme.CA()
        self.ca_file = directory / "known.pem"
        self._known.cert_pem.write_to_path(str(self.ca_file))

    def context(self, *names: str, is_known: bool = True, is_expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for ``names`` (default: those of loopback)."""
        certificate = (self._known if is_known else self._unknown).issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=_ISSUED if is_expired else None,
            not_after=_EXPIRED if is_expired else None,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


#: starts the server of a fault and stores the webhook of this name
_Opening: TypeAlias = "Callable[[Channels, str], None]"


@dataclass(frozen=True, slots=True)
class ChannelFault:
    """What goes wrong with a channel, and what is to become of a message to it."""

    name: str
    opening: _Opening = field(repr=False)
    #: see finish_notification; of several messages to the channel there may be several
    outcome: str
    #: part of what the row and the log say
    reason: str | None
    http_status: int | None = None
    #: whether it is a request that reached the server
    is_received: bool = True
    #: whether other messages to the channel are held back
    is_pausing: bool = False
    #: seconds from the end of the attempt to the next, the least and the most
    pause_s: tuple[float, float] | None = None
    #: a statement that spoils the stored webhook ``%s``
    damage: str | None = None

    @property
    def webhook(self) -> str:
        """The name as that of a webhook."""
        return re.sub("[^a-z0-9]+", "-", self.name.lower())

    @property
    def status(self) -> str:
        """Of the row after the attempt."""
        return {"delivered": "delivered", "rejected": "failed", "poison": "failed"}.get(self.outcome, "pending")

    def make(self, scene: Scene) -> None:
        """The fault alone, from its beginning to its end."""
        with Channels(scene) as channels:
            channels.add(self)
            channels.deliver()
            channels.mend()
            channels.deliver("--redrive")


class Channels:
    """The channels of faults in a scene, and one that nothing is wrong with."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.certificates = Certificates(scene.directory)
        #: opened for faults, and closed at the end
        self.stack = ExitStack()
        #: servers of mail by webhook
        self.mail: dict[str, MailServer] = {}
        self.faults: list[ChannelFault] = []
        #: the operations of the messages to a webhook
        self.messages: dict[str, list[str]] = {}
        self._resolver = scene.directory / "resolver"
        self._resolver.mkdir(exist_ok=True)
        (self._resolver / "sitecustomize.py").write_text(_RESOLVER)
        scene.secrets += _other_forms(PASSWORD, ROUTING_KEY, SECRET, TOKEN)
        scene.channel(_WELL)
        self.messages[_WELL] = scene.fill(MESSAGES, _WELL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stack.close()

    def add(self, fault: ChannelFault) -> None:
        """Open the fault's server and queue messages to it."""
        fault.opening(self, fault.webhook)
        if fault.damage:
            self.scene.rows(fault.damage, fault.webhook)
        self.messages[fault.webhook] = self.scene.fill(MESSAGES, fault.webhook)
        self.faults.append(fault)

    def deliver(self, *arguments: str) -> Ended:
        """Run a worker to its end."""
        variables = {f"PGGIT_DELIVERY__{name}_TIMEOUT_S": str(seconds) for name, seconds in _TIMEOUTS_S.items()}
        ended = self.scene.worker(
            *arguments,
            PGGIT_DELIVERY__CA_FILE=str(self.certificates.ca_file),
            PYTHONPATH=str(self._resolver),
            **variables,
        ).wait()
        assert ended.status == 0, ended.err
        return ended

    def mend(self) -> None:
        """Make every channel well and what waits due."""
        for fault in self.faults:
            is_only_the_server = fault.is_received and fault.webhook in self.scene.channels
            if is_only_the_server:
                self.scene.channels[fault.webhook].answer(answers())
            else:
                url = f"{self.scene.channels[_WELL].url}/hooks/{TOKEN}"
                self.scene.outbox.webhook(fault.webhook, url, replace=True)
        self.scene.time_passes()

    # what faults are made of

    def serve(
        self,
        name: str,
        behaviour: Behaviour,
        *,
        context: ssl.SSLContext | None = None,
        url: str = f"http://127.0.0.1:%d/hooks/{TOKEN}?key={TOKEN}",
        webhook_type: str = "webhook",
    ) -> None:
        """Start a server and store a webhook that leads to ``url``; ``%d`` in it is the server's port."""
        channel = Channel(self.scene.look, context=context)
        channel.answer(behaviour)
        self.scene.channels[name] = channel
        self.scene.let_accept(name)
        self.scene.outbox.webhook(name, url % channel.port, webhook_type=webhook_type)


def _other_forms(*secrets: str) -> list[str]:
    """The secrets as they are written in a URL and in a header of HTTP or SMTP."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote(secret))}
    return [*forms, *(base64.b64encode(form.encode()).decode().rstrip("=") for form in forms)]


# What opens a fault


def _serving(behaviour: Behaviour) -> _Opening:
    def open_server(channels: Channels, name: str) -> None:
        channels.serve(name, behaviour)

    return open_server


def _pagerduty(behaviour: Behaviour) -> _Opening:
    def open_server(channels: Channels, name: str) -> None:
        channels.serve(name, behaviour, webhook_type="pagerduty", url=f"http://127.0.0.1:%d/enqueue#{ROUTING_KEY}")

    return open_server


def _tls(*names: str, host: str = "localhost", **of_certificate: Any) -> _Opening:
    def open_server(channels: Channels, name: str) -> None:
        context = channels.certificates.context(*names, **of_certificate)
        channels.serve(name, answers(), context=context, url=f"https://{host}:%d/{TOKEN}")

    return open_server


def _no_tls(channels: Channels, name: str) -> None:
    channels.serve(name, answers(), url=f"https://localhost:%d/{TOKEN}")


def _nobody(channels: Channels, name: str) -> None:
    # bound, so that nobody else listens there
    taken = channels.stack.enter_context(contextlib.closing(socket.socket()))
    taken.bind(("127.0.0.1", 0))
    channels.serve(name, answers(), url=f"http://127.0.0.1:{taken.getsockname()[1]}/%d")


def _mailing(
    *names: str,
    refusals: Mapping[str, str] | None = None,
    has_tls: bool = True,
    is_known: bool = True,
    knows_the_password: bool = True,
) -> _Opening:
    def open_server(channels: Channels, name: str) -> None:
        context = channels.certificates.context(*names, is_known=is_known) if has_tls else None
        login = ("ann", PASSWORD if knows_the_password else "another") if has_tls else None
        server = channels.stack.enter_context(MailServer(context, login=login, refusals=refusals))
        channels.mail[name] = server
        url = f"smtp://ann:{quote(PASSWORD, safe='')}@localhost:{server.port}?from=alerts@example.com"
        channels.scene.outbox.webhook(name, url, webhook_type="email", channel_or_recipient="dba@example.com")

    return open_server


def _drips_a_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 503 Busy\r\nX-Long: ")
    while not handler.server.is_stopping.wait(DRIP_PAUSE_S):
        handler.wfile.write(b"x")


# The faults

_MINUTE = (60.0, 66.0)
_LOOPBACK = "127.0.0.1 is a loopback address"
_DATE = "Mon, 02 Mar 2026 15:00:00 GMT"
_TWENTY_MINUTES_LATER = "Mon, 02 Mar 2026 15:20:00 GMT"


def _limited(name: str, said: Mapping[str, str], pause_s: float) -> ChannelFault:
    opening = _serving(answers(429, headers=said))
    exactly = (pause_s, pause_s)
    return ChannelFault(name, opening, "rate_limited", "HTTP 429", 429, is_pausing=True, pause_s=exactly)


def _later(name: str, behaviour: Behaviour, reason: str, http_status: int | None = None) -> ChannelFault:
    return ChannelFault(name, _serving(behaviour), "retry", reason, http_status, pause_s=_MINUTE)


def _refused(name: str, status: int, said: str = "") -> ChannelFault:
    return ChannelFault(name, _serving(answers(status, said)), "rejected", f"HTTP {status}", status)


HTTP_FAULTS = [
    _limited("429 with seconds", {"Retry-After": "1800"}, 1800),
    _limited("429 with a date of its own clock", {"Date": _DATE, "Retry-After": _TWENTY_MINUTES_LATER}, 1200),
    _limited("429 with nonsense", {"Retry-After": "when it suits"}, 60),
    _limited("429 with eternity", {"Retry-After": "9" * 30}, 3600),
    _limited("429 with nothing", {}, 60),
    # from here on the pause has passed when the worker looks again
    _limited("429 with zero", {"Retry-After": "0"}, 1),
    _limited("429 with the past", {"Date": _TWENTY_MINUTES_LATER, "Retry-After": _DATE}, 1),
    _later("500", answers(500), "HTTP 500", 500),
    _later("503", answers(503), "HTTP 503", 503),
    ChannelFault(
        "503 with seconds",
        _serving(answers(503, headers={"Retry-After": "120"})),
        "retry",
        "HTTP 503",
        503,
        is_pausing=True,
        pause_s=(120.0, 120.0),
    ),
    _later("408", answers(408), "HTTP 408", 408),
    _refused("404", 404),
    _refused("410", 410),
    _later("silent", hangs(), "no answer within 1.5 s"),
    _later("silent within the headers", hangs_after(b"HTTP/1.1 503 Busy\r\nX-Half: "), "no answer within 1.5 s"),
    _later("headers byte by byte", _drips_a_header, "no complete answer within 3 s"),
    ChannelFault("silent within the body of a 200", _serving(hangs_in_the_body()), "delivered", None, 200),
    _later("silent within the body of a 500", hangs_in_the_body(500), "HTTP 500", 500),
    _later("closes at once", closes(), "closed before there was an answer"),
    _later("no HTTP", says(b"220 mail.example ESMTP\r\n"), "the answer is not HTTP"),
    ChannelFault("10 MB and a 200", _serving(floods()), "delivered", None, 200),
    _later("10 MB and a 500", floods(status=500), "HTTP 500", 500),
    ChannelFault(
        "redirect to the metadata of a cloud",
        _serving(redirects("http://169.254.169.254/latest")),
        "rejected",
        "redirected; not followed",
        302,
    ),
    _refused("404 that repeats the address", 404, f"no such hook: /hooks/{TOKEN}?key={TOKEN}"),
    _later("500 that repeats the signing secret", answers(500, SECRET, {"X-Secret": SECRET}), "HTTP 500", 500),
    ChannelFault(
        "400 of PagerDuty that repeats the key",
        _pagerduty(answers(400, f'{{"status": "invalid event", "errors": ["{ROUTING_KEY} is no key"]}}')),
        "rejected",
        "HTTP 400",
        400,
    ),
    ChannelFault("nobody listens", _nobody, "retry", "refused the connection", is_received=False, pause_s=_MINUTE),
]


def _forbidden(name: str, opening: _Opening) -> ChannelFault:
    return ChannelFault(
        name, opening, "rejected", _LOOPBACK, is_received=False, damage=_damage("allow_private = FALSE")
    )


def _spoilt(name: str, assignments: str, reason: str = "changed or cut since it was encrypted") -> ChannelFault:
    serving = _serving(answers())
    return ChannelFault(name, serving, "poison", reason, is_received=False, damage=_damage(assignments))


def _damage(assignments: str) -> str:
    return f"UPDATE alert_notification_webhooks SET {assignments} WHERE name = %s"


def _other_byte(column: str) -> str:
    return f"{column} = set_byte({column}, 3, 255 - get_byte({column}, 3))"


ADDRESS_FAULTS = [
    _forbidden("loopback", _tls()),
    _forbidden("name that was public once", _tls(_REBOUND, host=_REBOUND)),
    _forbidden("public address diverted", _tls(_DIVERTED, host=_DIVERTED)),
    _forbidden("mail to loopback", _mailing()),
    _spoilt("permission withdrawn", "allow_private = FALSE", "http:// needs --allow-private"),
    _spoilt(
        "no address",
        "webhook_url_encrypted = NULL, webhook_url_iv = NULL, encryption_key_id = NULL",
        "the webhook has no address",
    ),
    _spoilt("damaged ciphertext", _other_byte("webhook_url_encrypted")),
    _spoilt("ciphertext of nothing", "webhook_url_encrypted = ''"),
    _spoilt("damaged IV", _other_byte("webhook_url_iv")),
    _spoilt("cut IV", "webhook_url_iv = substr(webhook_url_iv, 1, 7)"),
]


def _distrusted(name: str, opening: _Opening, reason: str) -> ChannelFault:
    return ChannelFault(name, opening, "retry", reason, is_received=False, pause_s=_MINUTE)


TLS_FAULTS = [
    _distrusted("certificate of another name", _tls("elsewhere.example"), "it is for another host name"),
    _distrusted("certificate of a stranger", _tls(is_known=False), "its authority is not known"),
    _distrusted("certificate of last year", _tls(is_expired=True), "it has expired"),
    _distrusted("no TLS", _no_tls, "TLS could not be set up"),
]

MAIL_FAULTS = [
    _distrusted("mail refused for now", _mailing(refusals={"RCPT": "450 4.2.0 greylisted"}), "with 450 4.2.0"),
    ChannelFault(
        "mail refused for good",
        _mailing(refusals={"DATA": "554 5.7.1 P4SS spam"}),
        "rejected",
        "the message with 554 5.7.1",
        is_received=False,
    ),
    ChannelFault(
        "mail of a stranger",
        _mailing(knows_the_password=False),
        "rejected",
        "refused the log-in with 535",
        is_received=False,
    ),
    _distrusted("mail without STARTTLS", _mailing(has_tls=False), "offers no STARTTLS"),
    _distrusted("mail to another name", _mailing("elsewhere.example"), "it is for another host name"),
    _distrusted("mail to a stranger", _mailing(is_known=False), "its authority is not known"),
]

CHANNEL_FAULTS: Sequence[ChannelFault] = [*HTTP_FAULTS, *ADDRESS_FAULTS, *TLS_FAULTS, *MAIL_FAULTS]


def add_every_type(outbox: Deliveries, server: HttpServer, mail: MailServer, **more: Any) -> None:
    """A webhook of each type, called like it; the path of a request tells them apart."""
    for name in ("slack", "mattermost", "webhook"):
        outbox.webhook(name, f"{server.url}/{name}", webhook_type=name, **more)
    outbox.webhook("pagerduty", f"{server.url}/pagerduty#{ROUTING_KEY}", webhook_type="pagerduty", **more)
    url = f"smtp://localhost:{mail.port}?from=alerts@example.com&tls=none"
    outbox.webhook("email", url, webhook_type="email", channel_or_recipient="dba@example.com", **more)


#: bodies of rows that cannot be read, and part of the reason they fail with
POISON = {
    "": "not JSON",
    "{": "not JSON",
    '{"transition": "opened", "alert_type": "DEGRADATION", "severity": "WARNING"': "not JSON",
    "[" * 100_000: "not JSON",
    "[]": "JSON list",
    '"opened"': "JSON str",
    "null": "JSON NoneType",
    "1e400": "JSON float",
    "{}": "transition is ''",
    body(transition="exploded"): "transition is 'exploded'",
    body(severity="HIGH"): "severity is 'HIGH'",
    body(severity=None): "severity is 'None'",
    body(alert_type=7): "names no alert_type",
}


def _unreadable_rows(scene: Scene) -> None:
    with Channels(scene) as channels:
        scene.outbox.put(_WELL, *POISON)
        channels.deliver()


#: as the table of faults has them
TABLED_FAULTS = (
    *(Fault(f"channel: {fault.name}", fault.make) for fault in CHANNEL_FAULTS),
    Fault("rows that cannot be read", _unreadable_rows, failed=len(POISON)),
)
