"""Single slow calls as findings: those of one operation that follow each other within an hour are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.analysis.incident_impact import Timed, Timings, measure_calls
from pggit_analytics.analysis.incident_inputs import CALLS, LEVEL, SLOW_CALLS, Found, taken
from pggit_analytics.analysis.incident_screens import Measured, Suppressed
from pggit_analytics.frames import INSTANT

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
        rows = _timed(of_operation, timings.of(operation))
        spans = [(one.found.onset, one.found.ended_at or timings.as_of) for one in levels if _is_level(one, operation)]
        inside = _inside(rows, spans)
        if inside.any():
            first = rows.filter(inside)["created_at"].to_list()[0]
            detail = f"{inside.sum()} slow calls while the operation was slow as a whole"
            suppressed.append(Suppressed(operation, "calls", first, "part_of_incident", detail))
        found += [_finding(operation, chain, timings) for chain in _chains(rows.filter(~inside))]
    return found, suppressed


def _timed(slow: pl.DataFrame, calls: Timed) -> pl.DataFrame:
    """The slow calls of an operation with when they ended and what they took, by that instant."""
    of_slow = calls.among(slow["metric_id"].to_numpy())
    at, ms = pl.Series(of_slow.at).cast(INSTANT), of_slow.ms()
    table = pl.DataFrame({"metric_id": of_slow.metric_id, "created_at": at, "duration_ms": ms})
    return slow.join(table, on="metric_id").sort("created_at", "metric_id")


def _is_level(one: Measured, operation: str) -> bool:
    return one.found.family == LEVEL and one.found.operation == operation


def _inside(rows: pl.DataFrame, spans: Iterable[tuple[datetime, datetime]]) -> pl.Series:
    inside = pl.Series([False] * rows.height, dtype=pl.Boolean)
    for start, end in spans:
        inside |= rows["created_at"].is_between(start, end)
    return inside


def _chains(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Runs of calls without a gap of `CALL_GAP`."""
    if rows.is_empty():
        return []
    chain = (rows["created_at"].diff() > CALL_GAP).fill_null(value=False).cum_sum().alias("chain")
    return rows.with_columns(chain).partition_by("chain", maintain_order=True)


def _finding(operation: str, chain: pl.DataFrame, timings: Timings) -> Measured:
    took = chain["duration_ms"].to_numpy()
    first, last = chain["created_at"].to_list()[0], chain["created_at"].to_list()[-1]
    onset = first - timedelta(milliseconds=float(took[0]))
    slowest = chain.sort(-pl.col("duration_ms"), "metric_id")
    times = chain["times_expected"].to_numpy()
    found = Found(
        operation=operation,
        family=CALLS,
        kind="calls",
        onset=onset,
        onset_low=onset,
        onset_high=last,
        settled_at=onset,
        ended_at=last if last < timings.as_of - CALL_GAP else None,
        size_ratio=float(times.max()),
        metric_ids=tuple(slowest["metric_id"].to_list()[:MOST_IDS]),
        score=float(np.max(chain["score"].to_numpy())),
    )
    return Measured(found, measure_calls(found, timings, took / np.maximum(times, 1.0), took))
