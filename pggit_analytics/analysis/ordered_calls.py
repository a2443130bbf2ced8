"""Calls in order of operation and time: sorted once, and shared by all that looks at single calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.frames import METRICS

Floats = NDArray[np.float64]
#: positions, counts, and instants in microseconds since 1970-01-01 UTC
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
#: bits of the largest numbers that NumPy sorts by their digits, in linear time
_DIGIT = 16
#: calls of one operation that follow each other, on average, for them to be moved together; rows that show it
_LONG_RUN, _HEAD = 64, 65_536


class Room(Protocol):
    """Where columns of calls are kept that are too long for memory."""

    def column(self, dtype: type[np.generic], size: int) -> NDArray[Any]:
        """An array of so many values, of any content."""

    def let_go(self) -> None:
        """What was read or written of the columns need not stay in memory."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls sorted by operation and time; of calls that ended at the same microsecond, as they came."""

    #: names, ascending
    operations: tuple[str, ...]
    #: of each operation its first call, and the number of calls
    first: Ints
    #: of each call: instant it ended, its microseconds, metric_id
    at: Ints
    duration_us: Ints
    metric_id: Ints
    #: where these columns are; None = in memory
    room: Room | None

    def calls_of(self, operation: int) -> slice:
        """Where the calls of an operation are; it is the one looked at now, and those before are let go."""
        if self.room is not None:
            self.room.let_go()
        return slice(int(self.first[operation]), int(self.first[operation + 1]))


def ordered_calls(metrics: pl.DataFrame | pl.LazyFrame, room: Room | None = None) -> Calls:
    """The calls in order.

    Args:
        metrics: `frames.METRICS`; read once, with a room twice, in streams.
        room: for more calls than memory holds.
    """
    if room is not None:
        return _ordered_in(room, metrics.lazy())
    rows = metrics.lazy().select(list(METRICS.columns)).with_columns(pl.col("created_at").dt.epoch("us")).collect()
    names, first, gathered = _by_operation(rows.drop_in_place("operation_type"))
    # each column goes as soon as it is gathered, so that one at most is held twice
    at, duration_us, metric_id = (
        gathered(rows.drop_in_place(name).to_numpy()) for name in ("created_at", "duration_us", "metric_id")
    )
    for start, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
        # small enough for the processor's cache, where gathering is fast
        order = _order(at[start:end])
        for column in (at, duration_us, metric_id):
            column[start:end] = column[start:end][order]
    return Calls(names, first, at, duration_us, metric_id, None)


def _ordered_in(room: Room, metrics: pl.LazyFrame) -> Calls:
    """The calls in order; of the columns no more is in memory than one operation's."""
    counts = metrics.group_by("operation_type").len().collect(engine="streaming").sort("operation_type")
    names, first = counts["operation_type"], firsts(counts["len"].to_numpy())
    at, duration_us, metric_id = columns = tuple(room.column(np.int64, int(first[-1])) for _ in range(3))
    free = first[:-1].copy()
    rows = metrics.select(
        # of an Enum, as its numbers are made in streams
        pl.col("operation_type").cast(pl.Enum(names)).to_physical(),
        pl.col("created_at").dt.epoch("us"),
        "duration_us",
        "metric_id",
    )
    for batch in rows.collect_batches(maintain_order=True, engine="streaming"):
        code, *values = (column.to_numpy() for column in batch)
        by_operation = np.argsort(code, kind="stable")
        edges = np.searchsorted(code[by_operation], np.arange(names.len() + 1))
        for place in np.flatnonzero(np.diff(edges)).tolist():
            taken = by_operation[edges[place] : edges[place + 1]]
            for column, value in zip(columns, values, strict=True):
                column[free[place] : free[place] + taken.size] = value[taken]
            free[place] += taken.size
        room.let_go()
    for start, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
        order = _order(at[start:end])
        for column in columns:
            column[start:end] = column[start:end][order]
        room.let_go()
    return Calls(tuple(names.to_list()), first, at, duration_us, metric_id, room)


def _by_operation(operations: pl.Series) -> tuple[tuple[str, ...], Ints, Callable[[Ints], Ints]]:
    """The names, ascending; the first call of each, with the number of calls; what puts a column in their order."""
    head = operations.head(_HEAD)
    if head.rle().len() * _LONG_RUN <= head.len():
        runs = operations.rle().struct.unnest()
        if 0 < runs.height * _LONG_RUN <= operations.len():
            return _of_runs(runs["value"], runs["len"].to_numpy().astype(np.int64))
    names, code = _coded(operations)
    order = np.argsort(code, kind="stable")
    return names, firsts(np.bincount(code, minlength=len(names))), lambda column: column[order]


def _of_runs(operations: pl.Series, lengths: Ints) -> tuple[tuple[str, ...], Ints, Callable[[Ints], Ints]]:
    """The same of operations whose calls come many at a time, as the server packs them: whole runs are moved."""
    names, code = _coded(operations)
    edges = firsts(lengths).tolist()
    order = np.argsort(code, kind="stable").tolist()
    calls = np.bincount(code, weights=lengths).astype(np.int64)
    return names, firsts(calls), lambda column: np.concatenate([column[edges[run] : edges[run + 1]] for run in order])


def firsts(counts: Sequence[int] | NDArray[np.integer]) -> Ints:
    """Where each of so many begins when they follow each other, and where the last one ends."""
    return np.cumsum([0, *counts], dtype=np.int64)


def _coded(operations: pl.Series) -> tuple[tuple[str, ...], NDArray[np.unsignedinteger]]:
    """The names, ascending, and of each row the position of its name."""
    categories = operations.cast(pl.Categorical)  # the numbers mean nothing once it is gone
    code = categories.to_physical().to_numpy()
    present = np.flatnonzero(np.bincount(code))
    names = pl.Series(present, dtype=pl.UInt32).cat.to(pl.Categorical).cast(pl.String)
    # the smallest type, for numbers of up to 16 bits are sorted by their digits
    place = np.zeros(int(present.max(initial=-1)) + 1, dtype=np.min_scalar_type(names.len()))
    place[present] = names.rank("ordinal").to_numpy() - 1
    return tuple(names.sort().to_list()), place[code]


def _order(at: Ints) -> Ints:
    """The stable order of instants: coarsely by one digit, then exactly, which is quick on what is nearly in order."""
    if at.size < 2 or (at[1:] >= at[:-1]).all():
        return np.arange(at.size)
    since = at - at.min()
    coarse = (since >> max(0, int(since.max()).bit_length() - _DIGIT)).astype(np.uint16)
    roughly = np.argsort(coarse, kind="stable")
    return np.asarray(roughly[np.argsort(since[roughly], kind="stable")])


def microseconds(at: datetime) -> int:
    """Since 1970-01-01 UTC.

    Args:
        at: with a time zone.
    """
    return (at - _EPOCH) // _MICROSECOND


def instant(since: int) -> datetime:
    """The instant so many microseconds after 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=since)
