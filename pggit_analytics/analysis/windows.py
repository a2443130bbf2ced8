"""Time windows over the metrics."""

from __future__ import annotations

from datetime import datetime

import polars as pl


def between(metrics: pl.DataFrame | pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """The rows with ``start <= created_at <= end``."""
    return metrics.lazy().filter(pl.col("created_at").is_between(start, end))
