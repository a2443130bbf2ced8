"""What may be asked: everything outside the stated ranges is refused, naming value and range."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from pggit_analytics.analysis.arguments import check_as_of, check_number, check_operation_types, check_whole, lookback
from pggit_analytics.errors import InvalidArgument, PggitAnalyticsError
from tests.bad_arguments import AS_OF, BAD_ARGUMENTS, NOT_FINITE, POSITIONAL, BadArgument, call


@pytest.mark.parametrize("bad", [*BAD_ARGUMENTS, *NOT_FINITE], ids=str)
def test_an_argument_outside_its_range_is_refused_with_value_and_range(bad: BadArgument) -> None:
    with pytest.raises(InvalidArgument) as caught:
        bad.call()
    message = str(caught.value)
    assert bad.name in message
    assert str(bad.value) in message
    assert bad.allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("function", POSITIONAL)
@pytest.mark.parametrize("as_of", [None, datetime(2026, 1, 31, 12), date(2026, 1, 31), "2026-01-31 12:00+00"])
def test_an_as_of_that_is_no_instant_is_refused_with_an_example(function: str, as_of: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call(function, as_of=as_of)
    assert str(as_of) in str(caught.value)
    assert "time zone such as 2026-01-31 12:00:00+00" in str(caught.value)


@pytest.mark.parametrize("bad", [2.5, 24.0, "24", True, Decimal(24), float("nan")])
def test_a_lookback_that_is_no_whole_number_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call("detect_combined_anomalies", lookback_hours=bad)
    assert f"lookback_hours is {bad!r}, expected a whole number" in str(caught.value)
    assert "at least 1 and at most 87600" in str(caught.value)


@pytest.mark.parametrize("bad", ["3", True, [3], object])
def test_a_threshold_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call("detect_anomalies_statistical", z_score_threshold=bad)
    assert repr(bad) in str(caught.value)
    assert "more than 0 and at most 1000000" in str(caught.value)


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_a_force_that_is_neither_true_nor_false_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"force is {bad!r}, expected True or False"):
        call("recalculate_all_baselines_rolling", force=bad)


def test_a_refusal_is_a_value_error_and_one_of_this_package() -> None:
    with pytest.raises(ValueError, match="lookback_hours is 0") as caught:
        call("detect_threshold_exceeded", lookback_hours=0)
    assert isinstance(caught.value, PggitAnalyticsError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("function", POSITIONAL)
def test_the_limits_themselves_are_accepted(function: str) -> None:
    limits = {
        "detect_anomalies_statistical": [
            {"lookback_hours": 1, "z_score_threshold": Decimal("1e-9")},
            {"lookback_hours": 87600, "z_score_threshold": 1_000_000},
        ],
        "detect_performance_degradation": [
            {"lookback_days": 1, "threshold_percent": 1e-9},
            {"lookback_days": 3650, "threshold_percent": 1_000_000},
        ],
        "recalculate_all_baselines_rolling": [
            {"lookback_days": 1, "min_samples": 1},
            {"lookback_days": 365, "min_samples": 1000},
        ],
        "detect_correlated_degradation": [{"correlation_threshold": 1}, {"correlation_threshold": 1e-9}],
    }
    for arguments in limits.get(function, [{"lookback_hours": 1}, {"lookback_hours": 87600}]):
        assert call(function, **arguments).is_empty()


def test_numbers_are_taken_as_the_decimals_they_were_written_as() -> None:
    assert check_number("x", 0.1, 0, 1) == Decimal("0.1")
    assert check_number("x", Decimal("0.30"), 0, 1) == Decimal("0.3")
    assert check_number("x", 1, 0, 1) == 1


def test_whole_numbers_pass_unchanged() -> None:
    assert check_whole("x", 7, 1, 7) == 7


def test_instants_come_back_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert check_as_of(datetime(2026, 1, 31, 17, 30, tzinfo=india)) == AS_OF
    assert check_as_of(datetime(2026, 1, 31, 17, 30, tzinfo=india)).tzinfo is UTC


@pytest.mark.parametrize("hours", [1, 24, 24 * 365])
def test_a_lookback_is_hours_of_3600_seconds(hours: int) -> None:
    assert (AS_OF - lookback(AS_OF, hours=hours)).total_seconds() == hours * 3600


def test_a_window_before_the_year_1_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="is not a date"):
        lookback(datetime(1, 1, 2, tzinfo=UTC), hours=48)


def test_an_instant_whose_utc_is_before_the_year_1_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="as_of is 0001-01-01"):
        check_as_of(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))


def test_every_unknown_operation_is_named() -> None:
    check_operation_types(["commit"], {"commit", "merge"})
    with pytest.raises(InvalidArgument, match=r"operation_type is 'a b', 'zzz', expected one of"):
        check_operation_types(["zzz", "commit", "a b"], {"commit", "merge"})
