"""A message as JSON for any receiver, and the signature it comes with. The format is documented in docs/messages.md."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from pggit_analytics.delivery import limits
from pggit_analytics.delivery.message import Finding, Message, Timing
from pggit_analytics.delivery.text import plain

#: raised when a field changes its meaning or goes; new fields do not raise it
VERSION = 1

_MOST_IDS = 1000
_MOST_NAMES = 100


def render(message: Message) -> dict[str, Any]:
    """The JSON to post. What is not known is null; what does not fit is counted in ``more_findings``."""
    return limits.fitted(
        lambda count: _payload(message, count),
        [500, 200, 100, 50, 20, 5],
        lambda payload: len(json.dumps(payload).encode()) <= limits.WEBHOOK_BYTES,
    )


def sign(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers that prove who sent ``body`` and when.

    Args:
        secret: shared with the receiver.
        timestamp: seconds since 1970, of this attempt.
        body: exactly the bytes that are sent.
    """
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Pggit-Timestamp": str(timestamp), "X-Pggit-Signature": f"sha256={signature}"}


def _payload(message: Message, most: int) -> dict[str, Any]:
    again = message.reproduction
    return {
        "version": VERSION,
        "id": message.message_id,
        "kind": message.kind,
        "severity": message.severity,
        "is_resolved": message.is_resolved,
        "title": message.title,
        "text": plain(message),
        "instance": message.instance,
        "schema": message.schema,
        "group_key": message.group,
        "dedup_key": message.dedup_key,
        "detected_at": _instant(message.detected_at),
        "sent_at": _instant(message.sent_at),
        "alert_ids": list(message.alert_ids[:_MOST_IDS]),
        "findings": [_finding(finding) for finding in message.findings[:most]],
        "more_findings": max(0, len(message.findings) - most),
        "together": list(message.together[:_MOST_NAMES]),
        "bottlenecks": [{"name": b.name, "advice": b.advice} for b in message.bottlenecks],
        "advice": message.advice,
        "reproduce": {"sql": again.sql, "command": again.command} if again else None,
        "report_url": message.link,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "operation": finding.operation,
        "alert_types": list(finding.alert_types),
        "severity": finding.severity,
        "state": finding.state,
        "statement": finding.sentence,
        "notes": list(finding.notes),
        "before": _timing(finding.before),
        "now": _timing(finding.now),
        "change": finding.change,
        "since": _instant(finding.since),
        "until": _instant(finding.until),
        "alert_ids": list(finding.alert_ids[:_MOST_IDS]),
    }


def _timing(timing: Timing | None) -> dict[str, float | int | None] | None:
    return {"p50_ms": timing.p50_ms, "p99_ms": timing.p99_ms, "calls": timing.n} if timing else None


def _instant(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
