"""What one message says, before any channel gives it a shape: pure, from the bodies of queued rows.

`parse` reads one body, `compose` makes one `Message` of all the rows that go out together. Every text of a message is
one clean line (no control characters), but not yet escaped for any channel's markup.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pggit_analytics.analysis.v_current_findings import ADVICE
from pggit_analytics.delivery.findings import (
    STATES,
    Finding,
    Pair,
    finding_of_pair,
    findings,
    pairs,
    stories,
    worst_severity,
)
from pggit_analytics.delivery.reproduction import Reproduction, reproduction
from pggit_analytics.delivery.said import SEVERITIES, Said, Timing, UnreadableMessage, parse
from pggit_analytics.delivery.wording import age, counted, instant, interval, listed, name

__all__ = ["Bottleneck", "Finding", "Message", "Said", "Timing", "UnreadableMessage", "compose", "parse"]

#: older news carries its age
LATE = timedelta(minutes=15)

#: kinds of message
KINDS = ("opened", "raised", "still_open", "recovered", "over", "digest", "self_health", "test")

_MOST_BOTTLENECKS = 3
_ENDED = ("recovered", "over")


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What operations that get slow together likely share, and what to do about it."""

    name: str
    advice: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message, the same for every channel."""

    #: one of `KINDS`
    kind: str
    #: the most severe of what goes on; of what is over, what it was
    severity: str
    #: severity, what and how much
    headline: str
    #: the headline, since when and together with what: complete on one line
    title: str
    #: what goes on first, then the most severe
    findings: tuple[Finding, ...]
    #: other operations that get slow in the same minutes
    together: tuple[str, ...]
    #: lowest and highest r of the pairs behind `together`
    correlation: tuple[float, float] | None
    bottlenecks: tuple[Bottleneck, ...]
    #: what to do when no bottleneck says it
    advice: str | None
    #: sentences that belong to no finding
    asides: tuple[str, ...]
    #: None when there is nothing to look at again
    reproduction: Reproduction | None
    link: str | None
    instance: str | None
    schema: str | None
    #: the moment of the latest news
    detected_at: datetime | None
    #: when it was composed
    sent_at: datetime
    #: "detected 3 h ago"; None when the news is fresh
    age: str | None
    #: the incident as the database names it; None when the alert is its own
    group_key: str | None
    #: of the first alert
    dedup_key: str | None
    alert_ids: tuple[int, ...]
    #: the same for the same rows, so that a receiver knows a repetition
    message_id: str
    #: it ends the incident: nothing of it is open any more
    is_resolved: bool

    @property
    def source(self) -> str:
        """Database and schema: prod.pggit."""
        return ".".join(part for part in (self.instance, self.schema) if part) or "pggit_analytics"

    @property
    def group(self) -> str:
        """What follow-ups share: the incident, else the alert."""
        if self.group_key:
            return self.group_key
        return f"alert-{self.alert_ids[0]}" if self.alert_ids else self.kind

    @property
    def live(self) -> tuple[Finding, ...]:
        """What goes on."""
        return tuple(finding for finding in self.findings if finding.is_live)


def compose(bodies: Sequence[str], *, now: datetime, is_digest: bool = False, is_still_open: bool = True) -> Message:
    """Make one message of the rows that go out together.

    Args:
        bodies: of these rows, oldest first; parts missing in their evidence are left out of the message.
        now: the moment of sending, with a time zone; by the database's clock.
        is_digest: the rows were collected for a daily digest.
        is_still_open: some alert of the rows, or of their incident, is unresolved.

    Raises:
        UnreadableMessage: there is no row, or one cannot be read (its index is in ``position``).
    """
    said = _parsed(bodies)
    told = stories(said, is_still_open=is_still_open)
    health = all(story.said.alert_type == "SELF_HEALTH" for story in told)
    correlated = pairs(told)
    in_pairs = {id(pair.story) for pair in correlated}
    tests = [story for story in told if story.said.transition == "test"]
    of_operations = findings(story for story in told if id(story) not in in_pairs and story not in tests)
    found, joined, asides = _with_pairs(of_operations, correlated)
    kind = _kind(found, is_test=not found and bool(tests), is_digest=is_digest, is_health=health)
    if kind in _ENDED and is_still_open and any(row.group_key for row in said):
        asides = (*asides, "Other operations of this incident are still slow.")
    message = _assembled(kind, said, found, joined, now)
    return replace(
        message,
        asides=asides,
        is_resolved=(kind in _ENDED and not is_still_open) or (kind == "self_health" and not message.live),
    )


def _parsed(bodies: Sequence[str]) -> list[Said]:
    if not bodies:
        raise UnreadableMessage("a message needs at least one row")
    said = []
    for position, body in enumerate(bodies):
        try:
            said.append(parse(body))
        except UnreadableMessage as exc:
            raise UnreadableMessage(str(exc), position) from exc
    return said


def _with_pairs(
    found: list[Finding], correlated: Sequence[Pair]
) -> tuple[tuple[Finding, ...], tuple[Pair, ...], tuple[str, ...]]:
    """Findings, the pairs that explain them, and what is said of the others.

    Pairs explain what goes on; without any finding of an operation they are the findings.
    """
    if not any(finding.recorded_name is not None for finding in found):
        made = [finding_of_pair(pair) for pair in correlated]
        ordered = sorted([*found, *made], key=lambda f: (not f.is_live, SEVERITIES.index(f.severity)))
        return tuple(ordered), tuple(pair for pair in correlated if pair.story.is_live), ()
    live = tuple(pair for pair in correlated if pair.story.is_live)
    ended = len(correlated) - len(live)
    if not any(finding.is_live for finding in found):
        live = ()
    asides = (f"{counted(ended, 'pair')} no longer slow down together.",) if ended else ()
    return tuple(found), live, asides


def _kind(found: Sequence[Finding], *, is_test: bool, is_digest: bool, is_health: bool) -> str:
    if is_test:
        return "test"
    if is_digest:
        return "digest"
    if is_health:
        return "self_health"
    return min((finding.state for finding in found), key=STATES.index, default="opened")


def _assembled(
    kind: str, said: Sequence[Said], found: tuple[Finding, ...], joined: Sequence[Pair], now: datetime
) -> Message:
    live = [finding for finding in found if finding.is_live]
    last = said[-1]
    moments = [row.happened_at for row in said if row.happened_at]
    detected_at = max(moments, default=None)
    message = Message(
        kind=kind,
        severity=worst_severity(finding.severity for finding in live or found),
        headline="",
        title="",
        findings=found,
        together=_together(live, joined),
        correlation=_range([pair.correlation for pair in joined if pair.correlation is not None]),
        bottlenecks=_bottlenecks(joined),
        advice=_advice(said, live),
        asides=(),
        reproduction=reproduction(live, as_of=detected_at, schema=last.schema) if live and detected_at else None,
        link=next((row.report_url for row in reversed(said) if row.report_url), None),
        instance=next((row.instance for row in reversed(said) if row.instance), None),
        schema=next((row.schema for row in reversed(said) if row.schema), None),
        detected_at=detected_at,
        sent_at=now.astimezone(UTC),
        age=None if kind in {"digest", "test"} else _age(detected_at, now, is_over=kind in _ENDED),
        group_key=_group_key(kind, said, now),
        dedup_key=next((row.dedup_key for row in said if row.dedup_key), None),
        alert_ids=tuple(sorted({row.alert_id for row in said if row.alert_id is not None})),
        message_id=_message_id(kind, said, now),
        is_resolved=False,
    )
    headline = _headline(message)
    return replace(message, headline=headline, title=_title(message, headline))


def _together(live: Sequence[Finding], joined: Sequence[Pair]) -> tuple[str, ...]:
    """The operations of the pairs, but the one the message is about."""
    subject = {live[0].operation} if len(live) == 1 else set()
    of_pairs = {name(operation) for pair in joined for operation in pair.operations}
    is_pairs_alone = all(finding.recorded_name is None for finding in live)
    return () if is_pairs_alone and len(joined) == 1 else tuple(sorted(of_pairs - subject))


def _range(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _bottlenecks(joined: Iterable[Pair]) -> tuple[Bottleneck, ...]:
    """What most pairs share comes first."""
    counts = Counter(pair.bottleneck for pair in joined if pair.bottleneck)
    advice = {pair.bottleneck: pair.advice for pair in joined if pair.bottleneck}
    most = sorted(counts, key=lambda bottleneck: (-counts[bottleneck], bottleneck))
    return tuple(Bottleneck(bottleneck, advice[bottleneck]) for bottleneck in most[:_MOST_BOTTLENECKS])


def _advice(said: Sequence[Said], live: Sequence[Finding]) -> str | None:
    """The remedy in the evidence, else what the kind of the worst finding calls for."""
    if not live:
        return None
    for row in reversed(said):
        remedy = row.word("remedy") or (row.word("recommendation") if row.alert_type != "CORRELATION" else None)
        if remedy:
            return remedy
    return ADVICE.get(live[0].alert_types[0])


def _age(detected_at: datetime | None, now: datetime, *, is_over: bool) -> str | None:
    if detected_at is None or now - detected_at <= LATE:
        return None
    what = "resolved" if is_over else "detected"
    return f"{what} {age((now - detected_at).total_seconds() / 60)} ago"


def _group_key(kind: str, said: Sequence[Said], now: datetime) -> str | None:
    if kind == "digest":
        return f"digest-{now.astimezone(UTC):%Y-%m-%d}"
    return next((row.group_key for row in said if row.group_key), None)


def _message_id(kind: str, said: Sequence[Said], now: datetime) -> str:
    """Of the rows alone, so that the same rows sent twice are the same message; each test is a new one."""
    rows = [f"{row.alert_id}/{row.dedup_key}/{row.transition}:{row.detail}" for row in said]
    if kind == "test":
        rows.append(now.isoformat())
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:32]


def _headline(message: Message) -> str:
    if message.kind == "test":
        return f"Test message from {message.source}: this channel works"
    if message.kind == "digest":
        return f"Daily digest: {_by_severity(message.findings)}"
    return f"{_opening(message)}: {_subject(message)}"


def _opening(message: Message) -> str:
    severity = message.severity
    if message.kind == "self_health":
        return f"{severity}, monitoring" if message.live else f"Recovered (was {severity}), monitoring"
    return {
        "raised": f"{severity} (raised)",
        "still_open": f"{severity}, still open",
        "recovered": f"Recovered (was {severity})",
        "over": f"Already over (was {severity})",
    }.get(message.kind, severity)


def _subject(message: Message) -> str:
    shown = message.live or message.findings
    worst = shown[0]
    if len(shown) == 1:
        return worst.sentence
    is_pairs = all(finding.alert_types == ("CORRELATION",) for finding in shown)
    count = counted(len(shown), "pair of operations", "pairs of operations") if is_pairs else _operations(shown)
    if message.live:
        return f"{count}, worst: {worst.sentence}"
    begins = [finding.since or finding.found_at for finding in shown]
    ends = [finding.until for finding in shown]
    when = interval(min((b for b in begins if b), default=None), max((e for e in ends if e), default=None))
    return f"{count} {when}".rstrip()


def _operations(shown: Sequence[Finding]) -> str:
    return counted(len({finding.operation for finding in shown}), "operation")


def _by_severity(found: Sequence[Finding]) -> str:
    """3 CRITICAL, 5 WARNING, 2 over; worst: commit is 3.2x slower."""
    live = [finding for finding in found if finding.is_live]
    counts = Counter(finding.severity for finding in live)
    parts = [f"{counts[severity]} {severity}" for severity in SEVERITIES if counts[severity]]
    if len(found) > len(live):
        parts.append(f"{len(found) - len(live)} over")
    worst = f"; worst: {live[0].sentence}" if live else ""
    return f"{', '.join(parts) or 'nothing new'}{worst}"


def _title(message: Message, headline: str) -> str:
    if not message.live or message.kind in {"digest", "self_health", "test"}:
        return headline
    worst = message.live[0]
    parts = [headline]
    if worst.since:
        parts.append(f"since {instant(worst.since)}")
    elif message.detected_at:
        parts.append(f"found {instant(worst.found_at or message.detected_at)}")
    if message.together and len(message.live) == 1:
        parts.append(f"together with {listed(message.together, 3)}")
    return ", ".join(parts)
