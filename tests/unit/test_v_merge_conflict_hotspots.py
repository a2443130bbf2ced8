"""The dataframe side of ``v_merge_conflict_hotspots``: the rows derived by hand, no rows, and what is refused."""

from __future__ import annotations

from datetime import datetime

import pytest

from pggit_analytics import frames
from pggit_analytics.analysis.v_merge_conflict_hotspots import v_merge_conflict_hotspots
from pggit_analytics.errors import InvalidArgument
from tests.parity.dashboard_cases import assert_frames_give_the_fixture, read_fixture


def test_the_fixture_gives_the_rows_derived_by_hand() -> None:
    assert_frames_give_the_fixture("v_merge_conflict_hotspots")


def test_no_rows_give_no_rows_of_the_right_columns() -> None:
    _, as_of, _ = read_fixture("v_merge_conflict_hotspots")
    answer = v_merge_conflict_hotspots(frames.MERGES.empty(), as_of=as_of)
    assert frames.MERGE_HOTSPOTS.check(answer).is_empty()


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="as_of is 2026-03-29 12:30:00, expected a date, time and time zone"):
        v_merge_conflict_hotspots(frames.MERGES.empty(), as_of=datetime(2026, 3, 29, 12, 30))
