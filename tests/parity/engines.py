"""Asks one twin about a scenario, on the real database and in frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import polars as pl
import psycopg

from pggit_analytics.parity import TWINS, Inputs, Twin
from pggit_analytics.postgres.parity_check import from_frames, from_sql
from tests.scenarios import Scenario, assert_same

HOUR = timedelta(hours=1)

#: sessions in which the same question must have the same answer
TIME_ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


def twin_of(sql_object: str) -> Twin:
    """The entry of the table of twins."""
    return next(twin for twin in TWINS if twin.sql_object == sql_object)


@contextmanager
def loaded(connection: psycopg.Connection, scenario: Scenario, time_zone: str = "UTC") -> Iterator[None]:
    """The scenario's database, in a transaction that is rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('timezone', %s, true)", (time_zone,))
        _insert_operations(connection, scenario.inputs)
        _insert_metrics(connection, scenario.inputs)
        _insert_baselines(connection, scenario)
        yield


def check(connection: psycopg.Connection, twin: Twin, scenario: Scenario, time_zone: str = "UTC") -> None:
    """SQL gives the derived answer, and the dataframes give it as well."""
    expected = scenario.expected.select(list(twin.columns.columns))
    with loaded(connection, scenario, time_zone):
        assert_same(from_sql(connection, twin, scenario.parameters), expected)
    assert_same(from_frames(twin, scenario.inputs, scenario.parameters), expected)


def check_with_the_setting(connection: psycopg.Connection, twin: Twin, scenario: Scenario, time_zone: str) -> None:
    """The same answer when the moment comes from pggit.as_of and not from the argument."""
    silent = replace(
        twin,
        query=_without_as_of(twin.query) if not twin.prepare else twin.query,
        prepare=_without_as_of(twin.prepare) if twin.prepare else None,
    )
    with loaded(connection, scenario, time_zone):
        instant = scenario.parameters.as_of.isoformat()
        connection.execute("SELECT set_config('pggit.as_of', %s, true)", (instant,))
        answer = from_sql(connection, silent, scenario.parameters)
    assert_same(answer, scenario.expected.select(list(twin.columns.columns)))


def _without_as_of(statement: str) -> str:
    assert statement.count(", %(as_of)s)") == 1
    return statement.replace(", %(as_of)s)", ")")


def _insert_operations(connection: psycopg.Connection, inputs: Inputs) -> None:
    connection.execute("DELETE FROM performance_operation_types")
    connection.cursor().executemany(
        "INSERT INTO performance_operation_types (operation_type, is_tracked) VALUES (%s, %s)",
        inputs.operation_types.select("operation_type", "is_tracked").rows(),
    )


def _insert_metrics(connection: psycopg.Connection, inputs: Inputs) -> None:
    metrics = inputs.metrics.lazy().collect()
    connection.execute(
        """
        INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at)
        SELECT i, o, us * 0.001, t
        FROM unnest(%s::BIGINT[], %s::TEXT[], %s::NUMERIC[], %s::TIMESTAMPTZ[]) AS r (i, o, us, t)
        """,
        [metrics[name].to_list() for name in ("metric_id", "operation_type", "duration_us", "created_at")],
    )


def _insert_baselines(connection: psycopg.Connection, scenario: Scenario) -> None:
    inputs, as_of = scenario.inputs, scenario.parameters.as_of
    in_force = set(inputs.active_baselines["baseline_id"])
    for row in inputs.baselines.iter_rows(named=True):
        is_active = row["baseline_id"] in in_force
        valid_to = None if is_active else as_of + timedelta(microseconds=1)
        multiplier = row["alert_threshold_multiplier"]
        _insert_baseline(connection, row, multiplier, is_active, (as_of - HOUR, valid_to))
    for row in inputs.active_baselines.filter("is_newer_than_as_of").iter_rows(named=True):
        _insert_baseline(connection, row, 2.0, True, (as_of + HOUR, None))
    for name in inputs.held_operations:
        connection.execute(
            """
            INSERT INTO performance_alerts (
                operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at
            )
            VALUES (%s, 'DEGRADATION', 'WARNING', %s, '{}', %s, %s)
            """,
            (name, f"held {name}", as_of, as_of),
        )


def _insert_baseline(
    connection: psycopg.Connection, row: dict, multiplier: float, is_active: bool, validity: tuple
) -> None:
    connection.execute(
        """
        INSERT INTO performance_baselines (
            baseline_id, operation_type, is_active, valid_from, valid_to, sample_count, p99_microseconds,
            alert_threshold_multiplier
        )
        VALUES (%s, %s, %s, %s, %s, 10, %s, %s)
        """,
        (row["baseline_id"], row["operation_type"], is_active, *validity, row["p99_us"], multiplier),
    )


def stored_only(scenario: Scenario) -> Scenario:
    """The scenario of a recalculation as the table tells it: statistics of new baselines, identities of kept ones."""
    is_updated = pl.col("status") == "UPDATED"
    statistics = [name for name in scenario.expected.columns if name.endswith("_us")]
    return replace(
        scenario,
        expected=scenario.expected.with_columns(
            pl.when(~is_updated).then(pl.col("baseline_id")).alias("baseline_id"),
            *(pl.when(is_updated).then(pl.col(name)).alias(name) for name in statistics),
        ),
    )
