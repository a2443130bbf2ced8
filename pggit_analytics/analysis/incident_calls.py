"""Single slow calls as findings: those of one operation that follow each other within an hour are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.analysis.incident_impact import Timed, Timings, measure_calls
from pggit_analytics.analysis.incident_inputs import CALLS, LEVEL, SLOW_CALLS, Found, taken
from pggit_analytics.analysis.incident_screens import Measured, Suppressed
from pggit_analytics.analysis.ordered_calls import Flags, Floats, Ints, instant, microseconds

#: slow calls of one operation further apart than this are two findings
CALL_GAP = timedelta(hours=1)
#: metric ids kept of one finding, the slowest first
MOST_IDS = 20


def calls_found(
    slow_calls: pl.DataFrame, levels: Sequence[Measured], timings: Timings
) -> tuple[list[Measured], list[Suppressed]]:
    """The slow calls as findings, and those that belong to an operation that was slow as a whole.

    Args:
        slow_calls: `incident_inputs.SLOW_CALLS`.
        levels: the findings about whole operations that stand.
        timings: holds the operations.
    """
    found: list[Measured] = []
    suppressed: list[Suppressed] = []
    for key, of_operation in (
        taken(SLOW_CALLS, slow_calls)
        .sort("operation_type")
        .partition_by("operation_type", as_dict=True, maintain_order=True)
        .items()
    ):
        operation = str(key[0])
        slow = _slow(of_operation, timings.of(operation))
        spans = [(one.found.onset, one.found.ended_at or timings.as_of) for one in levels if _is_level(one, operation)]
        inside = _inside(slow.at, spans)
        if inside.any():
            first = instant(int(slow.at[inside][0]))
            detail = f"{inside.sum()} slow calls while the operation was slow as a whole"
            suppressed.append(Suppressed(operation, "calls", first, "part_of_incident", detail))
        found += [_finding(operation, chain, timings) for chain in _chains(slow.at_places(np.flatnonzero(~inside)))]
    return found, suppressed


@dataclass(frozen=True, slots=True)
class _Slow:
    """Slow calls of one operation, by the instant they ended, then by metric_id."""

    at: Ints
    ms: Floats
    metric_id: Ints
    score: Floats
    times_expected: Floats

    def at_places(self, places: Ints) -> _Slow:
        return _Slow(*(getattr(self, one.name)[places] for one in fields(self)))


def _slow(found: pl.DataFrame, calls: Timed) -> _Slow:
    """The slow calls that the timings hold."""
    timed = calls.among(found["metric_id"].to_numpy())
    by_id = found.sort("metric_id")
    order, place = np.lexsort((timed.metric_id, timed.at)), by_id["metric_id"].search_sorted(timed.metric_id).to_numpy()
    score, times = (by_id[name].to_numpy()[place] for name in ("score", "times_expected"))
    return _Slow(timed.at, timed.ms(), timed.metric_id, score, times).at_places(order)


def _is_level(one: Measured, operation: str) -> bool:
    return one.found.family == LEVEL and one.found.operation == operation


def _inside(at: Ints, spans: Iterable[tuple[datetime, datetime]]) -> Flags:
    inside = np.zeros(at.size, dtype=np.bool_)
    for start, end in spans:
        inside |= (at >= microseconds(start)) & (at <= microseconds(end))
    return inside


def _chains(slow: _Slow) -> list[_Slow]:
    """Runs of calls without a gap of `CALL_GAP`."""
    gaps = 1 + np.flatnonzero(np.diff(slow.at) > CALL_GAP // timedelta(microseconds=1))
    return [slow.at_places(places) for places in np.split(np.arange(slow.at.size), gaps) if places.size]


def _finding(operation: str, chain: _Slow, timings: Timings) -> Measured:
    first, last = instant(int(chain.at[0])), instant(int(chain.at[-1]))
    onset = first - timedelta(milliseconds=float(chain.ms[0]))
    slowest = chain.metric_id[np.lexsort((chain.metric_id, -chain.ms))]
    found = Found(
        operation=operation,
        family=CALLS,
        kind="calls",
        onset=onset,
        onset_low=onset,
        onset_high=last,
        settled_at=onset,
        ended_at=last if last < timings.as_of - CALL_GAP else None,
        size_ratio=float(chain.times_expected.max()),
        metric_ids=tuple(slowest[:MOST_IDS].tolist()),
        score=float(chain.score.max()),
    )
    expected = chain.ms / np.maximum(chain.times_expected, 1.0)
    return Measured(found, measure_calls(found, timings, expected, chain.ms))
