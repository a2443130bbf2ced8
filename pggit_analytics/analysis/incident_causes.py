"""Which findings have one cause, and which incident of an earlier run that is.

Findings belong together when an operation has two that begin together (an episode that became a lasting step), an
episode that comes back within hours, or one that is hardly above another that goes on; when they are of the same
episode of a group that shares a bottleneck, when several operations change within minutes (a release), or when slow
calls of several operations began at the same moment.

An incident known from an earlier run is met again by a finding of the same family in one of its operations whose
onset lies in its interval; open ones first, for what is open explains more than what is over. An open one that nothing
meets so is met by a level that goes on and began before the incident was told: the first sight of a drift is a step,
that of a step an episode, and their onsets are estimated anew. What meets the same incident is one incident; of several
incidents met by one cause the oldest goes on, and the others become part of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

from pggit_analytics.analysis.incident_inputs import (
    CALLS,
    EPISODE_SLACK,
    FASTER,
    FORECAST,
    LEVEL,
    Found,
    Group,
    is_near,
)
from pggit_analytics.analysis.incident_screens import Measured

#: several operations that change within this time have a common cause
COMMON_ONSET = timedelta(minutes=10)
#: how far apart the starts of slow calls of several operations may be
COMMON_CALLS = timedelta(seconds=30)
#: an episode that comes back after this time is another one
RECURRENCE = timedelta(hours=6)
#: how far an onset may move beyond its interval from run to run
SLACK = timedelta(minutes=15)
#: what is less than so many times as slow as what goes on already is part of it
LITTLE = 1.2

_FAMILIES = {"improvement": FASTER, "calls": CALLS, "forecast": FORECAST}


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings that belong together."""

    findings: tuple[Measured, ...]
    #: the episodes of groups they are of
    groups: tuple[Group, ...] = ()

    @property
    def family(self) -> str:
        """That of all its findings."""
        return self.findings[0].found.family


@dataclass(frozen=True, slots=True)
class Known:
    """An incident as an earlier run left it: rows of `frames.INCIDENTS` and `frames.INCIDENT_OPERATIONS`."""

    row: dict[str, Any]
    operations: tuple[dict[str, Any], ...]

    @property
    def key(self) -> str:
        """The same in every run."""
        return str(self.row["incident_key"])

    @property
    def is_open(self) -> bool:
        """It was not over."""
        return bool(self.row["state"] != "recovered")

    @property
    def family(self) -> str:
        """See `Found.family`."""
        return _FAMILIES.get(self.row["kind"], LEVEL)


@dataclass(frozen=True, slots=True)
class Match:
    """Causes and known incidents that are one; either may be missing."""

    causes: tuple[Cause, ...] = ()
    #: open ones first, the oldest first
    known: tuple[Known, ...] = ()


@dataclass(slots=True)
class _Sets:
    """Disjoint sets of positions."""

    above: list[int] = field(default_factory=list)

    def top(self, place: int) -> int:
        while self.above[place] != place:
            self.above[place] = self.above[self.above[place]]
            place = self.above[place]
        return place

    def join(self, one: int, two: int) -> None:
        low, high = sorted((self.top(one), self.top(two)))
        self.above[high] = low

    def all(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for place in range(len(self.above)):
            found.setdefault(self.top(place), []).append(place)
        return list(found.values())


def causes_of(measured: Sequence[Measured], groups: Sequence[Group], as_of: datetime) -> list[Cause]:
    """The findings by their causes; no finding is in two.

    Args:
        measured: what is to be told.
        groups: episodes of operations that get slow together.
        as_of: end of what goes on.
    """
    found = [one.found for one in measured]
    sets = _Sets(list(range(len(found))))
    near = [[place for place, one in enumerate(found) if is_near(one, group, as_of)] for group in groups]
    for places in near:
        for place in places[1:]:
            sets.join(places[0], place)
    grouped = {place for places in near for place in places}
    for one, two in _near(found):
        is_alone = not grouped & {one, two}
        if _is_one(found[one], found[two]) or (is_alone and _is_on_top(found[one], found[two])):
            sets.join(one, two)
    return [
        Cause(
            tuple(measured[place] for place in places),
            tuple(group for group, members in zip(groups, near, strict=True) if set(members) & set(places)),
        )
        for places in sets.all()
    ]


def _near(found: Sequence[Found]) -> Iterator[tuple[int, int]]:
    """The pairs of one operation, and those that begin within `EPISODE_SLACK`; others are not one."""
    of_operation: dict[str, list[int]] = {}
    for place, one in enumerate(found):
        of_operation.setdefault(one.operation, []).append(place)
    for places in of_operation.values():
        yield from combinations(places, 2)
    in_order = sorted(range(len(found)), key=lambda place: found[place].onset)
    onsets = [found[place].onset for place in in_order]
    for rank, place in enumerate(in_order):
        end = bisect_right(onsets, onsets[rank] + EPISODE_SLACK)
        yield from ((place, other) for other in in_order[rank + 1 : end])


def _is_one(one: Found, two: Found) -> bool:
    if one.family != two.family or one.family == FORECAST:
        return False
    if one.family == CALLS:
        return one.operation != two.operation and abs(one.onset - two.onset) <= COMMON_CALLS
    if one.operation == two.operation:
        begin_together = one.onset_low <= two.onset_high and two.onset_low <= one.onset_high
        return begin_together or _comes_back(one, two)
    # what passes and what lasts are two things; episodes are known by quarters of an hour
    apart = EPISODE_SLACK if one.kind == two.kind == "episode" else COMMON_ONSET
    return (one.ended_at is None) == (two.ended_at is None) and abs(one.onset - two.onset) <= apart


def _comes_back(one: Found, two: Found) -> bool:
    """Whether two episodes of one operation are the same thing again."""
    if one.kind != "episode" or two.kind != "episode":
        return False
    first, second = sorted((one, two), key=lambda found: found.onset)
    return first.ended_at is None or second.onset - first.ended_at <= RECURRENCE


def _is_on_top(one: Found, two: Found) -> bool:
    """Whether the later one is a little more of what the earlier one is, which goes on."""
    if one.operation != two.operation or {one.family, two.family} != {LEVEL}:
        return False
    before, after = sorted((one, two), key=lambda found: found.onset)
    is_little = after.size_ratio is not None and after.size_ratio < LITTLE
    return after.kind == "episode" and is_little and before.ended_at is None and after.ended_at is None


def matches(causes: Sequence[Cause], known: Sequence[Known]) -> list[Match]:
    """Causes with the incidents they are, and the incidents that were not found."""
    sets = _Sets(list(range(len(causes) + len(known))))
    unmet = set(range(len(causes)))

    def join(is_met: Callable[[Cause, Known, set[str]], bool], *, is_open: bool) -> None:
        """Join the causes left with the incidents that they meet, by operations of these that nothing met before."""
        met = [
            {
                one.found.operation
                for place in range(len(causes))
                if sets.top(place) == sets.top(len(causes) + other)
                for one in causes[place].findings
            }
            for other in range(len(known))
        ]
        pairs = [
            (place, other)
            for place in unmet
            for other, incident in enumerate(known)
            if incident.is_open == is_open and is_met(causes[place], incident, met[other])
        ]
        for place, other in pairs:
            sets.join(place, len(causes) + other)
        unmet.difference_update(place for place, _ in pairs)

    join(_meets, is_open=True)
    join(_goes_on_as, is_open=True)
    join(_meets, is_open=False)
    made = []
    for places in sets.all():
        of = [known[place - len(causes)] for place in places if place >= len(causes)]
        of.sort(key=lambda incident: (not incident.is_open, incident.row["opened_at"], incident.key))
        made.append(Match(tuple(causes[place] for place in places if place < len(causes)), tuple(of)))
    return made


def _meets(cause: Cause, incident: Known, _met: set[str]) -> bool:
    """Whether an onset lies in the interval of the incident's."""
    if cause.family != incident.family:
        return False
    rows = {row["operation_type"]: row for row in incident.operations}
    return any(
        cause.family == FORECAST
        or (
            one.found.onset_low - SLACK <= rows[one.found.operation]["onset_high"]
            and rows[one.found.operation]["onset_low"] - SLACK <= one.found.onset_high
        )
        or _is_back(one.found, rows[one.found.operation], incident)
        for one in cause.findings
        if one.found.operation in rows
    )


def _is_back(found: Found, row: dict[str, Any], incident: Known) -> bool:
    """Whether an episode lies within those of the known incident, or follows the last of them closely."""
    if found.kind != "episode" or row["kind"] != "episode" or found.onset < row["onset"]:
        return False
    return bool(found.onset - (row["ended_at"] or incident.row["last_found_at"]) <= RECURRENCE)


def _goes_on_as(cause: Cause, incident: Known, met: set[str]) -> bool:
    """Whether a level that goes on may have been told as this incident, its course judged otherwise then."""
    if cause.family != LEVEL or incident.family != LEVEL:
        return False
    rows = {row["operation_type"]: row for row in incident.operations if row["ended_at"] is None}
    return any(
        one.found.onset_low - SLACK <= max(rows[one.found.operation]["onset_high"], incident.row["opened_at"])
        and rows[one.found.operation]["onset_low"] - SLACK <= max(one.found.onset_high, one.found.settled_at)
        for one in cause.findings
        if one.found.operation in rows.keys() - met and one.found.ended_at is None
    )
