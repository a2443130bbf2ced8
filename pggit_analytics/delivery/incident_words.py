"""Incidents and forecasts in words: what happened to the operation they are about, and what belongs to it."""

from __future__ import annotations

from pggit_analytics.delivery.said import Said, number, word
from pggit_analytics.delivery.wording import (
    NAME_LENGTH,
    counted,
    from_to,
    instant,
    interval,
    listed,
    milliseconds,
    name,
    slower,
)

#: other operations named before "+N more"
_MOST_OTHERS = 3


def incident(said: Said, *, is_live: bool) -> list[str]:
    """The statement, then what else is known: other operations, what they share, what users lose.

    Args:
        said: a row of an INCIDENT; parts missing in its evidence are left out.
        is_live: it goes on, or was over when it was found.
    """
    kind = said.word("kind", 20)
    if kind == "calls":
        return [_calls(said), *_others(said)]
    if kind == "improvement":
        return [f"became {_faster(said.number('size_ratio'))}{_level(said)}", *_others(said)]
    how = slower(1.0, ratio) if (ratio := said.number("size_ratio")) and ratio > 1 else "slower"
    begun, ended = said.moment("slow_since"), said.moment("ended_at")
    if not is_live:
        return [f"was {how} {interval(begun or said.opened_at, said.resolved_at)}".rstrip()]
    if ended:
        return [f"was {how} {interval(begun, ended)}{_level(said)}", *_others(said)]
    return [f"{how}{_level(said)}", *_others(said), *_shared(said), *_lost(said)]


def foretold(said: Said, *, is_live: bool) -> str:
    """What a FORECAST says of its operation."""
    limit, breach = said.number("sla_ms"), said.moment("expected_breach_at")
    of_limit = f" of {milliseconds(limit)}" if limit is not None and limit > 0 else ""
    if not is_live:
        return f"was expected to exceed its limit{of_limit}; it no longer is"
    when = f" about {instant(breach)}" if breach else ""
    low, high = said.moment("breach_low"), said.moment("breach_high")
    between = f" (between {instant(low)} and {instant(high)})" if low and high else ""
    return f"will exceed its limit{of_limit}{when}{between}"


def _level(said: Said) -> str:
    """: p50 5.1 to 16.4 ms, with an arrow; empty when one of them is not known."""
    before, now = said.timing("before"), said.timing("now")
    if not before or not now or before.p50_ms is None or now.p50_ms is None:
        return ""
    return f": p50 {from_to(before.p50_ms, now.p50_ms)}"


def _calls(said: Said) -> str:
    calls, times = said.count("calls"), said.number("size_ratio")
    many = "single slow calls" if calls is None else counted(calls, "single slow call")
    most = f", up to {times:,.3g}x the usual" if times is not None and 0 < times < 1e6 else ""
    return f"had {many}{most}"


def _faster(ratio: float | None) -> str:
    return f"{100 * (1 - ratio):.0f} % faster" if ratio is not None and 0 < ratio < 1 else "faster"


def _others(said: Said) -> list[str]:
    others = []
    for one in said.items("operations"):
        raw = word(one.get("operation_type"), NAME_LENGTH)
        if raw is None or one.get("operation_type") == said.operation:
            continue
        ratio = number(one.get("size_ratio"))
        others.append(f"{name(raw)} ({slower(1.0, ratio)})" if ratio is not None and ratio > 1 else name(raw))
    return [f"together with {listed(others, _MOST_OTHERS)}"] if others else []


def _shared(said: Said) -> list[str]:
    shared, support = said.word("bottleneck", 60), said.number("bottleneck_support")
    if shared is None:
        return []
    of = f" (as {100 * support:.0f} % of them suggest)" if support is not None and 0 < support <= 1 else ""
    words = shared.replace("_", " ").lower() if shared.isupper() else shared
    return [f"they likely share: {words}{of}".replace(" io", " I/O")]


def _lost(said: Said) -> list[str]:
    lost = said.number("lost_ms_per_hour")
    return [f"users lose {milliseconds(lost)} an hour"] if lost is not None and lost >= 1 else []
