"""How names, numbers, moments and lists read in a message. Pure; nothing here knows a channel."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

#: an operation's name longer than this is cut where it is shown
NAME_LENGTH = 60

_EMOJI_JOINER = "\N{ZERO WIDTH JOINER}"
_HOUR = 60
_DAY = 24 * _HOUR


def clean(text: str, limit: int = 300) -> str:
    """One line without control characters, invisible characters and lone surrogates, at most ``limit`` characters.

    A name may hold anything; a line break in a header or a character that reverses the writing direction would make
    a message say what it does not mean. Joiners inside emoji stay.
    """
    # far longer than what is kept, so that a name of megabytes costs nothing
    kept = "".join(_visible(character) for character in text[: 4 * limit])
    return shorten(" ".join(kept.split()), limit)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return character if character == _EMOJI_JOINER else ""
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return " " if category in {"Cc", "Zl", "Zp"} else character


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis, ``limit`` characters in all; no character is left half."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    # a mark or joiner at the cut belongs to what was cut off
    while kept and (unicodedata.category(kept[-1]).startswith("M") or kept[-1] == _EMOJI_JOINER):
        kept = kept[:-1]
    return kept.rstrip() + "…"


def name(raw: str) -> str:
    """An operation's name as it is shown."""
    return clean(raw, NAME_LENGTH) or "(no name)"


def milliseconds(value: float) -> str:
    """A duration with three digits: 0.42 ms, 12.3 ms, 4.2 s, 3.1 h."""
    # from 999.5 on, three digits would round to 1e+03
    for limit, divisor, unit in ((999.5, 1, "ms"), (120_000, 1000, "s"), (7_200_000, 60_000, "min")):
        if value < limit:
            return f"{_three_digits(value / divisor)} {unit}"
    return f"{_three_digits(value / 3_600_000)} h"


def _three_digits(value: float) -> str:
    if 0 < abs(value) < 0.0005:
        return "<0.001"
    return f"{value:.3g}" if abs(value) < 999.5 or abs(value) >= 1e6 else f"{value:,.0f}"


def from_to(before: float, now: float) -> str:
    """Two durations, the unit said once where it is the same: 5.1 → 16.4 ms."""
    first, second = milliseconds(before), milliseconds(now)
    number, unit = first.split(" ")
    return f"{number if second.endswith(f' {unit}') else first} → {second}"


def slower(before: float, now: float) -> str:
    """By how much, as people say it: 3.2x slower, 35 % slower."""
    if before > 0 and now / before < 2:
        return f"{100 * (now / before - 1):.0f} % slower"
    if before <= 0:
        return "slower"
    times = now / before
    return f"{times:.2g}x slower" if times < 99.5 else f"{_three_digits(times)}x slower"


def instant(moment: datetime) -> str:
    """2026-11-17 18:00 UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def interval(begin: datetime | None, end: datetime | None) -> str:
    """From when to when, the date said once where it is the same; empty when nothing is known."""
    if begin is None and end is None:
        return ""
    if end is None:
        return f"from {instant(begin)}" if begin else ""
    if begin is None:
        return f"until {instant(end)}"
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    last = f"{end:%H:%M} UTC" if begin.date() == end.date() else instant(end)
    return f"from {begin:%Y-%m-%d %H:%M} to {last}"


def age(minutes: float) -> str:
    """A span as people say it: 40 min, 3 h, 2 days."""
    if minutes < 2 * _HOUR:
        return f"{minutes:.0f} min"
    return f"{minutes / _HOUR:.0f} h" if minutes < 2 * _DAY else f"{minutes / _DAY:.0f} days"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are: a, b, c, +7 more."""
    rest = len(names) - most
    return ", ".join([*names[:most], *([f"+{rest} more"] if rest > 0 else [])])


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """1 operation, 12 operations."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
