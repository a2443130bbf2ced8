"""What the functions of `pggit_analytics.api` return where one frame does not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import SEVERITIES
from pggit_analytics.report.shown import Shown
from pggit_analytics.report.summary import milliseconds

#: incidents that a result shows unasked
_SHOWN = 12


@dataclass(frozen=True, slots=True, repr=False)
class Detections(Shown):
    """What every detector found in one window, each frame with the columns of its detector."""

    as_of: datetime
    #: of outliers, thresholds and correlations; degradations and what the engine finds look back 7 days or more
    lookback_hours: int
    rows_read: int
    #: `frames.ANOMALIES`: outliers and degradations together
    anomalies: pl.DataFrame
    #: `frames.DEGRADATIONS`
    degradations: pl.DataFrame
    #: `frames.THRESHOLDS`
    thresholds: pl.DataFrame
    #: `frames.CORRELATIONS`
    correlations: pl.DataFrame
    #: lasting changes, `level_changes.LEVEL_CHANGES`
    changes: pl.DataFrame
    #: passing ones, `level_changes.EPISODES`
    episodes: pl.DataFrame
    #: `spikes.SLOW_CALLS`
    slow_calls: pl.DataFrame
    #: operations that got slow together, `shared_groups.GROUPS`
    groups: pl.DataFrame
    #: limits that will be exceeded, `breach_forecast.BREACH_FORECASTS`
    forecasts: pl.DataFrame

    def headline(self) -> str:
        """When, and from how much."""
        return f"Detections as of {_utc(self.as_of)}, last {self.lookback_hours} h, {self.rows_read:,} timings read"


@dataclass(frozen=True, slots=True, repr=False)
class Incident(Shown):
    """One incident; give it to ``plot`` or ``traces``."""

    #: a row of `frames.INCIDENTS`
    row: Mapping[str, Any]
    #: `frames.INCIDENT_OPERATIONS` of it
    operations: pl.DataFrame

    @property
    def key(self) -> str:
        """Its name, the same in every run."""
        return str(self.row["incident_key"])

    @property
    def operation_type(self) -> str:
        """What it is about: the first mover of several."""
        return str(self.row["operation_type"])

    @property
    def onset(self) -> datetime:
        """When it began."""
        onset: datetime = self.row["onset"]
        return onset

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None = it goes on."""
        ended_at: datetime | None = self.row["ended_at"]
        return ended_at

    @property
    def as_of(self) -> datetime:
        """The moment that this state of it is of."""
        as_of: datetime = self.row["detected_at"]
        return as_of

    @property
    def sentence(self) -> str:
        """What happened, since when, and what users lost."""
        members = {row["operation_type"]: row for row in self.operations.iter_rows(named=True)}
        others = sorted(members.keys() - {self.operation_type})
        with_others = f" (with {', '.join(others)})" if others else ""
        ratio = members.get(self.operation_type, {}).get("size_ratio")
        lost = self.row["lost_ms"]
        cost = f"; users lost {milliseconds(lost)}" if lost > 0 else ""
        return f"{self.operation_type}{with_others} {self._what(ratio)}{cost}"

    def _what(self, ratio: float | None) -> str:
        kind, over = self.row["kind"], self.ended_at
        times = "another time" if ratio is None else f"{ratio:.3g} times as long"
        span = f"since {_utc(self.onset)}"
        if over:
            is_short = _utc(over) == _utc(self.onset)
            span = f"at {_utc(over)}" if is_short else f"from {_utc(self.onset)} to {_utc(over)}"
        if kind == "forecast":
            return f"will exceed its limit about {_utc(self.row['expected_breach_at'])}"
        if kind == "calls":
            calls = int(self.operations["calls"].sum())
            many = "a single slow call" if calls == 1 else f"{calls} slow calls"
            return f"had {many}, up to {times}, {f'at {_utc(self.onset)}' if calls == 1 else span}"
        return f"{'took' if over else 'takes'} {times} {span}"

    def headline(self) -> str:
        """Severity, state and sentence."""
        return f"{self.row['severity']}, {self.row['state']}: {self.sentence}"

    def lines(self) -> list[str]:
        """What is known of the cause."""
        first, shared = self.row["first_mover"], self.row["bottleneck"]
        return [
            *([f"{first} moved first"] if first else []),
            *([f"they likely share: {shared}"] if shared else []),
        ]


@dataclass(frozen=True, slots=True, repr=False)
class IncidentList(Shown):
    """Incidents, those that go on first, then by what users lost; ``found[0]`` is the first of them."""

    as_of: datetime
    #: True: as runs wrote them; False: found now, in memory
    is_written: bool
    #: `frames.INCIDENTS`
    incidents: pl.DataFrame
    #: `frames.INCIDENT_OPERATIONS`
    operations: pl.DataFrame
    #: what was found and not told, and why: `frames.SUPPRESSED`
    suppressed: pl.DataFrame

    @classmethod
    def of(cls, found: Incidents, as_of: datetime, *, is_written: bool) -> IncidentList:
        """In the order in which people want to hear of them; what is part of another incident is left out."""
        told = found.incidents.filter(pl.col("merged_into").is_null()).sort(
            pl.col("state") == "recovered", -pl.col("lost_ms"), pl.col("severity").cast(SEVERITIES), "incident_key"
        )
        return cls(as_of, is_written, told, found.operations, found.suppressed)

    def __len__(self) -> int:
        return self.incidents.height

    def __getitem__(self, place: int) -> Incident:
        if not -len(self) <= place < len(self):
            raise IndexError(f"incident {place} of {len(self)}")
        return self._incident(self.incidents.row(place, named=True))

    def __iter__(self) -> Iterator[Incident]:
        return map(self._incident, self.incidents.iter_rows(named=True))

    def about(self, operation: str) -> Incident:
        """The first incident that this operation belongs to.

        Raises:
            InvalidArgument: there is none.
        """
        keys = set(self.operations.filter(operation_type=operation)["incident_key"])
        for incident in self:
            if incident.key in keys:
                return incident
        raise InvalidArgument(f"operation is {operation!r}, expected one that an incident is about")

    def _incident(self, row: dict[str, Any]) -> Incident:
        return Incident(row, self.operations.filter(incident_key=row["incident_key"]))

    def headline(self) -> str:
        """How many, and from where."""
        going_on = self.incidents.filter(pl.col("state") != "recovered").height
        how = "as written by runs until" if self.is_written else "found as of"
        many = "1 incident" if len(self) == 1 else f"{len(self)} incidents"
        return f"{many}, {going_on} of them going on, {how} {_utc(self.as_of)}"

    def lines(self) -> list[str]:
        """The first of them, each with its place."""
        shown = [f"[{place}] {self[place].headline()}" for place in range(min(len(self), _SHOWN))]
        more = len(self) - len(shown)
        return [*shown, f"and {more} more"] if more else shown


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
