"""Time windows over the metrics."""

from __future__ import annotations

from datetime import datetime

import polars as pl


def between(metrics: pl.DataFrame | pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """The rows with ``start <= created_at <= end``; rows in memory that all lie there are not copied."""
    if isinstance(metrics, pl.DataFrame) and metrics["created_at"].is_between(start, end).all(ignore_nulls=False):
        return metrics.lazy()
    return metrics.lazy().filter(pl.col("created_at").is_between(start, end))
