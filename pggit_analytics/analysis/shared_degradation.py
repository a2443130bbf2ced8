"""Operations that slow down together: pairs, the groups they form, and when each group was slow.

Steps, each in the module that explains it: distances from each operation's own course without what is common to all
(`shared_levels`), correlation without noise and its significance (`shared_pairs`), groups whose members go with the
mean of the others (`shared_groups`), episodes, onsets and lags (`shared_episodes`), causes by traces (`shared_causes`)
and by kind (`shared_bottleneck`).

What is none: a surge of traffic without a slow-down and a storm of retries (nothing rises together), a release that
lastingly slows several operations at once (their own courses follow it), the load of the day (common to all), and a
child that rose while its parent did not.

Limits: a rise that lasts longer than about six hours becomes the operation's own course. The last three hours have only
half of a course beside them: what began in them cannot be told from a lasting change yet (kind ``common rise``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

import numpy as np
import polars as pl

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.call_grid import HOUR, MINUTE, CallGrid, Floats, Ints, call_grid, spreads
from pggit_analytics.analysis.detect_correlated_degradation import shared_bottleneck
from pggit_analytics.analysis.shared_bottleneck import group_bottleneck
from pggit_analytics.analysis.shared_causes import TRACE_PARENTS, FirstMover, cost_shifted, first_mover, trace_parents
from pggit_analytics.analysis.shared_episodes import Lags, SharedEpisode, group_episodes
from pggit_analytics.analysis.shared_groups import Group, regrouped, shared_groups
from pggit_analytics.analysis.shared_levels import CELL, SharedLevels, distances, shared_levels
from pggit_analytics.analysis.shared_pairs import PairMatrices, pair_matrices
from pggit_analytics.frames import INSTANT, FrameSchema

#: The pairs within groups, names ascending. ``correlation``: of the rises without their noise, at most 1.
#: ``lag_minutes``: how much later the second rises. ``p``: of independence, one-sided; ``q``: adjusted for the false
#: discovery rate over all pairs. ``shared_windows``: in which both had calls.
PAIRS = FrameSchema(
    "shared pairs",
    {
        "group_id": pl.Int64,
        "operation_type_1": pl.String,
        "operation_type_2": pl.String,
        "correlation": pl.Float64,
        "lag_minutes": pl.Float64,
        "p": pl.Float64,
        "q": pl.Float64,
        "shared_windows": pl.Int64,
        "shared_bottleneck": pl.String,
    },
)

#: ``kind``: shared bottleneck, or common rise for a single one that is still on or stayed, which may be a release.
#: ``proof`` and ``p``: see `shared_groups`. ``first_onset``: of the first episode; ``onset``, ``end``: of the latest,
#: ``end`` NULL while it is on. ``first_mover_by``: onset or trace; ``lead_minutes``: until the next one rose, with its
#: standard error (NULL with one episode). ``bottleneck_share``: of the members, that support the class.
GROUPS = FrameSchema(
    "shared groups",
    {
        "group_id": pl.Int64,
        "members": pl.List(pl.String),
        "kind": pl.String,
        "correlation": pl.Float64,
        "proof": pl.String,
        "p": pl.Float64,
        "episodes": pl.Int64,
        "first_onset": INSTANT,
        "onset": INSTANT,
        "end": INSTANT,
        "first_mover": pl.String,
        "first_mover_by": pl.String,
        "lead_minutes": pl.Float64,
        "lead_error": pl.Float64,
        "bottleneck": pl.String,
        "bottleneck_share": pl.Float64,
        "bottleneck_members": pl.List(pl.String),
    },
    nullable=frozenset({"end", "lead_error"}),
)

#: ``correlation``: with the mean of the others. ``rise_ratio``: median duration in the episodes to the usual one.
#: ``lag_minutes``: after the first, with its standard error (NULL with one episode). ``calls`` in the episodes, and
#: ``excess_ms``: the time they took beyond the usual, all calls together.
MEMBERS = FrameSchema(
    "members of shared groups",
    {
        "group_id": pl.Int64,
        "operation_type": pl.String,
        "correlation": pl.Float64,
        "rise_ratio": pl.Float64,
        "lag_minutes": pl.Float64,
        "lag_error": pl.Float64,
        "calls": pl.Int64,
        "excess_ms": pl.Float64,
    },
    nullable=frozenset({"lag_error"}),
)

#: ``end`` is NULL while it is on. ``rise_ratio`` and ``peak_ratio``: of durations to the usual ones, over all calls of
#: the members' (in the quarter of an hour about ``peak_at``). ``support``: share of the members that show it.
EPISODES = FrameSchema(
    "shared episodes",
    {
        "group_id": pl.Int64,
        "onset": INSTANT,
        "end": INSTANT,
        "peak_at": INSTANT,
        "rise_ratio": pl.Float64,
        "peak_ratio": pl.Float64,
        "support": pl.Float64,
    },
    nullable=frozenset({"end"}),
)

#: What is not reported, and why.
SUPPRESSED = FrameSchema("suppressed groups", {"operation_types": pl.List(pl.String), "reason": pl.String})

#: minutes on either side of the peak
_PEAK = 7.5 * MINUTE
_NOT_SLOW = "they vary together but are at no time slow together"
_COST_SHIFT = "cost shift: it rose while the operation it is part of did not"


@dataclass(frozen=True, slots=True)
class SharedDegradation:
    """Everything found, each in the frame of the same name."""

    pairs: pl.DataFrame = field(default_factory=PAIRS.empty)
    groups: pl.DataFrame = field(default_factory=GROUPS.empty)
    members: pl.DataFrame = field(default_factory=MEMBERS.empty)
    episodes: pl.DataFrame = field(default_factory=EPISODES.empty)
    suppressed: pl.DataFrame = field(default_factory=SUPPRESSED.empty)


def shared_degradation(
    metrics: pl.DataFrame | pl.LazyFrame,
    as_of: datetime,
    *,
    lookback: timedelta = timedelta(days=7),
    traces: pl.DataFrame | pl.LazyFrame | None = None,
) -> SharedDegradation:
    """What slowed down together in ``[as_of - lookback, as_of]``.

    Args:
        metrics: `frames.METRICS`.
        as_of: end of the window, with a time zone.
        lookback: its length, at least an hour; two days and more give the courses of operations something to stand on.
        traces: metric_id, distributed_trace_id, distributed_trace_parent_id; None if there are none.

    Raises:
        InvalidArgument: an argument is outside its range.
    """
    grid = call_grid(metrics, check_as_of(as_of), lookback)
    parents = TRACE_PARENTS.empty() if traces is None else trace_parents(grid, traces)
    return shared_degradation_of(grid, spreads(grid), parents)


def shared_degradation_of(grid: CallGrid, spread: Floats, parents: pl.DataFrame) -> SharedDegradation:
    """The same for calls that are already in order.

    Args:
        grid: `call_grid.call_grid`.
        spread: of each operation, `call_grid.spreads`.
        parents: `shared_causes.TRACE_PARENTS`; empty if nothing is known.
    """
    if len(grid.operations) < 2:
        return SharedDegradation()
    levels = shared_levels(grid, spread)
    pairs = pair_matrices(levels)
    parent_of: dict[str, str] = dict(parents.select("operation_type", "parent_type").iter_rows())
    found, suppressed = [], []
    for group in shared_groups(levels, pairs):
        whole, reasons = _with_episodes(levels, grid, group, parent_of)
        suppressed += reasons
        if whole is not None:
            found.append(whole)
    return _frames(levels, pairs, found, suppressed, parent_of)


@dataclass(frozen=True, slots=True)
class _Found:
    """A group with what is known of its episodes."""

    group: Group
    episodes: list[SharedEpisode]
    lags: Lags
    #: (member, episode): number of calls, median rise of the logarithm (0 without calls)
    calls: Ints
    rise: Floats
    #: (episode,): the same over all members' calls about the peak
    peak: Floats
    #: (member,): time beyond the usual
    excess_us: Floats


def _with_episodes(
    levels: SharedLevels, grid: CallGrid, group: Group, parents: dict[str, str]
) -> tuple[_Found | None, list[dict[str, object]]]:
    """The group with its episodes, without members that only took over costs; and what is not reported."""
    members = np.array(group.members)
    episodes, lags = group_episodes(levels, grid, members, np.array(group.signal))
    if lags is None:
        return None, [_suppressed(levels, members, _NOT_SLOW)]
    shifted = cost_shifted(levels, grid, members, episodes, parents)
    if not shifted:
        return _measured(grid, levels, group, episodes, lags), []
    reasons = [_suppressed(levels, [member], _COST_SHIFT) for member in shifted]
    rest = regrouped(levels, group, shifted)
    if rest is None:
        return None, reasons
    left, more = _with_episodes(levels, grid, rest, parents)
    return left, reasons + more


def _suppressed(levels: SharedLevels, members: Iterable[int], reason: str) -> dict[str, object]:
    return {"operation_types": [levels.operations[member] for member in members], "reason": reason}


def _measured(grid: CallGrid, levels: SharedLevels, group: Group, episodes: list[SharedEpisode], lags: Lags) -> _Found:
    shape = (len(group.members), len(episodes))
    calls, rise, excess = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape[0])
    peaks: list[list[Floats]] = [[] for _ in episodes]
    for row, member in enumerate(group.members):
        of_member = grid.calls_of(member)
        at, distance = grid.at[of_member], distances(grid, levels.path, member)
        spent = np.exp(grid.log_us[of_member])
        beyond = spent - spent / np.exp(distance)
        for column, episode in enumerate(episodes):
            first, last = np.searchsorted(at, [episode.onset, episode.end])
            calls[row, column] = last - first
            if last > first:
                rise[row, column] = np.median(distance[first:last])
            excess[row] += beyond[first:last].sum()
            first, last = np.searchsorted(at, [episode.peak_at - _PEAK, episode.peak_at + _PEAK])
            peaks[column].append(distance[first:last])
    peak = np.array([float(np.median(np.concatenate(of))) if sum(map(len, of)) else 0.0 for of in peaks])
    return _Found(group, episodes, lags, calls, rise, peak, excess)


def _frames(
    levels: SharedLevels,
    pairs: PairMatrices,
    found: list[_Found],
    suppressed: list[dict[str, object]],
    parents: dict[str, str],
) -> SharedDegradation:
    numbered = list(enumerate(found, start=1))
    return SharedDegradation(
        _pairs(levels, pairs, numbered),
        _framed(GROUPS, [_group_row(levels, number, one, parents) for number, one in numbered]),
        _framed(MEMBERS, [row for number, one in numbered for row in _member_rows(levels, number, one)]),
        _framed(EPISODES, [row for number, one in numbered for row in _episode_rows(number, one)]),
        _framed(SUPPRESSED, suppressed),
    )


def _framed(schema: FrameSchema, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows as a frame; instants come in microseconds."""
    numbers = {name: pl.Int64 if dtype == INSTANT else dtype for name, dtype in schema.columns.items()}
    frame = pl.DataFrame(rows, schema=numbers)
    instants = [name for name, dtype in schema.columns.items() if dtype == INSTANT]
    return schema.check(frame.with_columns(pl.col(instants).cast(INSTANT)) if instants else frame)


def _pairs(levels: SharedLevels, pairs: PairMatrices, numbered: list[tuple[int, _Found]]) -> pl.DataFrame:
    rows: list[dict[str, object]] = [
        {
            "group_id": number,
            "operation_type_1": levels.operations[one],
            "operation_type_2": levels.operations[two],
            "correlation": float(np.clip(pairs.correlation[one, two], -1.0, 1.0)),
            "lag_minutes": float(found.lags.minutes[second] - found.lags.minutes[first]),
            "p": float(pairs.p[one, two]),
            "q": float(pairs.q[one, two]),
            "shared_windows": int(pairs.shared[one, two]),
            "shared_bottleneck": "",
        }
        for number, found in numbered
        for (first, one), (second, two) in combinations(enumerate(found.group.members), 2)
    ]
    bottleneck = shared_bottleneck(pl.col("operation_type_1"), pl.col("operation_type_2"))
    return PAIRS.check(pl.DataFrame(rows, schema=PAIRS.columns).with_columns(bottleneck.alias("shared_bottleneck")))


def _group_row(levels: SharedLevels, number: int, found: _Found, parents: dict[str, str]) -> dict[str, object]:
    names = [levels.operations[member] for member in found.group.members]
    latest, mover = found.episodes[-1], first_mover(names, found.lags, parents)
    bottleneck = group_bottleneck(names)
    return {
        "group_id": number,
        "members": names,
        "kind": "common rise" if len(found.episodes) == 1 and _may_last(levels, found) else "shared bottleneck",
        "correlation": float(np.mean(found.group.correlation)),
        "proof": found.group.proof,
        "p": found.group.p,
        "episodes": len(found.episodes),
        "first_onset": found.episodes[0].onset,
        "onset": latest.onset,
        "end": None if latest.is_open else latest.end,
        **_mover_columns(names, mover),
        "bottleneck": bottleneck.name,
        "bottleneck_share": bottleneck.share,
        "bottleneck_members": list(bottleneck.members),
    }


def _may_last(levels: SharedLevels, found: _Found) -> bool:
    """Whether the only episode is still on, or has become the own course of most members."""
    (episode,) = found.episodes
    if episode.is_open:
        return True
    path, hour = levels.path[list(found.group.members)], HOUR // CELL
    before, after = (int((instant - levels.start) // CELL) for instant in (episode.onset, episode.end))
    stays = path[:, min(after + hour, levels.cells - 1)] - path[:, max(before - hour, 0)] >= found.rise[:, 0] / 2
    return bool(stays.mean() > 0.5)


def _mover_columns(names: list[str], mover: FirstMover) -> dict[str, object]:
    return {
        "first_mover": names[mover.member],
        "first_mover_by": mover.reason,
        "lead_minutes": mover.lead_minutes,
        "lead_error": None if np.isnan(mover.lead_error) else mover.lead_error,
    }


def _member_rows(levels: SharedLevels, number: int, found: _Found) -> list[dict[str, object]]:
    calls = found.calls.sum(axis=1)
    rise = np.exp((found.rise * found.calls).sum(axis=1) / np.maximum(calls, 1))
    return [
        {
            "group_id": number,
            "operation_type": levels.operations[member],
            "correlation": found.group.correlation[row],
            "rise_ratio": float(rise[row]),
            "lag_minutes": float(found.lags.minutes[row]),
            "lag_error": None if np.isnan(found.lags.error[row]) else float(found.lags.error[row]),
            "calls": int(calls[row]),
            "excess_ms": float(found.excess_us[row] / 1000),
        }
        for row, member in enumerate(found.group.members)
    ]


def _episode_rows(number: int, found: _Found) -> list[dict[str, object]]:
    calls = found.calls.sum(axis=0)
    rise = np.exp((found.rise * found.calls).sum(axis=0) / np.maximum(calls, 1))
    return [
        {
            "group_id": number,
            "onset": episode.onset,
            "end": None if episode.is_open else episode.end,
            "peak_at": episode.peak_at,
            "rise_ratio": float(rise[column]),
            "peak_ratio": float(np.exp(found.peak[column])),
            "support": episode.support,
        }
        for column, episode in enumerate(found.episodes)
    ]
