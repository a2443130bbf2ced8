"""E-mail by SMTP: with TLS, to where it may go, in bounded time, and with an answer that is one of three."""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
import time
from collections.abc import Sequence
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path
from typing import Any

from pggit_analytics.delivery.addresses import Address
from pggit_analytics.delivery.reply import Outcome, Reply
from pggit_analytics.delivery.sockets import Timeouts, exchange, open_connection, trusting_context, what_went_wrong
from pggit_analytics.errors import ForbiddenAddress, InvalidArgument

#: RFC 3463; the rest of a server's text may repeat mailboxes and users
_ENHANCED_CODE = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")


def send(
    address: Address,
    message: EmailMessage,
    recipients: Sequence[str],
    *,
    allow_private: bool,
    ca_file: Path | None = None,
    timeouts: Timeouts | None = None,
) -> Reply:
    """Hand one message to a mail server over a connection of its own; faults of the network are replies, too.

    Args:
        address: of type email. Unless it says ``tls=none``, nothing but the greeting is sent without TLS.
        message: with its headers; ``Bcc`` is not transmitted.
        recipients: mailboxes, at least one.
        allow_private: whether the server's address may be one that `guard.check_peer` refuses.
        ca_file: certificates (PEM) trusted besides the public ones.
        timeouts: default as for `HttpSender`.

    Returns:
        ``delivered`` once the server has taken the message for one recipient or more (``error`` then says how many it
        refused), ``retry`` for a reply 4xx and for faults of the connection or its TLS, ``rejected`` for 5xx. There is
        never an ``http_status``.

    Raises:
        InvalidArgument: there are no recipients, or one has a character that a command of SMTP cannot have.
        ConfigurationError: ``ca_file`` holds no certificates.
    """
    _check(recipients)
    context = _context(ca_file)
    timeouts = timeouts or Timeouts()
    started = time.perf_counter()
    outcome: Outcome
    error: str | None
    try:
        with exchange(timeouts):
            client = _Client(address, context, timeouts, allow_private)
            refused = _hand_over(client, address, message, recipients)
    except ForbiddenAddress as exc:
        outcome, error = "rejected", str(exc)
    except (smtplib.SMTPException, OSError) as exc:
        outcome, error = _judge(exc)
    else:
        outcome, error = "delivered", f"refused {refused} of {len(recipients)} recipients" if refused else None
    said = f"{address.host}: {error}" if error else None
    return Reply(outcome, None, said, None, (time.perf_counter() - started) * 1000)


def _check(recipients: Sequence[str]) -> None:
    unusable = [each for each in recipients if not each.isprintable() or set(each) & set(" <>") or "@" not in each]
    if unusable or not recipients:
        shown = f"has {unusable[0]!r}, expected a mailbox" if unusable else "is empty, expected one mailbox or more"
        raise InvalidArgument(f"the list of recipients {shown} such as dba@example.com")


@lru_cache(maxsize=4)
def _context(ca_file: Path | None) -> ssl.SSLContext:
    return trusting_context(ca_file)


class _Client(smtplib.SMTP):
    """A client whose connection goes through the guard, with TLS from its first byte on where that is asked for."""

    def __init__(self, address: Address, context: ssl.SSLContext, timeouts: Timeouts, allow_private: bool) -> None:
        self.context = context
        self._is_implicit = address.scheme == "smtps"
        self._read_timeout_s = timeouts.read_s
        self._allow_private = allow_private
        # the name given is not used: finding one out would ask a name server
        super().__init__(address.host, address.port, local_hostname="localhost", timeout=timeouts.connect_s)
        self.local_hostname = self._literal()

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:  # noqa: ARG002
        sock: Any = open_connection(host, port, allow_private=self._allow_private)
        try:
            if self._is_implicit:
                sock = self.context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(self._read_timeout_s)
        return sock

    def _literal(self) -> str:
        """How RFC 5321 has a host name itself that does not know its name."""
        own = self.sock.getsockname()[0] if self.sock else "127.0.0.1"
        return f"[IPv6:{own}]" if ":" in own else f"[{own}]"


def _hand_over(client: _Client, address: Address, message: EmailMessage, recipients: Sequence[str]) -> int:
    """Send the message; the number of recipients that the server refused, not all of them."""
    try:
        if address.is_tls and address.scheme == "smtp":
            client.starttls(context=client.context)
        if address.username is not None:
            client.login(address.username, address.password or "")
        refused = client.send_message(message, from_addr=address.sender, to_addrs=list(recipients))
        with contextlib.suppress(smtplib.SMTPException, OSError):
            client.quit()  # the message is theirs already
    finally:
        client.close()
    return len(refused)


def _judge(fault: smtplib.SMTPException | OSError) -> tuple[Outcome, str]:
    if isinstance(fault, smtplib.SMTPNotSupportedError):
        # without TLS or a log-in the server may be a stranger; a mailbox it cannot write to will never be one it can
        is_mailbox = "SMTPUTF8" in str(fault)
        what = "cannot take mailboxes that are not ASCII" if is_mailbox else "offers no STARTTLS or no usable log-in"
        return "rejected" if is_mailbox else "retry", what
    if isinstance(fault, smtplib.SMTPRecipientsRefused):
        replies = sorted(fault.recipients.values())  # 4xx first: one that may be taken later
        return _answered("all recipients", *replies[0])
    if isinstance(fault, smtplib.SMTPResponseException):
        return _answered(_COMMANDS.get(type(fault), "the session"), fault.smtp_code, fault.smtp_error)
    if isinstance(fault, smtplib.SMTPServerDisconnected):
        return "retry", what_went_wrong(fault.__context__ or ConnectionError())
    if type(fault) is smtplib.SMTPException:  # of log-in methods, none in common
        return "retry", "offers no usable log-in"
    return "retry", what_went_wrong(fault)


_COMMANDS: dict[type[smtplib.SMTPException], str] = {
    smtplib.SMTPAuthenticationError: "the log-in",
    smtplib.SMTPSenderRefused: "the sender",
    smtplib.SMTPDataError: "the message",
    smtplib.SMTPHeloError: "the greeting",
    smtplib.SMTPConnectError: "the connection",
}


def _answered(what: str, code: int, text: bytes | str) -> tuple[Outcome, str]:
    if code < 200:  # -1: not a number at all
        return "retry", "the answer is not SMTP"
    found = _ENHANCED_CODE.match(text if isinstance(text, bytes) else text.encode())
    shown = f"{code} {found[0].decode()}" if found else str(code)
    return "rejected" if 500 <= code < 600 else "retry", f"refused {what} with {shown}"
