"""Incidents as lines for a reader: those that matter now, the worst first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from pggit_analytics.analysis.incidents import LONG_OVER, Incidents
from pggit_analytics.frames import SEVERITIES

_WORDS = {
    "step": "slower",
    "drift": "gets slower",
    "episode": "slow a while",
    "calls": "slow calls",
    "improvement": "faster",
    "forecast": "limit ahead",
}


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One incident."""

    incident_key: str
    severity: str
    kind: str
    #: open, worsening or recovered
    state: str
    #: what it is about
    operation_type: str
    #: what else belongs to it, in order
    others: tuple[str, ...]
    #: level now to before, of ``operation_type``; None for a forecast
    size_ratio: float | None
    p50_before_ms: float | None
    p50_now_ms: float | None
    calls: int
    onset: datetime
    ended_at: datetime | None
    lost_ms: float
    #: 0 when it is over
    lost_ms_per_hour: float
    first_mover: str | None
    bottleneck: str | None
    expected_breach_at: datetime | None
    #: found by this run for the first time
    is_new: bool

    @property
    def what(self) -> str:
        """The kind in words."""
        return _WORDS.get(self.kind, self.kind)


def incident_lines(found: Incidents) -> tuple[IncidentLine, ...]:
    """What is open, and what was first found by this run and ended less than a day before; the worst first.

    Args:
        found: how the incidents stand after the run.
    """
    as_of, ended = pl.col("detected_at"), pl.col("ended_at")
    is_open = pl.col("state") != "recovered"
    is_news = (pl.col("opened_at") == as_of) & (ended >= as_of - LONG_OVER) & (pl.col("merged_into").is_null())
    told = found.incidents.filter(is_open | is_news.fill_null(value=False)).sort(
        pl.col("severity").cast(SEVERITIES),
        ended.is_not_null(),
        -pl.col("lost_ms_per_hour"),
        -pl.col("lost_ms"),
        "onset",
    )
    members: dict[str, list[dict[str, Any]]] = {}
    for row in found.operations.sort("operation_type").iter_rows(named=True):
        members.setdefault(row["incident_key"], []).append(row)
    return tuple(_line(row, members.get(row["incident_key"], [])) for row in told.iter_rows(named=True))


def _line(row: dict[str, Any], members: list[dict[str, Any]]) -> IncidentLine:
    about = next((one for one in members if one["operation_type"] == row["operation_type"]), {})
    same = {
        name: row[name]
        for name in (
            "incident_key", "severity", "kind", "state", "operation_type", "onset", "ended_at", "lost_ms",
            "lost_ms_per_hour", "first_mover", "bottleneck", "expected_breach_at",
        )
    }  # fmt: skip
    return IncidentLine(
        **same,
        others=tuple(str(one["operation_type"]) for one in members if one is not about),
        size_ratio=None if row["kind"] == "forecast" else about.get("size_ratio"),
        p50_before_ms=about.get("p50_before_ms"),
        p50_now_ms=about.get("p50_now_ms"),
        calls=about.get("calls", 0),
        is_new=row["opened_at"] == row["detected_at"],
    )
