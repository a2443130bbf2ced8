"""How long a channel asks to be left alone, and what its status codes mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.delivery.reply import outcome_of_status, retry_after

NOW = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 500, 3600.0),
        # the three forms of a date that RFC 9110 knows
        ("Mon, 02 Mar 2026 15:31:00 GMT", 60.0),
        ("Monday, 02-Mar-26 15:31:00 GMT", 60.0),
        ("Mon Mar  2 15:31:00 2026", 60.0),
        ("Mon, 02 Mar 2026 16:31:00 +0100", 60.0),
        ("Mon, 02 Mar 2026 15:29:00 GMT", 0.0),
        ("Tue, 03 Mar 2026 15:29:00 GMT", 3600.0),
    ],
)
def test_seconds_and_dates_are_understood_and_capped(said: str, seconds: float) -> None:
    assert retry_after({"Retry-After": said}, NOW) == seconds
    assert retry_after({"retry-after": said}, NOW.astimezone(timezone(timedelta(hours=9)))) == seconds


@pytest.mark.parametrize(
    "said",
    [
        "",
        "soon",
        "1e3",
        "0x10",
        "nan",
        "inf",
        "+5",
        "5, 5",
        "٣",
        "Mon, 99 Mar 2026 15:31:00 GMT",
        "99999999999-01-01",
        "-",
    ],
)
def test_what_is_neither_is_ignored(said: str) -> None:
    assert retry_after({"Retry-After": said}, NOW) is None


def test_without_the_header_nothing_is_asked_for() -> None:
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("answered_at", "seconds"),
    [("Mon, 02 Mar 2026 15:30:50 GMT", 10.0), ("Mon, 02 Mar 2026 10:00:00 GMT", 3600.0), ("nonsense", 60.0)],
)
def test_a_date_is_counted_from_the_date_of_the_answer(answered_at: str, seconds: float) -> None:
    headers = {"Retry-After": "Mon, 02 Mar 2026 15:31:00 GMT", "Date": answered_at}
    assert retry_after(headers, NOW) == seconds


@given(st.text())
def test_whatever_is_said_the_pause_is_none_or_within_its_limits(said: str) -> None:
    seconds = retry_after({"Retry-After": said, "Date": said}, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        ("delivered", [200, 201, 202, 204, 299]),
        ("retry", [408, 425, 500, 502, 503, 504, 599]),
        ("rate_limited", [429]),
        ("rejected", [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 422, 499]),
    ],
)
def test_a_status_means_one_of_four_outcomes(outcome: str, statuses: list[int]) -> None:
    assert {status: outcome_of_status(status) for status in statuses} == dict.fromkeys(statuses, outcome)
