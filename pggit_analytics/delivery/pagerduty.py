"""A message as an event of PagerDuty's Events API v2."""

from __future__ import annotations

import hashlib
from typing import Any

from pggit_analytics.delivery import limits, parts
from pggit_analytics.delivery.message import Finding, Message
from pggit_analytics.delivery.wording import listed

CLIENT = "pggit_analytics"

_ENDINGS = ("recovered", "over", "self_health", "test")


def render(message: Message, routing_key: str, is_resolved: bool) -> dict[str, Any]:
    """The event to post; all messages of one incident have the same ``dedup_key``.

    Args:
        message: the message.
        routing_key: the integration key of the service; the only place it appears.
        is_resolved: the incident is over. Only a message that says so resolves: a single slow call is over when it is
            found, and still has to be heard.
    """
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if is_resolved and _says_it_is_over(message) else "trigger",
        "dedup_key": dedup_key(message),
        "payload": _payload(message),
        "client": CLIENT,
    }
    if message.link:
        event |= {"client_url": message.link, "links": [{"href": message.link, "text": "Report"}]}
    return event


def _says_it_is_over(message: Message) -> bool:
    """Also a test, which is not to leave an incident behind."""
    return message.kind in _ENDINGS and not message.live


def dedup_key(message: Message) -> str:
    """``<instance>.<schema>:<incident>``; one that is too long ends in its own digest instead."""
    key = f"{message.source}:{message.group}"
    if limits.utf16_units(key) <= limits.PAGERDUTY_DEDUP_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{limits.cut(key, limits.PAGERDUTY_DEDUP_KEY - 33)}-{digest}"


def _payload(message: Message) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "summary": limits.cut(message.title, limits.PAGERDUTY_SUMMARY),
        "source": message.source,
        "severity": message.severity.lower(),
        "timestamp": (message.detected_at or message.sent_at).isoformat(timespec="seconds"),
        "group": message.group,
        "class": message.kind,
        "custom_details": _details(message),
    }
    if message.findings:
        payload["component"] = message.findings[0].operation
    return payload


def _details(message: Message) -> dict[str, str]:
    """Short texts, in the order a person wants them; what is not known is left out."""
    details = {f"{number}": _line(finding) for number, finding in enumerate(parts.shown(message, 5), 1)}
    details |= {
        "more": parts.more(message, 5) or "",
        "together": parts.together(message),
        "what_to_do": "; ".join(f"{label}: {text}" for label, text in parts.advice(message)),
        "note": " ".join(message.asides),
        "age": message.age or "",
        "sql": message.reproduction.sql if message.reproduction else "",
        "command": message.reproduction.command if message.reproduction else "",
        "alerts": listed([str(alert_id) for alert_id in message.alert_ids], 20),
    }
    return {key: limits.cut(text, limits.PAGERDUTY_DETAIL) for key, text in details.items() if text}


def _line(finding: Finding) -> str:
    pieces = (finding.sentence, parts.timing_line(finding), parts.since(finding), *parts.notes(finding))
    return f"{finding.severity}: {'; '.join(piece for piece in pieces if piece)}"
