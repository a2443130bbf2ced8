"""Who calls whom, as traces tell: a child that is slow while its parent is not has only taken over its costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import CallGrid, Flags, Floats, Ints
from pggit_analytics.analysis.ordered_calls import Calls
from pggit_analytics.analysis.shared_episodes import Lags, SharedEpisode
from pggit_analytics.analysis.shared_levels import CELL, SharedLevels
from pggit_analytics.frames import FrameSchema

#: An operation whose calls are mostly parts of another's. ``share``: of its calls that name such a parent.
TRACE_PARENTS = FrameSchema(
    "trace parents", {"operation_type": pl.String, "parent_type": pl.String, "share": pl.Float64}
)

#: an operation is the child of another if this share of its calls are parts of the other's
LEAST_SHARE = 0.5
#: a parent must have risen by this part of what its child's rise explains, or the child took over its costs
LEAST_OF_CHILD = 0.5
#: standard errors by which the parent may have risen more than measured
_BENEFIT = 2.0
#: minutes and standard errors by which a child may be later than its parent and still be taken for the first
_LATER_MINUTES, _LATER_ERRORS = 1.0, 1.0


def trace_parents(calls: Calls, traces: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Which operation is mostly part of which other.

    Args:
        calls: of the window.
        traces: metric_id, distributed_trace_id (NULL for what is no root), distributed_trace_parent_id (NULL for what
            has no parent).

    Returns:
        `TRACE_PARENTS`, by operation; at most one parent each, the one of the most calls (then by name).
    """
    count = np.diff(calls.first)
    root, parent = pl.col("distributed_trace_id"), pl.col("distributed_trace_parent_id")
    operation = np.repeat(np.arange(count.size, dtype=np.int32), count)
    known = (
        traces.lazy()
        .filter(root.is_not_null() | parent.is_not_null())
        .join(pl.LazyFrame({"metric_id": calls.metric_id, "operation": operation}), on="metric_id")
    )
    names = pl.Series("operation_type", calls.operations, dtype=pl.String)
    every = pl.LazyFrame(
        [pl.Series("operation", np.arange(count.size, dtype=np.int32)), names, pl.Series("all", count)]
    )
    found = (
        known.filter(parent.is_not_null())
        .join(
            known.filter(root.is_not_null()).unique("distributed_trace_id", keep="first", maintain_order=True),
            left_on="distributed_trace_parent_id",
            right_on="distributed_trace_id",
            suffix="_of_parent",
        )
        .filter(pl.col("operation") != pl.col("operation_of_parent"))
        .group_by("operation", "operation_of_parent")
        .agg(pl.len().alias("calls"))
        .join(every, on="operation")
        .join(
            every.select("operation", parent_type="operation_type"), left_on="operation_of_parent", right_on="operation"
        )
        .with_columns((pl.col("calls") / pl.col("all")).alias("share"))
        .filter(pl.col("share") >= LEAST_SHARE)
        .sort("operation_type", -pl.col("share"), "parent_type")
        .unique("operation_type", keep="first", maintain_order=True)
        .select(list(TRACE_PARENTS.columns))
        .collect()
    )
    return TRACE_PARENTS.check(found)


def cost_shifted(
    levels: SharedLevels, grid: CallGrid, members: Ints, episodes: list[SharedEpisode], parents: dict[str, str]
) -> list[int]:
    """The members whose parent is outside the group and did not rise as far as they did, in time per call.

    Args:
        levels: `shared_levels` of the grid.
        grid: the calls.
        members: positions of the members.
        episodes: of the group.
        parents: operation -> the one it is part of.
    """
    inside = np.zeros(levels.cells, dtype=np.bool_)
    for episode in episodes:
        inside[(episode.onset - grid.start) // CELL : (episode.end - grid.start) // CELL + 1] = True
    place = {name: row for row, name in enumerate(levels.operations)}
    shifted = []
    for member in members.tolist():
        parent = place.get(parents.get(levels.operations[member], ""))
        if parent is None or parent in members:
            continue
        child, above = _in_cells(levels, member, inside), _in_cells(levels, parent, inside)
        if not above.calls:
            continue
        part = min(1.0, child.calls / above.calls)
        if above.grown_us(_BENEFIT) < LEAST_OF_CHILD * part * child.grown_us(0.0):
            shifted.append(member)
    return shifted


@dataclass(frozen=True, slots=True)
class _InCells:
    """One operation in some cells: usual duration, mean rise of the logarithm and its standard error."""

    calls: float
    usual_us: float
    rise: float
    error: float

    def grown_us(self, errors: float) -> float:
        """How much longer a call takes than usual, with this many standard errors on top."""
        return float(self.usual_us * np.expm1(self.rise + errors * self.error))


def _in_cells(levels: SharedLevels, operation: int, inside: Flags) -> _InCells:
    calls = float(levels.count[operation, inside].sum())
    rise = float(levels.total[operation, inside].sum()) / max(calls, 1.0)
    error = float(np.sqrt(levels.variance[operation] / max(calls, 1.0)))
    return _InCells(calls, float(np.exp(np.median(levels.path[operation]))), rise, error)


@dataclass(frozen=True, slots=True)
class FirstMover:
    """The member that a cause is suspected in."""

    #: position among the members
    member: int
    #: onset: it rose first; trace: it is part of the one that rose first, and rose with it
    reason: str
    #: minutes until the next one rose, and the standard error of that (NaN with one episode)
    lead_minutes: float
    lead_error: float


def first_mover(names: list[str], lags: Lags, parents: dict[str, str]) -> FirstMover:
    """The member that rose first, or what it consists of.

    A call ends after its parts and lasts as long as they do, so a parent rises with its child: the child is suspected
    when it is a member and not later by more than a minute and a standard error.

    Args:
        names: of the members, at least two.
        lags: of the members.
        parents: operation -> the one it is part of.
    """
    earliest = int(lags.minutes.argmin())
    chosen = _deepest(names, lags, parents, earliest)
    others: Floats = np.delete(lags.minutes, earliest)
    second = int(others.argmin())
    errors = float(np.hypot(lags.error[earliest], np.delete(lags.error, earliest)[second]))
    reason = "onset" if chosen == earliest else "trace"
    return FirstMover(chosen, reason, float(others[second] - lags.minutes[earliest]), errors)


def _deepest(names: list[str], lags: Lags, parents: dict[str, str], member: int) -> int:
    visited = {member}
    while True:
        reach = lags.minutes[member] + _LATER_MINUTES + _LATER_ERRORS * float(np.nan_to_num(lags.error[member]))
        parts = [
            place
            for place, name in enumerate(names)
            if parents.get(name) == names[member] and lags.minutes[place] <= reach and place not in visited
        ]
        if not parts:
            return member
        member = min(parts, key=lambda place: float(lags.minutes[place]))
        visited.add(member)
