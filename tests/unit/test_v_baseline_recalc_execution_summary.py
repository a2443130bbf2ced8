"""The dataframe side of ``v_baseline_recalc_execution_summary``: rows derived by hand, no rows, what is refused."""

from __future__ import annotations

from datetime import datetime

import pytest

from pggit_analytics import frames
from pggit_analytics.analysis.v_baseline_recalc_execution_summary import v_baseline_recalc_execution_summary
from pggit_analytics.errors import InvalidArgument
from tests.parity.dashboard_cases import assert_frames_give_the_fixture, read_fixture


def test_the_fixture_gives_the_rows_derived_by_hand() -> None:
    assert_frames_give_the_fixture("v_baseline_recalc_execution_summary")


def test_no_rows_give_no_rows_of_the_right_columns() -> None:
    _, as_of, _ = read_fixture("v_baseline_recalc_execution_summary")
    answer = v_baseline_recalc_execution_summary(frames.RECALC_EXECUTIONS.empty(), as_of=as_of)
    assert frames.EXECUTION_SUMMARIES.check(answer).is_empty()


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="as_of is 2026-03-29 12:30:00, expected a date, time and time zone"):
        v_baseline_recalc_execution_summary(frames.RECALC_EXECUTIONS.empty(), as_of=datetime(2026, 3, 29, 12, 30))
