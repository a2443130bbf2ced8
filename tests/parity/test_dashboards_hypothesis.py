"""Whatever is in the tables, every view and its dataframe function give the same rows in the same order.

Run longer with: pytest tests/parity/test_dashboards_hypothesis.py --parity-examples 2000
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pggit_analytics.parity import DASHBOARD_TWINS, differences
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract_dashboards import DashboardInputs
from pggit_analytics.postgres.parity_check import from_frames, from_sql
from tests.parity.dashboard_cases import dashboard_cases, engine_inputs, load, parameters


@pytest.fixture(scope="module")
def connection(shared_database: Database):
    with shared_database.connect() as connection:
        yield connection


def test_any_tables_give_the_same_dashboards_in_both_engines(
    request: pytest.FixtureRequest, connection: psycopg.Connection
) -> None:
    compared: Counter[str] = Counter()

    @settings(
        max_examples=request.config.getoption("--parity-examples"),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(case=dashboard_cases())
    def check(case: tuple[DashboardInputs, datetime, str]) -> None:
        inputs, as_of, time_zone = case
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT set_config('timezone', %s, TRUE)", (time_zone,))
            load(connection, inputs)
            for twin in DASHBOARD_TWINS:
                answer = from_sql(connection, twin, parameters(as_of))
                expected = from_frames(twin, engine_inputs(inputs), parameters(as_of))
                assert differences(answer, twin.columns.check(expected)) == [], twin.sql_object
                compared[twin.sql_object] += answer.height
            compared["cases"] += 1

    check()
    print(f"\n{compared['cases']} cases without a difference; rows compared: {dict(compared)}")
    # a comparison of nothing with nothing proves nothing
    assert all(compared[twin.sql_object] > 0 for twin in DASHBOARD_TWINS)
