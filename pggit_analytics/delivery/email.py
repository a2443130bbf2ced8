"""A message as e-mail: plain text that is complete by itself, and HTML for those who see it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pggit_analytics.delivery import limits, parts
from pggit_analytics.delivery.message import Message
from pggit_analytics.delivery.text import plain
from pggit_analytics.errors import InvalidArgument

#: of identifiers, where the sender's address names none
_DOMAIN = "pggit-analytics.invalid"

templates = Environment(
    loader=PackageLoader("pggit_analytics.delivery"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(message: Message, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The e-mail, ready to send; the same rows give the same Message-ID, follow-ups of an incident refer to it.

    Args:
        message: the message.
        sender: address of the From header.
        recipients: addresses of the To header, at least one.

    Raises:
        InvalidArgument: no recipient, or an address with a line break or other control character.
    """
    _check(sender, recipients)
    email = EmailMessage(policy=SMTP)
    email["From"] = sender
    email["To"] = ", ".join(recipients)
    # ASCII where it can be: encoded words are as long as they are unreadable in a raw mailbox
    subject = f"[{message.source}] {message.title}".replace("→", "->")
    email["Subject"] = limits.cut(subject, limits.EMAIL_SUBJECT)
    email["Date"] = message.sent_at
    thread = hashlib.sha256(f"{message.source}:{message.group}".encode()).hexdigest()[:32]
    domain = _domain(sender)
    email["Message-ID"] = f"<{message.message_id}@{domain}>"
    if message.kind != "test":
        # a root that nobody has: whatever comes first, all of an incident is one thread
        email["In-Reply-To"] = email["References"] = f"<{thread}@{domain}>"
    email["List-Id"] = f"pggit_analytics alerts <{_label(message.source)}.{domain}>"
    email["Auto-Submitted"] = "auto-generated"
    if message.severity == "CRITICAL" and message.live:
        email["Importance"] = "high"
    email.set_content(plain(message), cte="quoted-printable")
    email.add_alternative(html(message), subtype="html", cte="quoted-printable")
    # a random one would make two renderings of one message differ
    email.set_boundary(f"=_{message.message_id}")
    return email


def html(message: Message) -> str:
    """The HTML part: no images, no scripts, 320 px wide and up."""
    most = parts.most_findings(message)
    return templates.get_template("email.html").render(
        message=message,
        parts=parts,
        colour=parts.colour(message),
        found=parts.shown(message, most),
        more=parts.more(message, most),
    )


def _check(sender: str, recipients: Sequence[str]) -> None:
    if not recipients:
        raise InvalidArgument("an e-mail needs at least one recipient; name them when adding the webhook")
    if any(not character.isprintable() for address in (sender, *recipients) for character in address):
        raise InvalidArgument("an e-mail address holds a line break or control character; write it without")


def _domain(sender: str) -> str:
    found = re.search(r"@([A-Za-z0-9.-]{1,100})>?$", sender)
    return found[1] if found else _DOMAIN


def _label(source: str) -> str:
    """Letters, digits, dots and hyphens, as a list identifier allows (RFC 2919)."""
    return re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:60] or "alerts"
