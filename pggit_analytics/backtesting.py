"""History replayed as if live: what a person would have been told, and when.

The metrics are read once; then every run is made in memory, each with the incidents of the ones before it, and what its
alerts would have said is noted as ``raise_alert`` says it. Nothing is written. Rows count from their ``created_at`` on:
when a row really arrived is not known. Settings and thresholds are those of today, snoozes and maintenance those of the
time. Reminders of what is still open are not replayed; traces are not read, so a cost that was moved from an operation
to one within it counts as a rise.

The run at the start tells what was so already; the pages are those of the runs after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.engine_findings import EngineFindings, engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.incidents import LONG_OVER, WINDOW, Incidents
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import INSTANT, SEVERITIES, FrameSchema
from pggit_analytics.pipeline import Target, within
from pggit_analytics.postgres.extract_wishes import NewSettings, Wishes, default_span, extract_wishes
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.report.shown import Shown

#: What would have been said, in order of time, the most severe first. ``event``: standing (so already at the start),
#: opened, worse (its severity rose) or recovered. ``severity`` is as said then; ``operation_type`` is what the incident
#: is about, ``operation_types`` are all of it, in order. ``size_ratio``: level now to before, of ``operation_type``.
#: ``delay_s``: from the onset until it was said; of recovered, from the end. ``is_page``: opened or worse, and WARNING
#: or CRITICAL. ``merged_into``: the incident that it turned out to be part of.
EVENTS = FrameSchema(
    "backtest events",
    {
        "said_at": INSTANT,
        "event": pl.String,
        "severity": SEVERITIES,
        "kind": pl.String,
        "operation_type": pl.String,
        "operation_types": pl.List(pl.String),
        "size_ratio": pl.Float64,
        "onset": INSTANT,
        "ended_at": INSTANT,
        "delay_s": pl.Float64,
        "expected_breach_at": INSTANT,
        "lost_ms": pl.Float64,
        "is_page": pl.Boolean,
        "incident_key": pl.String,
        "merged_into": pl.String,
    },
    nullable=frozenset({"size_ratio", "ended_at", "expected_breach_at", "merged_into"}),
)

PAGED = ("WARNING", "CRITICAL")
_RISING = ("INFO", "WARNING", "CRITICAL")
#: kinds that are over when they are found
_POINTS = ("calls", "improvement")
#: more runs than this are a mistake in the step
MOST_RUNS = 20_000

#: called after each run with how many are done and how many there are
RunsDone = Callable[[int, int], None]
#: what the detectors find at a moment
Finder = Callable[[datetime], EngineFindings]

Instant = Annotated[datetime, AfterValidator(check_as_of)]


class BacktestParameters(BaseModel):
    """Which runs are replayed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Instant | None = Field(default=None, description="First run; empty = 7 days before the end")
    end: Instant | None = Field(default=None, description="No run is later; empty = now, by the database's clock")
    step: timedelta = Field(
        default=timedelta(hours=6),
        ge=timedelta(minutes=1),
        le=WINDOW,
        description="From run to run, 1 minute to 7 days",
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """How much would have been said."""

    pages: int
    critical_pages: int
    #: length of what was replayed
    days: float
    #: with at least one row in that time
    operations: int

    @property
    def pages_per_operation_day(self) -> float | None:
        """None where there was no operation."""
        return self.pages / (self.days * self.operations) if self.operations else None

    @property
    def critical_a_day(self) -> float:
        """Pages of severity CRITICAL."""
        return self.critical_pages / self.days


@dataclass(frozen=True, slots=True, repr=False)
class Backtest(Shown):
    """A finished replay."""

    #: the moments of the runs
    moments: tuple[datetime, ...]
    rows_read: int
    #: `EVENTS`
    events: pl.DataFrame
    summary: Summary
    #: False: thresholds are those of a new installation, see `Wishes`
    thresholds_known: bool

    def headline(self) -> str:
        """How many pages."""
        pages = "1 page" if self.summary.pages == 1 else f"{self.summary.pages} pages"
        first, last = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (self.moments[0], self.moments[-1]))
        return f"{pages} in {len(self.moments)} runs from {first} to {last}, {self.rows_read:,} timings read"


def backtest(
    target: Target,
    parameters: BacktestParameters,
    *,
    settings: NewSettings | None = None,
    progress: RunsDone = lambda _done, _all: None,
) -> Backtest:
    """Read the metrics of [start - 7 days, end] and replay the runs; nothing is written.

    Args:
        target: where they are.
        parameters: which runs.
        settings: of operations, instead of those that the database has.
        progress: called after each run.

    Raises:
        InvalidArgument: the start is not before the end, the step is longer than the span or too short for it, or a
            setting is not allowed.
        PggitAnalyticsError: see `read_metrics` and `extract_wishes`.
    """
    moments = moments_of(target, parameters)
    first = moments[0] - WINDOW
    wishes = extract_wishes(target.database, first, moments[-1]).changed(settings or {})
    with read_metrics(
        target.source_database, target.source, start=first, end=moments[-1], store=target.store
    ) as metrics:
        progress(0, len(moments))
        events = replay(metrics.frame, moments, wishes, progress=progress)
        told = summary(events, metrics.frame, moments, wishes)
        return Backtest(moments, metrics.rows, events, told, wishes.thresholds_known)


def moments_of(target: Target, parameters: BacktestParameters) -> tuple[datetime, ...]:
    """When the runs are: start, start + step, ..., not after the end; at least two.

    Raises:
        InvalidArgument: see `backtest`.
    """
    start, end = parameters.start, parameters.end
    if end is None:
        _, end = default_span(target.database, WINDOW)
    start = end - WINDOW if start is None else start
    if start >= end:
        raise InvalidArgument(f"from is {start.isoformat(' ')}, expected it to be before to {end.isoformat(' ')}")
    runs = (end - start) // parameters.step
    if runs < 1:
        raise InvalidArgument(f"step is {parameters.step}, expected at most {end - start}, the time from from to to")
    if runs >= MOST_RUNS:
        raise InvalidArgument(f"step is {parameters.step}, expected fewer than {MOST_RUNS} runs, not {runs + 1}")
    return tuple(start + run * parameters.step for run in range(runs + 1))


def replay(
    metrics: pl.DataFrame | pl.LazyFrame,
    moments: Sequence[datetime],
    wishes: Wishes,
    *,
    find: Finder | None = None,
    progress: RunsDone = lambda _done, _all: None,
) -> pl.DataFrame:
    """What runs at these moments would have said; pure.

    Args:
        metrics: `frames.METRICS` from `WINDOW` before the first moment on.
        moments: of the runs, ascending, with a time zone.
        wishes: what people want to hear.
        find: the detectors' findings where they are known; None = looked for.
        progress: called after each run.

    Returns:
        `EVENTS`.
    """
    known, said, events = Incidents(), _Said(), []
    for run, as_of in enumerate(moments):
        window = within(metrics, as_of)
        found = find(as_of) if find else findings_at(metrics, wishes, as_of)
        latest = _incidents(window, found, known, wishes, as_of)
        known = _with(known, latest, as_of)
        events += [_event(*one, latest, as_of) for one in said.of(latest, as_of, is_first=run == 0)]
        progress(run + 1, len(moments))
    return EVENTS.check(EVENTS.frame(events))


def findings_at(metrics: pl.DataFrame | pl.LazyFrame, wishes: Wishes, as_of: datetime) -> EngineFindings:
    """What the detectors find in the window that ends at this moment; nothing of operations nobody watches."""
    window = within(metrics, as_of)
    if wishes.untracked:
        window = window.filter(~pl.col("operation_type").is_in(wishes.untracked))
    limits = wishes.settings.select("operation_type", "sla_ms").drop_nulls()
    return engine_findings(window, as_of, lookback=WINDOW, limits=limits)


def summary(
    events: pl.DataFrame, metrics: pl.DataFrame | pl.LazyFrame, moments: Sequence[datetime], wishes: Wishes
) -> Summary:
    """How much of it would have been pages.

    Args:
        events: `EVENTS`.
        metrics: `frames.METRICS`.
        moments: of the runs, at least two.
        wishes: name the operations that do not count, as nobody watches them.
    """
    pages = events.filter("is_page")
    names = (
        metrics.lazy()
        .filter(pl.col("created_at") > moments[0], pl.col("created_at") <= moments[-1])
        .filter(~pl.col("operation_type").is_in(wishes.untracked))
        .select(pl.col("operation_type").n_unique())
        .collect()
        .item()
    )
    days = (moments[-1] - moments[0]) / timedelta(days=1)
    return Summary(pages.height, pages.filter(pl.col("severity") == "CRITICAL").height, days, int(names))


def _incidents(
    window: pl.DataFrame | pl.LazyFrame, found: EngineFindings, known: Incidents, wishes: Wishes, as_of: datetime
) -> Incidents:
    return engine_incidents(
        found,
        known,
        as_of=as_of,
        metrics=window,
        settings=wishes.settings,
        # what people said later was not known then
        silences=wishes.silences.filter(pl.col("starts_at") <= as_of),
        thresholds=wishes.thresholds,
    )


def _with(known: Incidents, latest: Incidents, as_of: datetime) -> Incidents:
    """The latest state of each incident that a run of the last window has seen, as `incidents_at` has it."""
    named = latest.incidents.select("incident_key")

    def merged(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
        others = old.join(named, on="incident_key", how="anti")
        return pl.concat([others, new]).filter(pl.col("detected_at") >= as_of - WINDOW)

    return Incidents(merged(known.incidents, latest.incidents), merged(known.operations, latest.operations))


class _Said:
    """What people know of the incidents, as alerts keep it."""

    def __init__(self) -> None:
        #: incident_key -> severity as last said, and whether the alert is open
        self._alerts: dict[str, tuple[str, bool]] = {}

    def of(self, latest: Incidents, as_of: datetime, *, is_first: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is said now: event and incident; see raise_alerts_of_incidents and raise_alert."""
        silenced = set(latest.suppressed.filter(reason="snoozed")["incident_key"])
        rows = latest.incidents.sort(pl.col("severity").cast(SEVERITIES), "incident_key")
        for row in rows.iter_rows(named=True):
            key, severity = row["incident_key"], row["severity"]
            before, is_open = self._alerts.get(key, ("", False))
            if row["state"] == "recovered" and not _is_just_over(row, as_of):
                if is_open:
                    self._alerts[key] = (before, False)
                    yield "recovered", row | {"severity": before}
                continue
            if row["missed_runs"] or key in silenced:
                continue
            is_point = row["kind"] in _POINTS or row["state"] == "recovered"
            if not before or (not is_point and not is_open):
                self._alerts[key] = (severity, not is_point)
                yield "standing" if is_first else "opened", row
            elif _RISING.index(severity) > _RISING.index(before) and (is_point or is_open):
                self._alerts[key] = (severity, is_open)
                yield "worse", row


def _is_just_over(row: dict[str, Any], as_of: datetime) -> bool:
    """Found for the first time when it was over, and not so long ago that nobody cares."""
    return bool(row["opened_at"] == as_of and row["ended_at"] >= as_of - LONG_OVER)


def _event(event: str, row: dict[str, Any], latest: Incidents, as_of: datetime) -> dict[str, Any]:
    """A row of `EVENTS`."""
    members = latest.operations.filter(incident_key=row["incident_key"]).sort("operation_type")
    ratios = dict(members.select("operation_type", "size_ratio").iter_rows())
    since = row["ended_at"] if event == "recovered" else row["onset"]
    same = ("severity", "kind", "operation_type", "onset", "ended_at", "expected_breach_at", "lost_ms", "incident_key")
    return {name: row[name] for name in (*same, "merged_into")} | {
        "said_at": as_of,
        "event": event,
        "operation_types": list(ratios),
        "size_ratio": None if row["kind"] == "forecast" else ratios.get(row["operation_type"]),
        "delay_s": (as_of - since).total_seconds(),
        "is_page": event in {"opened", "worse"} and row["severity"] in PAGED,
    }
