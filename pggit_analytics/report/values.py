"""The report as plain values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pggit_analytics.report.contents import Incident, Report


def values(report: Report) -> dict[str, Any]:
    """Everything the page says but its charts; instants are datetimes, frames lists of rows."""
    return {
        "as_of": report.as_of,
        "analysed_at": report.analysed_at,
        "headline": report.headline,
        "incidents": [_incident(one) for one in report.open],
        "over": [_incident(one) for one in report.over],
        "alerts": [asdict(one) for one in report.others],
        "left_out": [{"reason": one.reason, "count": one.count} for one in report.suppressions],
        "groups": [asdict(one) for one in report.groups],
        "pairs": report.pairs.to_dicts(),
        "merges": {
            "outcomes": dict(report.merge_outcomes),
            "bottlenecks": dict(report.merge_bottlenecks),
            "phases": report.phases.to_dicts(),
            "hotspots": report.hotspots.to_dicts(),
        },
        "baselines": report.baselines.to_dicts(),
        "messages": report.delivery.to_dicts(),
        "runs": report.runs.to_dicts(),
        "monitoring": [asdict(one) for one in report.health],
    }


def _incident(one: Incident) -> dict[str, Any]:
    """Without the course, which is for the eye."""
    plain = {
        name: getattr(one, name)
        for name in (
            "number",
            "key",
            "operation",
            "kind",
            "state",
            "severity",
            "sentence",
            "notes",
            "advice",
            "since",
            "since_low",
            "since_high",
            "ended_at",
            "opened_at",
            "last_found_at",
            "lost_ms",
            "lost_ms_per_hour",
            "is_snoozed",
            "sla_ms",
        )
    }
    return {**plain, "expected_breach_at": one.breach[0], "operations": [asdict(member) for member in one.members]}
