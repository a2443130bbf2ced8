"""What the report says, arranged for a reader, before any page or chart: pure, from frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pggit_analytics.analysis.detect_correlated_degradation import RECOMMENDATIONS, detect_correlated_degradation
from pggit_analytics.analysis.incident_evidence import evidence
from pggit_analytics.analysis.v_current_findings import ADVICE
from pggit_analytics.delivery.findings import Finding, Story, finding_of_pair, findings, pairs
from pggit_analytics.delivery.said import SEVERITIES, Said
from pggit_analytics.delivery.wording import clean, counted, name
from pggit_analytics.report.courses import Course, Courses, incident_rows, operations_shown
from pggit_analytics.report.health import Check, checks
from pggit_analytics.report.summary import MINIMUM_SHARED_MINUTES

#: incidents with a chart; the others are told without
MOST_CHARTS = 40
#: operations in a heat map, groups with a graph, operations in a graph
MOST_IN_MAP, MOST_GROUPS, MOST_IN_GRAPH = 16, 6, 16
#: groups of incidents that ended so long ago are still shown, as correlations look back as far
_RECENT = timedelta(hours=24)
#: what `detect_correlated_degradation` takes for "any positive one"
_ANY = 1e-9
#: runs in the table
MOST_RUNS = 15

KINDS = {
    "step": "Got slower at once",
    "drift": "Gets slower little by little",
    "episode": "Slow for a while",
    "calls": "Single slow calls",
    "improvement": "Got faster",
    "forecast": "Will exceed its limit",
}

REASONS = {
    "direction": "it changed in a direction nobody asked about",
    "scatter_only": "only the scatter changed, not the level",
    "maintenance": "maintenance was announced",
    "too_few_calls": "too few calls",
    "uncertain": "it may be chance",
    "below_minimum": "the change is below the minimum",
    "cost_shift": "the time only moved from one operation to another",
    "part_of_incident": "it is part of an incident",
    "long_over": "it was over long before it was found",
    "snoozed": "somebody snoozed it",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """The frames a report is made of; see `extract_report.ReportRows`."""

    as_of: datetime
    incidents: pl.DataFrame
    incident_operations: pl.DataFrame
    snoozed: frozenset[str]
    suppressed: pl.DataFrame
    correlations: pl.DataFrame
    runs: pl.DataFrame
    operation_types: pl.DataFrame
    views: Mapping[str, pl.DataFrame]
    missed_jobs: tuple[str, ...]
    scheduler: str | None
    monitoring_period: timedelta | None
    #: `frames.COVERAGE` of the last 7 days
    coverage: pl.DataFrame
    #: `frames.METRICS` of the last 7 days of the operations that `concerned` names
    metrics: pl.DataFrame | pl.LazyFrame


@dataclass(frozen=True, slots=True)
class Member:
    """One operation of an incident."""

    operation: str
    onset: datetime
    size_ratio: float
    p50_before_ms: float | None
    p50_now_ms: float | None
    p99_before_ms: float | None
    p99_now_ms: float | None
    calls: int
    lost_ms: float
    lost_ms_per_hour: float


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident as the page shows it."""

    #: its place in the list, from 1
    number: int
    key: str
    operation: str
    kind: str
    state: str
    severity: str
    #: what happened, as one sentence; and what else is known
    sentence: str
    notes: tuple[str, ...]
    advice: str
    since: datetime
    since_low: datetime
    since_high: datetime
    ended_at: datetime | None
    opened_at: datetime
    last_found_at: datetime
    lost_ms: float
    lost_ms_per_hour: float
    #: lost per hour over the greatest one of the list
    share: float
    is_snoozed: bool
    members: tuple[Member, ...]
    sla_ms: float | None
    breach: tuple[datetime | None, datetime | None, datetime | None]
    course: Course | None

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"incident-{self.number}"

    @property
    def what(self) -> str:
        """Its kind in words."""
        return KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class Other:
    """An open alert that is no incident."""

    operation: str
    severity: str
    #: what happened, after the name
    statement: str
    notes: tuple[str, ...]
    since: datetime | None
    advice: str
    #: number of the open incident that the operation belongs to
    incident: int | None
    is_quiet: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that get slow together."""

    operations: tuple[str, ...]
    first_mover: str | None
    #: (one, two, r); r is None where only the incident joins them
    edges: tuple[tuple[str, str, float | None], ...]
    bottlenecks: tuple[tuple[str, str], ...]
    incident: int | None


@dataclass(frozen=True, slots=True)
class Suppression:
    """Findings that were not told for one reason."""

    reason: str
    count: int
    #: operation, what, detail; the first ones
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page."""

    as_of: datetime
    version: str
    place: str
    schema: str
    #: the newest moment that a monitoring run analysed
    analysed_at: datetime | None
    open: tuple[Incident, ...]
    over: tuple[Incident, ...]
    others: tuple[Other, ...]
    groups: tuple[Group, ...]
    #: operation_type_1, operation_type_2, r, shared_minutes
    pairs: pl.DataFrame
    suppressions: tuple[Suppression, ...]
    health: tuple[Check, ...]
    merge_outcomes: Mapping[str, int]
    merge_bottlenecks: tuple[tuple[str, int], ...]
    #: at, phase, p99_ms
    phases: pl.DataFrame
    #: `frames.MERGE_HOTSPOTS`
    hotspots: pl.DataFrame
    #: `frames.BASELINE_HEALTH`, the oldest first
    baselines: pl.DataFrame
    #: `frames.EXECUTION_SUMMARIES`
    recalculations: pl.DataFrame
    #: `frames.DELIVERY_STATUS`
    delivery: pl.DataFrame
    #: `frames.RUNS`, the latest first
    runs: pl.DataFrame
    coverage: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def headline(self) -> str:
        """What is wrong now, in a line."""
        if self.analysed_at is None:
            return "Nobody has looked yet"
        slow = [one for one in self.open if one.kind not in {"improvement", "forecast"}]
        foretold = sum(one.kind == "forecast" for one in self.open)
        if not slow and not foretold:
            return "Nothing is wrong" if not self.others else f"No incident, {counted(len(self.others), 'open alert')}"
        said = [counted(len(slow), "incident")] if slow else []
        said += [f"{counted(foretold, 'limit')} about to be exceeded"] if foretold else []
        return f"{' and '.join(said)} now"


def concerned(incidents: pl.DataFrame, correlations: pl.DataFrame) -> tuple[str, ...]:
    """The operations whose timings the report needs: those it draws and those of pairs."""
    shown = set(operations_shown(incidents))
    return tuple(sorted(shown.union(correlations["operation_type_1"], correlations["operation_type_2"])))


def compose(rows: Rows, *, version: str, place: str, schema: str) -> Report:
    """Arrange everything.

    Args:
        rows: the frames.
        version: of this package.
        place, schema: where it was read.
    """
    courses = Courses(rows.metrics, rows.as_of) if not rows.incidents.is_empty() else None
    told = list(incident_rows(rows.incidents))
    still = _incidents([row for row in told if row["ended_at"] is None], rows, courses, first=1)
    over = sorted((row for row in told if row["ended_at"] is not None), key=lambda row: row["ended_at"], reverse=True)
    ended = _incidents(over, rows, courses, first=len(still) + 1)
    correlations = rows.correlations.filter(pl.col("shared_minutes") >= MINIMUM_SHARED_MINUTES)
    bottlenecks = rows.views["v_merge_bottleneck_analysis"]
    return Report(
        as_of=rows.as_of,
        version=version,
        place=place,
        schema=schema,
        analysed_at=_analysed_at(rows.runs),
        open=still,
        over=ended,
        others=_others(rows.views["v_current_findings"], still),
        groups=_groups(
            [*still, *(one for one in ended if one.ended_at and one.ended_at >= rows.as_of - _RECENT)], correlations
        ),
        pairs=_pairs(correlations, still, rows),
        suppressions=_suppressions(rows.suppressed),
        health=checks(
            as_of=rows.as_of,
            runs=rows.runs,
            coverage=rows.coverage,
            operation_types=rows.operation_types,
            baselines=rows.views["v_baseline_recalc_health"],
            delivery=rows.views["v_notification_delivery_status"],
            findings=rows.views["v_current_findings"],
            missed_jobs=rows.missed_jobs,
            scheduler=rows.scheduler,
            monitoring_period=rows.monitoring_period,
        ),
        merge_outcomes=_outcomes(rows.views["v_merge_success_rate_analysis"]),
        merge_bottlenecks=tuple(
            bottlenecks.group_by("primary_bottleneck")
            .len()
            .sort("len", "primary_bottleneck", descending=[True, False])
            .iter_rows()
        ),
        phases=_phases(rows.views["v_merge_phase_timeline"]),
        hotspots=rows.views["v_merge_conflict_hotspots"],
        baselines=rows.views["v_baseline_recalc_health"].sort(
            "hours_since_update", "operation_type", descending=[True, False], nulls_last=False
        ),
        recalculations=rows.views["v_baseline_recalc_execution_summary"],
        delivery=rows.views["v_notification_delivery_status"],
        runs=rows.runs,
        coverage=rows.coverage,
    )


def _analysed_at(runs: pl.DataFrame) -> datetime | None:
    found = runs.filter(flow="monitor_performance", status="SUCCESS")["as_of"].max()
    assert found is None or isinstance(found, datetime)
    return found


def _incidents(
    told: Sequence[dict[str, Any]], rows: Rows, courses: Courses | None, *, first: int
) -> tuple[Incident, ...]:
    most = max((row["lost_ms_per_hour"] for row in told), default=0.0)
    members = {
        str(key[0]): list(frame.iter_rows(named=True))
        for key, frame in rows.incident_operations.partition_by("incident_key", as_dict=True).items()
    }
    return tuple(
        _incident(
            row,
            members.get(row["incident_key"], []),
            number,
            share=row["lost_ms_per_hour"] / most if most > 0 else 0.0,
            is_snoozed=row["incident_key"] in rows.snoozed,
            course=courses.of(row, row["operation_type"]) if courses and number <= MOST_CHARTS else None,
        )
        for number, row in enumerate(told, start=first)
    )


def _incident(
    row: dict[str, Any],
    members: Sequence[Mapping[str, Any]],
    number: int,
    *,
    share: float,
    is_snoozed: bool,
    course: Course | None,
) -> Incident:
    said = _said(row, members)
    finding = findings([Story(said, "recovered" if row["ended_at"] else "opened")])[0]
    ordered = sorted(members, key=lambda one: (one["onset"], one["operation_type"]))
    return Incident(
        number=number,
        key=row["incident_key"],
        operation=row["operation_type"],
        kind=row["kind"],
        state=row["state"],
        severity=row["severity"],
        sentence=f"{finding.sentence[:1].upper() if not said.operation else finding.sentence[:1]}"
        f"{finding.sentence[1:]}",
        notes=finding.notes,
        advice=_advice(row, len(members)),
        since=row["onset"],
        since_low=row["onset_low"],
        since_high=row["onset_high"],
        ended_at=row["ended_at"],
        opened_at=row["opened_at"],
        last_found_at=row["last_found_at"],
        lost_ms=row["lost_ms"],
        lost_ms_per_hour=row["lost_ms_per_hour"],
        share=share,
        is_snoozed=is_snoozed,
        members=tuple(
            Member(
                one["operation_type"],
                one["onset"],
                one["size_ratio"],
                one["p50_before_ms"],
                one["p50_now_ms"],
                one["p99_before_ms"],
                one["p99_now_ms"],
                one["calls"],
                one["lost_ms"],
                one["lost_ms_per_hour"],
            )
            for one in ordered
        ),
        sla_ms=said.number("sla_ms"),
        breach=(row["expected_breach_at"], said.moment("breach_low"), said.moment("breach_high")),
        course=course,
    )


def _advice(row: Mapping[str, Any], operations: int) -> str:
    """What to do: about what they share, else about its kind."""
    if row["bottleneck"] in RECOMMENDATIONS:
        return RECOMMENDATIONS[row["bottleneck"]]
    if row["kind"] == "calls":
        return ADVICE["ANOMALY"]
    if row["kind"] == "forecast":
        return ADVICE["FORECAST"]
    if row["kind"] == "improvement":
        return "Nothing has to be done; if it stays, recalculate the baseline"
    return ADVICE["INCIDENT" if operations > 1 else "DEGRADATION"]


def _said(row: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> Said:
    """What a message of now would say: evidence as it is by now, with what only the opening knew."""
    frozen = json.loads(row["evidence"])
    frozen = frozen if isinstance(frozen, dict) else {}
    known = (
        json.loads(evidence(row, members, {}))
        if any(one["operation_type"] == row["operation_type"] for one in members)
        else {}
    )
    return Said(
        transition="resolved" if row["ended_at"] else "opened",
        detail="",
        alert_type="FORECAST" if row["kind"] == "forecast" else "INCIDENT",
        severity=row["severity"],
        operation=row["operation_type"],
        opened_at=row["onset"],
        last_seen_at=row["last_found_at"],
        resolved_at=row["ended_at"],
        evidence={**frozen, **known},
    )


def _others(current: pl.DataFrame, still: Sequence[Incident]) -> tuple[Other, ...]:
    """The other open alerts, those of one operation in one line; what an incident tells is only pointed to."""
    number_of = {member.operation: one.number for one in reversed(still) for member in one.members}
    rows = [row for row in current.iter_rows(named=True) if row["alert_type"] not in {"INCIDENT", "FORECAST"}]
    quiet = {row["alert_id"] for row in rows if row["is_snoozed"] or row["is_acknowledged"]}
    advice = {row["alert_id"]: row["advice"] for row in rows}
    told = [Story(_alert(row), "opened") for row in rows if row["alert_type"] != "SELF_HEALTH"]
    joined = pairs(told)
    in_pairs = {id(pair.story) for pair in joined}
    found: list[Finding] = findings(story for story in told if id(story) not in in_pairs)
    found += [finding_of_pair(pair) for pair in joined]
    found.sort(key=lambda one: SEVERITIES.index(one.severity))
    return tuple(
        Other(
            operation=one.recorded_name if one.recorded_name is not None else one.operation,
            severity=one.severity,
            statement=one.statement,
            notes=one.notes,
            since=one.since or one.found_at,
            advice=advice.get(one.alert_ids[0], ""),
            incident=number_of.get(one.recorded_name or one.operation.partition(" and ")[0]),
            is_quiet=set(one.alert_ids) <= quiet,
        )
        for one in found
    )


def _alert(row: Mapping[str, Any]) -> Said:
    about = json.loads(row["evidence"])
    return Said(
        transition="opened",
        detail="",
        alert_type=row["alert_type"],
        severity=row["severity"],
        alert_id=row["alert_id"],
        operation=row["operation_type"],
        opened_at=row["since"],
        last_seen_at=row["last_seen_at"],
        evidence=about if isinstance(about, dict) else {},
    )


def _groups(told: Sequence[Incident], correlations: pl.DataFrame) -> tuple[Group, ...]:
    """Incidents of several operations, then correlated ones that no incident joins."""
    r = {
        (one, two): value
        for one, two, value in correlations.select(
            "operation_type_1", "operation_type_2", "correlation_coefficient"
        ).iter_rows()
    }
    made = []
    for incident in told:
        names = tuple(member.operation for member in incident.members)
        if len(names) < 2:
            continue
        edges = [(one, two, value) for (one, two), value in r.items() if one in names and two in names]
        joined = {name for edge in edges for name in edge[:2]}
        edges += [(incident.operation, other, None) for other in names if other not in joined | {incident.operation}]
        notes = tuple((note, incident.advice) for note in incident.notes if note.startswith("they likely share"))
        made.append(Group(names, incident.operation, tuple(edges), notes, incident.number))
    joined_by = [set(group.operations) for group in made]
    for joint in components(r):
        if any(joint <= group for group in joined_by):
            continue
        edges = [(one, two, value) for (one, two), value in r.items() if one in joint]
        causes = (
            correlations.filter(pl.col("operation_type_1").is_in(list(joint)))
            .unique("shared_bottleneck", keep="first", maintain_order=True)
            .select("shared_bottleneck", "recommendation")
        )
        shared = tuple((f"they likely share: {words(one)}", advice) for one, advice in causes.iter_rows())
        made.append(Group(tuple(sorted(joint)), None, tuple(edges), shared, None))
    return tuple(made[:MOST_GROUPS])


def components(edges: Iterable[tuple[str, str]]) -> list[set[str]]:
    """What hangs together, the largest first."""
    found: list[set[str]] = []
    for one, two in edges:
        touching = [group for group in found if one in group or two in group]
        found = [group for group in found if group not in touching]
        found.append({one, two}.union(*touching))
    return sorted(found, key=lambda group: (-len(group), min(group)))


def words(constant: str) -> str:
    """OBJECT_STORAGE_IO as people write it."""
    return constant.replace("_", " ").lower().replace(" io", " I/O").replace("lca", "LCA")


def _pairs(correlations: pl.DataFrame, still: Sequence[Incident], rows: Rows) -> pl.DataFrame:
    """How closely the operations of pairs and of joint incidents went together in the last 24 hours, all pairs."""
    names = set(correlations["operation_type_1"]).union(correlations["operation_type_2"])
    schema = {"operation_type_1": pl.String, "operation_type_2": pl.String, "r": pl.Float64, "shared_minutes": pl.Int64}
    strongest = correlations.sort(-pl.col("correlation_coefficient"))
    if len(names) > MOST_IN_MAP:
        kept: list[str] = []
        for pair in strongest.select("operation_type_1", "operation_type_2").iter_rows():
            kept += [one for one in pair if one not in kept]
        names = set(kept[:MOST_IN_MAP])
    for incident in still:
        if len(incident.members) > 1 and len(names.union(m.operation for m in incident.members)) <= MOST_IN_MAP:
            names.update(member.operation for member in incident.members)
    if len(names) < 2:
        return pl.DataFrame(schema=schema)
    found = detect_correlated_degradation(
        rows.metrics.filter(pl.col("operation_type").is_in(list(names))),
        rows.operation_types,
        as_of=rows.as_of,
        lookback_hours=24,
        correlation_threshold=_ANY,
    ).filter(pl.col("shared_minutes") >= MINIMUM_SHARED_MINUTES)
    return found.select(
        "operation_type_1", "operation_type_2", pl.col("correlation_coefficient").alias("r"), "shared_minutes"
    )


def _suppressions(suppressed: pl.DataFrame) -> tuple[Suppression, ...]:
    made = []
    for (reason,), frame in suppressed.partition_by("reason", as_dict=True).items():
        examples = frame.select("operation_type", "kind", "detail").head(20).iter_rows()
        made.append(
            Suppression(
                REASONS[str(reason)],
                frame.height,
                tuple((one, KINDS.get(kind, kind.capitalize()), clean(detail)) for one, kind, detail in examples),
            )
        )
    return tuple(sorted(made, key=lambda one: (-one.count, one.reason)))


def _outcomes(rates: pl.DataFrame) -> dict[str, int]:
    counted_as = {
        "resolved automatically": "auto_resolved",
        "resolved by hand": "manual_resolved",
        "rejected": "rejected",
        "undecided": "undecided",
    }
    return {label: int(rates[column].sum()) for label, column in counted_as.items()}


def _phases(timeline: pl.DataFrame) -> pl.DataFrame:
    """The median over the minutes of each half hour."""
    return (
        timeline.group_by(pl.col("time_window").dt.truncate("30m").alias("at"), "phase")
        .agg(pl.col("p99_phase_ms").median().alias("p99_ms"))
        .sort("phase", "at")
    )


def shown(operation: str) -> str:
    """An operation's name where there is little room."""
    return name(operation)
