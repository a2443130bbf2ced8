"""Which findings make no incident, and why: nothing is dropped without a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from pggit_analytics.analysis.incident_impact import Impact, Timings
from pggit_analytics.analysis.incident_inputs import CALLS, FASTER, FORECAST, LEVEL, PARENTS, Found, taken
from pggit_analytics.frames import OPERATION_SETTINGS, SILENCES

#: calls needed on either side of a change
LEAST_CALLS = 4
#: greatest p of a change, and least score of a slow call, at the usual sensitivity
MOST_P, LEAST_SCORE = 0.05, 1.0
#: a child's rise that its parent shares by less than this was moved to it, not added
LEAST_OF_CHILD = 0.5
#: how far apart the rises of a child and its parent may begin
_TOGETHER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What holds where an operation has no setting of its own; rows of analytics_settings."""

    minimum_effect_ms: float = 0.0
    minimum_effect_percent: float = 10.0
    #: time users lose in an hour, all operations of the incident together
    warning_lost_ms_per_hour: float = 60_000.0
    critical_lost_ms_per_hour: float = 600_000.0
    #: the same as a share of the time all operations take in an hour
    warning_lost_share: float = 0.05
    critical_lost_share: float = 0.5
    #: an operation so many times as slow is a WARNING whatever it costs
    warning_times: float = 1.5
    #: runs in a row that must not find an open incident before it is over
    resolve_after_runs: int = 3


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that is not told, and why."""

    operation: str
    kind: str
    onset: datetime
    #: see `frames.SUPPRESSED`
    reason: str
    detail: str
    incident_key: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A finding and what it costs."""

    found: Found
    impact: Impact


@dataclass(frozen=True, slots=True)
class Settings:
    """`frames.OPERATION_SETTINGS` with their defaults, `frames.SILENCES`, and parents of operations."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    of_operation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    silences: Sequence[Mapping[str, Any]] = ()
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, settings: pl.DataFrame, silences: pl.DataFrame, parents: pl.DataFrame, thresholds: Thresholds
    ) -> Settings:
        """From frames.

        Raises:
            InvalidData: one is not of its schema.
        """
        rows = OPERATION_SETTINGS.check(settings).iter_rows(named=True)
        above: dict[str, tuple[str, ...]] = {}
        for child, parent in taken(PARENTS, parents).unique().sort("operation_type", "parent_type").iter_rows():
            above[child] = (*above.get(child, ()), parent)
        return cls(
            thresholds,
            {row["operation_type"]: row for row in rows},
            list(SILENCES.check(silences).iter_rows(named=True)),
            above,
        )

    def direction(self, operation: str) -> str:
        """slower, faster or both."""
        return str(self._set(operation, "direction") or "slower")

    def minimum_effect_ms(self, operation: str) -> float:
        """Least excess of the median call."""
        value = self._set(operation, "minimum_effect_ms")
        return self.thresholds.minimum_effect_ms if value is None else float(value)

    def minimum_effect_percent(self, operation: str) -> float:
        """Least change of the level."""
        value = self._set(operation, "minimum_effect_percent")
        return self.thresholds.minimum_effect_percent if value is None else float(value)

    def sensitivity(self, operation: str) -> float:
        """1 is usual."""
        value = self._set(operation, "sensitivity")
        return 1.0 if value is None else float(value)

    def sla_ms(self, operation: str) -> float | None:
        """Limit of the 95th percentile."""
        value = self._set(operation, "sla_ms")
        return None if value is None else float(value)

    def silence(
        self, kind: str, operation: str, alert_type: str, start: datetime, end: datetime
    ) -> Mapping[str, Any] | None:
        """The silence of this kind that covers the whole of [start, end]; of several the one that ends last."""
        covering = [
            row
            for row in self.silences
            if row["kind"] == kind
            and row["operation_type"] in (None, operation)
            and row["alert_type"] in (None, alert_type)
            and row["starts_at"] <= start
            and end <= row["ends_at"]
        ]
        return max(covering, key=lambda row: row["ends_at"], default=None)

    def _set(self, operation: str, name: str) -> Any:
        return self.of_operation.get(operation, {}).get(name)


def screened(
    measured: Iterable[Measured], settings: Settings, timings: Timings
) -> tuple[list[Measured], list[Suppressed]]:
    """What is left, in the same order, and what is not told.

    Args:
        measured: findings of all kinds.
        settings: of the operations.
        timings: holds the operations found and their parents.
    """
    kept, suppressed = [], []
    for one in measured:
        if reason := _reason(one, settings, timings.as_of):
            suppressed.append(_suppressed(one.found, *reason))
        else:
            kept.append(one)
    shifted = {id(one): detail for one in kept if (detail := _cost_shift(one, kept, settings, timings))}
    suppressed += [_suppressed(one.found, "cost_shift", shifted[id(one)]) for one in kept if id(one) in shifted]
    return [one for one in kept if id(one) not in shifted], suppressed


def _suppressed(found: Found, reason: str, detail: str) -> Suppressed:
    return Suppressed(found.operation, found.kind, found.onset, reason, detail)


def _reason(one: Measured, settings: Settings, as_of: datetime) -> tuple[str, str] | None:
    """Reason and detail; None when it stands."""
    found = one.found
    if found.kind == "variance":
        return (
            "scatter_only",
            f"its durations scatter {found.size_ratio or 1:.2f} times as far, its level did not change",
        )
    if found.family == FORECAST:
        return None
    direction = settings.direction(found.operation)
    if direction != "both" and (found.family == FASTER) != (direction == "faster"):
        return "direction", f"only {direction} is asked for of this operation"
    if found.kind in {"episode", "calls"} and (
        silence := settings.silence("maintenance", found.operation, "INCIDENT", found.onset, found.ended_at or as_of)
    ):
        start, end = (f"{silence[name]:%Y-%m-%d %H:%M}" for name in ("starts_at", "ends_at"))
        return "maintenance", f"within the maintenance from {start} to {end} UTC"
    return _too_weak(one, settings)


def _too_weak(one: Measured, settings: Settings) -> tuple[str, str] | None:
    found, impact = one.found, one.impact
    if found.family != CALLS and min(impact.calls, impact.calls_before) < LEAST_CALLS:
        return "too_few_calls", (
            f"{impact.calls_before} calls before and {impact.calls} since, at least {LEAST_CALLS} each are needed"
        )
    sensitivity = settings.sensitivity(found.operation)
    if found.p is not None and found.p > (most := min(1.0, MOST_P ** (1 / sensitivity))):
        return "uncertain", f"p is {found.p:.2g}, at most {most:.2g} is told"
    if found.score is not None and found.score < (least := LEAST_SCORE / sensitivity):
        return "uncertain", f"its score is {found.score:.2f}, at least {least:.2f} is told"
    percent = abs(impact.size_ratio - 1) * 100
    if percent < (least := settings.minimum_effect_percent(found.operation)):
        return "below_minimum", f"the level changed by {percent:.1f} %, the least told is {least:g} %"
    excess = impact.lost_ms if found.family == CALLS else abs(impact.excess_ms)
    if excess < (least := settings.minimum_effect_ms(found.operation)):
        return "below_minimum", f"the effect is {excess:.3g} ms, the least told is {least:g} ms"
    return None


def _cost_shift(one: Measured, kept: Sequence[Measured], settings: Settings, timings: Timings) -> str | None:
    """How the parent was, when it did not rise with this child; None otherwise, or where that is not known."""
    found = one.found
    parents = settings.parents.get(found.operation, ())
    if found.family != LEVEL or not parents:
        return None
    if any(_rises_with(found, other.found) for other in kept if other.found.operation in parents):
        return None
    said = []
    for parent in parents:
        before = timings.of(parent, None, found.onset_low)
        since = timings.of(parent, found.onset, found.ended_at)
        if min(before.size, since.size) < LEAST_CALLS:
            return None
        old, new = float(np.median(before.ms())), float(np.median(since.ms()))
        if new - old >= LEAST_OF_CHILD * one.impact.excess_ms:
            return None
        said.append(f"{parent} went from {old:.3g} to {new:.3g} ms")
    return f"it takes {one.impact.excess_ms:.3g} ms longer, but {', '.join(said)}"


def _rises_with(child: Found, parent: Found) -> bool:
    return parent.family == LEVEL and (
        parent.onset_low - _TOGETHER <= child.onset_high and child.onset_low - _TOGETHER <= parent.onset_high
    )
