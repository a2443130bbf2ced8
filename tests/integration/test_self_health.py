"""The monitoring watches itself: a silent detector, an operation that stopped, a channel that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import errors

from pggit_analytics.postgres.connection import Database

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Health:
    """Short forms of the calls, all inside one transaction that is never committed."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: str, *parameters: object) -> list[tuple]:
        return self.connection.execute(query, parameters).fetchall()

    def set(self, name: str, value: str) -> None:
        self.connection.execute("UPDATE analytics_settings SET value = %s WHERE name = %s", (value, name))

    def check(self, as_of: datetime) -> int:
        ((changes,),) = self.rows("SELECT check_self_health(%s)", as_of)
        return int(changes)

    def ran(self, as_of: datetime, status: str = "SUCCESS", flow: str = "monitor_performance") -> None:
        self.connection.execute(
            'INSERT INTO analysis_runs (flow, as_of, "window", started_at, status, rows_read, rows_written, '
            "package_version) VALUES (%s, %s, 'empty', %s, %s, 0, 0, '1')",
            (flow, as_of, as_of, status),
        )

    def scheduled(self, since: datetime) -> None:
        self.connection.execute(
            "INSERT INTO active_scheduler (scheduler, active_since) VALUES ('crontab', %s)", (since,)
        )

    def reported(self, operation: str, first: datetime, last: datetime, every: str = "1 hour") -> None:
        self.connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
            "SELECT %s, 5, at FROM generate_series(%s::TIMESTAMPTZ, %s, %s::INTERVAL) AS at",
            (operation, first, last, every),
        )

    def webhook(self, name: str) -> int:
        ((webhook_id,),) = self.rows(
            "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', %s) RETURNING webhook_id",
            name,
        )
        self.connection.execute(
            "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) "
            "VALUES ('SELF_HEALTH', 'WARNING', %s), ('SELF_HEALTH', 'CRITICAL', %s)",
            (webhook_id, webhook_id),
        )
        return webhook_id

    def breaker(self, webhook_id: int, opened_at: datetime | None) -> None:
        self.connection.execute(
            "INSERT INTO webhook_delivery_state "
            "(webhook_id, consecutive_failures, breaker_opened_at, breaker_probe_at) VALUES (%s, 5, %s, %s) "
            "ON CONFLICT (webhook_id) DO UPDATE "
            "SET breaker_opened_at = excluded.breaker_opened_at, breaker_probe_at = excluded.breaker_probe_at",
            (webhook_id, opened_at, opened_at),
        )

    def alerts(self) -> list[tuple]:
        return self.rows(
            "SELECT evidence ->> 'summary', severity, operation_type, opened_at, resolved_at "
            "FROM performance_alerts WHERE alert_type = 'SELF_HEALTH' ORDER BY alert_id"
        )

    def said(self) -> list[tuple]:
        return self.rows(
            "SELECT w.name, split_part(q.dedup_key, '/', 3) FROM alert_notification_queue AS q "
            "JOIN alert_notification_webhooks AS w USING (webhook_id) ORDER BY q.notification_queue_id"
        )


@pytest.fixture
def health(shared_database: Database) -> Iterator[Health]:
    with shared_database.connect() as connection:
        yield Health(connection)
        connection.rollback()


# --- the detector ---------------------------------------------------------------------------------------------------


def test_a_new_installation_is_healthy(health: Health) -> None:
    assert health.check(NOON) == 0
    assert health.alerts() == []


def test_a_detector_that_has_not_run_for_two_periods_is_critical_and_over_with_the_next_run(health: Health) -> None:
    health.webhook("ops")
    health.ran(NOON - 12 * HOUR)
    assert health.check(NOON) == 0
    assert health.check(NOON + MINUTE) == 1
    assert health.check(NOON + MINUTE) == 0
    assert health.check(NOON + 2 * MINUTE) == 0
    health.ran(NOON + 3 * MINUTE)
    assert health.check(NOON + 4 * MINUTE) == 1
    assert health.check(NOON + 4 * MINUTE) == 0
    assert health.alerts() == [
        (
            "No monitoring run has succeeded since 2026-03-02 00:00 UTC",
            *("CRITICAL", None, NOON + MINUTE, NOON + 4 * MINUTE),
        )
    ]
    assert health.said() == [("ops", "opened"), ("ops", "resolved")]


def test_every_fault_says_what_to_do(health: Health) -> None:
    health.ran(NOON - 2 * DAY)
    health.reported("commit", NOON - 40 * HOUR, NOON - 7 * HOUR)
    health.breaker(health.webhook("ops"), NOON - HOUR)
    assert health.check(NOON) == 3
    assert health.rows("SELECT count(*) FROM performance_alerts WHERE length(evidence ->> 'remedy') > 40") == [(3,)]


@pytest.mark.parametrize(
    "run",
    [
        {"as_of": NOON - HOUR, "status": "FAILED"},
        {"as_of": NOON - HOUR, "flow": "recalculate_baselines"},
        {"as_of": NOON + HOUR},
        {"as_of": NOON - 30 * HOUR},
    ],
)
def test_only_a_successful_run_that_looked_at_the_time_since_counts(health: Health, run: dict) -> None:
    health.ran(NOON - DAY)
    health.ran(**run)
    assert health.check(NOON) == 1


def test_a_scheduler_that_never_ran_anything_is_found_out(health: Health) -> None:
    health.scheduled(NOON - 13 * HOUR)
    assert health.check(NOON) == 1


def test_a_scheduler_that_was_just_activated_has_time_for_its_first_run(health: Health) -> None:
    health.ran(NOON - 30 * DAY)
    health.scheduled(NOON - HOUR)
    assert health.check(NOON) == 0
    assert health.check(NOON + 12 * HOUR) == 1


def test_how_long_the_detector_may_be_silent_follows_its_period_or_a_setting(health: Health) -> None:
    health.ran(NOON - 3 * HOUR)
    health.connection.execute("UPDATE scheduled_jobs SET period = '1 hour' WHERE job = 'check_performance_anomalies'")
    assert health.check(NOON) == 1
    health.set("detector_silence", "1 day")
    assert health.check(NOON) == 1
    assert health.check(NOON) == 0


@pytest.mark.parametrize("name", ["detector_silence", "operation_silence"])
@pytest.mark.parametrize("value", ["soon", "-1 hour", "0"])
def test_a_setting_that_is_no_length_of_time_is_refused_by_name(health: Health, name: str, value: str) -> None:
    health.set(name, value)
    with pytest.raises(errors.InvalidParameterValue, match=f"the setting {name} is '{value}'"):
        health.check(NOON)


# --- operations -----------------------------------------------------------------------------------------------------


def test_an_operation_that_reported_every_hour_and_stopped_is_told_until_it_reports_again(health: Health) -> None:
    health.webhook("ops")
    stopped = NOON - 6 * HOUR
    health.reported("commit", stopped - 24 * HOUR, stopped)
    assert health.check(NOON - MINUTE) == 0
    assert health.check(NOON) == 1
    assert health.check(NOON + HOUR) == 0
    health.reported("commit", NOON + 90 * MINUTE, NOON + 90 * MINUTE)
    assert health.check(NOON + 2 * HOUR) == 1
    assert health.alerts() == [
        (
            "commit reported every hour and has been silent since 2026-03-02 06:00 UTC",
            *("WARNING", "commit", NOON, NOON + 2 * HOUR),
        )
    ]
    assert health.said() == [("ops", "opened"), ("ops", "resolved")]


def test_an_hour_without_a_report_shows_that_silence_is_usual(health: Health) -> None:
    stopped = NOON - 7 * HOUR
    health.reported("commit", stopped - 24 * HOUR, stopped)
    health.connection.execute("DELETE FROM performance_metrics WHERE created_at = %s", (stopped - 5 * HOUR,))
    assert health.check(NOON) == 0


def test_a_day_of_reports_is_24_full_hours_of_the_clock(health: Health) -> None:
    stopped = NOON - 7 * HOUR + 30 * MINUTE
    # the first report is in the 24th hour before the one of the last, however late in it
    health.reported("commit", stopped - 24 * HOUR, stopped)
    health.reported("merge", stopped - 23 * HOUR, stopped)
    assert health.check(NOON) == 1
    assert health.rows("SELECT operation_type FROM performance_alerts") == [("commit",)]


def test_an_operation_that_is_retired_is_not_missed(health: Health) -> None:
    health.reported("commit", NOON - 40 * HOUR, NOON - 10 * HOUR)
    assert health.check(NOON) == 1
    health.connection.execute("UPDATE performance_operation_types SET is_tracked = FALSE")
    assert health.check(NOON) == 1
    assert health.alerts()[0][4] == NOON


def test_with_an_empty_setting_no_operation_is_missed(health: Health) -> None:
    health.set("operation_silence", "")
    health.reported("commit", NOON - 40 * HOUR, NOON - 10 * HOUR)
    assert health.check(NOON) == 0


def test_timings_after_the_moment_asked_about_are_not_seen(health: Health) -> None:
    health.reported("commit", NOON - 40 * HOUR, NOON - 10 * HOUR)
    health.reported("commit", NOON + HOUR, NOON + HOUR)
    assert health.check(NOON) == 1


# --- channels -------------------------------------------------------------------------------------------------------


def test_a_channel_that_fails_is_told_on_the_others_and_never_on_itself(health: Health) -> None:
    failing, _ = health.webhook("failing"), health.webhook("ops")
    health.breaker(failing, NOON - HOUR)
    assert health.check(NOON) == 1
    assert health.check(NOON + 30 * HOUR) == 0
    health.breaker(failing, None)
    assert health.check(NOON + 31 * HOUR) == 1
    assert health.alerts() == [
        ("Messages to the slack channel failing do not arrive", "WARNING", None, NOON, NOON + 31 * HOUR)
    ]
    assert health.said() == [("ops", "opened"), ("ops", "repeat:1"), ("ops", "resolved")]
    assert health.rows("SELECT dedup_key FROM performance_alerts") == [(f'["SELF_HEALTH", "breaker", "{failing}"]',)]


def test_a_channel_that_is_disabled_or_deleted_is_nobodys_trouble(health: Health) -> None:
    off, gone = health.webhook("off"), health.webhook("gone")
    health.breaker(off, NOON - HOUR)
    health.breaker(gone, NOON - HOUR)
    assert health.check(NOON) == 2
    health.connection.execute("UPDATE alert_notification_webhooks SET enabled = FALSE WHERE webhook_id = %s", (off,))
    health.connection.execute("DELETE FROM alert_notification_webhooks WHERE webhook_id = %s", (gone,))
    assert health.check(NOON + MINUTE) == 2


def test_a_fault_that_comes_back_is_the_next_episode(health: Health) -> None:
    webhook_id = health.webhook("ops")
    for hour, opened_at in enumerate([NOON, None, NOON + 2 * HOUR]):
        health.breaker(webhook_id, opened_at)
        assert health.check(NOON + hour * HOUR) == 1
    assert health.rows("SELECT episode, resolved_at FROM performance_alerts ORDER BY 1") == [
        (1, NOON + HOUR),
        (2, None),
    ]


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["plan", "incidents"])
def test_faults_are_heard_whichever_source_pages(health: Health, source: str) -> None:
    health.webhook("ops")
    health.set("alert_source", source)
    health.ran(NOON - 2 * DAY)
    assert health.check(NOON) == 1
    assert health.said() == [("ops", "opened")]


def test_alerts_about_other_things_are_left_alone(health: Health) -> None:
    health.rows("SELECT raise_alert('SELF_HEALTH', 'WARNING', NULL, 'of somebody else', '{}', p_as_of => %s)", NOON)
    health.rows(
        "SELECT raise_alert('DEGRADATION', 'WARNING', 'a', alert_key('DEGRADATION', 'a'), '{}', p_as_of => %s)", NOON
    )
    assert health.check(NOON + HOUR) == 0


def test_a_look_at_the_past_ends_nothing_that_was_seen_later(health: Health) -> None:
    health.ran(NOON - 2 * DAY)
    assert health.check(NOON) == 1
    assert health.check(NOON - 2 * DAY + MINUTE) == 0


@pytest.mark.parametrize("as_of", [None, "infinity"])
def test_a_moment_that_is_none_is_refused(health: Health, as_of: str | None) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="p_as_of is"):
        health.rows("SELECT check_self_health(%s::TIMESTAMPTZ)", as_of)


# --- resolve_alert --------------------------------------------------------------------------------------------------


def test_what_is_known_to_be_over_is_resolved_and_told_at_once(health: Health) -> None:
    health.webhook("ops")
    health.rows("SELECT raise_alert('SELF_HEALTH', 'WARNING', NULL, 'key', '{}', p_as_of => %s)", NOON)
    assert health.rows("SELECT resolve_alert('key', %s), resolve_alert('key', %s)", NOON + HOUR, NOON + HOUR) == [
        (True, False)
    ]
    assert health.rows("SELECT resolved_at FROM performance_alerts") == [(NOON + HOUR,)]
    assert health.said() == [("ops", "opened"), ("ops", "resolved")]


def test_an_alert_does_not_end_before_it_was_last_seen(health: Health) -> None:
    health.rows("SELECT raise_alert('SELF_HEALTH', 'WARNING', NULL, 'key', '{}', p_as_of => %s)", NOON)
    health.rows("SELECT resolve_alert('key', %s)", NOON - HOUR)
    assert health.rows("SELECT resolved_at FROM performance_alerts") == [(NOON,)]


@pytest.mark.parametrize("arguments", ["NULL", "'key', NULL", "'key', 'infinity'"])
def test_no_key_and_no_moment_are_refused(health: Health, arguments: str) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        health.rows(f"SELECT resolve_alert({arguments})")
