"""What a reader is told: order, groups, and Markdown that no operation name can break."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from pggit_analytics import frames
from pggit_analytics.report.summary import Summary, markdown, milliseconds, summarise

AS_OF = datetime(2026, 1, 31, 12, tzinfo=UTC)
SINCE = datetime(2026, 1, 28, 6, tzinfo=UTC)


def _degradation(name: str, percent: float, severity: str) -> dict[str, Any]:
    return {
        "operation_type": name,
        "period_start": AS_OF.date(),
        "period_end": AS_OF.date(),
        "p99_old_ms": 100.0,
        "p99_new_ms": 100.0 + percent,
        "degradation_percent": percent,
        "trend": "DEGRADING",
        "confidence": 0.5,
        "severity": severity,
        "detected_at": AS_OF,
    }


def _anomaly(name: str, metric_id: int | None, z: float | None, baseline: float | None = None) -> dict[str, Any]:
    return {
        "operation_type": name,
        "metric_id": metric_id,
        "anomaly_type": "SPIKE" if metric_id else "DEGRADATION",
        "severity": "WARNING",
        "duration_ms": 10.0 * z if z else None,
        "baseline_p99_ms": baseline,
        "z_score": z,
        "deviation_percent": 1.0 if z else None,
        "degradation_percent": None,
        "alert_required": False,
        "detected_at": AS_OF,
    }


def _pair(one: str, two: str, r: float, bottleneck: str = "SHARED_RESOURCE_CONTENTION") -> dict[str, Any]:
    return {
        "operation_type_1": one,
        "operation_type_2": two,
        "correlation_coefficient": r,
        "shared_minutes": 30,
        "shared_bottleneck": bottleneck,
        "confidence": 0.5,
        "recommendation": f"do something about {bottleneck}",
        "detected_at": AS_OF,
    }


def _threshold(name: str, count: int) -> dict[str, Any]:
    return {
        "operation_type": name,
        "metric_id": 1,
        "duration_ms": 30.0,
        "baseline_p99_ms": 10.0,
        "threshold_ms": 20.0,
        "exceeded_count": count,
        "severity": "WARNING",
        "detected_at": AS_OF,
    }


def _summary(
    *,
    anomalies: list[dict[str, Any]] | None = None,
    degradations: list[dict[str, Any]] | None = None,
    correlations: list[dict[str, Any]] | None = None,
    thresholds: list[dict[str, Any]] | None = None,
    slow_since: pl.DataFrame | None = None,
) -> Summary:
    return summarise(
        as_of=AS_OF,
        rows_read=12345,
        anomalies=frames.ANOMALIES.frame(anomalies or []),
        degradations=frames.DEGRADATIONS.frame(degradations or []),
        correlations=frames.CORRELATIONS.frame(correlations or []),
        thresholds=frames.THRESHOLDS.frame(thresholds or []),
        slow_since=frames.SLOW_SINCE.empty() if slow_since is None else slow_since,
    )


def test_without_findings_the_page_says_so() -> None:
    summary = _summary()
    assert summary.slow_operations == summary.slow_groups == summary.slow_calls == summary.over_threshold == ()
    assert markdown(summary) == (
        "# What got slow, as of 2026-01-31 12:00 UTC\n\n12,345 timings read.\n\nNothing got slow.\n"
    )


def test_slow_operations_come_most_severe_first_then_by_change_then_by_name() -> None:
    summary = _summary(
        degradations=[
            _degradation("a", 25.0, "INFO"),
            _degradation("b", 40.0, "WARNING"),
            _degradation("d", 60.0, "CRITICAL"),
            _degradation("c", 60.0, "CRITICAL"),
            _degradation("e", 90.0, "CRITICAL"),
        ]
    )
    assert [slow.operation_type for slow in summary.slow_operations] == ["e", "c", "d", "b", "a"]


def test_an_operation_without_an_onset_has_none() -> None:
    since = frames.SLOW_SINCE.frame([{"operation_type": "b", "slow_since": SINCE}])
    summary = _summary(
        degradations=[_degradation("a", 60.0, "CRITICAL"), _degradation("b", 50.0, "CRITICAL")], slow_since=since
    )
    assert [slow.since for slow in summary.slow_operations] == [None, SINCE]
    assert "| 2026-01-28 06:00 |" in markdown(summary)


def test_pairs_become_groups_of_all_that_hang_together_largest_first() -> None:
    summary = _summary(
        correlations=[
            _pair("x", "y", 0.99),
            _pair("a", "b", 0.95, "OBJECT_STORAGE_IO"),
            _pair("b", "c", 0.80),
            _pair("c", "d", 0.85),
            _pair("m", "n", 0.78),
        ]
    )
    assert [group.operation_types for group in summary.slow_groups] == [("a", "b", "c", "d"), ("m", "n"), ("x", "y")]
    first = summary.slow_groups[0]
    assert first.correlation == (0.80, 0.95)
    assert first.shared_bottlenecks == ("OBJECT_STORAGE_IO", "SHARED_RESOURCE_CONTENTION")
    assert first.recommendations == (
        "do something about OBJECT_STORAGE_IO",
        "do something about SHARED_RESOURCE_CONTENTION",
    )


def test_an_operation_names_its_neighbours_and_not_theirs() -> None:
    summary = _summary(
        degradations=[_degradation("b", 60.0, "CRITICAL"), _degradation("z", 30.0, "WARNING")],
        correlations=[_pair("b", "c", 0.9), _pair("a", "b", 0.9), _pair("c", "d", 0.9)],
    )
    assert [slow.together_with for slow in summary.slow_operations] == [("a", "c"), ()]


def test_of_each_operation_the_worst_call_is_told_and_all_are_counted() -> None:
    summary = _summary(
        anomalies=[
            _anomaly("b", 1, 4.0, 12.0),
            _anomaly("b", 2, 6.0, 12.0),
            _anomaly("a", 3, 5.0),
            _anomaly("c", None, None),
            _anomaly("d", 4, -7.0),
        ]
    )
    assert [(c.operation_type, c.metric_id, c.z_score) for c in summary.slow_calls] == [("b", 2, 6.0), ("a", 3, 5.0)]
    assert summary.slow_call_count == 3
    assert "Single slow calls: 3 in all" in markdown(summary)


@pytest.mark.parametrize("ids", [(7, 3, 5), (3, 5, 7), (5, 7, 3)])
def test_of_equal_calls_the_lowest_metric_is_told(ids: tuple[int, ...]) -> None:
    summary = _summary(anomalies=[_anomaly("a", metric_id, 5.0) for metric_id in ids])
    assert [call.metric_id for call in summary.slow_calls] == [3]


def test_the_page_names_as_many_calls_as_asked_for() -> None:
    summary = _summary(anomalies=[_anomaly(f"op{k}", k, 4.0 + k) for k in range(1, 6)])
    page = markdown(summary, calls=2)
    assert "`op5`" in page
    assert "`op4`" in page
    assert "`op3`" not in page


def test_operations_over_their_threshold_come_most_calls_first_and_are_on_the_page() -> None:
    summary = _summary(thresholds=[_threshold("a", 2), _threshold("c", 1), _threshold("b", 2), _threshold("d", 9)])
    assert summary.over_threshold == (("d", 9), ("a", 2), ("b", 2), ("c", 1))
    page = markdown(summary)
    assert "Nothing got slow" not in page
    assert page.index("| `d` | 9 |") < page.index("| `a` | 2 |") < page.index("| `c` | 1 |")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("commit", "`commit`"),
        ("a|b", "`a\\|b`"),
        ("a`b", "`` a`b ``"),
        ("`a``b`", "``` `a``b` ```"),
        ("two\nlines", "`two lines`"),
        ("two\r\nlines", "`two lines`"),
        ("*bold* <b>_x_</b> [l](u)", "`*bold* <b>_x_</b> [l](u)`"),
        ("naïve 操作", "`naïve 操作`"),
    ],
)
def test_a_name_is_shown_as_it_is_and_breaks_no_table(name: str, shown: str) -> None:
    page = markdown(
        _summary(
            degradations=[_degradation(name, 60.0, "CRITICAL")],
            anomalies=[_anomaly(name, 1, 5.0)],
            correlations=[_pair(name, "~other", 0.9)],
        )
    )
    assert page.count(f"| {shown} |") == 2
    in_a_list = shown.replace("\\|", "|")
    assert f"\n- {in_a_list}, `~other` (r 0.90 to 0.90)\n" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len(tables) == 6
    widths = [line.replace("\\|", "").count("|") for line in tables]
    assert widths == [7, 7, 7, 6, 6, 6]


def test_pairs_with_few_shared_minutes_are_counted_and_not_grouped() -> None:
    pairs = [_pair("a", "b", 0.9) | {"shared_minutes": 10}, _pair("c", "d", 1.0) | {"shared_minutes": 9}]
    summary = _summary(correlations=pairs)
    assert [group.operation_types for group in summary.slow_groups] == [("a", "b")]
    assert "1 more pair correlates over fewer than 10 minutes" in markdown(summary)


def test_missing_values_leave_their_cell_empty() -> None:
    page = markdown(_summary(anomalies=[_anomaly("a", 1, 5.0)]))
    assert "| `a` | 1 | 50 ms |  | 5.0 |" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.001, "0.001 ms"),
        (0.42, "0.42 ms"),
        (12.345, "12.3 ms"),
        (999.4, "999 ms"),
        (999.9996, "1 s"),
        (1000.0, "1 s"),
        (4_200.0, "4.2 s"),
        (119_999.0, "120 s"),
        (120_000.0, "2 min"),
        (7_200_000.0, "2 h"),
        (11_160_000.0, "3.1 h"),
        (1e9, "278 h"),
        (99_999_999_999.999, "27,778 h"),
    ],
)
def test_durations_are_written_as_people_write_them(value: float | None, text: str) -> None:
    assert milliseconds(value) == text
