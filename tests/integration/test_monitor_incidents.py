"""A monitoring run from timings to incidents, as after installation: they page, the rest is recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from pggit_analytics.pipeline import MonitorParameters, MonitorResult, Target, gather, monitor
from pggit_analytics.postgres.alerts import list_alerts
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.sources import native

HOUR = timedelta(hours=1)
AS_OF = datetime(2026, 3, 8, 12, tzinfo=UTC)
OPERATIONS = ("commit", "get_history", "merge", "rollback")


@pytest.fixture(scope="module")
def fresh_template(create_database: Callable[..., str]) -> str:
    """The name of a database in which nothing was set after its deployment."""
    url = create_database()
    deploy(Database(url))
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path TO pggit")
        connection.execute(
            "INSERT INTO alert_notification_webhooks (webhook_type, name, webhook_url_encrypted, webhook_url_iv, "
            "encryption_key_id) VALUES ('webhook', 'ops', 'x', 'x', 'x')"
        )
        for alert_type in ("INCIDENT", "FORECAST", "ANOMALY", "DEGRADATION", "CORRELATION", "THRESHOLD_EXCEEDED"):
            for severity in ("CRITICAL", "WARNING", "INFO"):
                connection.execute(
                    "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) "
                    "SELECT %s, %s, webhook_id FROM alert_notification_webhooks",
                    (alert_type, severity),
                )
        return str(connection.info.dbname)


@pytest.fixture
def fresh(create_database: Callable[..., str], fresh_template: str) -> Database:
    return Database(create_database(fresh_template))


def week(database: Database, as_of: datetime, *, times: float = 1.0, since: timedelta = 20 * HOUR, **more: Any) -> None:
    """A call every three minutes of each operation, 10 ms give or take; commit ``times`` as slow lately."""
    random = np.random.default_rng(5)
    with (
        database.connect() as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY performance_metrics (operation_type, duration_ms, created_at) FROM STDIN") as copy,
    ):
        for operation in OPERATIONS:
            for number in range(7 * 24 * 20):
                at = as_of - (number + 0.5) * timedelta(minutes=3)
                slower = times if operation == "commit" and at > as_of - since else 1.0
                drift = 1.0
                if operation == more.get("drifting") and at > as_of - 72 * HOUR:
                    drift = 2.0 ** ((at - as_of) / (72 * HOUR) + 1)
                duration = 10 * slower * drift * float(np.exp(0.15 * random.standard_normal()))
                copy.write_row((operation, round(duration, 3), at))


def run(database: Database, as_of: datetime, **parameters: Any) -> MonitorResult:
    target = Target(database, database, native(database.schema))
    return monitor(target, MonitorParameters(as_of=as_of, notify=True, **parameters))


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


ALERTS = "SELECT alert_type, alert_source, operation_type FROM performance_alerts WHERE alert_type <> 'ANOMALY'"
MESSAGES = """
    SELECT a.alert_type, a.operation_type
    FROM alert_notification_queue AS q
    JOIN performance_alerts AS a USING (alert_id)
"""


def test_a_new_installation_pages_the_incident_and_records_what_the_plan_found(fresh: Database) -> None:
    as_of = AS_OF
    week(fresh, as_of, times=2.5)
    result = run(fresh, as_of)
    assert rows(fresh, "SELECT paging_source()") == [("incidents",)]
    incident = result.applied.incidents
    assert incident is not None
    row = incident.incidents.row(0, named=True)
    assert (incident.incidents.height, row["operation_type"], row["kind"], row["state"]) == (
        1,
        "commit",
        "step",
        "open",
    )
    assert abs(row["onset"] - (as_of - 20 * HOUR)) < HOUR / 2
    assert ("DEGRADATION", "plan", "commit") in rows(fresh, ALERTS)
    assert rows(fresh, MESSAGES) == [("INCIDENT", "commit")]
    assert [alert.alert_type for alert in list_alerts(fresh)] == ["INCIDENT"]
    assert {"INCIDENT", "DEGRADATION"} <= {alert.alert_type for alert in list_alerts(fresh, recorded=True)}
    assert rows(fresh, "SELECT incident_key, run_id FROM performance_incidents") == [
        (row["incident_key"], result.written.run_id)
    ]


def test_the_same_run_again_changes_nothing_and_the_next_one_goes_on_with_the_incident(fresh: Database) -> None:
    as_of = AS_OF
    week(fresh, as_of, times=2.5)
    first = run(fresh, as_of)
    again = run(fresh, as_of)
    assert again.applied.incidents_written is not None
    assert (again.applied.incidents_written.rows_written, again.applied.incidents_written.rows_deleted) == (0, 0)
    later = run(fresh, as_of + HOUR / 4)
    keys = [
        one.applied.incidents.incidents["incident_key"].to_list()
        for one in (first, again, later)
        if one.applied.incidents
    ]
    assert keys[0] == keys[1] == keys[2]
    assert rows(fresh, MESSAGES) == [("INCIDENT", "commit")]


def test_a_run_of_some_operations_leaves_the_incidents_alone(fresh: Database) -> None:
    as_of = AS_OF
    week(fresh, as_of, times=2.5)
    run(fresh, as_of)
    before = rows(fresh, "SELECT * FROM performance_incidents")
    assert run(fresh, as_of, operations=("commit",)).applied.incidents is None
    assert rows(fresh, "SELECT * FROM performance_incidents") == before


def test_where_pg_cron_runs_the_jobs_the_plan_pages(fresh: Database) -> None:
    rows(fresh, "SELECT activate_scheduler('pg_cron')")
    as_of = AS_OF
    week(fresh, as_of, times=2.5)
    run(fresh, as_of)
    assert ("INCIDENT", "incidents", "commit") in rows(fresh, ALERTS)
    assert "INCIDENT" not in {alert_type for alert_type, _ in rows(fresh, MESSAGES)}
    assert ("DEGRADATION", "commit") in rows(fresh, MESSAGES)


def test_the_breach_of_a_limit_that_people_set_is_foretold(fresh: Database) -> None:
    as_of = AS_OF
    rows(fresh, "INSERT INTO operation_settings (operation_type, sla_ms) VALUES ('merge', 36) RETURNING 1")
    week(fresh, as_of, drifting="merge")
    run(fresh, as_of)
    assert ("FORECAST", "incidents", "merge") in rows(fresh, ALERTS)
    assert ("FORECAST", "merge") in rows(fresh, MESSAGES)


def test_a_clean_week_says_nothing(fresh: Database) -> None:
    as_of = AS_OF
    week(fresh, as_of)
    result = run(fresh, as_of)
    assert result.applied.incidents is not None
    assert result.applied.incidents.incidents.is_empty()
    assert rows(fresh, MESSAGES) == []


def test_parents_are_what_most_of_the_latest_calls_name_and_mostly_unknown_is_none(fresh: Database) -> None:
    as_of = AS_OF
    calls = [("merge_branches", f"m{number}", None) for number in range(50)]
    calls += [("merge_base_find", None, f"m{number}") for number in range(50)]
    # two in five of its calls have a parent
    calls += [("commit", None, f"m{number}" if number % 5 < 2 else None) for number in range(50)]
    with fresh.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at, distributed_trace_id, "
            "distributed_trace_parent_id) VALUES (%s, 1, %s, %s, %s)",
            [(name, as_of - HOUR, trace, parent) for name, trace, parent in calls],
        )
    target = Target(fresh, fresh, native(fresh.schema))
    with (inputs := gather(target, MonitorParameters(as_of=as_of))).metrics:
        assert inputs.parents.rows() == [("merge_base_find", "merge_branches", 1.0)]
