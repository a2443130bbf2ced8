"""What becomes of a row of pgGit's merge_history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from pggit_analytics.postgres.sync_merges import Merge, MergeHistoryRow, merge_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = "00000000-0000-0000-0000-000000000001"


def row(**values: object) -> MergeHistoryRow:
    usual = MergeHistoryRow(
        ID, "feature", "main", NOON, NOON + timedelta(microseconds=1_234_567), "completed", 0, 0, "auto"
    )
    return usual._replace(**values)


def merge(**values: object) -> Merge:
    found = merge_of(row(**values))
    assert isinstance(found, Merge)
    return found


def test_a_merge_without_conflicts_is_a_success_with_its_duration_and_a_timing() -> None:
    end = NOON + timedelta(microseconds=1_234_567)
    assert merge() == Merge(ID, "feature", "main", NOON, "auto", "SUCCESS", Decimal("1234.567"), 0, 0, end)


@pytest.mark.parametrize(
    ("status", "conflicts", "asked_for", "expected"),
    [
        ("completed", 0, "auto", ("SUCCESS", "auto")),
        ("completed", None, None, ("SUCCESS", "auto")),
        ("completed", 0, "manual", ("SUCCESS", "manual")),
        ("completed", 2, "auto", ("CONFLICT", "manual")),
        ("completed", 2, "heuristic", ("CONFLICT", "auto")),
        ("awaiting_resolution", 2, "auto", ("CONFLICT", None)),
        ("awaiting_resolution", 0, "manual", ("CONFLICT", None)),
        ("failed", 0, "auto", ("FAILED", None)),
        ("aborted", 2, "auto", ("FAILED", "rejected")),
    ],
)
def test_each_status_has_its_meaning(
    status: str, conflicts: int | None, asked_for: str | None, expected: tuple[str, str | None]
) -> None:
    found = merge(status=status, conflict_count=conflicts, unresolved_conflicts=None, merge_strategy=asked_for)
    assert (found.status, found.resolution_strategy) == expected


def test_a_merge_in_progress_is_not_copied_yet() -> None:
    assert merge_of(row(status="in_progress", completed_at=None)) is None


def test_a_merge_that_pggit_completed_at_once_has_no_duration_and_no_timing() -> None:
    assert (merge(completed_at=None).duration_ms, merge(completed_at=None).timed_at) == (None, None)


@pytest.mark.parametrize(
    ("status", "conflicts", "has_duration", "has_timing"),
    [
        ("completed", 3, True, False),  # people decided
        ("aborted", 0, True, False),  # somebody gave up
        ("awaiting_resolution", 3, False, False),
        ("failed", 0, True, True),
    ],
)
def test_the_time_that_people_took_is_no_timing(
    status: str, conflicts: int, has_duration: bool, has_timing: bool
) -> None:
    found = merge(status=status, conflict_count=conflicts)
    assert (found.duration_ms is not None, found.timed_at is not None) == (has_duration, has_timing)


@pytest.mark.parametrize("end", [NOON - timedelta(seconds=1), NOON + timedelta(days=1200)])
def test_an_end_before_the_beginning_or_out_of_range_is_no_duration(end: datetime) -> None:
    assert (merge(completed_at=end).duration_ms, merge(completed_at=end).timed_at) == (None, None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"source_branch": None}, "does not name both branches"),
        ({"target_branch": ""}, "does not name both branches"),
        ({"started_at": None}, "has no usable initiated_at"),
        ({"status": "pending"}, "has the status 'pending'"),
        ({"status": None}, "has the status None"),
    ],
)
def test_what_cannot_be_copied_is_left_out_with_the_reason(values: dict[str, object], reason: str) -> None:
    assert merge_of(row(**values)) == f"merge {ID} {reason}"


def test_negative_counts_are_none_of_ours() -> None:
    assert (merge(conflict_count=-1).conflict_count, merge(unresolved_conflicts=None).unresolved_count) == (0, None)
