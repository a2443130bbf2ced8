"""Arguments that every engine must refuse, each with the range its message has to name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from pggit_analytics import frames
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import detect_combined_anomalies
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.detect_threshold_exceeded import detect_threshold_exceeded
from pggit_analytics.analysis.recalculate_all_baselines_rolling import recalculate_all_baselines_rolling

AS_OF = datetime(2026, 1, 31, 12, tzinfo=UTC)

_METRICS, _BASELINES, _TYPES = frames.METRICS.empty(), frames.BASELINES.empty(), frames.OPERATION_TYPES.empty()

#: SQL function -> positional arguments of its dataframe twin
POSITIONAL: dict[str, tuple[Any, ...]] = {
    "detect_anomalies_statistical": (_METRICS, _BASELINES),
    "detect_performance_degradation": (_METRICS,),
    "detect_combined_anomalies": (_METRICS, _BASELINES),
    "detect_threshold_exceeded": (_METRICS, _BASELINES),
    "detect_correlated_degradation": (_METRICS, _TYPES),
    "correlated_operation_pairs": (_METRICS, _TYPES),
    "recalculate_all_baselines_rolling": (_METRICS, frames.ACTIVE_BASELINES.empty(), _TYPES, ()),
}

_FUNCTIONS = {
    "detect_anomalies_statistical": detect_anomalies_statistical,
    "detect_performance_degradation": detect_performance_degradation,
    "detect_combined_anomalies": detect_combined_anomalies,
    "detect_threshold_exceeded": detect_threshold_exceeded,
    "detect_correlated_degradation": detect_correlated_degradation,
    "correlated_operation_pairs": detect_correlated_degradation,
    "recalculate_all_baselines_rolling": recalculate_all_baselines_rolling,
}

#: the ones that are asked about one operation
OF_ONE_OPERATION = frozenset(name for name in POSITIONAL if "correlated" not in name and "recalculate" not in name)

_HOURS = ("lookback_hours", "at least 1 and at most 87600", (0, -1, 87601))
_RANGES: dict[str, tuple[tuple[str, str, tuple[Any, ...]], ...]] = {
    "detect_anomalies_statistical": (
        _HOURS,
        ("z_score_threshold", "more than 0 and at most 1000000", (0, -3, Decimal("1000000.1"))),
    ),
    "detect_performance_degradation": (
        ("lookback_days", "at least 1 and at most 3650", (0, -1, 3651)),
        ("threshold_percent", "more than 0 and at most 1000000", (0, Decimal("-0.5"), 1_000_001)),
    ),
    "detect_combined_anomalies": (_HOURS,),
    "detect_threshold_exceeded": (_HOURS,),
    "detect_correlated_degradation": (
        _HOURS,
        ("correlation_threshold", "more than 0 and at most 1", (0, Decimal("-0.75"), Decimal("1.000001"))),
    ),
    "correlated_operation_pairs": (
        _HOURS,
        ("correlation_threshold", "more than 0 and at most 1", (0, Decimal("-0.75"), Decimal("1.000001"))),
    ),
    "recalculate_all_baselines_rolling": (
        ("lookback_days", "at least 1 and at most 365", (0, -1, 366)),
        ("min_samples", "at least 1 and at most 1000", (0, -1, 1001)),
    ),
}


@dataclass(frozen=True)
class BadArgument:
    """One argument of one function, outside its range."""

    function: str
    name: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        return f"{self.function}-{self.name}-{self.value}"

    def call(self) -> pl.DataFrame:
        """The dataframe function with this argument."""
        return call(self.function, **{self.name: self.value})


def call(function: str, **arguments: Any) -> pl.DataFrame:
    """A dataframe function on empty frames."""
    return _FUNCTIONS[function](*POSITIONAL[function], **{"as_of": AS_OF, **arguments})


#: a number outside the range, or none at all
BAD_ARGUMENTS = [
    BadArgument(function, name, value, allowed)
    for function, ranges in _RANGES.items()
    for name, allowed, values in ranges
    for value in (*values, None)
]

#: NaN and infinity, where an argument need not be whole
NOT_FINITE = [
    BadArgument(function, name, value, allowed)
    for function, ranges in _RANGES.items()
    for name, allowed, _ in ranges
    if "threshold" in name
    for value in (float("nan"), float("inf"), float("-inf"), Decimal("NaN"))
]
