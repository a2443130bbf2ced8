"""A labelled week of a few rows, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pggit_analytics.evaluation import truth
from pggit_analytics.evaluation.noise import NoiseLaw
from pggit_analytics.evaluation.truth import LabelledWeek, Truth
from pggit_analytics.frames import METRICS

AS_OF = datetime(2026, 3, 11, 12, tzinfo=UTC)
START = AS_OF - timedelta(days=7)
LAW = NoiseLaw(0.2, 1e-9, 0.1)


def ago(**span: float) -> datetime:
    """The instant this long before the end of the week."""
    return AS_OF - timedelta(**span)


def week(
    rows: list[tuple[str, float, float, datetime, bool]],
    **labels: list[dict[str, Any]],
) -> LabelledWeek:
    """A week of (operation, duration in us, expected duration in us, created_at, is_neutral); metric_id 1, 2, ...

    Args:
        rows: the calls.
        labels: rows of the frames of `Truth`, by name; empty where not given.
    """
    names = [row[0] for row in rows]
    ids = list(range(1, len(rows) + 1))
    metrics = pl.DataFrame(
        {
            "metric_id": ids,
            "operation_type": names,
            "duration_us": [int(row[1]) for row in rows],
            "created_at": [row[3] for row in rows],
        },
        schema=METRICS.columns,
    )
    expected = {"metric_id": ids, "expected_us": [row[2] for row in rows], "is_neutral": [row[4] for row in rows]}
    schemas = {
        "spikes": truth.SPIKES,
        "changes": truth.CHANGES,
        "episodes": truth.EPISODES,
        "groups": truth.GROUPS,
        "surges": truth.SURGES,
        "breaches": truth.BREACHES,
    }
    frames = {name: schema.frame(labels.get(name, [])) for name, schema in schemas.items()}
    labelled = Truth(
        **frames, rows=pl.DataFrame(expected, schema=truth.ROWS.columns), laws=dict.fromkeys(sorted(set(names)), LAW)
    )
    return LabelledWeek(metrics, labelled, AS_OF, truth.TRACES.empty())


def change(name: str, kind: str, onset: datetime, factor: float, cause: str = "own") -> dict[str, Any]:
    """A row of `truth.CHANGES`."""
    return {
        "operation_type": name,
        "kind": kind,
        "onset": onset,
        "settled_at": onset,
        "factor": factor,
        "cause": cause,
    }


def episode(name: str, kind: str, start: datetime, end: datetime, group: str | None = None) -> dict[str, Any]:
    """A row of `truth.EPISODES`."""
    return {"operation_type": name, "kind": kind, "start": start, "end": end, "factor": 2.0, "group": group}


def spike(metric_id: int, name: str, at: datetime, factor: float, *, is_neutral: bool = False) -> dict[str, Any]:
    """A row of `truth.SPIKES`."""
    return {
        "metric_id": metric_id,
        "operation_type": name,
        "at": at,
        "factor": factor,
        "spike_class": "8-30x" if factor >= 8 else "3-8x",
        "is_neutral": is_neutral,
    }
