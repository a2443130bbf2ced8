"""From rows to findings: all rows of an alert become one state, all alerts of an operation one finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pggit_analytics.delivery.incident_words import foretold, incident
from pggit_analytics.delivery.said import SEVERITIES, Said, Timing
from pggit_analytics.delivery.wording import clean, counted, from_to, interval, milliseconds, name, slower

#: states of an alert in one message, the one that matters most first
STATES = ("opened", "raised", "still_open", "recovered", "over")

_ENDED = ("recovered", "over")

#: of several alerts of one operation, the first of these says what happened
_MAIN_TYPES = ("INCIDENT", "DEGRADATION", "THRESHOLD_EXCEEDED", "ANOMALY")

#: what an alert type is called where its evidence has no words of its own
_TYPE_WORDS = {"BASELINE_RECALC_ERROR": "recalculating its baseline failed"}


@dataclass(frozen=True, slots=True)
class Story:
    """What the rows of one message say of one alert, taken together."""

    #: the latest row
    said: Said
    #: one of `STATES`
    state: str

    @property
    def is_live(self) -> bool:
        """It goes on, or it is a single call, which nothing ends."""
        return self.state not in _ENDED


@dataclass(frozen=True, slots=True)
class Finding:
    """What happened to one operation."""

    #: as it is shown; of a pair both names; "monitoring" for an alert about the monitoring itself
    operation: str
    #: exactly as recorded; None for a pair and for monitoring
    recorded_name: str | None
    alert_types: tuple[str, ...]
    severity: str
    #: one of `STATES`
    state: str
    #: what happened, after the name
    statement: str
    #: name and statement as one sentence
    sentence: str
    #: what else is known of it
    notes: tuple[str, ...] = ()
    #: before and now, None where nothing is known or it is over
    before: Timing | None = None
    now: Timing | None = None
    #: what "before" is: baseline, or before (the older half of the period looked at)
    before_is: str = "baseline"
    #: p99 now / p99 before
    change: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: when it was found
    found_at: datetime | None = None
    alert_ids: tuple[int, ...] = ()
    #: the metrics of single calls, the worst first
    metric_ids: tuple[int, ...] = ()

    @property
    def is_live(self) -> bool:
        """It goes on, or it is a single call."""
        return self.state not in _ENDED


@dataclass(frozen=True, slots=True)
class Pair:
    """Two operations that get slow in the same minutes."""

    operations: tuple[str, str]
    story: Story
    correlation: float | None
    shared_minutes: int | None
    bottleneck: str | None
    advice: str | None


def stories(said: Sequence[Said], *, is_still_open: bool) -> list[Story]:
    """One story an alert, in the order of their first rows.

    Args:
        said: rows of one message, oldest first.
        is_still_open: False when none of the alerts, nor another of their incident, is open any more: then even a
            row that only says "opened" tells of something that is over.
    """
    rows_of: dict[object, list[Said]] = {}
    for position, row in enumerate(said):
        key = row.alert_id if row.alert_id is not None else row.dedup_key or f"row {position}"
        rows_of.setdefault(key, []).append(row)
    return [Story(rows[-1], _state(rows, is_still_open=is_still_open)) for rows in rows_of.values()]


def _state(rows: Sequence[Said], *, is_still_open: bool) -> str:
    told = {row.transition for row in rows}
    if "resolved" in told:
        return "over" if "opened" in told else "recovered"
    if not is_still_open and not rows[-1].is_point_event:
        return "over"
    if "opened" in told:
        return "opened"
    return "raised" if "severity" in told else "still_open"


def worst_severity(severities: Iterable[str]) -> str:
    """The most severe; INFO of none."""
    return min(severities, key=SEVERITIES.index, default="INFO")


def pairs(told: Iterable[Story]) -> list[Pair]:
    """The correlated pairs, the closest first."""
    found = []
    for story in told:
        first, second = (story.said.word(key, 60) for key in ("operation_type_1", "operation_type_2"))
        if story.said.alert_type == "CORRELATION" and first and second:
            found.append(
                Pair(
                    (first, second),
                    story,
                    story.said.number("correlation_coefficient"),
                    story.said.count("shared_minutes"),
                    story.said.word("shared_bottleneck", 60),
                    story.said.word("recommendation"),
                )
            )
    return sorted(found, key=lambda pair: (-(pair.correlation or 0.0), pair.operations))


def finding_of_pair(pair: Pair) -> Finding:
    """A pair whose operations have no finding of their own."""
    said = pair.story.said
    known = [f"r = {pair.correlation:.2f}" if pair.correlation is not None else ""]
    known += [f"over {counted(pair.shared_minutes, 'minute')}" if pair.shared_minutes is not None else ""]
    how = " ".join(part for part in known if part)
    statement = f"get slow in the same minutes{f' ({how})' if how else ''}"
    if not pair.story.is_live:
        when = interval(said.opened_at, said.resolved_at)
        statement = f"got slow in the same minutes{f' {when}' if when else ''}"
    names = " and ".join(pair.operations)
    return Finding(
        operation=names,
        recorded_name=None,
        alert_types=("CORRELATION",),
        severity=said.severity,
        state=pair.story.state,
        statement=statement,
        sentence=f"{names} {statement}",
        until=said.resolved_at,
        found_at=said.opened_at,
        alert_ids=_ids([pair.story]),
    )


def findings(told: Iterable[Story]) -> list[Finding]:
    """One finding an operation and state of affairs (going on, over): what goes on first, then the most severe."""
    groups: dict[tuple[str, str | None, bool], list[Story]] = {}
    for story in told:
        kind = "health" if story.said.alert_type == "SELF_HEALTH" else "operation"
        # the monitoring has as many troubles as it has alerts
        about = story.said.dedup_key if kind == "health" else story.said.operation
        groups.setdefault((kind, about, story.is_live), []).append(story)
    made = [_health(group[0]) if kind == "health" else _finding(group) for (kind, _, _), group in groups.items()]
    return sorted(made, key=_importance)


def _importance(finding: Finding) -> tuple[bool, int, float, str]:
    return (not finding.is_live, SEVERITIES.index(finding.severity), -(finding.change or 0.0), finding.operation)


def _health(story: Story) -> Finding:
    said = story.said
    statement = said.word("summary") or "is in trouble"
    when = interval(said.opened_at, said.resolved_at)
    sentence = statement if story.is_live else f"over {when}: {statement}" if when else f"over: {statement}"
    return Finding(
        operation="monitoring",
        recorded_name=None,
        alert_types=("SELF_HEALTH",),
        severity=said.severity,
        state=story.state,
        statement=sentence,
        sentence=sentence,
        until=said.resolved_at,
        found_at=said.opened_at,
        alert_ids=_ids([story]),
    )


def _finding(group: Sequence[Story]) -> Finding:
    by_type: dict[str, list[Story]] = {}
    for story in group:
        by_type.setdefault(story.said.alert_type, []).append(story)
    order = [t for t in _MAIN_TYPES if t in by_type] + sorted(set(by_type) - set(_MAIN_TYPES))
    lines = [line for alert_type in order for line in _statements(alert_type, by_type[alert_type])]
    main = by_type[order[0]][-1]
    shown = name(main.said.operation) if main.said.operation is not None else "an operation"
    before, now, before_is = _timings(group) if main.is_live else (None, None, "baseline")
    calls = sorted(by_type.get("ANOMALY", []), key=_duration, reverse=True)
    return Finding(
        operation=shown,
        recorded_name=main.said.operation,
        alert_types=tuple(order),
        severity=worst_severity(story.said.severity for story in group),
        state=min((story.state for story in group), key=STATES.index),
        statement=lines[0],
        sentence=_sentence(shown, order[0], lines[0], is_live=main.is_live),
        notes=tuple(lines[1:]),
        before=before,
        now=now,
        before_is=before_is,
        change=_change(main, before, now) if main.is_live else None,
        since=_since(group),
        until=max((s.said.resolved_at for s in group if s.said.resolved_at), default=None),
        found_at=min((s.said.opened_at for s in group if s.said.opened_at), default=None),
        alert_ids=_ids(group),
        metric_ids=tuple(m for s in calls if (m := s.said.count("metric_id")) is not None)[:100],
    )


def _sentence(shown: str, alert_type: str, statement: str, *, is_live: bool) -> str:
    if not is_live or statement.startswith(("took ", "had ", "became ", "was ", "will ")):
        return f"{shown} {statement}"
    joint = {"INCIDENT": " is ", "DEGRADATION": " is ", "THRESHOLD_EXCEEDED": " had ", "ANOMALY": " had "}.get(
        alert_type, ": "
    )
    return f"{shown}{joint}{statement}"


def _ids(group: Iterable[Story]) -> tuple[int, ...]:
    return tuple(sorted({story.said.alert_id for story in group if story.said.alert_id is not None}))


def _since(group: Sequence[Story]) -> datetime | None:
    """When it began, if the evidence knows; of what is over, at least when it was found."""
    onsets = [onset for story in group if (onset := story.said.moment("slow_since"))]
    if onsets or group[0].is_live:
        return min(onsets, default=None)
    return min((story.said.opened_at for story in group if story.said.opened_at), default=None)


def _timings(group: Sequence[Story]) -> tuple[Timing | None, Timing | None, str]:
    """Before and now, and what "before" is; the facts of the latest row that has them, else the evidence."""
    for story in reversed(group):
        if story.said.baseline:
            return story.said.baseline, story.said.now, "baseline"
    for story in reversed(group):
        if story.said.alert_type == "INCIDENT" and (was := story.said.timing("before")):
            return was, story.said.timing("now"), "before"
    for story in reversed(group):
        old, new = story.said.number("p99_old_ms"), story.said.number("p99_new_ms")
        if old is not None and new is not None:
            return Timing(p99_ms=old), story.said.now or Timing(p99_ms=new), "before"
    return None, next((story.said.now for story in reversed(group) if story.said.now), None), "baseline"


def _change(story: Story, before: Timing | None, now: Timing | None) -> float | None:
    if story.said.alert_type == "INCIDENT":
        return story.said.number("size_ratio")
    old, new = _p99(story)
    if (old is None or new is None) and before and now:
        old, new = before.p99_ms, now.p99_ms
    return new / old if old and old > 0 and new is not None else None


def _statements(alert_type: str, group: Sequence[Story]) -> list[str]:
    if alert_type == "DEGRADATION":
        return [_degradation(group[-1])]
    if alert_type == "THRESHOLD_EXCEEDED":
        return [_threshold(group[-1])]
    if alert_type == "ANOMALY":
        return _calls(group)
    if alert_type == "INCIDENT":
        return [line for story in group for line in incident(story.said, is_live=story.is_live)]
    said = group[-1].said
    if alert_type == "FORECAST" and not said.word("summary"):
        return [foretold(said, is_live=group[-1].is_live)]
    words = said.word("summary") or said.word("error") or _TYPE_WORDS.get(alert_type, alert_type.lower())
    when = interval(said.opened_at, said.resolved_at)
    return [words if group[-1].is_live else clean(f"was reported {when}: {words}")]


def _degradation(story: Story) -> str:
    old, new = _p99(story)
    percent = story.said.number("degradation_percent")
    if not story.is_live:
        return f"was slow {interval(_since([story]), story.said.resolved_at)}".rstrip()
    if old is not None and new is not None and 0 <= old < new:
        return f"{slower(old, new)}: p99 {from_to(old, new)}"
    return "slower than before" if percent is None else f"{percent:.0f} % slower" if abs(percent) < 1e6 else "slower"


def _p99(story: Story) -> tuple[float | None, float | None]:
    """Before and now. The evidence is of the opening; later messages tell how it is by then, where that is known."""
    old, new = story.said.number("p99_old_ms"), story.said.number("p99_new_ms")
    by_now = story.said.now.p99_ms if story.said.now else None
    return old, new if story.state == "opened" or by_now is None else by_now


def _threshold(story: Story) -> str:
    limit, worst = story.said.number("threshold_ms"), story.said.number("duration_ms")
    count = story.said.count("exceeded_count")
    of_limit = f" of {milliseconds(limit)}" if limit is not None else ""
    most = f", worst {milliseconds(worst)}" if worst is not None else ""
    if not story.is_live:
        when = interval(story.said.opened_at, story.said.resolved_at)
        return f"had calls over its limit{of_limit}{most} {when}".rstrip()
    return f"{'calls' if count is None else counted(count, 'call')} over its limit{of_limit}{most}"


def _calls(group: Sequence[Story]) -> list[str]:
    """Single calls: the slow ones in one line, the fast ones in another."""
    fast = [story for story in group if (story.said.number("z_score") or 0.0) < 0]
    slow = [story for story in group if story not in fast]
    return [line for line in (_slow_calls(slow), _fast_calls(fast)) if line]


def _slow_calls(group: Sequence[Story]) -> str:
    if not group:
        return ""
    worst = max(group, key=_duration).said
    took, usual = worst.number("duration_ms"), worst.number("baseline_p99_ms")
    beside = f" (baseline p99 {milliseconds(usual)})" if usual is not None else ""
    if len(group) == 1:
        return "took far longer than usual once" if took is None else f"took {milliseconds(took)} once{beside}"
    most = "" if took is None else f", worst {milliseconds(took)}{beside}"
    return f"{len(group):,} single slow calls{most}"


def _fast_calls(group: Sequence[Story]) -> str:
    if not group:
        return ""
    took = min(group, key=_duration).said.number("duration_ms")
    fastest = "" if took is None else f", fastest {milliseconds(took)}"
    return f"{counted(len(group), 'unusually fast call')}{fastest}"


def _duration(story: Story) -> float:
    return story.said.number("duration_ms") or 0.0
