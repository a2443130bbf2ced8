"""What people answer to alerts: acknowledgements, verdicts, snoozes and blackouts, and the list they look at."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from psycopg import errors

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.postgres import alerts
from pggit_analytics.postgres.connection import Database

T0 = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

#: later than any clock of today
FAR = datetime(2126, 3, 2, tzinfo=UTC)


def rows(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def raised(database: Database, operation: str, severity: str = "WARNING", *, as_of: datetime = T0) -> int:
    query = "SELECT raise_alert('DEGRADATION', %s, %s, alert_key('DEGRADATION', %s), '{}', p_as_of => %s)"
    return int(rows(database, query, severity, operation, operation, as_of)[0][0])


# --- the list -------------------------------------------------------------------------------------------------------


def test_open_alerts_are_listed_by_severity_then_newest_and_resolved_ones_after_them(database: Database) -> None:
    first = raised(database, "a")
    later = raised(database, "b", as_of=T0 + HOUR)
    critical = raised(database, "c", "CRITICAL", as_of=T0 - HOUR)
    over = raised(database, "d", "CRITICAL")
    rows(database, "SELECT resolve_alert(alert_key('DEGRADATION', 'd'), %s)", T0 + HOUR)
    assert [alert.alert_id for alert in alerts.list_alerts(database)] == [critical, later, first]
    everything = alerts.list_alerts(database, only_open=False)
    assert [alert.alert_id for alert in everything] == [critical, later, first, over]
    assert [alert.alert_id for alert in alerts.list_alerts(database, only_open=False, limit=2)] == [critical, later]


def test_a_listed_alert_says_what_when_and_what_was_answered(database: Database) -> None:
    alert_id = raised(database, "commit")
    alerts.snooze(database, FAR, operation_type="commit")
    alerts.acknowledge(database, alert_id, by="ana")
    alerts.set_verdict(database, alert_id, "true_positive")
    (alert,) = alerts.list_alerts(database)
    assert alert.headline == "commit is ? % slower: p99 went from ? to ? ms"
    assert (alert.opened_at, alert.last_seen_at, alert.resolved_at) == (T0, T0, None)
    assert (alert.acknowledged_by, alert.verdict, alert.snoozed_until) == ("ana", "true_positive", FAR)


@pytest.mark.parametrize("limit", [0, -1, alerts.MAX_LISTED + 1])
def test_a_limit_out_of_range_is_refused(shared_database: Database, limit: int) -> None:
    with pytest.raises(InvalidArgument, match=f"limit is {limit}, expected 1 to 100000"):
        alerts.list_alerts(shared_database, limit=limit)


# --- acknowledgements and verdicts ----------------------------------------------------------------------------------


def test_who_acknowledges_first_stays(database: Database) -> None:
    alert_id = raised(database, "a")
    assert alerts.acknowledge(database, alert_id, by="ana")
    before = rows(database, "SELECT acknowledged_by, acknowledged_at FROM performance_alerts")
    assert not alerts.acknowledge(database, alert_id, by="ben")
    assert rows(database, "SELECT acknowledged_by, acknowledged_at FROM performance_alerts") == before
    assert before[0][0] == "ana"


def test_an_acknowledgement_without_a_name_is_the_roles(database: Database) -> None:
    alerts.acknowledge(database, raised(database, "a"))
    assert rows(database, "SELECT acknowledged_by = CURRENT_USER FROM performance_alerts") == [(True,)]


def test_a_verdict_can_be_changed_and_taken_back(database: Database) -> None:
    alert_id = raised(database, "a")
    changed = [
        alerts.set_verdict(database, alert_id, "false_positive"),
        alerts.set_verdict(database, alert_id, "false_positive"),
        alerts.set_verdict(database, alert_id, "true_positive"),
        alerts.set_verdict(database, alert_id, None),
    ]
    assert changed == [True, False, True, True]
    assert rows(database, "SELECT verdict FROM performance_alerts") == [(None,)]


# --- snoozes and blackouts ------------------------------------------------------------------------------------------


def test_a_snooze_keeps_its_scope_reason_and_author(database: Database) -> None:
    snooze_id = alerts.snooze(
        database, FAR, operation_type="commit", alert_type="ANOMALY", reason="migration", by="ana"
    )
    alerts.snooze(database, FAR)
    assert rows(
        database,
        "SELECT snooze_id = %s, operation_type, alert_type, snooze_until, reason, created_by = CURRENT_USER "
        "FROM alert_snooze ORDER BY snooze_id",
        snooze_id,
    ) == [(True, "commit", "ANOMALY", FAR, "migration", False), (False, None, None, FAR, None, True)]


def test_a_blackout_is_listed_as_it_was_made(database: Database) -> None:
    ((webhook_id,),) = rows(
        database,
        "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'ops') RETURNING webhook_id",
    )
    first = alerts.add_blackout(
        database,
        start_time=time(22, 30),
        duration=timedelta(hours=24),
        days_of_week=[6, 7],
        operation_type="commit",
        alert_type="DEGRADATION",
        webhook_id=webhook_id,
        spare_critical=True,
        reason="maintenance",
        by="ana",
    )
    second = alerts.add_blackout(database, start_time=time(0), duration=timedelta(minutes=1))
    one, other = alerts.list_blackouts(database)
    assert (one.blackout_id, other.blackout_id) == (first, second)
    assert (one.start_time, one.duration, one.days_of_week) == (time(22, 30), timedelta(days=1), [6, 7])
    assert (one.operation_type, one.alert_type, one.webhook_name) == ("commit", "DEGRADATION", "ops")
    assert (one.spare_critical, one.reason, one.created_by, one.enabled) == (True, "maintenance", "ana", True)
    assert (other.days_of_week, other.operation_type, other.webhook_name) == (None, None, None)
    assert (other.spare_critical, other.enabled) == (False, True)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: alerts.acknowledge(d, 999, by="ana"), "alert is 999, expected an alert_id"),
        (lambda d: alerts.set_verdict(d, 999, "true_positive"), "alert is 999, expected an alert_id"),
        (lambda d: alerts.snooze(d, T0), "until is .*, expected a finite instant after now"),
        (lambda d: alerts.snooze(d, T0.replace(tzinfo=None)), "until is .*, expected an instant with a time zone"),
        (lambda d: alerts.snooze(d, FAR, operation_type="ghost"), "p_operation_type is 'ghost'"),
        (lambda d: alerts.snooze(d, FAR, alert_type="GHOST"), "alert type is 'GHOST', expected one of ANOMALY"),
        (lambda d: alerts.snooze(d, FAR, by=" "), "p_by is ' ', expected the name"),
    ],
)
def test_an_answer_to_what_is_not_there_is_refused(shared_database: Database, call: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call(shared_database)


def test_a_verdict_that_is_none_of_them_is_refused(database: Database) -> None:
    alert_id = raised(database, "a")
    with pytest.raises(InvalidArgument, match="verdict is 'maybe', expected true_positive, false_positive or NULL"):
        alerts.set_verdict(database, alert_id, "maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"duration": timedelta(0)}, "duration is .*, expected more than 0 and at most 24 hours"),
        ({"duration": timedelta(hours=24, seconds=1)}, "duration is .*, expected more than 0 and at most 24 hours"),
        ({"days_of_week": [0]}, r"days of week are \{0\}, expected 1 \(Monday\) to 7"),
        ({"days_of_week": []}, r"days of week are \{\}, expected"),
        ({"webhook_id": 999}, "webhook is 999, expected a webhook_id"),
        ({"start_time": time(1, tzinfo=UTC)}, "start_time is .*, expected a time of day in UTC without a zone"),
        ({"operation_type": "ghost"}, "p_operation_type is 'ghost'"),
    ],
)
def test_a_blackout_that_cannot_be_is_refused(shared_database: Database, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        alerts.add_blackout(shared_database, **{"start_time": time(1), "duration": HOUR, **values})
    assert alerts.list_blackouts(shared_database) == []


# --- roles ----------------------------------------------------------------------------------------------------------

ANSWERS = [
    "SELECT acknowledge_alert({alert_id}, 'ana')",
    "SELECT set_alert_verdict({alert_id}, 'true_positive')",
    "SELECT snooze_alerts(now() + INTERVAL '1 hour')",
    "SELECT add_blackout('01:00', '1 hour')",
    "SELECT resolve_alert(alert_key('DEGRADATION', 'a'))",
    "SELECT check_self_health()",
    "SELECT group_alerts(now())",
]


@pytest.mark.parametrize("statement", ANSWERS)
def test_the_pipeline_may_answer_and_a_reader_may_not(database: Database, statement: str) -> None:
    query = statement.format(alert_id=raised(database, "a")).encode()
    with database.connect() as connection:
        connection.execute("SET LOCAL ROLE pggit_pipeline")
        connection.execute(query)
        connection.rollback()
    with database.connect() as connection:
        connection.execute("SET LOCAL search_path TO pggit, pg_temp")
        connection.execute("SET LOCAL ROLE pggit_reader")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(query)
        connection.rollback()


def test_a_reader_may_list_alerts(database: Database) -> None:
    alert_id = raised(database, "a")
    with database.connect() as connection:
        connection.execute("SET LOCAL ROLE pggit_reader")
        assert (
            connection.execute(alerts.LIST_ALERTS, {"only_open": True, "recorded": False, "limit": 9}).fetchall()[0][0]
            == alert_id
        )
