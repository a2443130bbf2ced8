"""Time windows over the metrics."""

from __future__ import annotations

from datetime import datetime

import polars as pl


def between(metrics: pl.DataFrame | pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """The rows with ``start <= created_at <= end``; rows in memory that all lie there are not copied."""
    instants = metrics["created_at"] if isinstance(metrics, pl.DataFrame) else None
    if instants is not None and instants.null_count() == 0 and _all_between(instants, start, end):
        return metrics.lazy()
    return metrics.lazy().filter(pl.col("created_at").is_between(start, end))


def _all_between(instants: pl.Series, start: datetime, end: datetime) -> bool:
    first, last = instants.min(), instants.max()
    return isinstance(first, datetime) and isinstance(last, datetime) and start <= first and last <= end
