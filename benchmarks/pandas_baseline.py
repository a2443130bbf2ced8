"""The same findings as an analyst gets them with pandas, SQLAlchemy and SciPy, to compare the pipeline with.

Written plainly, but with what such a person knows: one query for the week, numbers cast by the server (Decimals would
cost far more), grouped operations instead of loops over rows. It reads and computes; it writes nothing back.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from scipy import stats  # type: ignore[import-untyped]
from sqlalchemy import create_engine, text

_METRICS = text("""
    SELECT metric_id, operation_type, duration_ms::float8 AS duration_ms, created_at
    FROM pggit.performance_metrics
    WHERE created_at BETWEEN :start AND :as_of
""")

_BASELINES = text("""
    SELECT operation_type, p99_microseconds / 1000.0::float8 AS p99_ms,
           alert_threshold_multiplier::float8 AS multiplier
    FROM pggit.performance_baselines
    WHERE valid_from <= :as_of AND :as_of < coalesce(valid_to, 'infinity')
""")


def analyse(url: str, as_of: datetime) -> tuple[dict[str, Any], dict[str, float]]:
    """The findings at ``as_of`` as plain values, and the seconds spent on each part."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    marks = [perf_counter()]
    parameters = {"as_of": as_of, "start": as_of - pd.Timedelta(days=7)}
    with engine.connect() as connection:
        metrics = pd.read_sql_query(_METRICS, connection, params=parameters)
        baselines = pd.read_sql_query(_BASELINES, connection, params={"as_of": as_of})
    marks.append(perf_counter())
    recent = metrics[metrics["created_at"] >= as_of - pd.Timedelta(days=1)]
    degraded = degradations(metrics, as_of)
    found = outliers(recent)
    over = thresholds(recent, baselines)
    marks.append(perf_counter())
    correlated = pairs(recent)
    marks.append(perf_counter())
    answers = {
        "anomalies": judged(found, degraded),
        "degradations": degraded.set_index("operation_type").to_dict("index"),
        "pairs": correlated,
        "thresholds": over,
    }
    parts = ("extract", "detect", "correlate")
    return answers, {part: end - start for part, (start, end) in zip(parts, pairwise(marks), strict=True)}


def outliers(recent: pd.DataFrame) -> pd.DataFrame:
    """The metrics whose |z| exceeds 3, with z."""
    durations = recent.groupby("operation_type")["duration_ms"]
    z = durations.transform(stats.zscore)
    enough = durations.transform("size") >= 5
    return recent.assign(z=z)[enough & (z.abs() > 3)]


def degradations(metrics: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The operations whose p99 rose by more than 20 % from one half of the week to the other, with their trend."""
    is_new = (metrics["created_at"] >= as_of - pd.Timedelta(days=3.5)).rename("is_new")
    halves = metrics.groupby(["operation_type", is_new])["duration_ms"]
    p99 = halves.quantile(0.99).unstack()
    enough = (halves.size().unstack() >= 5).all(axis=1)
    percent = 100 * (p99[True] - p99[False]) / p99[False]
    names = percent[enough & (percent > 20)].index
    affected = metrics[metrics["operation_type"].isin(names)]
    daily = affected.groupby(["operation_type", affected["created_at"].dt.floor("D")])["duration_ms"].quantile(0.99)
    rows = []
    for name in names:
        days = daily[name]
        fit = stats.linregress((days.index - days.index[0]).days, days.to_numpy())
        change, limit = fit.slope * 7, 0.05 * p99.loc[name, False]
        trend = "DEGRADING" if change > limit else "IMPROVING" if change < -limit else "STABLE"
        rows.append((name, percent[name], trend, fit.rvalue**2))
    return pd.DataFrame(rows, columns=["operation_type", "percent", "trend", "confidence"])


def judged(found: pd.DataFrame, degraded: pd.DataFrame) -> dict[str, list[str]]:
    """Metric (or, for a whole operation, its name) -> type of anomaly and severity."""
    has_degraded = found["operation_type"].isin(degraded["operation_type"])
    is_slow = found["z"] > 0
    kind = np.where(is_slow & has_degraded, "COMBINED", "SPIKE")
    severity = np.select([~is_slow, has_degraded], ["INFO", "CRITICAL"], "WARNING")
    anomalies = {str(metric): [str(k), str(s)] for metric, k, s in zip(found["metric_id"], kind, severity, strict=True)}
    spared = degraded[~degraded["operation_type"].isin(found.loc[is_slow, "operation_type"])]
    for name, percent in zip(spared["operation_type"], spared["percent"], strict=True):
        anomalies[name] = ["DEGRADATION", "CRITICAL" if percent >= 50 else "WARNING" if percent >= 30 else "INFO"]
    return anomalies


def thresholds(recent: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, int]:
    """Operation -> how many of its metrics exceed the baseline's p99 times its multiplier."""
    limits = (baselines["p99_ms"] * baselines["multiplier"]).set_axis(baselines["operation_type"])
    exceeding = recent[recent["duration_ms"] > recent["operation_type"].map(limits)]
    return {str(name): int(count) for name, count in exceeding["operation_type"].value_counts().items()}


def pairs(recent: pd.DataFrame) -> dict[str, float]:
    """Pair of operations -> Pearson's r of their means per minute, where it exceeds 0.75."""
    minute = recent["created_at"].dt.floor("min")
    means = recent.groupby([minute, "operation_type"])["duration_ms"].mean().unstack()
    r = means.corr(min_periods=3)
    one, two = np.triu_indices(len(r), k=1)
    values = r.to_numpy()[one, two]
    names = r.columns
    return {f"{names[one[i]]} {names[two[i]]}": float(values[i]) for i in np.flatnonzero(values > 0.75)}
