"""Bodies of queued rows: by hand, from the fixtures, and made up to break a channel."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from data.fixtures.messages.render import CASES, case
from pggit_analytics.delivery.message import Message, compose
from pggit_analytics.delivery.preview import composed

NOW = datetime(2026, 11, 17, 18, 2, tzinfo=UTC)
DETECTED = "2026-11-17T18:00:00.000000Z"

__all__ = ["CASES", "NOW", "fixture", "many_operations", "messages", "nasty_names", "row", "told"]


def fixture(name: str) -> Message:
    """The message of one case of data/fixtures/messages."""
    return composed(case(name))


def row(transition: str = "opened", **fields: Any) -> dict[str, Any]:
    """A degradation of commit; ``fields`` replace its parts."""
    evidence = {"p99_old_ms": 5.12, "p99_new_ms": 16.384, "degradation_percent": 220.0}
    return {
        "transition": transition,
        "alert_id": 1,
        "alert_type": "DEGRADATION",
        "severity": "CRITICAL",
        "operation_type": "commit",
        "dedup_key": "DEGRADATION/commit",
        "opened_at": DETECTED,
        "last_seen_at": DETECTED,
        "resolved_at": None,
        "evidence": evidence,
        "instance": "prod",
        "schema": "pggit",
    } | fields


def told(*rows: dict[str, Any], now: datetime = NOW, **options: bool) -> Message:
    """The message of these rows."""
    return compose([json.dumps(each) for each in rows], now=now, **options)


def many_operations(count: int, name: str = "operation_{}") -> Message:
    """An incident of so many operations, joined by correlations."""
    names = [name.format(i) for i in range(count)]
    found = [row(alert_id=i + 1, operation_type=n, dedup_key=n, group_key="incident-1") for i, n in enumerate(names)]
    evidence = {
        "correlation_coefficient": 0.9,
        "shared_minutes": 100,
        "shared_bottleneck": "SHARED_RESOURCE_CONTENTION",
    }
    pairs = [
        row(
            alert_id=10_000 + i,
            alert_type="CORRELATION",
            dedup_key=f"{a}/{b}",
            evidence=evidence | {"operation_type_1": a, "operation_type_2": b, "recommendation": "Look at pg_locks"},
        )
        for i, (a, b) in enumerate(itertools.pairwise(names))
    ]
    return told(*found, *pairs)


NASTY = (
    "<!channel> <!here> @here @channel @all <@U012AB3CD>",
    "a\r\nBcc: everybody@example.org\r\n\r\nbody",
    "*bold* _it_ ~gone~ `code` ```block``` [link](http://evil.example) ![i](x) | a | b |",
    "</td><script>alert(1)</script>&amp;&lt;",
    "'; DROP TABLE performance_metrics; --",
    "family 👨‍👩‍👧‍👦 flag 🇨🇭 " * 20,
    "zero\u200bwidth\u202ereversed\u0000null\u0007bell",
    "&" * 10_000,
    "😀" * 10_000,
    "x" * 10_000,
    "e\u0301" * 500,
    "\ud800 lone",
    " ",
    "",
)

nasty_names = st.one_of(st.sampled_from(NASTY), st.text(max_size=80), st.text(alphabet="<>&*_~`|@#\n😀x", max_size=300))

_numbers = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(min_value=1e-3, max_value=1e9),
    st.integers(),
    st.booleans(),
    st.text(max_size=3),
)

_NUMBER_KEYS = (
    *("p99_old_ms", "p99_new_ms", "degradation_percent", "duration_ms", "threshold_ms", "exceeded_count"),
    *("baseline_p99_ms", "z_score", "metric_id", "correlation_coefficient", "shared_minutes"),
    *("size_ratio", "calls", "lost_ms_per_hour", "sla_ms", "bottleneck_support"),
)
_WORD_KEYS = (
    "operation_type_1",
    "operation_type_2",
    "shared_bottleneck",
    "recommendation",
    "summary",
    "remedy",
    "error",
    "bottleneck",
)

_evidence = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_NUMBER_KEYS, _numbers),
        **dict.fromkeys(_WORD_KEYS, nasty_names),
        "slow_since": st.sampled_from(["2026-11-16T06:00:00Z", "never", "2026-11-16T06:00:00", 3]),
        "expected_breach_at": st.sampled_from(["2026-11-16T06:00:00Z", "never", None]),
        "kind": st.sampled_from(["step", "calls", "improvement", "", 1]),
        "operations": st.one_of(
            st.none(),
            st.lists(
                st.one_of(st.integers(), st.fixed_dictionaries({"operation_type": nasty_names, "size_ratio": _numbers}))
            ),
        ),
        "before": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"p50_ms": _numbers, "n": _numbers})),
        "now": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"p50_ms": _numbers, "n": _numbers})),
    },
)

_timings = st.one_of(st.none(), st.fixed_dictionaries({}, optional=dict.fromkeys(("p50_ms", "p99_ms", "n"), _numbers)))

_types = (
    *("DEGRADATION", "CORRELATION", "THRESHOLD_EXCEEDED", "ANOMALY"),
    *("SELF_HEALTH", "BASELINE_RECALC_ERROR", "FORECAST", "INCIDENT"),
)

_moments = st.sampled_from([None, DETECTED, "2026-11-16T00:00:00Z", "0001-01-01T00:00:00+14:00", "soon"])

_rows = st.fixed_dictionaries(
    {
        "transition": st.sampled_from(["opened", "severity:CRITICAL", "repeat:2", "snooze_ended:4", "resolved"]),
        "alert_type": st.sampled_from(_types),
        "severity": st.sampled_from(["CRITICAL", "WARNING", "INFO"]),
    },
    optional={
        "alert_id": st.one_of(st.none(), st.integers(1, 6)),
        "operation_type": st.one_of(st.none(), nasty_names),
        "dedup_key": nasty_names,
        "group_key": st.one_of(st.none(), nasty_names),
        "opened_at": _moments,
        "last_seen_at": _moments,
        "resolved_at": _moments,
        "evidence": st.one_of(st.none(), _evidence),
        "facts": st.fixed_dictionaries({}, optional={"baseline": _timings, "now": _timings}),
        "instance": nasty_names,
        "schema": nasty_names,
        "report_url": st.sampled_from(
            [
                None,
                "https://r.example.org/a?b=c&d=e",
                "javascript:alert(1)",
                "https://x/|>\n",
                "https://[",
                "http://x" * 999,
            ]
        ),
    },
)

_tests = st.fixed_dictionaries(
    {"transition": st.just("test")}, optional={"instance": nasty_names, "schema": nasty_names}
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """A message of rows that hold anything; alerts may have several rows."""
    rows = draw(st.one_of(st.lists(_rows, min_size=1, max_size=12), st.lists(_tests, min_size=1, max_size=2)))
    return told(*rows, is_digest=draw(st.booleans()), is_still_open=draw(st.booleans()))
