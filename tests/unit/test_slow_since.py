"""Since when an operation is slow, on buckets that can be reckoned by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from pggit_analytics import frames
from pggit_analytics.analysis.slow_since import slow_since
from tests.unit.timings import metrics

#: the buckets of 6 hours begin at 0, 6, 12 and 18 o'clock UTC
START = datetime(2026, 1, 24, tzinfo=UTC)
BUCKET = timedelta(hours=6)


def _degraded(*names: str) -> pl.DataFrame:
    return frames.DEGRADATIONS.frame(
        [
            {
                "operation_type": name,
                "period_start": START.date(),
                "period_end": START.date(),
                "p99_old_ms": 1.0,
                "p99_new_ms": 2.0,
                "degradation_percent": 100.0,
                "trend": "DEGRADING",
                "confidence": 1.0,
                "severity": "CRITICAL",
                "detected_at": START + timedelta(days=7),
            }
            for name in names
        ]
    )


def _buckets(*levels: int, name: str = "commit") -> list[tuple[str, int, datetime]]:
    """Three rows at the same level in each bucket."""
    return [(name, us, START + k * BUCKET + timedelta(hours=h)) for k, us in enumerate(levels) for h in (0, 2, 5)]


def test_a_step_is_told_by_the_first_bucket_after_it() -> None:
    found = slow_since(metrics(_buckets(10, 10, 10, 10, 10, 40, 40, 40)), _degraded("commit"))
    frames.SLOW_SINCE.check(found)
    assert found.rows() == [("commit", START + 5 * BUCKET)]


def test_a_short_spike_before_the_step_does_not_hide_it() -> None:
    found = slow_since(metrics(_buckets(10, 10, 60, 10, 10, 10, 40, 40, 40, 40)), _degraded("commit"))
    assert found["slow_since"].to_list() == [START + 6 * BUCKET]


def test_of_two_steps_the_greater_relative_one_is_told() -> None:
    # by a factor of 10 and then of 1.2, though that is more milliseconds
    found = slow_since(metrics(_buckets(1000, 1000, 1000, 90000, 90000, 110000, 110000)), _degraded("commit"))
    assert found["slow_since"].to_list() == [START + 3 * BUCKET]


def test_an_operation_that_only_got_faster_has_no_onset() -> None:
    assert slow_since(metrics(_buckets(40, 40, 40, 10, 10, 10)), _degraded("commit")).is_empty()


def test_a_constant_operation_has_no_onset() -> None:
    assert slow_since(metrics(_buckets(10, 10, 10, 10, 10, 10)), _degraded("commit")).is_empty()


def test_three_buckets_are_too_few() -> None:
    assert slow_since(metrics(_buckets(10, 40, 40)), _degraded("commit")).is_empty()


def test_four_buckets_are_split_in_the_middle() -> None:
    found = slow_since(metrics(_buckets(10, 10, 40, 40)), _degraded("commit"))
    assert found["slow_since"].to_list() == [START + 2 * BUCKET]


def test_only_degraded_operations_are_told_each_by_itself_in_ascending_order() -> None:
    rows = [
        *_buckets(10, 10, 40, 40, 40, name="merge"),
        *_buckets(10, 10, 10, 40, 40, name="commit"),
        *_buckets(10, 10, 10, 40, 40, name="rollback"),
    ]
    found = slow_since(metrics(rows), _degraded("merge", "commit"))
    assert found.rows() == [("commit", START + 3 * BUCKET), ("merge", START + 2 * BUCKET)]


def test_nothing_degraded_gives_an_empty_frame_of_the_schema() -> None:
    found = slow_since(metrics(_buckets(10, 10, 40, 40)), _degraded())
    assert frames.SLOW_SINCE.check(found).is_empty()


def test_durations_of_0_do_not_break_the_logarithm() -> None:
    found = slow_since(metrics(_buckets(0, 0, 0, 5, 5)), _degraded("commit"))
    assert found["slow_since"].to_list() == [START + 3 * BUCKET]
