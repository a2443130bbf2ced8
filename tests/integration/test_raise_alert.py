"""The rules of alerts: episodes, severities, snoozes, repeats, and who hears what when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from pggit_analytics.postgres.connection import Database

T0 = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ALL_SEVERITIES = ("INFO", "WARNING", "CRITICAL")


class Alerts:
    """Short forms of the calls, all inside one transaction that is never committed."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: str, *parameters: object) -> list[tuple]:
        return self.connection.execute(query, parameters).fetchall()

    def webhook(
        self, name: str, *, alert_type: str = "DEGRADATION", severities: tuple[str, ...] = ALL_SEVERITIES
    ) -> int:
        ((webhook_id,),) = self.rows(
            "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', %s) RETURNING webhook_id",
            name,
        )
        for severity in severities:
            self.connection.execute(
                "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) VALUES (%s, %s, %s)",
                (alert_type, severity, webhook_id),
            )
        return webhook_id

    def found(
        self,
        as_of: datetime,
        severity: str = "WARNING",
        *,
        alert_type: str = "DEGRADATION",
        operation: str | None = "commit",
        subject: list[str] | None = None,
        evidence: dict | None = None,
        point: bool = False,
        source: str = "plan",
    ) -> int:
        ((alert_id,),) = self.rows(
            "SELECT raise_alert(%s, %s, %s, alert_key(%s, VARIADIC %s), %s, %s, %s, %s)",
            alert_type,
            severity,
            operation,
            alert_type,
            subject or [operation],
            Jsonb(evidence or {}),
            point,
            source,
            as_of,
        )
        return alert_id

    def spike(self, as_of: datetime, severity: str = "WARNING", metric_id: int = 7) -> int:
        return self.found(as_of, severity, alert_type="ANOMALY", subject=["commit", str(metric_id)], point=True)

    def missed(
        self,
        as_of: datetime,
        *,
        types: tuple[str, ...] = ("DEGRADATION",),
        operations: list[str] | None = None,
        seen: tuple[str, ...] = (),
        source: str = "plan",
    ) -> int:
        ((resolved,),) = self.rows(
            "SELECT resolve_missing_alerts(%s, %s::TEXT[], %s::TEXT[], %s, %s)",
            list(types),
            operations,
            list(seen),
            source,
            as_of,
        )
        return resolved

    def missed_thrice(self, after: datetime) -> None:
        assert [self.missed(after + minutes * MINUTE) for minutes in (1, 2, 3)] == [0, 0, 1]

    def snooze(self, until: datetime, *, operation: str | None = None, alert_type: str | None = None) -> int:
        ((snooze_id,),) = self.rows(
            "INSERT INTO alert_snooze (operation_type, alert_type, snooze_until) "
            "VALUES (%s, %s, %s) RETURNING snooze_id",
            operation,
            alert_type,
            until,
        )
        return snooze_id

    def set(self, name: str, value: str) -> None:
        self.connection.execute("UPDATE analytics_settings SET value = %s WHERE name = %s", (value, name))

    def said(self) -> list[str]:
        """Every message so far as 'webhook transition', in the order queued."""
        return [
            f"{name} {json.loads(body)['transition']}"
            for name, body in self.rows(
                "SELECT w.name, q.message_body FROM alert_notification_queue AS q "
                "JOIN alert_notification_webhooks AS w USING (webhook_id) ORDER BY notification_queue_id"
            )
        ]


@pytest.fixture
def alerts(shared_database: Database) -> Iterator[Alerts]:
    with shared_database.connect() as connection:
        yield Alerts(connection)
        connection.rollback()


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("ANOMALY", "commit", "123"), '["ANOMALY", "commit", "123"]'),
        (("DEGRADATION", "commit"), '["DEGRADATION", "commit"]'),
        (("CORRELATION", "a", "b"), '["CORRELATION", "a", "b"]'),
        (("CORRELATION", 'a", "b', "c"), '["CORRELATION", "a\\", \\"b", "c"]'),
        (("CORRELATION", "a", 'b", "c'), '["CORRELATION", "a", "b\\", \\"c"]'),
    ],
)
def test_a_key_is_unambiguous_for_any_name(alerts: Alerts, arguments: tuple[str, ...], key: str) -> None:
    marks = ", ".join(["%s"] * len(arguments))
    assert alerts.rows(f"SELECT alert_key({marks})", *arguments) == [(key,)]


def test_a_key_without_a_subject_is_refused(alerts: Alerts) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="must not be or hold NULL"):
        alerts.rows("SELECT alert_key('ANOMALY', 'commit', NULL)")


# --- episodes -------------------------------------------------------------------------------------------------------


def test_a_first_finding_opens_the_first_episode(alerts: Alerts) -> None:
    alert_id = alerts.found(T0, evidence={"p99_new_ms": 12.5})
    assert alerts.rows(
        "SELECT alert_id, operation_type, alert_type, severity, dedup_key, episode, alert_source, evidence, "
        "opened_at, last_seen_at, resolved_at, missed_runs FROM performance_alerts"
    ) == [
        (
            *(alert_id, "commit", "DEGRADATION", "WARNING", '["DEGRADATION", "commit"]', 1, "plan"),
            *({"p99_new_ms": 12.5}, T0, T0, None, 0),
        )
    ]


def test_found_again_it_is_the_same_alert_with_its_first_evidence(alerts: Alerts) -> None:
    first = alerts.found(T0, evidence={"p99_new_ms": 12.5})
    assert alerts.found(T0 + MINUTE, evidence={"p99_new_ms": 99}) == first
    assert alerts.rows("SELECT opened_at, last_seen_at, evidence FROM performance_alerts") == [
        (T0, T0 + MINUTE, {"p99_new_ms": 12.5})
    ]


def test_found_at_an_older_moment_it_was_still_last_seen_at_the_newer(alerts: Alerts) -> None:
    alerts.found(T0)
    alerts.found(T0 - HOUR)
    assert alerts.rows("SELECT opened_at, last_seen_at FROM performance_alerts") == [(T0, T0)]


def test_missed_twice_and_found_again_the_episode_goes_on_and_misses_count_anew(alerts: Alerts) -> None:
    alert_id = alerts.found(T0)
    assert [alerts.missed(T0 + MINUTE), alerts.missed(T0 + 2 * MINUTE)] == [0, 0]
    assert alerts.found(T0 + 3 * MINUTE) == alert_id
    assert [alerts.missed(T0 + 4 * MINUTE), alerts.missed(T0 + 5 * MINUTE)] == [0, 0]
    assert alerts.rows("SELECT resolved_at, missed_runs FROM performance_alerts") == [(None, 2)]


def test_missed_three_times_it_is_resolved_and_found_later_it_opens_episode_two(alerts: Alerts) -> None:
    alerts.webhook("ops")
    first = alerts.found(T0)
    alerts.missed_thrice(T0)
    second = alerts.found(T0 + HOUR)
    assert alerts.rows("SELECT alert_id, episode, opened_at, resolved_at FROM performance_alerts ORDER BY episode") == [
        (first, 1, T0, T0 + 3 * MINUTE),
        (second, 2, T0 + HOUR, None),
    ]
    assert alerts.said() == ["ops opened", "ops resolved", "ops opened"]


def test_a_moment_inside_an_episode_that_is_over_opens_nothing(alerts: Alerts) -> None:
    alerts.webhook("ops")
    first = alerts.found(T0)
    alerts.missed_thrice(T0)
    assert alerts.found(T0 + MINUTE, "CRITICAL") == first
    assert alerts.rows("SELECT severity, last_seen_at FROM performance_alerts") == [("WARNING", T0)]
    assert alerts.said() == ["ops opened", "ops resolved"]


def test_the_same_moment_missed_again_counts_once(alerts: Alerts) -> None:
    alerts.found(T0)
    assert [alerts.missed(T0 + MINUTE) for _ in range(5)] == [0] * 5
    assert alerts.rows("SELECT missed_runs, last_missed_at FROM performance_alerts") == [(1, T0 + MINUTE)]


def test_a_moment_not_later_than_it_was_seen_is_no_miss(alerts: Alerts) -> None:
    alerts.found(T0)
    alerts.missed(T0)
    alerts.missed(T0 - HOUR)
    assert alerts.rows("SELECT missed_runs FROM performance_alerts") == [(0,)]


def test_found_at_a_moment_before_a_miss_the_miss_still_counts(alerts: Alerts) -> None:
    alerts.found(T0)
    alerts.missed(T0 + 2 * MINUTE)
    alerts.found(T0 + MINUTE)
    assert alerts.rows("SELECT missed_runs, last_seen_at FROM performance_alerts") == [(1, T0 + MINUTE)]


def test_an_alert_of_the_other_source_is_not_missed(alerts: Alerts) -> None:
    alerts.found(T0, source="incidents")
    alerts.missed(T0 + MINUTE, source="plan")
    assert alerts.rows("SELECT missed_runs FROM performance_alerts") == [(0,)]


def test_how_many_misses_resolve_is_a_setting(alerts: Alerts) -> None:
    alerts.set("alert_resolve_after_runs", "1")
    alerts.found(T0)
    assert alerts.missed(T0 + MINUTE) == 1


def test_what_a_run_has_seen_is_not_missed(alerts: Alerts) -> None:
    alerts.found(T0)
    alerts.found(T0, operation="merge")
    alerts.missed(T0 + MINUTE, seen=('["DEGRADATION", "commit"]',))
    assert alerts.rows("SELECT operation_type, missed_runs FROM performance_alerts ORDER BY 1") == [
        ("commit", 0),
        ("merge", 1),
    ]


def test_only_alerts_in_the_scope_of_the_run_are_missed(alerts: Alerts) -> None:
    alerts.found(T0)
    alerts.found(T0, operation="merge")
    alerts.found(T0, alert_type="THRESHOLD_EXCEEDED")
    alerts.found(T0, alert_type="INCIDENT", operation=None, subject=["cluster"], source="incidents")
    alerts.missed(T0 + MINUTE, types=("DEGRADATION", "INCIDENT"), operations=["commit"])
    assert alerts.rows("SELECT dedup_key FROM performance_alerts WHERE missed_runs > 0") == [
        ('["DEGRADATION", "commit"]',)
    ]


@pytest.mark.parametrize(("operations", "missed"), [(["a"], 0), (["b"], 0), (["a", "b"], 1), (None, 1)])
def test_a_pair_is_missed_only_when_both_operations_were_analysed(
    alerts: Alerts, operations: list[str] | None, missed: int
) -> None:
    pair = {"operation_type_1": "a", "operation_type_2": "b"}
    alerts.found(T0, alert_type="CORRELATION", operation="a", subject=["a", "b"], evidence=pair)
    alerts.missed(T0 + MINUTE, types=("CORRELATION",), operations=operations)
    assert alerts.rows("SELECT missed_runs FROM performance_alerts") == [(missed,)]


# --- severity -------------------------------------------------------------------------------------------------------


def test_severity_only_rises_and_each_rise_is_said_once(alerts: Alerts) -> None:
    alerts.webhook("ops")
    for minute, severity in enumerate(["INFO", "WARNING", "INFO", "CRITICAL", "WARNING", "CRITICAL"]):
        alerts.found(T0 + minute * MINUTE, severity)
    assert alerts.rows("SELECT severity FROM performance_alerts") == [("CRITICAL",)]
    assert alerts.said() == ["ops opened", "ops severity:WARNING", "ops severity:CRITICAL"]


def test_a_rise_opens_the_alert_for_a_webhook_that_hears_only_the_new_severity(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.webhook("pager", severities=("CRITICAL",))
    alerts.found(T0, "WARNING")
    alerts.found(T0 + MINUTE, "CRITICAL")
    assert alerts.said() == ["ops opened", "ops severity:CRITICAL", "pager opened"]


# --- point events ---------------------------------------------------------------------------------------------------


def test_a_spike_is_over_at_once_and_found_again_it_stays_one_alert(alerts: Alerts) -> None:
    alerts.webhook("ops", alert_type="ANOMALY")
    first = alerts.spike(T0)
    assert alerts.spike(T0 + 5 * MINUTE) == first
    assert alerts.spike(T0 - HOUR) == first
    assert alerts.rows("SELECT episode, opened_at, last_seen_at, resolved_at FROM performance_alerts") == [
        (1, T0, T0, T0)
    ]
    assert alerts.said() == ["ops opened"]


def test_a_spike_that_becomes_combined_is_the_same_alert_with_a_higher_severity(alerts: Alerts) -> None:
    alerts.webhook("ops", alert_type="ANOMALY")
    alerts.webhook("pager", alert_type="ANOMALY", severities=("CRITICAL",))
    first = alerts.spike(T0, "WARNING")
    assert alerts.spike(T0 + MINUTE, "CRITICAL") == first
    assert alerts.spike(T0 + 2 * MINUTE, "CRITICAL") == first
    assert alerts.rows("SELECT severity, resolved_at FROM performance_alerts") == [("CRITICAL", T0)]
    assert alerts.said() == ["ops opened", "ops severity:CRITICAL", "pager opened"]


def test_a_webhook_added_later_is_not_told_of_spikes_that_are_over(alerts: Alerts) -> None:
    alerts.spike(T0)
    alerts.webhook("new", alert_type="ANOMALY")
    alerts.spike(T0 + MINUTE)
    assert alerts.said() == []


def test_ten_thousand_alerts_in_one_transaction_hold_one_lock(alerts: Alerts) -> None:
    alerts.connection.execute(
        "SELECT raise_alert('ANOMALY', 'INFO', 'commit', alert_key('ANOMALY', 'commit', n::TEXT), '{}', TRUE, "
        "'plan', %s) FROM generate_series(1, 10000) AS n",
        (T0,),
    )
    assert alerts.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == [(1,)]


# --- who hears ------------------------------------------------------------------------------------------------------


def test_only_enabled_webhooks_with_an_enabled_route_hear(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.webhook("elsewhere", alert_type="INCIDENT")
    off = alerts.webhook("off")
    alerts.connection.execute("UPDATE alert_notification_webhooks SET enabled = FALSE WHERE webhook_id = %s", (off,))
    unrouted = alerts.webhook("unrouted")
    alerts.connection.execute(
        "UPDATE alert_notification_settings SET enabled = FALSE WHERE webhook_id = %s", (unrouted,)
    )
    alerts.found(T0)
    assert alerts.said() == ["ops opened"]


def test_a_webhook_added_while_the_alert_is_open_hears_of_it_once(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0)
    alerts.webhook("late")
    alerts.found(T0 + MINUTE)
    alerts.found(T0 + 2 * MINUTE)
    assert alerts.said() == ["ops opened", "late opened"]


def test_the_end_is_said_to_those_who_heard_anything_and_still_listen(alerts: Alerts) -> None:
    alerts.webhook("ops")
    closed = alerts.webhook("closed")
    alerts.found(T0)
    alerts.webhook("never told")
    alerts.connection.execute("UPDATE alert_notification_webhooks SET enabled = FALSE WHERE webhook_id = %s", (closed,))
    alerts.missed_thrice(T0)
    assert alerts.said() == ["ops opened", "closed opened", "ops resolved"]


def test_the_source_that_does_not_page_records_only(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0, source="incidents")
    alerts.found(T0, operation="merge", source="plan")
    assert alerts.rows("SELECT operation_type, alert_source FROM performance_alerts ORDER BY 1") == [
        ("commit", "incidents"),
        ("merge", "plan"),
    ]
    assert alerts.said() == ["ops opened"]


def test_with_the_other_source_chosen_the_other_one_pages(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.set("alert_source", "incidents")
    alerts.found(T0, source="plan")
    assert alerts.said() == []
    alerts.found(T0, operation="merge", source="incidents")
    assert alerts.said() == ["ops opened"]


def test_the_end_is_said_even_if_another_source_pages_by_then(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0)
    alerts.set("alert_source", "incidents")
    alerts.missed_thrice(T0)
    assert alerts.said() == ["ops opened", "ops resolved"]


# --- snooze ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "alert_type", "silent"),
    [
        (None, None, True),
        ("commit", None, True),
        (None, "DEGRADATION", True),
        ("commit", "DEGRADATION", True),
        ("merge", None, False),
        (None, "ANOMALY", False),
        ("commit", "ANOMALY", False),
    ],
)
def test_a_snooze_silences_what_it_covers(
    alerts: Alerts, operation: str | None, alert_type: str | None, silent: bool
) -> None:
    alerts.webhook("ops")
    alerts.snooze(T0 + HOUR, operation=operation, alert_type=alert_type)
    alerts.found(T0)
    assert alerts.said() == ([] if silent else ["ops opened"])


@pytest.mark.parametrize(("operation", "silent"), [("a", True), ("b", True), ("c", False)])
def test_a_snooze_of_either_operation_silences_a_pair(alerts: Alerts, operation: str, silent: bool) -> None:
    alerts.webhook("ops", alert_type="CORRELATION")
    alerts.snooze(T0 + HOUR, operation=operation)
    pair = {"operation_type_1": "a", "operation_type_2": "b"}
    alerts.found(T0, alert_type="CORRELATION", operation="a", subject=["a", "b"], evidence=pair)
    assert alerts.said() == ([] if silent else ["ops opened"])


def test_a_snooze_is_over_at_the_instant_it_names(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.snooze(T0)
    alerts.found(T0)
    alerts.found(T0 + MINUTE)
    assert alerts.said() == ["ops opened"]


def test_snoozed_at_its_opening_an_alert_is_opened_once_the_snooze_ends(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.snooze(T0 + HOUR)
    for minutes in (0, 30, 60, 61, 90):
        alerts.found(T0 + minutes * MINUTE)
    assert alerts.said() == ["ops opened"]


def test_snoozed_after_it_was_said_an_open_alert_is_said_again_when_the_snooze_ends(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0)
    snooze_id = alerts.snooze(T0 + HOUR)
    for minutes in (30, 60, 61, 90):
        alerts.found(T0 + minutes * MINUTE)
    assert alerts.said() == ["ops opened", f"ops snooze_ended:{snooze_id}"]


def test_of_two_overlapping_snoozes_the_end_of_the_last_one_is_said(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0)
    alerts.snooze(T0 + 20 * MINUTE)
    last = alerts.snooze(T0 + 40 * MINUTE, operation="commit")
    for minutes in (10, 30, 50, 55):
        alerts.found(T0 + minutes * MINUTE)
    assert alerts.said() == ["ops opened", f"ops snooze_ended:{last}"]


def test_a_severity_that_rose_during_a_snooze_is_heard_when_it_ends(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0, "WARNING")
    snooze_id = alerts.snooze(T0 + HOUR)
    alerts.found(T0 + MINUTE, "CRITICAL")
    alerts.found(T0 + 2 * HOUR, "CRITICAL")
    assert alerts.said() == ["ops opened", f"ops snooze_ended:{snooze_id}"]
    bodies = alerts.rows("SELECT message_body::JSON ->> 'severity' FROM alert_notification_queue ORDER BY 1")
    assert bodies == [("CRITICAL",), ("WARNING",)], "in alphabetical order"


def test_the_end_is_said_during_a_snooze(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0)
    alerts.snooze(T0 + HOUR)
    alerts.missed_thrice(T0)
    assert alerts.said() == ["ops opened", "ops resolved"]


# --- repeats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "hours", "expected"),
    [
        ("CRITICAL", (3, 4, 5, 8), ["repeat:1", "repeat:2"]),
        ("CRITICAL", (21, 22), ["repeat:5"]),
        ("WARNING", (4, 23, 24, 47), ["repeat:1"]),
        ("INFO", (4, 24, 1000), []),
    ],
)
def test_an_open_alert_is_said_again_at_the_interval_of_its_severity_without_bursts(
    alerts: Alerts, severity: str, hours: tuple[int, ...], expected: list[str]
) -> None:
    alerts.webhook("ops")
    for hour in (0, *hours):
        alerts.found(T0 + hour * HOUR, severity)
    assert alerts.said() == [f"ops {transition}" for transition in ["opened", *expected]]


def test_an_acknowledged_alert_is_not_said_again(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.found(T0, "CRITICAL")
    alerts.connection.execute("UPDATE performance_alerts SET acknowledged_by = 'me', acknowledged_at = %s", (T0,))
    alerts.found(T0 + 5 * HOUR, "CRITICAL")
    assert alerts.said() == ["ops opened"]


def test_without_an_interval_nothing_is_said_again(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.set("repeat_interval_critical", "")
    alerts.found(T0, "CRITICAL")
    alerts.found(T0 + 1000 * HOUR, "CRITICAL")
    assert alerts.said() == ["ops opened"]


def test_what_was_opened_late_is_not_repeated_before_the_next_interval(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.snooze(T0 + 5 * HOUR)
    for hour in (0, 5, 6, 7, 8):
        alerts.found(T0 + hour * HOUR, "CRITICAL")
    assert alerts.said() == ["ops opened", "ops repeat:2"]


# --- messages -------------------------------------------------------------------------------------------------------


def test_a_message_says_everything_in_utc_whatever_the_session(alerts: Alerts) -> None:
    webhook_id = alerts.webhook("ops")
    alerts.connection.execute("SET LOCAL timezone TO 'Asia/Kolkata'")
    alerts.connection.execute("SET LOCAL datestyle TO 'German'")
    evidence = {"degradation_percent": 35.25, "p99_old_ms": 50.0, "p99_new_ms": 67.6254}
    alert_id = alerts.found(T0, evidence=evidence)
    ((dedup_key, body, as_of, status),) = alerts.rows(
        "SELECT dedup_key, message_body, as_of = %s, status FROM alert_notification_queue", T0
    )
    assert (dedup_key, as_of, status) == (f"{alert_id}/{webhook_id}/opened", True, "pending")
    assert json.loads(body) == {
        "text": "WARNING commit is 35.3 % slower: p99 went from 50 to 67.625 ms, since 2026-03-02 12:00 UTC",
        "transition": "opened",
        "alert_id": alert_id,
        "alert_type": "DEGRADATION",
        "severity": "WARNING",
        "operation_type": "commit",
        "dedup_key": '["DEGRADATION", "commit"]',
        "episode": 1,
        "opened_at": "2026-03-02T12:00:00.000000Z",
        "last_seen_at": "2026-03-02T12:00:00.000000Z",
        "resolved_at": None,
        "group_key": None,
        "instance": alerts.connection.info.dbname,
        "schema": "pggit",
        "report_url": None,
        "facts": {},
        "evidence": evidence,
    }


def test_a_message_names_the_instance_and_the_report_that_the_settings_name(alerts: Alerts) -> None:
    alerts.webhook("ops")
    alerts.set("instance_name", "orders, production")
    alerts.set("report_url", "https://reports.example/pggit")
    alerts.found(T0)
    ((body,),) = alerts.rows("SELECT message_body::JSONB FROM alert_notification_queue")
    assert (body["instance"], body["report_url"]) == ("orders, production", "https://reports.example/pggit")


@pytest.mark.parametrize(
    ("alert_type", "evidence", "line"),
    [
        (
            "ANOMALY",
            {"duration_ms": 812.4, "deviation_percent": 340.04, "z_score": 5.06, "metric_id": 7},
            "commit took 812.4 ms, 340 % off its mean (z-score 5.1, metric 7)",
        ),
        (
            "CORRELATION",
            {
                "operation_type_1": "commit",
                "operation_type_2": "merge",
                "correlation_coefficient": 0.912,
                "shared_minutes": 42,
                "shared_bottleneck": "LOCKS",
            },
            "commit and merge get slow together: correlation 0.91 over 42 minutes, shared bottleneck LOCKS",
        ),
        (
            "THRESHOLD_EXCEEDED",
            {"duration_ms": 900.0, "threshold_ms": 400.5, "exceeded_count": 3},
            "commit took up to 900 ms, its threshold is 400.5 ms (exceeded 3 times)",
        ),
        ("DEGRADATION", {"p99_old_ms": "NaN"}, "commit is ? % slower: p99 went from ? to ? ms"),
        ("SELF_HEALTH", {"summary": "commit has stopped"}, "commit has stopped"),
        ("SELF_HEALTH", {}, "SELF_HEALTH commit"),
        ("FORECAST", {}, "FORECAST commit"),
    ],
)
def test_the_line_for_people_says_what_and_how_much(alerts: Alerts, alert_type: str, evidence: dict, line: str) -> None:
    assert alerts.rows("SELECT alert_headline(%s, 'commit', %s)", alert_type, Jsonb(evidence)) == [(line,)]


def test_the_line_for_people_says_which_turn_the_alert_took(alerts: Alerts) -> None:
    alerts.webhook("ops", alert_type="FORECAST")
    alerts.set("repeat_interval_critical", "1 hour")
    alerts.found(T0, alert_type="FORECAST")
    alerts.found(T0 + MINUTE, "CRITICAL", alert_type="FORECAST")
    alerts.found(T0 + HOUR, "CRITICAL", alert_type="FORECAST")
    alerts.snooze(T0 + 2 * HOUR, alert_type="FORECAST")
    alerts.found(T0 + 2 * HOUR, "CRITICAL", alert_type="FORECAST")
    for minutes in (1, 2, 3):
        alerts.missed(T0 + 2 * HOUR + minutes * MINUTE, types=("FORECAST",))
    lines = alerts.rows(
        "SELECT message_body::JSON ->> 'text' FROM alert_notification_queue ORDER BY notification_queue_id"
    )
    assert [line for (line,) in lines] == [
        "WARNING FORECAST commit, since 2026-03-02 12:00 UTC",
        "CRITICAL (raised) FORECAST commit, since 2026-03-02 12:00 UTC",
        "CRITICAL (still open) FORECAST commit, since 2026-03-02 12:00 UTC",
        "CRITICAL (still open after a snooze) FORECAST commit, since 2026-03-02 12:00 UTC",
        "CRITICAL (resolved) FORECAST commit, from 2026-03-02 12:00 to 2026-03-02 14:03 UTC",
    ]


def test_the_single_message_of_a_spike_says_that_it_is_over(alerts: Alerts) -> None:
    alerts.webhook("ops", alert_type="ANOMALY")
    alerts.spike(T0)
    ((body,),) = alerts.rows("SELECT message_body::JSONB FROM alert_notification_queue")
    assert body["text"].endswith(", already over, found at 2026-03-02 12:00 UTC")
    assert body["resolved_at"] == "2026-03-02T12:00:00.000000Z"


# --- bad arguments --------------------------------------------------------------------------------------------------

GOOD: dict[str, object] = {
    "p_alert_type": "DEGRADATION",
    "p_severity": "WARNING",
    "p_operation_type": "commit",
    "p_dedup_key": "key",
    "p_evidence": "{}",
    "p_point_event": False,
    "p_alert_source": "plan",
    "p_as_of": T0,
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("p_alert_type", None, "alert type is NULL, expected one of ANOMALY, DEGRADATION"),
        ("p_alert_type", "GHOST", "alert type is 'GHOST', expected one of"),
        ("p_severity", None, "severity is NULL, expected INFO, WARNING or CRITICAL"),
        ("p_severity", "critical", "severity is 'critical', expected INFO, WARNING or CRITICAL"),
        ("p_dedup_key", None, "dedup key is NULL"),
        ("p_dedup_key", "", "dedup key is ''"),
        ("p_evidence", None, "evidence is NULL, expected a JSON object"),
        ("p_evidence", "[1]", r"evidence is '\[1\]', expected a JSON object"),
        ("p_point_event", None, "point event is NULL"),
        ("p_alert_source", None, "alert source is NULL, expected plan or incidents"),
        ("p_alert_source", "rumour", "alert source is 'rumour', expected plan or incidents"),
        ("p_as_of", None, "as_of is NULL, expected an instant"),
        ("p_as_of", "infinity", "as_of is 'infinity', expected an instant"),
    ],
)
def test_an_alert_that_cannot_be_is_refused(alerts: Alerts, name: str, value: object, message: str) -> None:
    arguments = GOOD | {name: value}
    marks = ", ".join(f"{argument} => %({argument})s" for argument in arguments)
    with pytest.raises(errors.InvalidParameterValue, match=message):
        alerts.connection.execute(f"SELECT raise_alert({marks})", arguments)


def test_an_alert_without_an_operation_is_accepted(alerts: Alerts) -> None:
    alerts.found(T0, alert_type="SELF_HEALTH", operation=None, subject=["detector"])
    assert alerts.rows("SELECT operation_type FROM performance_alerts") == [(None,)]


@pytest.mark.parametrize(
    "call",
    [
        "resolve_missing_alerts(NULL, NULL, '{}', 'plan', now())",
        "resolve_missing_alerts('{DEGRADATION}', NULL, NULL, 'plan', now())",
        "resolve_missing_alerts('{GHOST}', NULL, '{}', 'plan', now())",
        "resolve_missing_alerts('{DEGRADATION}', NULL, '{}', NULL, now())",
        "resolve_missing_alerts('{DEGRADATION}', NULL, '{}', 'plan', NULL)",
        "enqueue_alert_messages(-1, 'found', now())",
        "alerts_allowed(NULL)",
        "alerts_allowed(now(), NULL)",
        "alert_setting('ghost')",
    ],
)
def test_an_argument_out_of_range_is_refused(alerts: Alerts, call: str) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        alerts.rows(f"SELECT {call}")


@pytest.mark.parametrize("value", ["soon", "-1 hour", "0"])
def test_a_repeat_interval_that_is_none_is_refused_by_name(alerts: Alerts, value: str) -> None:
    alerts.set("repeat_interval_warning", value)
    with pytest.raises(errors.InvalidParameterValue, match=f"the setting repeat_interval_warning is '{value}'"):
        alerts.found(T0)


@pytest.mark.parametrize("value", ["0", "-1", "three"])
def test_a_number_of_misses_that_is_none_is_refused_by_name(alerts: Alerts, value: str) -> None:
    alerts.set("alert_resolve_after_runs", value)
    with pytest.raises(errors.InvalidParameterValue, match=f"the setting alert_resolve_after_runs is '{value}'"):
        alerts.missed(T0)


# --- when alerts may be raised --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "runs", "allowed"),
    [
        ("now()", [], True),
        ("now() - INTERVAL '1 hour'", [], True),
        ("now() - INTERVAL '61 minutes'", [], False),
        ("now() + INTERVAL '5 minutes'", [], True),
        ("now() + INTERVAL '6 minutes'", [], False),
        ("now() - INTERVAL '10 minutes'", [("monitor_performance", "SUCCESS", "now() - INTERVAL '10 minutes'")], True),
        ("now() - INTERVAL '10 minutes'", [("monitor_performance", "SUCCESS", "now() - INTERVAL '9 minutes'")], False),
        ("now() - INTERVAL '10 minutes'", [("monitor_performance", "FAILED", "now() - INTERVAL '9 minutes'")], True),
        ("now() - INTERVAL '10 minutes'", [("recalculate_baselines", "SUCCESS", "now()")], True),
        ("now() - INTERVAL '10 minutes'", [("monitor_performance", "SUCCESS", "now() + INTERVAL '1 day'")], True),
    ],
)
def test_the_newest_moment_of_the_last_hour_may_raise_alerts(
    alerts: Alerts, as_of: str, runs: list[tuple[str, str, str]], allowed: bool
) -> None:
    for flow, status, moment in runs:
        alerts.connection.execute(
            'INSERT INTO analysis_runs (flow, as_of, "window", started_at, status, rows_read, rows_written, '
            f"package_version) VALUES (%s, {moment}, 'empty', now(), %s, 0, 0, '0')",
            (flow, status),
        )
    assert alerts.rows(f"SELECT alerts_allowed({as_of}), alerts_allowed({as_of}, TRUE)") == [(allowed, True)]


# --- several writers ------------------------------------------------------------------------------------------------


def test_a_second_writer_waits_for_the_first_and_then_finds_its_alert(database: Database) -> None:
    with database.connect() as setup:
        Alerts(setup).webhook("ops")
    with database.connect() as first, database.connect() as second:
        alert_id = Alerts(first).found(T0)
        second.execute("SET LOCAL lock_timeout TO '20ms'")
        with pytest.raises(errors.LockNotAvailable):
            Alerts(second).found(T0)
        second.rollback()
        first.commit()
        assert Alerts(second).found(T0) == alert_id
        assert Alerts(second).said() == ["ops opened"]


def test_resolving_takes_turns_with_raising(database: Database) -> None:
    with database.connect() as first, database.connect() as second:
        Alerts(first).found(T0)
        second.execute("SET LOCAL lock_timeout TO '20ms'")
        with pytest.raises(errors.LockNotAvailable):
            Alerts(second).missed(T0)
        second.rollback()


def test_writers_at_once_open_every_alert_and_queue_every_message_once(database: Database) -> None:
    with database.connect() as setup:
        Alerts(setup).webhook("ops")
    keys = [f"operation {number}" for number in range(20)]
    start = Barrier(4)

    def write(names: list[str]) -> list[int]:
        with database.connect() as connection:
            start.wait()
            return [Alerts(connection).found(T0, operation=name) for name in names]

    orders = [keys, keys[::-1], keys[10:] + keys[:10], keys]
    with ThreadPoolExecutor(4) as pool:
        ids = [set(found) for found in pool.map(write, orders)]
    assert all(found == ids[0] for found in ids)
    with database.connect() as connection:
        assert Alerts(connection).said() == ["ops opened"] * 20
        assert Alerts(connection).rows("SELECT count(*), max(episode) FROM performance_alerts") == [(20, 1)]
