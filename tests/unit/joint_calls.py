"""Calls of several operations with rises put in by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.frames import METRICS

AS_OF = datetime(2026, 3, 11, 12, tzinfo=UTC)

#: (first minute, last minute, factor), minutes since the beginning
Rise = tuple[float, float, float]


def instant(minute: float, days: float = 7) -> datetime:
    """The instant this many minutes after the beginning."""
    return AS_OF - timedelta(days=days) + timedelta(minutes=minute)


def joint_calls(
    rises: dict[str, list[Rise]],
    *,
    days: float = 7,
    per_minute: float = 1.0,
    spread: float = 0.2,
    usual_us: float = 5000.0,
    seed: int = 1,
) -> pl.DataFrame:
    """`frames.METRICS`: calls at random times, lognormal about ``usual_us``, times the factors of the rises."""
    random = np.random.default_rng(seed)
    parts = []
    for name, changes in rises.items():
        minute = np.sort(random.uniform(0, days * 1440, round(per_minute * days * 1440)))
        log_us = np.log(usual_us) + spread * random.standard_normal(minute.size)
        for first, last, factor in changes:
            log_us += np.where((minute >= first) & (minute < last), np.log(factor), 0.0)
        parts.append(pl.DataFrame({"operation_type": name, "minute": minute, "us": np.exp(log_us)}))
    start = pl.lit(AS_OF - timedelta(days=days)).cast(METRICS.columns["created_at"])
    return (
        pl.concat(parts)
        .sort("minute")
        .with_row_index("metric_id", offset=1)
        .select(
            pl.col("metric_id").cast(pl.Int64),
            "operation_type",
            pl.col("us").round().cast(pl.Int64).alias("duration_us"),
            (start + pl.duration(microseconds=(pl.col("minute") * 60e6).cast(pl.Int64))).alias("created_at"),
        )
    )


def every_day(first: float, length: float, factor: float, days: int = 7) -> list[Rise]:
    """One rise a day, later by 157 minutes from day to day, so that it is no season."""
    return [(day * 1440 + first + 157 * day, day * 1440 + first + 157 * day + length, factor) for day in range(days)]
