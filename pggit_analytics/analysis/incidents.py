"""Incidents: what the detectors found, one record per cause, which keeps its name from run to run.

Gather (`incident_inputs`, `incident_calls`), measure what users lose (`incident_impact`), leave out with a reason
(`incident_screens`), join by cause and meet again what is known (`incident_causes`), and say how it stands:

- recovered: all of its findings have ended, episodes `QUIET` ago; or so many runs in a row did not find it
  (`Thresholds.resolve_after_runs`); or its onset leaves the window, where the level has become the usual one
  (``new_level``); or it turned out to be part of another one (``merged``).
- worsening: an operation is at least `WORSE` times as slow as when the incident opened, one has joined since, or a
  drift has not settled.
- open: otherwise.

Severity is by what users lose now, all operations together (`Thresholds`); CRITICAL also when the 95th percentile of an
operation exceeds its ``sla_ms``, at least WARNING when one is several times as slow; an improvement is INFO, a forecast
WARNING from `FORETOLD` before the breach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pggit_analytics.analysis.arguments import check_as_of
from pggit_analytics.analysis.incident_calls import calls_found
from pggit_analytics.analysis.incident_causes import Cause, Known, Match, causes_of, matches
from pggit_analytics.analysis.incident_evidence import evidence, text
from pggit_analytics.analysis.incident_impact import Timings, measure
from pggit_analytics.analysis.incident_inputs import (
    CALLS,
    FASTER,
    FORECAST,
    LEVEL,
    PARENTS,
    Found,
    is_near,
    of_changes,
    of_episodes,
    of_forecasts,
    of_groups,
    of_member,
)
from pggit_analytics.analysis.incident_screens import Measured, Settings, Suppressed, Thresholds, screened
from pggit_analytics.analysis.ordered_calls import Calls
from pggit_analytics.frames import INCIDENT_OPERATIONS, INCIDENTS, SILENCES, SUPPRESSED

__all__ = ["Incidents", "Thresholds", "find_incidents"]

#: an operation so many times as slow as when the incident opened makes it worse
WORSE = 1.2
#: a drift that reached its last level within this time may go on
SETTLING = timedelta(hours=1)
#: an episode that did not come back for this time is over
QUIET = timedelta(hours=1)
#: a single slow rollback is a WARNING from so many times the old 99th percentile, CRITICAL from twice that: a rollback
#: that times out is heard, whatever it costs
ROLLBACK, ROLLBACK_TIMES = "rollback_", 2.0
#: what ended so long ago is recorded, but told to nobody
LONG_OVER = timedelta(hours=24)
#: a breach so near is a WARNING
FORETOLD = timedelta(hours=48)
#: an onset so near to the start of the window is about to leave it
WINDOW_EDGE = timedelta(hours=12)
WINDOW = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Incidents:
    """How the incidents stand at one moment; every ``detected_at`` is the ``as_of``."""

    #: `frames.INCIDENTS`, by incident_key: those found, and those open before that were not
    incidents: pl.DataFrame = field(default_factory=INCIDENTS.empty)
    #: `frames.INCIDENT_OPERATIONS`, by incident_key and operation_type
    operations: pl.DataFrame = field(default_factory=INCIDENT_OPERATIONS.empty)
    #: `frames.SUPPRESSED`, by operation_type, kind, onset, reason
    suppressed: pl.DataFrame = field(default_factory=SUPPRESSED.empty)
    #: the operations that were looked at; None = all
    scope: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """What all steps need to know."""

    as_of: datetime
    window_start: datetime
    settings: Settings
    timings: Timings
    scope: tuple[str, ...] | None


def find_incidents(  # noqa: PLR0917
    changes: pl.DataFrame,
    episodes: pl.DataFrame,
    slow_calls: pl.DataFrame,
    groups: pl.DataFrame,
    forecasts: pl.DataFrame,
    settings: pl.DataFrame,
    previous: Incidents,
    *,
    as_of: datetime,
    metrics: pl.DataFrame | pl.LazyFrame | Calls,
    silences: pl.DataFrame | None = None,
    parents: pl.DataFrame | None = None,
    thresholds: Thresholds | None = None,
    window_start: datetime | None = None,
    scope: tuple[str, ...] | None = None,
) -> Incidents:
    """The incidents at ``as_of``.

    Args:
        changes, episodes, slow_calls, groups, forecasts: what the detectors found; the columns of the schemas of these
            names in `incident_inputs`, further columns are left alone.
        settings: `frames.OPERATION_SETTINGS`.
        previous: the latest state of each incident before ``as_of``, also of those that ended within the window.
        as_of: end of the window, with a time zone.
        metrics: `frames.METRICS` of the window, of all operations; or its calls in order, which takes less time:
            `engine_findings.EngineFindings.calls`.
        silences: `frames.SILENCES` that touch the window; None = none.
        parents: which operations are called within which (`incident_inputs.PARENTS`); None = not known.
        thresholds: what holds where an operation has no setting.
        window_start: start of the window; None = `WINDOW` before ``as_of``.
        scope: the operations that were looked at; None = all. Known incidents of others are left as they are.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
        InvalidData: a frame lacks a column, or has one of another type or with NULL where none may be.
    """
    as_of = check_as_of(as_of)
    known_settings = Settings.of(
        settings,
        SILENCES.empty() if silences is None else silences,
        PARENTS.empty() if parents is None else parents,
        thresholds or Thresholds(),
    )
    shared = of_groups(groups)
    found = [*of_changes(changes), *of_episodes(episodes), *of_forecasts(forecasts, as_of)]
    for group in shared:
        near = {one.operation for one in found if is_near(one, group, as_of)}
        found += [of_member(group, operation) for operation in sorted(group.members - near)]
    timings = Timings(metrics, as_of)
    run = _Run(as_of, window_start or as_of - WINDOW, known_settings, timings, scope)
    told, suppressed = screened([Measured(one, measure(one, timings)) for one in found], known_settings, timings)
    single, inside = calls_found(slow_calls, told, timings)
    calls, weak = screened(single, known_settings, timings)
    causes = causes_of([*told, *calls], shared, as_of)
    return _stated(matches(causes, _known(previous, scope)), [*suppressed, *inside, *weak], run)


def _known(previous: Incidents, scope: tuple[str, ...] | None) -> list[Known]:
    """The incidents of earlier runs that touch the scope."""
    INCIDENTS.check(previous.incidents)
    of_key: dict[str, list[dict[str, Any]]] = {}
    for row in INCIDENT_OPERATIONS.check(previous.operations).iter_rows(named=True):
        of_key.setdefault(row["incident_key"], []).append(row)
    known = [Known(row, tuple(of_key.get(row["incident_key"], ()))) for row in previous.incidents.iter_rows(named=True)]
    return [one for one in known if scope is None or any(op["operation_type"] in scope for op in one.operations)]


def _stated(found: Sequence[Match], suppressed: list[Suppressed], run: _Run) -> Incidents:
    rows: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for match in found:
        if match.causes:
            made = _found(match, run)
        else:
            made = [_missed(known, run) for known in match.known if known.is_open and _is_whole(known, run.scope)]
        for row, members in made:
            rows.append(row)
            operations += members
            suppressed = [*suppressed, *_untold(row, run)]
    unique = {(one.operation, one.kind, one.onset, one.reason): one for one in suppressed}
    reasons: list[dict[str, object]] = [
        {
            "operation_type": one.operation,
            "kind": one.kind,
            "onset": one.onset,
            "reason": one.reason,
            "detail": one.detail,
            "incident_key": one.incident_key,
            "detected_at": run.as_of,
        }
        for one in unique.values()
    ]
    return Incidents(
        INCIDENTS.frame(rows).sort("incident_key"),
        INCIDENT_OPERATIONS.frame(operations).sort("incident_key", "operation_type"),
        SUPPRESSED.frame(reasons).sort("operation_type", "kind", "onset", "reason"),
        run.scope,
    )


def _is_whole(known: Known, scope: tuple[str, ...] | None) -> bool:
    return scope is None or all(row["operation_type"] in scope for row in known.operations)


_Stated = tuple[dict[str, Any], list[dict[str, Any]]]


def _missed(known: Known, run: _Run) -> _Stated:
    """An open incident that this run did not find."""
    missed = known.row["missed_runs"] + 1
    row = known.row | {"missed_runs": missed, "detected_at": run.as_of}
    if known.row["onset_high"] < run.window_start + WINDOW_EDGE and known.family != FORECAST:
        row |= {"state": "recovered", "ended_at": run.as_of, "ended_because": "new_level"}
    elif missed >= run.settings.thresholds.resolve_after_runs:
        row |= {"state": "recovered", "ended_at": known.row["last_found_at"], "ended_because": "recovered"}
    if row["state"] == "recovered":
        row["lost_ms_per_hour"] = 0.0
    return row, [one | {"detected_at": run.as_of} for one in known.operations]


def _found(match: Match, run: _Run) -> list[_Stated]:
    """The incident that was found, and those that turned out to be part of it; nothing of what was over already."""
    lead = match.known[0] if match.known else None
    mains = _mains(match.causes)
    is_over = all(one.found.ended_at is not None for one in mains.values())
    if lead is not None and not lead.is_open and (is_over or lead.family in {CALLS, FASTER}):
        return []
    operations = [_operation(one, lead, run.as_of) for _, one in sorted(mains.items())]
    if lead is not None:
        operations += [
            row | {"detected_at": run.as_of}
            for row in lead.operations
            if row["operation_type"] not in mains and run.scope is not None and row["operation_type"] not in run.scope
        ]
    row = _row(match.causes, mains, operations, lead, run)
    if lead is not None and lead.is_open and _may_come_back(mains, run.as_of):
        row |= {"state": "open", "ended_at": None, "ended_because": None}
    named = [one | {"incident_key": row["incident_key"]} for one in operations]
    if lead is None:
        row["evidence"] = evidence(row, named, _details(mains[row["operation_type"]].found, run.settings))
    return [(row, named), *(_merged(known, row["incident_key"], run) for known in match.known[1:] if known.is_open)]


def _mains(causes: Sequence[Cause]) -> dict[str, Measured]:
    """Of each operation the finding that goes on, then the one that costs most; of episodes all together."""
    every = [one for cause in causes for one in cause.findings]
    every.sort(key=lambda one: (one.found.ended_at is not None, -one.impact.lost_ms, one.found.onset))
    of_operation: dict[str, list[Measured]] = {}
    for one in every:
        of_operation.setdefault(one.found.operation, []).append(one)
    return {name: _with_returns(found) for name, found in of_operation.items()}


def _with_returns(found: Sequence[Measured]) -> Measured:
    """The first of an operation's findings; an episode began with the first of them, and their losses add up."""
    main = found[0]
    episodes = [one for one in found if one.found.kind == "episode"]
    if main.found.kind != "episode" or len(episodes) == 1:
        return main
    first = min(episodes, key=lambda one: one.found.onset).found
    ends = [one.found.ended_at for one in episodes]
    return Measured(
        replace(
            main.found,
            onset=first.onset,
            onset_low=first.onset_low,
            onset_high=first.onset_high,
            settled_at=first.settled_at,
            ended_at=None if None in ends else max(end for end in ends if end is not None),
        ),
        replace(
            main.impact,
            calls=sum(one.impact.calls for one in episodes),
            lost_ms=sum(one.impact.lost_ms for one in sorted(episodes, key=lambda one: one.found.onset)),
        ),
    )


def _may_come_back(mains: Mapping[str, Measured], as_of: datetime) -> bool:
    """Whether all that was found are episodes, the last of which ended just now."""
    found = [one.found for one in mains.values()]
    ends = [one.ended_at for one in found if one.ended_at is not None]
    return len(ends) == len(found) and all(one.kind == "episode" for one in found) and max(ends) > as_of - QUIET


def _operation(one: Measured, lead: Known | None, as_of: datetime) -> dict[str, Any]:
    """A row of INCIDENT_OPERATIONS, its incident still to be named."""
    found, impact = one.found, one.impact
    before = {row["operation_type"]: row["opening_ratio"] for row in lead.operations} if lead else {}
    return {
        "operation_type": found.operation,
        "kind": found.kind,
        "onset": found.onset,
        "onset_low": found.onset_low,
        "onset_high": found.onset_high,
        "ended_at": found.ended_at,
        "size_ratio": impact.size_ratio,
        "opening_ratio": before.get(found.operation, impact.size_ratio),
        "p": found.p,
        "calls_before": impact.calls_before,
        "calls": impact.calls,
        "p50_before_ms": impact.p50_before_ms,
        "p99_before_ms": impact.p99_before_ms,
        "p50_now_ms": impact.p50_now_ms,
        "p95_now_ms": impact.p95_now_ms,
        "p99_now_ms": impact.p99_now_ms,
        "lost_ms": impact.lost_ms,
        "lost_ms_per_hour": impact.lost_ms_per_hour,
        "detected_at": as_of,
    }


def _row(
    causes: Sequence[Cause],
    mains: Mapping[str, Measured],
    operations: Sequence[dict[str, Any]],
    lead: Known | None,
    run: _Run,
) -> dict[str, Any]:
    """A row of INCIDENTS; the evidence is the lead's, empty without one."""
    first = _first_mover(causes, mains)
    subject = lead.row["operation_type"] if lead and lead.row["operation_type"] in mains else first
    group = next((group for cause in causes for group in cause.groups if group.bottleneck), None)
    onset = min((one.found for one in mains.values()), key=lambda found: (found.onset, found.operation))
    ends = [one.found.ended_at for one in mains.values()]
    over = None if None in ends else max(end for end in ends if end is not None)
    kept = lead.row if lead else {}
    is_forecast = causes[0].family == FORECAST
    known_onset = kept["onset"] if is_forecast and kept else onset.onset
    row: dict[str, Any] = {
        "incident_key": kept.get("incident_key") or f"{causes[0].family}:{first}@{text(known_onset)}",
        "kind": mains[subject].found.kind,
        "severity": _severity(causes[0].family, mains, operations, run),
        "operation_type": subject,
        "onset": known_onset,
        "onset_low": min(onset.onset_low, known_onset),
        "onset_high": max(onset.onset_high, known_onset),
        "ended_at": over,
        "ended_because": "recovered" if over else None,
        "opened_at": kept.get("opened_at", run.as_of),
        "last_found_at": run.as_of,
        "missed_runs": 0,
        "lost_ms": sum(one["lost_ms"] for one in operations),
        "lost_ms_per_hour": 0.0 if over else sum(one["lost_ms_per_hour"] for one in operations),
        "first_mover": kept.get("first_mover") or (first if len(mains) > 1 and causes[0].family == LEVEL else None),
        "bottleneck": group.bottleneck if group else kept.get("bottleneck"),
        "bottleneck_support": group.bottleneck_support if group else kept.get("bottleneck_support"),
        "merged_into": None,
        "expected_breach_at": mains[subject].found.breach_at,
        "evidence": kept.get("evidence", "{}"),
        "detected_at": run.as_of,
    }
    return row | {"state": "recovered" if over else _state(causes[0].family, mains, lead, run.as_of)}


def _first_mover(causes: Sequence[Cause], mains: Mapping[str, Measured]) -> str:
    """As the groups say, who know the traces; else the earliest onset, of equal ones the greater loss."""
    said = [group.first_mover for cause in causes for group in cause.groups if group.first_mover in mains]
    if said and said[0] is not None:
        return said[0]
    return min(mains, key=lambda name: (mains[name].found.onset, -mains[name].impact.lost_ms, name))


def _state(family: str, mains: Mapping[str, Measured], lead: Known | None, as_of: datetime) -> str:
    if family != LEVEL:
        return "open"
    if any(one.found.kind == "drift" and one.found.settled_at >= as_of - SETTLING for one in mains.values()):
        return "worsening"
    if lead is None:
        return "open"
    at_opening = {row["operation_type"]: row["opening_ratio"] for row in lead.operations}
    members = set(json.loads(lead.row["evidence"]).get("operation_types", at_opening))
    is_slower = any(
        one.impact.size_ratio >= WORSE * at_opening[name] for name, one in mains.items() if name in at_opening
    )
    return "worsening" if is_slower or set(mains) - members else "open"


def _severity(family: str, mains: Mapping[str, Measured], operations: Sequence[dict[str, Any]], run: _Run) -> str:
    thresholds = run.settings.thresholds
    if family == FASTER:
        return "INFO"
    if family == FORECAST:
        breaches = [one.found.breach_at for one in mains.values() if one.found.breach_at is not None]
        return "WARNING" if min(breaches) <= run.as_of + FORETOLD else "INFO"
    lost = sum(one["lost_ms_per_hour"] for one in operations)
    share = lost / run.timings.spent_ms_per_hour if run.timings.spent_ms_per_hour else 0.0
    over_sla = family == LEVEL and any(_is_over_sla(one, run.settings) for one in mains.values())
    over_p99 = _slow_rollback(mains) if family == CALLS else 0.0
    is_costly = lost >= thresholds.critical_lost_ms_per_hour or share >= thresholds.critical_lost_share
    if over_sla or is_costly or over_p99 >= 2 * ROLLBACK_TIMES:
        return "CRITICAL"
    is_much = family == LEVEL and any(one.impact.size_ratio >= thresholds.warning_times for one in mains.values())
    is_costly = lost >= thresholds.warning_lost_ms_per_hour or share >= thresholds.warning_lost_share
    return "WARNING" if is_much or is_costly or over_p99 >= ROLLBACK_TIMES else "INFO"


def _slow_rollback(mains: Mapping[str, Measured]) -> float:
    """How many times the old 99th percentile the slow rollbacks took; 0 where there are none."""
    return max(
        (
            (one.impact.p99_now_ms or 0.0) / one.impact.p99_before_ms
            for name, one in mains.items()
            if name.startswith(ROLLBACK) and one.impact.p99_before_ms
        ),
        default=0.0,
    )


def _is_over_sla(one: Measured, settings: Settings) -> bool:
    limit = settings.sla_ms(one.found.operation)
    return limit is not None and one.impact.p95_now_ms is not None and one.impact.p95_now_ms > limit


def _details(found: Found, settings: Settings) -> dict[str, Any]:
    return {
        "metric_ids": list(found.metric_ids) or None,
        "sla_ms": settings.sla_ms(found.operation),
        "breach_low": text(found.breach_low),
        "breach_high": text(found.breach_high),
    }


def _merged(known: Known, key: str, run: _Run) -> _Stated:
    """An open incident that turned out to be part of another one."""
    row = known.row | {
        "state": "recovered",
        "ended_at": run.as_of,
        "ended_because": "merged",
        "merged_into": key,
        "lost_ms_per_hour": 0.0,
        "detected_at": run.as_of,
    }
    return row, [one | {"detected_at": run.as_of} for one in known.operations]


def _untold(row: Mapping[str, Any], run: _Run) -> list[Suppressed]:
    """Why nobody hears of an incident that was found."""
    about = Suppressed(row["operation_type"], row["kind"], row["onset"], "", "", row["incident_key"])
    if row["ended_because"] == "merged":
        return [replace(about, reason="part_of_incident", detail=f"it is part of {row['merged_into']}")]
    if row["missed_runs"]:
        return []
    if row["state"] == "recovered":
        is_news = row["opened_at"] == run.as_of and row["ended_at"] < run.as_of - LONG_OVER
        ended = f"it ended at {row['ended_at']:%Y-%m-%d %H:%M} UTC, before it was first found"
        return [replace(about, reason="long_over", detail=ended)] if is_news else []
    alert_type = "FORECAST" if row["kind"] == "forecast" else "INCIDENT"
    silence = run.settings.silence("snoozed", row["operation_type"], alert_type, run.as_of, run.as_of)
    if silence is None:
        return []
    return [replace(about, reason="snoozed", detail=f"nothing is said until {silence['ends_at']:%Y-%m-%d %H:%M} UTC")]
