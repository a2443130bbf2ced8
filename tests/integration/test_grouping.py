"""What a run queues: which alerts share an incident and a message, digests, and the figures a message compares."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from pggit_analytics.frames import ANOMALIES, CORRELATIONS, DEGRADATIONS, SLOW_SINCE, THRESHOLDS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_back import Findings, RunRecord, write_back

T0 = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

#: long after any clock of today, so that "never earlier than now" plays no part
AHEAD = datetime(2126, 3, 2, tzinfo=UTC)


class Runs:
    """Runs and what they leave behind, all inside one transaction that is never committed."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: str, *parameters: object) -> list[tuple]:
        return self.connection.execute(query, parameters).fetchall()

    def set(self, name: str, value: str) -> None:
        self.connection.execute("UPDATE analytics_settings SET value = %s WHERE name = %s", (value, name))

    def webhook(self, name: str = "ops", **delivery: str) -> int:
        """A webhook told of everything; ``delivery`` by alert type, immediate unless given."""
        ((webhook_id,),) = self.rows(
            "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', %s) RETURNING webhook_id",
            name,
        )
        self.connection.execute(
            "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id, delivery) "
            "SELECT t, s, %s, coalesce(%s::JSONB ->> t, 'immediate') "
            "FROM unnest(ARRAY['ANOMALY', 'DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED']) AS t, "
            "unnest(ARRAY['INFO', 'WARNING', 'CRITICAL']) AS s",
            (webhook_id, Jsonb(delivery)),
        )
        return webhook_id

    def run(
        self,
        as_of: datetime,
        *,
        slow: str = "",
        pairs: str = "",
        calls: tuple[tuple[int, str], ...] = (),
        over: str = "",
        slow_since: dict[str, datetime] | None = None,
        severity: str = "WARNING",
    ) -> None:
        """One run: ``slow`` names the degraded operations, ``pairs`` those that correlate as ``a-b``,
        ``over`` those over their threshold."""
        findings = Findings(
            ANOMALIES.frame([_call(metric_id, operation, as_of) for metric_id, operation in calls]),
            DEGRADATIONS.frame([_degradation(operation, as_of, severity) for operation in slow.split()]),
            CORRELATIONS.frame([_pair(*pair.split("-"), as_of) for pair in pairs.split()]),
            THRESHOLDS.frame([_over(operation, as_of) for operation in over.split()]),
            slow_since=SLOW_SINCE.frame(
                [{"operation_type": name, "slow_since": since} for name, since in (slow_since or {}).items()]
            ),
        )
        record = RunRecord("monitor_performance", as_of, as_of - 7 * DAY, as_of, 0, "1.0")
        write_back(self.connection, findings, record, notify=True)

    def groups(self) -> dict[str, str | None]:
        """The group of each alert, named ``type subject``."""
        return dict(
            self.rows(
                "SELECT alert_type || ' ' || coalesce("
                "CASE alert_type WHEN 'ANOMALY' THEN evidence ->> 'metric_id' END, "
                "(evidence ->> 'operation_type_1') || '-' || (evidence ->> 'operation_type_2'), operation_type), "
                "group_key FROM performance_alerts ORDER BY alert_id"
            )
        )

    def queued(self, column: str) -> list[Any]:
        query = f"SELECT {column} FROM alert_notification_queue ORDER BY notification_queue_id"
        return [value for (value,) in self.rows(query)]


def _call(metric_id: int, operation: str, as_of: datetime) -> dict[str, object]:
    return {
        "operation_type": operation,
        "metric_id": metric_id,
        "anomaly_type": "SPIKE",
        "severity": "WARNING",
        "duration_ms": 812.4,
        "baseline_p99_ms": None,
        "z_score": 5.1,
        "deviation_percent": 340.0,
        "degradation_percent": None,
        "alert_required": False,
        "detected_at": as_of,
    }


def _degradation(operation: str, as_of: datetime, severity: str) -> dict[str, object]:
    return {
        "operation_type": operation,
        "period_start": (as_of - 7 * DAY).date(),
        "period_end": as_of.date(),
        "p99_old_ms": 50.0,
        "p99_new_ms": 67.6,
        "degradation_percent": 35.2,
        "trend": "DEGRADING",
        "confidence": 0.9,
        "severity": severity,
        "detected_at": as_of,
    }


def _over(operation: str, as_of: datetime) -> dict[str, object]:
    return {
        "operation_type": operation,
        "metric_id": 1,
        "duration_ms": 240.0,
        "baseline_p99_ms": 50.0,
        "threshold_ms": 100.0,
        "exceeded_count": 3,
        "severity": "WARNING",
        "detected_at": as_of,
    }


def _pair(one: str, other: str, as_of: datetime) -> dict[str, object]:
    return {
        "operation_type_1": one,
        "operation_type_2": other,
        "correlation_coefficient": 0.9,
        "shared_minutes": 42,
        "shared_bottleneck": "LOCKS",
        "confidence": 0.7,
        "recommendation": "Look at the locks",
        "detected_at": as_of,
    }


@pytest.fixture
def runs(shared_database: Database) -> Iterator[Runs]:
    with shared_database.connect() as connection:
        yield Runs(connection)
        connection.rollback()


# --- incidents ------------------------------------------------------------------------------------------------------


def test_operations_joined_by_pairs_are_one_incident_and_a_lone_one_is_its_own(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="a b c d", pairs="a-b b-c")
    groups = runs.groups()
    ids = dict(runs.rows("SELECT operation_type, alert_id FROM performance_alerts WHERE alert_type = 'DEGRADATION'"))
    (first,) = {groups[name] for name in groups if name != "DEGRADATION d"}
    # the pairs of two slow operations are CRITICAL and so were raised first
    ((smallest,),) = runs.rows("SELECT min(alert_id) FROM performance_alerts")
    assert first == f"incident-{smallest}"
    assert groups["DEGRADATION d"] == f"incident-{ids['d']}"
    assert set(runs.queued("bundle_key")) == {f"group:{first}", f"group:incident-{ids['d']}"}
    assert len(runs.queued("bundle_key")) == 6


def test_a_message_names_the_incident_that_its_bundle_is_of(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="a b", pairs="a-b")
    assert runs.queued("'group:' || (message_body::JSONB ->> 'group_key') = bundle_key") == [True] * 3


def test_a_later_alert_of_a_joined_operation_joins_the_open_incident(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="a b", pairs="a-b")
    before = runs.groups()
    runs.run(T0 + MINUTE, slow="a b c", pairs="a-b b-c", calls=((7, "c"),))
    after = runs.groups()
    assert len(before) == 3
    assert len(after) == 6
    assert set(after.values()) == set(before.values())


def test_an_incident_that_is_joined_to_an_older_one_keeps_its_name_and_new_alerts_get_the_older(runs: Runs) -> None:
    runs.run(T0, slow="b")
    runs.run(T0 + MINUTE, slow="a b")
    older, newer = runs.groups()["DEGRADATION b"], runs.groups()["DEGRADATION a"]
    assert older != newer
    runs.run(T0 + 2 * MINUTE, slow="a b", pairs="a-b")
    groups = runs.groups()
    assert (groups["DEGRADATION b"], groups["DEGRADATION a"], groups["CORRELATION a-b"]) == (older, newer, older)


def test_once_an_incident_is_over_the_next_one_has_another_name(runs: Runs) -> None:
    runs.set("alert_resolve_after_runs", "1")
    runs.run(T0, slow="a")
    runs.run(T0 + MINUTE)
    runs.run(T0 + 2 * MINUTE, slow="a")
    keys = runs.rows("SELECT group_key FROM performance_alerts ORDER BY episode")
    assert len(set(keys)) == 2


def test_single_calls_of_operations_without_an_open_alert_share_one_message(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="slow", calls=((1, "a"), (2, "b"), (3, "a"), (4, "slow")))
    groups = runs.groups()
    assert {groups[f"ANOMALY {number}"] for number in (1, 2, 3)} == {"calls-20260302T120000Z"}
    assert groups["ANOMALY 4"] == groups["DEGRADATION slow"]
    assert sorted(runs.queued("bundle_key")).count("group:calls-20260302T120000Z") == 3


def test_calls_of_the_next_run_are_another_message(runs: Runs) -> None:
    runs.run(T0, calls=((1, "a"),))
    runs.run(T0 + MINUTE, calls=((1, "a"), (2, "a")))
    assert runs.groups() == {"ANOMALY 1": "calls-20260302T120000Z", "ANOMALY 2": "calls-20260302T120100Z"}


def test_the_same_run_again_groups_and_queues_nothing(runs: Runs) -> None:
    runs.webhook()
    found = {"slow": "a b", "pairs": "a-b", "calls": ((1, "a"), (2, "c"))}
    runs.run(T0, **found)
    before = runs.groups(), runs.queued("bundle_key || message_body")
    runs.run(T0, **found)
    assert (runs.groups(), runs.queued("bundle_key || message_body")) == before
    assert runs.rows("SELECT group_alerts(%s)", T0) == [(0,)]


def test_the_end_of_an_incident_is_bundled_as_its_beginning_was(runs: Runs) -> None:
    runs.webhook()
    runs.set("alert_resolve_after_runs", "1")
    runs.run(T0, slow="a b", pairs="a-b")
    runs.run(T0 + MINUTE)
    assert len(runs.queued("bundle_key")) == 6
    assert len(set(runs.queued("bundle_key"))) == 1


def test_an_alert_raised_outside_a_run_is_a_message_of_its_own(runs: Runs) -> None:
    runs.webhook()
    ((alert_id,),) = runs.rows("SELECT raise_alert('DEGRADATION', 'CRITICAL', 'a', 'key', '{}', p_as_of => %s)", T0)
    assert runs.groups() == {"DEGRADATION a": None}
    assert runs.queued("bundle_key") == [f"group:alert-{alert_id}"]


def test_what_has_begun_to_be_sent_is_left_as_it_is(runs: Runs) -> None:
    runs.webhook()
    ((alert_id,),) = runs.rows("SELECT raise_alert('DEGRADATION', 'CRITICAL', 'a', 'key', '{}', p_as_of => %s)", T0)
    runs.connection.execute("UPDATE alert_notification_queue SET lease_token = gen_random_uuid()")
    assert runs.rows("SELECT group_alerts(%s)", T0) == [(1,)]
    assert runs.queued("bundle_key") == [f"group:alert-{alert_id}"]


@pytest.mark.parametrize(("severity", "priority"), [("CRITICAL", 0), ("WARNING", 1), ("INFO", 2)])
def test_the_severity_is_the_priority(runs: Runs, severity: str, priority: int) -> None:
    runs.webhook()
    runs.run(T0, slow="a", severity=severity)
    assert runs.queued("priority") == [priority]


def test_a_chain_of_fifty_operations_is_one_group(runs: Runs) -> None:
    names = [f"o{number:02}" for number in range(50)]
    runs.run(T0, slow=" ".join(names), pairs=" ".join(f"{a}-{b}" for a, b in pairwise(names)))
    assert runs.rows("SELECT count(DISTINCT operation_type), count(DISTINCT group_name) FROM operation_groups()") == [
        (50, 1)
    ]
    assert len(set(runs.groups().values())) == 1


# --- digests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digest_time", "after", "expected"),
    [
        ("08:00", "2026-03-02 07:59:59.999999+00", "2026-03-02 08:00+00"),
        ("08:00", "2026-03-02 08:00+00", "2026-03-03 08:00+00"),
        ("08:00", "2026-03-02 23:59:59.999999+00", "2026-03-03 08:00+00"),
        ("08:00", "2026-03-03 00:00+00", "2026-03-03 08:00+00"),
        ("00:00", "2026-12-31 23:59+00", "2027-01-01 00:00+00"),
        ("00:00", "2027-01-01 00:00+00", "2027-01-02 00:00+00"),
        (" 23:59 ", "2026-03-02 23:58+00", "2026-03-02 23:59+00"),
        # 01:30 in Berlin on the day its clocks go forward is 00:30 UTC; the night has no other length in UTC
        ("02:30", "2026-03-29 01:30+01", "2026-03-29 02:30+00"),
        ("02:30", "2026-03-29 04:30+02", "2026-03-30 02:30+00"),
    ],
)
def test_the_next_digest_is_at_its_time_in_utc(runs: Runs, digest_time: str, after: str, expected: str) -> None:
    runs.connection.execute("SET LOCAL timezone TO 'Europe/Berlin'")
    runs.set("digest_time", digest_time)
    assert runs.rows("SELECT next_digest_at(%s) = %s::TIMESTAMPTZ", after, expected) == [(True,)]


@pytest.mark.parametrize("value", ["", "24:00", "8", "noon", "08:00+02", "08:60"])
def test_a_digest_time_that_is_none_is_refused_by_name(runs: Runs, value: str) -> None:
    runs.set("digest_time", value)
    with pytest.raises(errors.InvalidParameterValue, match="the setting digest_time is"):
        runs.rows("SELECT next_digest_at(now())")


def test_what_is_routed_to_the_digest_waits_for_it_in_one_bundle_a_day(runs: Runs) -> None:
    runs.webhook(ANOMALY="digest", DEGRADATION="digest")
    runs.run(AHEAD + 7 * HOUR, slow="a b", calls=((1, "a"), (2, "c")))
    runs.run(AHEAD + 8 * HOUR, slow="a b d")
    assert runs.queued("bundle_key") == ["digest:2126-03-02"] * 4 + ["digest:2126-03-03"]
    assert runs.queued("next_retry_at") == [AHEAD + 8 * HOUR] * 4 + [AHEAD + 32 * HOUR]


def test_routes_of_one_webhook_may_differ_and_so_may_webhooks(runs: Runs) -> None:
    runs.webhook("team", ANOMALY="digest")
    runs.webhook("pager")
    runs.run(AHEAD, slow="a", calls=((1, "a"),))
    query = """
        SELECT name, starts_with(bundle_key, 'digest:'), next_retry_at FROM alert_notification_queue
        JOIN performance_alerts USING (alert_id) JOIN alert_notification_webhooks USING (webhook_id)
        WHERE alert_type = 'ANOMALY' ORDER BY name
    """
    assert runs.rows(query) == [("pager", False, None), ("team", True, AHEAD + 8 * HOUR)]
    assert runs.queued("count(*) FILTER (WHERE next_retry_at IS NOT NULL) OVER ()") == [1] * 4


def test_the_end_waits_for_the_digest_when_the_beginning_did(runs: Runs) -> None:
    runs.webhook(DEGRADATION="digest")
    runs.set("alert_resolve_after_runs", "1")
    runs.run(AHEAD, slow="a")
    runs.connection.execute("DELETE FROM alert_notification_settings")
    runs.run(AHEAD + MINUTE)
    assert runs.queued("(message_body::JSONB ->> 'transition') || ' ' || bundle_key") == [
        "opened digest:2126-03-02",
        "resolved digest:2126-03-02",
    ]


def test_after_a_rise_that_was_told_at_once_so_is_the_end(runs: Runs) -> None:
    runs.webhook()
    runs.set("alert_resolve_after_runs", "1")
    runs.connection.execute("UPDATE alert_notification_settings SET delivery = 'digest' WHERE severity = 'WARNING'")
    runs.run(AHEAD, slow="a")
    runs.run(AHEAD + MINUTE, slow="a", severity="CRITICAL")
    runs.run(AHEAD + 2 * MINUTE)
    assert runs.queued("next_retry_at") == [AHEAD + 8 * HOUR, None, None]


def test_a_digest_about_the_past_is_not_due_before_now(runs: Runs) -> None:
    runs.webhook(DEGRADATION="digest")
    runs.run(T0, slow="a")
    query = "next_retry_at = next_digest_at(now()) AND next_retry_at > now()"
    assert runs.queued(query) == [True]


# --- figures --------------------------------------------------------------------------------------------------------


def timings(runs: Runs, operation: str, *durations_and_times: tuple[str, datetime]) -> None:
    for duration_ms, created_at in durations_and_times:
        runs.connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES (%s, %s, %s)",
            (operation, duration_ms, created_at),
        )


def facts(runs: Runs) -> list[dict[str, Any]]:
    return [body["facts"] for body in runs.queued("message_body::JSONB")]


def test_a_degradation_compares_the_baseline_with_the_second_half_of_its_period(runs: Runs) -> None:
    runs.webhook()
    middle = T0 - 84 * HOUR
    in_it = [("10", middle), ("20", T0 - HOUR), ("30", T0 - MINUTE), ("40", T0)]
    timings(runs, "a", ("999", middle - MINUTE), *in_it, ("888", T0 + MINUTE))
    timings(runs, "b", ("777", T0 - MINUTE))
    runs.connection.execute(
        "INSERT INTO performance_baselines (operation_type, sample_count, p50_microseconds, p99_microseconds) "
        "VALUES ('a', 1234, 4500, 9125)"
    )
    runs.run(T0, slow="a")
    # p50 at position 1.5, p99 at position 2.97 of 10, 20, 30, 40
    assert facts(runs) == [
        {
            "baseline": {"p50_ms": 4.5, "p99_ms": 9.125, "n": 1234},
            "now": {"p50_ms": 25.0, "p99_ms": 39.7, "n": 4},
        }
    ]


def test_a_single_call_is_compared_with_the_last_24_hours(runs: Runs) -> None:
    runs.webhook()
    timings(runs, "a", ("999", T0 - DAY - MINUTE), ("5", T0 - DAY), ("7", T0))
    runs.run(T0, calls=((1, "a"), (2, "a")))
    # p99 at position 0.99 of 5, 7
    assert facts(runs) == [{"now": {"p50_ms": 6.0, "p99_ms": 6.98, "n": 2}}] * 2


def test_a_degradation_and_a_call_of_one_operation_in_one_run_look_at_their_own_windows(runs: Runs) -> None:
    runs.webhook()
    timings(runs, "a", ("30", T0 - 2 * DAY), ("10", T0))
    runs.run(T0, slow="a", calls=((1, "a"),))
    query = "(message_body::JSONB ->> 'alert_type') || (message_body::JSONB #>> '{facts,now,n}')"
    assert sorted(runs.queued(query)) == ["ANOMALY1", "DEGRADATION2"]


def test_a_later_message_tells_the_figures_of_its_own_moment(runs: Runs) -> None:
    runs.webhook()
    runs.set("alert_resolve_after_runs", "1")
    timings(runs, "a", ("30", T0 - HOUR), ("10", T0 + 90 * HOUR))
    runs.run(T0, slow="a")
    runs.run(T0 + 90 * HOUR)
    assert [each["now"]["p50_ms"] for each in facts(runs)] == [30.0, 10.0]


def test_timings_of_another_source_and_no_baseline_leave_nothing_to_compare(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="elsewhere", calls=((1, "elsewhere"),))
    assert facts(runs) == [{}, {}]


def test_a_baseline_of_before_percentiles_were_kept_leaves_out_what_it_does_not_know(runs: Runs) -> None:
    runs.webhook()
    runs.connection.execute(
        "INSERT INTO performance_baselines (operation_type, sample_count, p99_microseconds, is_active, valid_to) "
        "VALUES ('a', 10, 2000, FALSE, %s)",
        (T0 + MINUTE,),
    )
    runs.run(T0, slow="a")
    assert facts(runs) == [{"baseline": {"p99_ms": 2, "n": 10}}]


def test_a_pair_compares_nothing(runs: Runs) -> None:
    runs.webhook()
    timings(runs, "a", ("5", T0))
    runs.run(T0, pairs="a-b")
    assert facts(runs) == [{}]


def test_since_when_an_operation_is_slow_is_evidence_where_it_is_known(runs: Runs) -> None:
    runs.webhook()
    runs.connection.execute("SET LOCAL timezone TO 'America/New_York'")
    runs.run(T0, slow="a b", slow_since={"a": datetime(2026, 2, 27, 6, tzinfo=UTC)})
    assert runs.rows(
        "SELECT operation_type, evidence -> 'slow_since', evidence ? 'slow_since' FROM performance_alerts ORDER BY 1"
    ) == [("a", "2026-02-27T06:00:00.000000Z", True), ("b", None, False)]
    assert runs.rows("SELECT period_start FROM performance_degradations") == [(date(2026, 2, 23),)] * 2


def test_operations_over_their_threshold_that_did_not_get_slow_are_one_message(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, slow="commit", calls=((7, "merge"),), over="commit merge rollback get_objects")
    groups = runs.groups()
    calls = "calls-20260302T120000Z"
    assert groups["THRESHOLD_EXCEEDED commit"] == groups["DEGRADATION commit"] != calls
    assert {groups[f"THRESHOLD_EXCEEDED {name}"] for name in ("merge", "rollback", "get_objects")} == {calls}
    assert groups["ANOMALY 7"] == calls
    assert len(set(runs.queued("bundle_key"))) == 2


def test_an_operation_that_was_over_its_threshold_and_gets_slow_is_an_incident_of_its_own(runs: Runs) -> None:
    runs.webhook()
    runs.run(T0, over="merge")
    runs.run(T0 + HOUR, over="merge", slow="merge")
    groups = runs.groups()
    assert groups["THRESHOLD_EXCEEDED merge"] == "calls-20260302T120000Z"
    assert str(groups["DEGRADATION merge"]).startswith("incident-")
