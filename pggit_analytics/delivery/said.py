"""One queued row as it was written: the JSON of the SQL function alert_message()."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pggit_analytics.delivery.wording import clean
from pggit_analytics.errors import InvalidData

#: most severe first
SEVERITIES = ("CRITICAL", "WARNING", "INFO")

TRANSITIONS = ("opened", "severity", "snooze_ended", "repeat", "resolved", "test")

_URL_LENGTH = 2000
#: what is beyond it counts nothing real
_COUNT = 10**15


class UnreadableMessage(InvalidData):
    """The body of a queued row is not a message of this package.

    Attributes:
        position: index of the row among those of its message; None where there is just the one.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an operation takes; None for what is not known."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    #: calls it is known from
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What one row says of one alert. Any part but the first four may be missing (rows of older releases)."""

    #: one of `TRANSITIONS`
    transition: str
    #: what follows it: ``severity:CRITICAL``, ``repeat:3``
    detail: str
    alert_type: str
    severity: str
    alert_id: int | None = None
    #: exactly as recorded, whatever characters it holds
    operation: str | None = None
    dedup_key: str | None = None
    group_key: str | None = None
    opened_at: datetime | None = None
    last_seen_at: datetime | None = None
    resolved_at: datetime | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    #: the baseline valid at the moment of the row
    baseline: Timing | None = None
    #: the timings looked at
    now: Timing | None = None
    instance: str | None = None
    schema: str | None = None
    report_url: str | None = None

    @property
    def is_point_event(self) -> bool:
        """It was over when it was found: a single call."""
        return self.resolved_at is not None and self.resolved_at == self.opened_at

    @property
    def happened_at(self) -> datetime | None:
        """The moment of the news."""
        if self.transition == "resolved":
            return self.resolved_at
        return self.opened_at if self.transition == "opened" else self.last_seen_at or self.opened_at

    def number(self, key: str) -> float | None:
        """A finite number of the evidence; None without one."""
        return number(self.evidence.get(key))

    def count(self, key: str) -> int | None:
        """A number of the evidence that counts something; None without one."""
        value = self.number(key)
        return int(value) if value is not None and 0 <= value < _COUNT else None

    def word(self, key: str, limit: int = 300) -> str | None:
        """A text of the evidence on one clean line; None without one."""
        return word(self.evidence.get(key), limit)

    def moment(self, key: str) -> datetime | None:
        """An instant of the evidence; None without one."""
        return moment(self.evidence.get(key))

    def timing(self, key: str) -> Timing | None:
        """Timings in the evidence; None without any."""
        return _timing(self.evidence.get(key))

    def items(self, key: str) -> list[Mapping[str, Any]]:
        """The objects of a list in the evidence."""
        value = self.evidence.get(key)
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def parse(body: str) -> Said:
    """Read the body of one queued row.

    Args:
        body: JSON text. A field of the wrong type counts as missing.

    Raises:
        UnreadableMessage: it is no JSON object, or names no known transition, alert type or severity.
    """
    said = _object(body)
    transition, _, detail = str(said.get("transition") or "").partition(":")
    if transition not in TRANSITIONS:
        raise UnreadableMessage(f"transition is {clean(transition, 40)!r}, expected one of {', '.join(TRANSITIONS)}")
    is_test = transition == "test"
    alert_type = word(said.get("alert_type"), 60) or ("TEST" if is_test else None)
    severity = said.get("severity") or ("INFO" if is_test else None)
    if alert_type is None:
        raise UnreadableMessage("the body names no alert_type")
    if severity not in SEVERITIES:
        raise UnreadableMessage(f"severity is {clean(str(severity), 40)!r}, expected one of {', '.join(SEVERITIES)}")
    facts = _mapping(said.get("facts"))
    operation = said.get("operation_type")
    return Said(
        transition=transition,
        detail=clean(detail, 60),
        alert_type=alert_type,
        severity=severity,
        alert_id=_whole(said.get("alert_id")),
        operation=operation if isinstance(operation, str) else None,
        dedup_key=word(said.get("dedup_key")),
        group_key=word(said.get("group_key")),
        opened_at=moment(said.get("opened_at")),
        last_seen_at=moment(said.get("last_seen_at")),
        resolved_at=moment(said.get("resolved_at")),
        evidence=_mapping(said.get("evidence")),
        baseline=_timing(facts.get("baseline")),
        now=_timing(facts.get("now")),
        instance=word(said.get("instance"), 63),
        schema=word(said.get("schema"), 63),
        report_url=web_link(said.get("report_url")),
    )


def _object(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise UnreadableMessage("the body is not JSON") from exc
    if not isinstance(value, dict):
        raise UnreadableMessage(f"the body is a JSON {type(value).__name__}, expected an object")
    return value


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def word(value: object, limit: int = 300) -> str | None:
    """A text on one clean line; None for anything else or an empty one."""
    return (clean(value, limit) or None) if isinstance(value, str) else None


def moment(value: object) -> datetime | None:
    """An ISO 8601 instant in UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 2**63 else None


def _timing(value: object) -> Timing | None:
    if not isinstance(value, dict):
        return None
    calls = _whole(value.get("n"))
    n = calls if calls is not None and 0 <= calls < _COUNT else None
    timing = Timing(number(value.get("p50_ms")), number(value.get("p99_ms")), n)
    return None if timing == Timing() else timing


def web_link(value: object) -> str | None:
    """The URL if a browser can open it; one with blanks or quotes could break out of a channel's markup."""
    if not isinstance(value, str) or len(value) > _URL_LENGTH or not value.isascii():
        return None
    if any(character.isspace() or not character.isprintable() or character in "<>\"'`|\\" for character in value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.hostname else None
