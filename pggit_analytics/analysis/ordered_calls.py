"""Calls in order of operation and time: sorted once, and shared by all that looks at single calls."""

from __future__ import annotations

from collections.abc import Sequence
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
#: equal values that follow each other, on average, for them to be looked at together; rows that show it
LONG_RUN, _HEAD = 64, 65_536


class Room(Protocol):
    """Where columns of calls are kept that are too long for memory."""

    def column(self, dtype: type[np.generic], size: int) -> NDArray[Any]:
        """An array of so many values, of any content."""

    def let_go(self) -> None:
        """What was read or written of the columns need not stay in memory."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls sorted by operation and time; of calls that ended at the same microsecond, as they or their runs came."""

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
    rows = joined_runs(metrics.lazy().select(list(METRICS.columns)).collect().lazy())
    names, first, order = _by_operation(rows.drop_in_place("operation_type"))
    columns = [rows.drop_in_place(name).to_physical().to_numpy() for name in ("created_at", "duration_us", "metric_id")]
    if order is not None:
        columns = [column[order] for column in columns]
    if not _is_ordered(columns[0], first):
        # where they are still the frame's own, they are not to be changed
        columns = [np.require(column, requirements="W") for column in columns]
        _sort_by_time(columns, first)
    at, duration_us, metric_id = columns
    return Calls(names, first, at, duration_us, metric_id, None)


def joined_runs(rows: pl.LazyFrame) -> pl.DataFrame:
    """`frames.METRICS` with each operation's rows together, operations ascending, where they come many at a time.

    Whole runs are moved, in the order of their first instants, one column after the other, so that no more is held
    twice. Rows that are in order already, or whose runs are short, stay as they are.
    """
    keys = rows.select("operation_type", "created_at").collect()
    moves = _moves(keys["operation_type"], keys["created_at"])
    if moves is None:
        return rows.collect()
    columns = {name: _moved(keys.drop_in_place(name), moves) for name in ("created_at", "operation_type")}
    for name in METRICS.columns.keys() - columns.keys():
        columns[name] = _moved(rows.select(name).collect().to_series(), moves)
    return pl.DataFrame({name: columns[name] for name in METRICS.columns})


def _moves(operations: pl.Series, instants: pl.Series) -> list[tuple[int, int]] | None:
    """First row and length of each run in the order wanted; None where the rows had better stay where they are."""
    if not comes_in_long_runs(operations):
        return None
    lengths, names = operations.rle().struct.unnest().get_columns()
    if lengths.len() * LONG_RUN > operations.len():
        return None
    first = lengths.cum_sum() - lengths
    runs = pl.DataFrame({"name": names, "at": instants.gather(first), "first": first, "length": lengths})
    moved = runs.sort("name", "at", "first")
    return None if moved["first"].equals(first) else list(moved.select("first", "length").iter_rows())


def comes_in_long_runs(values: pl.Series) -> bool:
    """Whether equal values follow each other many at a time, as the first ones show: else all runs are dear to find."""
    head = values.head(_HEAD)
    return head.rle().len() * LONG_RUN <= head.len()


def _moved(column: pl.Series, moves: list[tuple[int, int]]) -> pl.Series:
    return pl.concat([column.slice(first, length) for first, length in moves], rechunk=True)


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
    _sort_by_time(columns, first, room)
    return Calls(tuple(names.to_list()), first, at, duration_us, metric_id, room)


def _by_operation(operations: pl.Series) -> tuple[tuple[str, ...], Ints, Ints | None]:
    """The names, ascending; the first call of each, with the number of calls; the order to put them in, if any."""
    if operations.is_sorted():
        lengths, names_in_order = operations.rle().struct.unnest().get_columns()
        return tuple(names_in_order.to_list()), firsts(lengths.to_numpy()), None
    names, code = _coded(operations)
    return names, firsts(np.bincount(code, minlength=len(names))), np.argsort(code, kind="stable")


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


def _sort_by_time(columns: Sequence[Ints], first: Ints, room: Room | None = None) -> None:
    """Put the calls of each operation in the order of the first column, one operation after the other.

    One's calls are few enough for the processor's cache, where gathering is fast.
    """
    for start, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
        order = _order(columns[0][start:end])
        for column in columns:
            column[start:end] = column[start:end][order]
        if room is not None:
            room.let_go()


def _is_ordered(at: Ints, first: Ints) -> bool:
    """Whether the calls of each operation follow each other in time."""
    falls = np.flatnonzero(at[1:] < at[:-1]) + 1
    return bool(np.isin(falls, first).all())


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
