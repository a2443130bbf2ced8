"""Whatever the data, SQL and dataframes give the same rows in the same order.

Run longer with: pytest tests/parity/test_hypothesis.py --parity-examples 2000
"""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pggit_analytics.parity import DETECTION_TWINS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.parity_check import compare
from tests.parity.cases import Case, cases, load


@pytest.fixture(scope="module")
def connection(shared_database: Database):
    with shared_database.connect() as connection:
        yield connection


def test_any_data_gives_the_same_answers_in_both_engines(
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
    @given(case=cases())
    def check(case: Case) -> None:
        with connection.transaction(force_rollback=True):
            inputs = load(connection, case)
            for comparison in compare(connection, inputs, case.parameters):
                assert not comparison.differences, f"{comparison.sql_object}: {comparison.differences}"
                compared[comparison.sql_object] += comparison.rows
            compared["cases"] += 1

    check()
    print(f"\n{compared['cases']} cases without a difference; rows compared: {dict(compared)}")
    # a comparison of nothing with nothing proves nothing
    assert all(compared[twin.sql_object] > 0 for twin in DETECTION_TWINS)
