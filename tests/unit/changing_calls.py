"""Calls of operations whose level follows a function of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.frames import METRICS

Floats = NDArray[np.float64]
#: hours since the beginning -> times the usual duration
Course = Callable[[Floats], Floats]

#: a Wednesday
AS_OF = datetime(2026, 3, 11, 12, tzinfo=UTC)
DAYS = 7
START = AS_OF - timedelta(days=DAYS)
HOURS = 24.0 * DAYS
USUAL_US = 5000.0


def constant(hours: Floats) -> Floats:
    """Nothing happens."""
    return np.ones_like(hours)


def step(at: float, factor: float, until: float = HOURS) -> Course:
    """``factor`` times as long from one hour until another."""
    return lambda hours: np.where((hours >= at) & (hours < until), factor, 1.0)


def ratio_drift(first: float, last: float, factor: float) -> Course:
    """Growth by equal ratios between two hours."""
    return lambda hours: factor ** np.clip((hours - first) / (last - first), 0.0, 1.0)


def amount_drift(first: float, last: float, factor: float) -> Course:
    """Growth by equal amounts between two hours."""
    return lambda hours: 1 + (factor - 1) * np.clip((hours - first) / (last - first), 0.0, 1.0)


def hour(hours: float) -> datetime:
    """The instant this many hours after the beginning."""
    return START + timedelta(hours=hours)


def calls(courses: Mapping[str, Course], *, per_hour: float = 60.0, spread: float = 0.2, seed: int = 1) -> pl.DataFrame:
    """`frames.METRICS`: calls at random times, lognormal about the course; metric_ids in order of time."""
    random = np.random.default_rng(seed)
    names, hours, durations = [], [], []
    for name, course in courses.items():
        at = np.sort(random.uniform(0, HOURS, round(per_hour * HOURS)))
        names += [name] * at.size
        hours.append(at)
        durations.append(USUAL_US * course(at) * np.exp(spread * random.standard_normal(at.size)))
    return frame(names, np.concatenate(hours), np.concatenate(durations))


def frame(names: list[str], hours: Floats, durations_us: Floats) -> pl.DataFrame:
    """`frames.METRICS` of calls at these hours since the beginning; metric_ids in order of time."""
    created = pl.lit(START).cast(METRICS.columns["created_at"]) + pl.duration(microseconds="us")
    return (
        pl.DataFrame({"operation_type": names, "us": np.rint(hours * 3.6e9).astype(np.int64), "d": durations_us})
        .sort("us", "operation_type")
        .with_row_index("metric_id", offset=1)
        .select(
            pl.col("metric_id").cast(pl.Int64),
            "operation_type",
            pl.col("d").round().cast(pl.Int64).alias("duration_us"),
            created.alias("created_at"),
        )
    )
