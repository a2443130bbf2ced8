"""Correlated pairs with their shared minutes: both engines give the answers derived elsewhere."""

from __future__ import annotations

import psycopg
import pytest

from pggit_analytics import frames
from pggit_analytics.postgres.connection import Database
from tests.parity.engines import TIME_ZONES, check, check_with_the_setting, twin_of
from tests.scenarios import Scenario, scenarios

TWIN = twin_of("correlated_operation_pairs")
SCENARIOS = scenarios("detect_correlated_degradation", frames.CORRELATIONS)
ZONED = [s for s in SCENARIOS if s.name in ("hour_that_local_clocks_have_twice", "means_of_minutes")]


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
