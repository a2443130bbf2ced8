"""Baselines: both engines give the answers derived elsewhere, and what only the database has."""

from __future__ import annotations

import psycopg
import pytest

from pggit_analytics import frames
from pggit_analytics.postgres.connection import Database
from tests.parity.engines import TIME_ZONES, check, check_with_the_setting, loaded, stored_only, twin_of
from tests.scenarios import Scenario, scenarios

TWIN = twin_of("recalculate_all_baselines_rolling")
SCENARIOS = [stored_only(s) for s in scenarios("recalculate_all_baselines_rolling", frames.BASELINE_RECALCULATIONS)]
ZONED = [s for s in SCENARIOS if s.name in ("days_with_a_change_of_the_clock", "window_edges")]


@pytest.fixture(scope="module")
def connection(shared_database: Database):
    with shared_database.connect() as connection:
        yield connection


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_both_engines_give_the_derived_answer(connection: psycopg.Connection, scenario: Scenario) -> None:
    check(connection, TWIN, scenario)


@pytest.mark.parametrize("time_zone", TIME_ZONES)
@pytest.mark.parametrize("scenario", ZONED, ids=str)
def test_the_time_zone_of_the_session_does_not_matter(
    connection: psycopg.Connection, scenario: Scenario, time_zone: str
) -> None:
    check(connection, TWIN, scenario, time_zone)
    check_with_the_setting(connection, TWIN, scenario, time_zone)


def _scenario(name: str) -> Scenario:
    return next(s for s in SCENARIOS if s.name == name)


def test_without_time_every_operation_is_told_as_timeout_and_keeps_its_baseline(connection: psycopg.Connection) -> None:
    scenario = _scenario("several_operations")
    with loaded(connection, scenario):
        answer = connection.execute(
            "SELECT operation_type, status, message FROM recalculate_all_baselines_rolling(7, 10, true, 0, %s)",
            (scenario.parameters.as_of,),
        ).fetchall()
        kept = connection.execute("SELECT count(*) FROM performance_baselines WHERE is_active").fetchone()
        logged = connection.execute(
            "SELECT operation_type, status, error_message FROM baseline_recalc_execution ORDER BY execution_id"
        ).fetchall()
    names = ["commit", "get_history", "merge", "rollback"]
    assert answer == [(name, "TIMEOUT", "not reached within 0 seconds") for name in names]
    assert logged == answer
    assert kept == (3,)


def test_the_old_baseline_ends_where_the_new_one_begins_and_the_history_tells_both(
    connection: psycopg.Connection,
) -> None:
    scenario = _scenario("change_of_exactly_5_percent")
    as_of = scenario.parameters.as_of
    with loaded(connection, scenario):
        connection.execute("SELECT * FROM recalculate_all_baselines_rolling(p_as_of => %s)", (as_of,))
        found = connection.execute(
            """
            SELECT is_active, p99_microseconds, valid_from = %(as_of)s, valid_to = %(as_of)s
            FROM performance_baselines
            ORDER BY is_active
            """,
            {"as_of": as_of},
        ).fetchall()
        history = connection.execute(
            """
            SELECT old_baseline_id, old_p99_microseconds, new_p99_microseconds, percent_change, sample_count, reason,
                calculated_at
            FROM performance_baseline_history
            """
        ).fetchall()
    assert found == [(False, 100_000, False, True), (True, 105_000, True, None)]
    assert history == [(-1, 100_000, 105_000, 5, 12, "scheduled", as_of)]


def test_a_failing_operation_is_told_as_error_and_stops_no_other(connection: psycopg.Connection) -> None:
    scenario = _scenario("several_operations")
    with loaded(connection, scenario):
        connection.execute(
            "ALTER TABLE performance_baselines ADD CONSTRAINT no_get_history CHECK (operation_type <> 'get_history')"
        )
        answer = connection.execute(
            "SELECT operation_type, status FROM recalculate_all_baselines_rolling(p_as_of => %s)",
            (scenario.parameters.as_of,),
        ).fetchall()
    assert answer == [
        ("commit", "UNCHANGED"),
        ("get_history", "ERROR"),
        ("merge", "HELD"),
        ("rollback", "INSUFFICIENT_DATA"),
    ]
