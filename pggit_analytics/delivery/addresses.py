"""The one secret a webhook has: its address, a URL that says where messages go and with which credential.

========== ==========================================================================================================
slack      ``https://hooks.slack.com/services/...``
mattermost ``https://chat.example.com/hooks/...``
pagerduty  ``https://events.pagerduty.com/v2/enqueue#INTEGRATION_KEY``, or the 32 characters of the key alone
webhook    ``https://example.com/path#SECRET``: requests are signed with what is after ``#``, 16 characters or more
email      ``smtps://user:password@host:465?from=a@b``, ``smtp://user:password@host:587?from=a@b`` (STARTTLS)
========== ==========================================================================================================

Where private targets are allowed, ``http://`` and ``smtp://host:25?from=a@b&tls=none`` are accepted as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from pggit_analytics.errors import InvalidAddress, InvalidArgument

#: the types of webhooks, in the order in which messages about them name them
WEBHOOK_TYPES = ("slack", "mattermost", "pagerduty", "email", "webhook")

_PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
_INTEGRATION_KEY = re.compile(r"[A-Za-z0-9]{32}", re.ASCII)
_MIN_SECRET_LENGTH = 16
_MAX_LENGTH = 2048

#: the characters that RFC 3986 lets a URL have, but for the fragment; all others can be written with %
_URL = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", re.ASCII)
_MAILBOX = re.compile(r"[^@\s<>\"(),:;\\\[\]]+@[A-Za-z0-9.-]+", re.ASCII)

_PORTS = {"https": 443, "http": 80, "smtps": 465, "smtp": 587}
_PORT_WITHOUT_TLS = 25


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where messages of one webhook go. It shows as ``***``."""

    #: https, http, smtps or smtp
    scheme: str
    #: without the fragment
    url: str
    #: what is after ``#``: PagerDuty's integration key, or what a generic webhook is signed with; else None
    secret: str | None
    #: a name, or an address without brackets
    host: str
    port: int
    #: whether the connection is encrypted; of e-mail at the latest before anything that matters is sent (STARTTLS)
    is_tls: bool
    #: of e-mail; None = no log-in
    username: str | None = None
    password: str | None = None
    #: of e-mail: who messages are from; else None
    sender: str | None = None

    def __repr__(self) -> str:
        return "***"


def parse_address(webhook_type: str, text: str, *, allow_private: bool = False) -> Address:
    """Read and check an address.

    Args:
        webhook_type: one of `WEBHOOK_TYPES`.
        text: the address; white space around it is ignored.
        allow_private: whether the webhook may lead into a private network, and so do without TLS.

    Raises:
        InvalidArgument: there is no such type.
        InvalidAddress: what is wrong with the address, without repeating it.
    """
    if webhook_type not in WEBHOOK_TYPES:
        raise InvalidArgument(f"the type of a webhook is {webhook_type!r}, expected one of {', '.join(WEBHOOK_TYPES)}")
    text = text.strip()
    if webhook_type == "pagerduty" and _INTEGRATION_KEY.fullmatch(text):
        text = f"{_PAGERDUTY_URL}#{text}"
    parts, secret = _split(webhook_type, text)
    if webhook_type == "email":
        return _email(parts, secret, allow_private)
    return _http(webhook_type, parts, secret, allow_private)


def _split(webhook_type: str, text: str) -> tuple[SplitResult, str | None]:
    """The URL without its fragment, and the fragment, taken literally."""
    if len(text) > _MAX_LENGTH:
        _refuse(webhook_type, f"has {len(text)} characters, at most {_MAX_LENGTH} are allowed")
    url, has_secret, secret = text.partition("#")
    if not _URL.fullmatch(url) or not _PRINTABLE.fullmatch(secret or "x"):
        _refuse(webhook_type, "is empty or has a character that a URL cannot have (others are written as %20)")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        _refuse(webhook_type, "is no URL: its host or port cannot be read")
    if not _HOST.fullmatch(host) or port == 0:
        _refuse(webhook_type, "is no URL such as https://host/path: it has no usable host or port")
    return parts, secret if has_secret else None


def _http(webhook_type: str, parts: SplitResult, secret: str | None, allow_private: bool) -> Address:
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_private):
        _refuse(webhook_type, "does not begin with https:// (http:// needs --allow-private)")
    if webhook_type == "pagerduty" and not _INTEGRATION_KEY.fullmatch(secret or ""):
        _refuse(webhook_type, f"does not end in # and an integration key of 32 characters, as {_PAGERDUTY_URL}#KEY")
    if webhook_type == "webhook" and len(secret or "") < _MIN_SECRET_LENGTH:
        _refuse(webhook_type, f"does not end in # and a secret of {_MIN_SECRET_LENGTH} characters or more to sign with")
    if webhook_type in {"slack", "mattermost"} and secret is not None:
        _refuse(webhook_type, "has a part after #, which only types pagerduty and webhook have")
    host, port = _target(parts, _PORTS[parts.scheme])
    return Address(parts.scheme, parts.geturl(), secret, host, port, parts.scheme == "https")


def _email(parts: SplitResult, secret: str | None, allow_private: bool) -> Address:
    if parts.scheme not in {"smtps", "smtp"}:
        _refuse("email", "does not begin with smtps:// or smtp://")
    if secret is not None or parts.path not in {"", "/"}:
        _refuse("email", "has a path or a part after # (in a password, / is written %2F and # is written %23)")
    options = _options(parts.query)
    if not _MAILBOX.fullmatch(options.get("from", "")):
        _refuse("email", "does not say whom messages are from, as ?from=alerts@example.com")
    is_tls = "tls" not in options
    if not is_tls and not (options["tls"] == "none" and parts.scheme == "smtp" and allow_private):
        _refuse("email", "has a tls option other than tls=none, which needs smtp:// and --allow-private")
    username, password = _credentials(parts)
    if username is not None and not is_tls:
        _refuse("email", "has a password and tls=none: a password is never sent unencrypted")
    host, port = _target(parts, _PORTS[parts.scheme] if is_tls else _PORT_WITHOUT_TLS)
    return Address(parts.scheme, parts.geturl(), None, host, port, is_tls, username, password, options["from"])


def _options(query: str) -> dict[str, str]:
    """``a=b&c=d``; unlike in a web form, ``+`` is a plus, which mailboxes have."""
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    options = {name: unquote(value) for name, _, value in pairs}
    if len(options) < len(pairs) or not options.keys() <= {"from", "tls"}:
        _refuse("email", "has an option other than from and tls, or one of them twice")
    return options


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    if parts.username is None:
        return None, None
    username, password = unquote(parts.username), unquote(parts.password or "")
    if not (_PRINTABLE.fullmatch(username.replace(" ", "_")) and _PRINTABLE.fullmatch(password.replace(" ", "_"))):
        _refuse("email", "has a user without a password, or one with a character other than printable ASCII")
    return username, password


def _target(parts: SplitResult, default_port: int) -> tuple[str, int]:
    return parts.hostname or "", parts.port or default_port


def _refuse(webhook_type: str, fault: str) -> NoReturn:
    raise InvalidAddress(f"the address of a webhook of type {webhook_type} {fault}") from None
