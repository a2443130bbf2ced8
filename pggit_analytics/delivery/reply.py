"""What became of one attempt to send a message, and what answers mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Outcome = Literal["delivered", "retry", "rate_limited", "rejected"]

#: seconds; no channel may silence itself for longer
MAX_RETRY_AFTER_S = 3600.0

_SECONDS = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one attempt."""

    #: delivered; retry = try again later; rate_limited = the channel asks for a pause; rejected = it never will take it
    outcome: Outcome
    #: None when there was no answer, and for e-mail
    http_status: int | None
    #: one line that names the host at most, never a path, a query or a credential; None = nothing to say
    error: str | None
    #: how long the channel asks to be left alone; None = it did not say
    retry_after_s: float | None
    duration_ms: float


def outcome_of_status(status: int) -> Outcome:
    """What a status code of HTTP means for a message: whether it has arrived, and whether trying again can help."""
    if 200 <= status < 300:
        return "delivered"
    if status == 429:
        return "rate_limited"
    if status in {408, 425} or status >= 500:
        return "retry"
    return "rejected"


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The pause that an answer asks for by ``Retry-After``.

    Args:
        headers: of the answer, names in any case. A date is counted from the answer's own ``Date``, so that a wrong
            clock on either side does not matter.
        now: with a zone; what a date is counted from where the answer has no ``Date``.

    Returns:
        Seconds, 0 to `MAX_RETRY_AFTER_S`; None where the header is missing or neither a number of seconds nor a date.
    """
    by_name = {name.lower(): value.strip() for name, value in headers.items()}
    said = by_name.get("retry-after", "")
    if _SECONDS.fullmatch(said):
        seconds = float(said)
    else:
        until = _date(said)
        if until is None:
            return None
        seconds = (until - (_date(by_name.get("date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
