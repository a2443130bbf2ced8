"""What incidents are made of: the columns asked of each detector, and one form for all that they found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.frames import INSTANT, FrameSchema

#: Lasting changes. ``kind``: step, drift (both slower), improvement or variance. ``settled_at``: when the last level
#: was reached. ``size_ratio``: level after to before.
CHANGES = FrameSchema(
    "changes found",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "onset_low": INSTANT,
        "onset_high": INSTANT,
        "settled_at": INSTANT,
        "size_ratio": pl.Float64,
        "p": pl.Float64,
    },
    nullable=frozenset({"p"}),
)

#: Passing episodes. ``size_ratio``: level inside to around. ``is_open``: not over at the as_of.
EPISODES = FrameSchema(
    "episodes found",
    {
        "operation_type": pl.String,
        "start": INSTANT,
        "end": INSTANT,
        "size_ratio": pl.Float64,
        "is_open": pl.Boolean,
    },
)

#: Single slow calls. ``times_expected``: duration to the one expected.
SLOW_CALLS = FrameSchema(
    "slow calls found",
    {"operation_type": pl.String, "metric_id": pl.Int64, "score": pl.Float64, "times_expected": pl.Float64},
)

#: Operations that get slow together, and their latest episode; ``end`` is NULL while it is on. ``kind``: common rise
#: where the cause may be a release, else a shared bottleneck. ``bottleneck_share``: of the members, that speak for it.
GROUPS = FrameSchema(
    "groups found",
    {
        "members": pl.List(pl.String),
        "kind": pl.String,
        "onset": INSTANT,
        "end": INSTANT,
        "first_mover": pl.String,
        "bottleneck": pl.String,
        "bottleneck_share": pl.Float64,
        "p": pl.Float64,
    },
    nullable=frozenset({"end", "first_mover", "bottleneck", "bottleneck_share", "p"}),
)

#: When operations will exceed their SLA, with the interval.
FORECASTS = FrameSchema(
    "forecasts found",
    {"operation_type": pl.String, "breach_at": INSTANT, "low": INSTANT, "high": INSTANT},
    nullable=frozenset({"low", "high"}),
)

#: Which operations are called within which, from traces.
PARENTS = FrameSchema("parents of operations", {"operation_type": pl.String, "parent_type": pl.String})

#: a group whose cause may be a release that changed each of them
COMMON_RISE = "common rise"

#: how exactly the start of an episode is known
EPISODE_SLACK = timedelta(minutes=15)

LEVEL, FASTER, CALLS, FORECAST = "level", "faster", "calls", "forecast"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a detector found in one operation."""

    operation: str
    #: level, faster, calls or forecast: only findings of one family can be the same incident
    family: str
    #: step, drift, episode, calls, improvement, forecast or variance
    kind: str
    onset: datetime
    onset_low: datetime
    onset_high: datetime
    #: when the last level was reached; later than the onset only for a drift
    settled_at: datetime
    #: None: it goes on
    ended_at: datetime | None
    #: level after to before; None: to be measured
    size_ratio: float | None
    p: float | None = None
    #: single calls, the slowest first, and how surprising the most surprising is
    metric_ids: tuple[int, ...] = ()
    score: float | None = None
    #: of a forecast: when, and the interval
    breach_at: datetime | None = None
    breach_low: datetime | None = None
    breach_high: datetime | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One episode of operations that get slow together."""

    members: frozenset[str]
    start: datetime
    #: None: it goes on
    end: datetime | None
    first_mover: str | None
    bottleneck: str | None
    bottleneck_support: float | None
    p: float | None


def taken(schema: FrameSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of the schema; a detector may have more of them.

    Raises:
        InvalidData: one is missing, of another type, or holds NULL where it must not.
    """
    return schema.check(frame.select([name for name in schema.columns if name in frame.columns]))


def of_changes(changes: pl.DataFrame) -> list[Found]:
    """A finding for each of `CHANGES`."""
    return [
        Found(
            operation=row["operation_type"],
            family=FASTER if row["kind"] == "improvement" else LEVEL,
            kind=row["kind"],
            onset=row["onset"],
            onset_low=row["onset_low"],
            onset_high=row["onset_high"],
            settled_at=max(row["settled_at"], row["onset"]),
            ended_at=None,
            size_ratio=row["size_ratio"],
            p=row["p"],
        )
        for row in taken(CHANGES, changes).iter_rows(named=True)
    ]


def of_episodes(episodes: pl.DataFrame) -> list[Found]:
    """A finding for each of `EPISODES`; one in which the operation was faster is an improvement."""
    return [
        _episode(row["operation_type"], row["start"], None if row["is_open"] else row["end"], row["size_ratio"], p=None)
        for row in taken(EPISODES, episodes).iter_rows(named=True)
    ]


def of_groups(groups: pl.DataFrame) -> list[Group]:
    """`GROUPS` as objects."""
    return [
        Group(
            members=frozenset(row["members"]),
            start=row["onset"],
            end=row["end"],
            first_mover=row["first_mover"],
            bottleneck=None if row["kind"] == COMMON_RISE else row["bottleneck"],
            bottleneck_support=None if row["kind"] == COMMON_RISE else row["bottleneck_share"],
            p=row["p"],
        )
        for row in taken(GROUPS, groups).iter_rows(named=True)
    ]


def of_forecasts(forecasts: pl.DataFrame, as_of: datetime) -> list[Found]:
    """A finding for each of `FORECASTS`, which begins when it is said."""
    return [
        Found(
            operation=row["operation_type"],
            family=FORECAST,
            kind="forecast",
            onset=as_of,
            onset_low=as_of,
            onset_high=as_of,
            settled_at=as_of,
            ended_at=None,
            size_ratio=1.0,
            breach_at=row["breach_at"],
            breach_low=row["low"],
            breach_high=row["high"],
        )
        for row in taken(FORECASTS, forecasts).iter_rows(named=True)
    ]


def of_member(group: Group, operation: str) -> Found:
    """What a group says of a member that no other detector found; its size is to be measured."""
    return _episode(operation, group.start, group.end, None, p=group.p)


def _episode(
    operation: str, start: datetime, end: datetime | None, size_ratio: float | None, *, p: float | None
) -> Found:
    is_faster = size_ratio is not None and size_ratio < 1
    return Found(
        operation=operation,
        family=FASTER if is_faster else LEVEL,
        kind="improvement" if is_faster else "episode",
        onset=start,
        onset_low=start - EPISODE_SLACK,
        onset_high=start + EPISODE_SLACK,
        settled_at=start,
        ended_at=end,
        size_ratio=size_ratio,
        p=p,
    )


def is_near(found: Found, group: Group, as_of: datetime) -> bool:
    """Whether a member's finding is part of this episode of its group.

    They begin together, or share more than half of the shorter one; a change of days ago that goes on is another thing.
    """
    if found.family != LEVEL or found.operation not in group.members:
        return False
    if found.onset_low - EPISODE_SLACK <= group.start <= found.onset_high + EPISODE_SLACK:
        return True
    if found.kind != "episode":
        return False
    one, two = (found.onset, found.ended_at or as_of), (group.start, group.end or as_of)
    shared = min(one[1], two[1]) - max(one[0], two[0])
    return shared > min(one[1] - one[0], two[1] - two[0]) / 2
