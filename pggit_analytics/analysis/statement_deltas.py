"""What statements did between two samples of the counters of pg_stat_statements.

Counters only grow while an entry lives, so the difference of two samples is what happened between them. An entry is
made anew, with counters from 0, when the statistics were reset, when it was evicted to make room, or when the server
lost them in a crash. What it counted before that since the previous sample is lost. How a new entry is told from an old
one: by ``stats_since`` where the server knows it (PostgreSQL 17), else by counters that fell. One that was evicted and
has counted beyond its old value since looks like an old one: where the server evicted anything between the samples,
differences of old entries are marked as uncertain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class StatementKey(NamedTuple):
    """What pg_stat_statements counts apart, within one database."""

    userid: int
    #: called by a client, not by a function
    toplevel: bool
    queryid: int


class Counters(NamedTuple):
    """What it has counted since the entry was made."""

    calls: int
    total_exec_ms: float
    #: when the entry was made; None before PostgreSQL 17
    stats_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """All entries at one moment."""

    sampled_at: datetime
    #: since when the statistics as a whole are kept
    stats_reset: datetime
    #: how often entries were evicted since
    dealloc: int
    #: entries that the role could not see
    hidden: int
    counters: Mapping[StatementKey, Counters]


class Delta(NamedTuple):
    """What one entry counted between two samples."""

    key: StatementKey
    #: at least 1
    calls: int
    total_ms: float
    #: some calls of an evicted entry may be missing or be counted as others
    is_uncertain: bool


class StatementTiming(NamedTuple):
    """What one operation did between two samples."""

    operation_type: str
    calls: int
    total_ms: float
    queryids: tuple[int, ...]
    is_uncertain: bool

    @property
    def mean_ms(self) -> float:
        """What a call took on average."""
        return self.total_ms / self.calls


def statement_deltas(before: Sample | None, after: Sample) -> list[Delta]:
    """What every entry counted since the sample before, in the order of the keys; nothing for the first sample."""
    if before is None:
        return []
    is_same = before.stats_reset == after.stats_reset
    if not is_same and after.stats_reset <= before.sampled_at:
        return []  # the statistics of another server: nobody knows what they were at the sample before
    found = []
    for key, counters in sorted(after.counters.items()):
        old = before.counters.get(key) if is_same else None
        start = _counted_before(old, counters, before, is_same=is_same)
        if start is None or counters.calls <= start.calls:
            continue
        is_uncertain = old is not None and counters.stats_since is None and after.dealloc != before.dealloc
        found.append(
            Delta(
                key, counters.calls - start.calls, max(counters.total_exec_ms - start.total_exec_ms, 0.0), is_uncertain
            )
        )
    return found


_NOTHING = Counters(0, 0.0)


def _counted_before(old: Counters | None, after: Counters, before: Sample, *, is_same: bool) -> Counters | None:
    """What the entry had counted at the sample before; None where that is not known."""
    if after.stats_since is not None and (old is None or old.stats_since != after.stats_since):
        return _NOTHING if after.stats_since > before.sampled_at else None
    if old is None:
        # an entry that was there before, but hidden, counted nobody knows how much
        return None if is_same and before.hidden else _NOTHING
    has_fallen = after.calls < old.calls or after.total_exec_ms < old.total_exec_ms
    return _NOTHING if has_fallen else old


def statement_timings(deltas: Iterable[Delta], name_of: Callable[[int], str | None], top: int) -> list[StatementTiming]:
    """One timing an operation, by name: all that have a name, and those of the others that took most time.

    Args:
        deltas: of one interval; those of several users count together.
        name_of: the operation that a queryid belongs to; None = it is one of its own, ``stmt:<queryid>``.
        top: how many of the others.
    """
    named: dict[str, list[Delta]] = defaultdict(list)
    others: dict[str, list[Delta]] = defaultdict(list)
    for delta in deltas:
        name = name_of(delta.key.queryid)
        (others if name is None else named)[name or f"stmt:{delta.key.queryid}"].append(delta)
    rest = sorted((_together(name, members) for name, members in others.items()), key=lambda t: (-t.total_ms, t[0]))
    return sorted([*(_together(name, members) for name, members in named.items()), *rest[:top]])


def _together(name: str, members: list[Delta]) -> StatementTiming:
    return StatementTiming(
        name,
        sum(delta.calls for delta in members),
        sum(delta.total_ms for delta in members),
        tuple(sorted({delta.key.queryid for delta in members})),
        any(delta.is_uncertain for delta in members),
    )
