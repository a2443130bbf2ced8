"""What was known of an incident when it opened, as JSON: frozen then, read by messages and dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pggit_analytics.analysis.detect_correlated_degradation import RECOMMENDATIONS


def evidence(row: Mapping[str, Any], operations: Sequence[Mapping[str, Any]], details: Mapping[str, Any]) -> str:
    """JSON text, keys in order, so that the same incident gives the same text.

    Args:
        row: of `frames.INCIDENTS`, as far as it is known.
        operations: of `frames.INCIDENT_OPERATIONS`; the one the incident is about is among them.
        details: what only findings know: metric_ids, sla_ms, the interval of a breach.
    """
    ordered = sorted(operations, key=lambda one: (one["onset"], one["operation_type"]))
    main = next(one for one in ordered if one["operation_type"] == row["operation_type"])
    known = {
        "incident_key": row["incident_key"],
        "kind": row["kind"],
        "operation_type": row["operation_type"],
        "operation_types": [one["operation_type"] for one in ordered],
        "onset": text(row["onset"]),
        "onset_low": text(row["onset_low"]),
        "onset_high": text(row["onset_high"]),
        "slow_since": None if row["kind"] in {"improvement", "forecast"} else text(row["onset"]),
        "ended_at": text(row["ended_at"]),
        "first_mover": row["first_mover"],
        "bottleneck": row["bottleneck"],
        "bottleneck_support": _rounded(row["bottleneck_support"]),
        "recommendation": RECOMMENDATIONS.get(row["bottleneck"]) if row["bottleneck"] else None,
        "lost_ms": _rounded(row["lost_ms"]),
        "lost_ms_per_hour": _rounded(row["lost_ms_per_hour"]),
        "expected_breach_at": text(row["expected_breach_at"]),
        "detected_at": text(row["detected_at"]),
        "as_of": text(row["detected_at"]),
        **details,
        **{
            key: value
            for key, value in _operation(main).items()
            if key in {"size_ratio", "before", "now", "p", "calls"}
        },
        "operations": [_operation(one) for one in ordered],
    }
    return json.dumps(
        {key: value for key, value in known.items() if value is not None}, ensure_ascii=False, sort_keys=True
    )


def text(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with microseconds, as utc_text() writes it."""
    return None if moment is None else f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}Z"


def _operation(one: Mapping[str, Any]) -> dict[str, Any]:
    described = {
        "operation_type": one["operation_type"],
        "kind": one["kind"],
        "onset": text(one["onset"]),
        "size_ratio": _rounded(one["size_ratio"]),
        "p": None if one["p"] is None else float(f"{one['p']:.4g}"),
        "calls": one["calls"],
        "lost_ms": _rounded(one["lost_ms"]),
        "before": _timing(one["p50_before_ms"], one["p99_before_ms"], one["calls_before"]),
        "now": _timing(one["p50_now_ms"], one["p99_now_ms"], one["calls"]),
    }
    return {key: value for key, value in described.items() if value is not None}


def _timing(p50_ms: float | None, p99_ms: float | None, n: int) -> dict[str, Any] | None:
    if p50_ms is None:
        return None
    return {"p50_ms": _rounded(p50_ms), "p99_ms": _rounded(p99_ms), "n": n}


def _rounded(value: float | None) -> float | None:
    """To whole microseconds, or three digits of a ratio."""
    return None if value is None else round(value, 3)
