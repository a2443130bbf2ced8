"""The parts of a message in words, for every channel alike; a channel only adds its markup."""

from __future__ import annotations

from pggit_analytics.delivery.message import Finding, Message, Timing
from pggit_analytics.delivery.wording import from_to, instant, listed, milliseconds

#: findings that a message shows before "+N more"
MOST_FINDINGS = 5
MOST_FINDINGS_OF_DIGEST = 10

COLOURS = {"CRITICAL": "#c92a2a", "WARNING": "#b35c00", "INFO": "#1864ab"}
COLOUR_OF_END = "#2b8a3e"

_MOST_NOTES = 3


def most_findings(message: Message) -> int:
    """How many findings a message shows."""
    return MOST_FINDINGS_OF_DIGEST if message.kind == "digest" else MOST_FINDINGS


def shown(message: Message, most: int) -> tuple[Finding, ...]:
    """The first findings; none of a message that its headline says completely."""
    return () if message.kind == "test" else message.findings[:most]


def more(message: Message, most: int) -> str | None:
    """``+7 more operations``, when some are not shown."""
    rest = len(message.findings) - most if message.kind != "test" else 0
    return f"+{rest:,} more" if rest > 0 else None


def colour(message: Message) -> str:
    """Of the severity; green for what is over and for a test."""
    is_over = message.kind == "test" or not message.live
    return COLOUR_OF_END if is_over else COLOURS[message.severity]


def timing_rows(finding: Finding) -> list[tuple[str, str, str, str]]:
    """Rows of the table: what, p50, p99, calls; no row where nothing is known."""
    rows = ((finding.before_is, finding.before), ("now", finding.now))
    return [(what, *_cells(timing)) for what, timing in rows if timing]


def _cells(timing: Timing) -> tuple[str, str, str]:
    p50, p99 = ("-" if value is None else milliseconds(value) for value in (timing.p50_ms, timing.p99_ms))
    return p50, p99, "-" if timing.n is None else f"{timing.n:,}"


TABLE_HEADER = ("", "p50", "p99", "calls")


def text_table(finding: Finding) -> list[str]:
    """The table in aligned characters, about 34 wide; empty where nothing is known."""
    rows = timing_rows(finding)
    if not rows:
        return []
    cells = [TABLE_HEADER, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in (1, 2, 3))]).rstrip() for row in cells
    ]


def timing_line(finding: Finding) -> str:
    """The table in one line, without what the statement says: p50 2.1 → 2.3 ms, 12,004 calls."""
    before, now = finding.before, finding.now
    parts = []
    if before and now:
        values = [("p50", before.p50_ms, now.p50_ms)]
        if "p99" not in finding.statement:
            values.append(("p99", before.p99_ms, now.p99_ms))
        parts = [f"{what} {from_to(old, new)}" for what, old, new in values if old is not None and new is not None]
    if now and now.n is not None:
        parts.append(f"{now.n:,} calls")
    return ", ".join(parts)


def notes(finding: Finding) -> list[str]:
    """What else is known of an operation, at most three lines."""
    return list(finding.notes[:_MOST_NOTES])


def since(finding: Finding) -> str:
    """``since ...``; empty when the onset is not known or it is over."""
    return f"since {instant(finding.since)}" if finding.since and finding.is_live else ""


def together(message: Message) -> str:
    """The operations that get slow in the same minutes; empty without any."""
    if not message.together:
        return ""
    how = ""
    if message.correlation:
        low, high = (f"{r:.2f}" for r in message.correlation)
        how = f" (r = {low})" if low == high else f" (r = {low} to {high})"
    same = "Slow in the same minutes as " if len(message.live) == 1 else "Slow in the same minutes: "
    return f"{same}{listed(message.together)}{how}"


def advice(message: Message) -> list[tuple[str, str]]:
    """What it likely is, and what to do: (label, text), the label may be empty."""
    said = [(_likely(bottleneck.name), bottleneck.advice or "") for bottleneck in message.bottlenecks]
    # a digest is about many things
    if not said and message.advice and message.kind != "digest":
        said = [("What to do", message.advice)]
    return said


def _likely(bottleneck: str) -> str:
    words = bottleneck.replace("_", " ").lower() if bottleneck.isupper() else bottleneck
    return f"Likely {words}".replace(" io", " I/O")


def footer(message: Message) -> list[str]:
    """Where, when and how old: prod.pggit, detected 3 h ago, 2026-11-17 18:00 UTC."""
    parts = [message.source]
    if message.detected_at:
        what = "resolved" if message.kind in {"recovered", "over"} else "detected"
        moment = instant(message.detected_at)
        parts += [message.age, moment] if message.age else [f"{what} {moment}"]
    return parts
