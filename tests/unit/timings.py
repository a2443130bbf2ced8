"""Made-up timings for the properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from pggit_analytics import frames

AS_OF = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

#: hypothesis settings of every property: the data decide, not the clock
SETTINGS = {"deadline": None, "max_examples": 100}


def metrics(rows: list[tuple[str, int, datetime]]) -> pl.DataFrame:
    """`frames.METRICS` from (operation_type, duration_us, created_at)."""
    return pl.DataFrame(
        {
            "metric_id": list(range(1, len(rows) + 1)),
            "operation_type": [name for name, _, _ in rows],
            "duration_us": [us for _, us, _ in rows],
            "created_at": [instant for _, _, instant in rows],
        },
        schema=frames.METRICS.columns,
    )


def spread(durations: list[int], step: timedelta, name: str = "commit") -> list[tuple[str, int, datetime]]:
    """The durations at equal distances, the last of them at AS_OF."""
    return [(name, us, AS_OF - (len(durations) - 1 - k) * step) for k, us in enumerate(durations)]
