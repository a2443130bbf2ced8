"""The rules of the outbox: who gets which message when, and what an outcome changes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from psycopg import errors

from pggit_analytics.postgres import outbox
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.outbox import Claimed
from tests.outboxes import HOUR, MINUTE, SECOND, Outbox


@pytest.fixture
def box(shared_database: Database) -> Iterator[Outbox]:
    with shared_database.connect() as connection:
        yield Outbox(connection)
        connection.rollback()


# --- what is claimed, and in which order ----------------------------------------------------------------------------


def test_a_claim_says_all_that_sending_needs(box: Outbox) -> None:
    webhook_id = box.webhook(
        "room",
        "mattermost",
        channel_or_recipient="#ops",
        webhook_url_encrypted=b"\x01",
        webhook_url_iv=b"\x02",
        encryption_key_id="first",
        allow_private=True,
    )
    queue_id = box.queue(webhook_id, "opened", priority=0, retry_count=2)
    claimed = box.claim_one(lease_seconds=90)
    assert claimed == Claimed(
        lease_token=claimed.lease_token,
        leased_until=claimed.claimed_at + 90 * SECOND,
        claimed_at=claimed.claimed_at,
        webhook_id=webhook_id,
        webhook_type="mattermost",
        webhook_name="room",
        channel_or_recipient="#ops",
        webhook_url_encrypted=b"\x01",
        webhook_url_iv=b"\x02",
        encryption_key_id="first",
        allow_private=True,
        bundle_key=None,
        queue_ids=[queue_id],
        message_bodies=['{"text": "opened"}'],
        priority=0,
        retry_count=2,
        first_queued_at=box.row(queue_id, "created_at")[0],
        is_still_open=False,
    )
    leased = box.row(queue_id, "lease_token, leased_until, next_retry_at, status, retry_count")
    assert leased == (claimed.lease_token, claimed.leased_until, claimed.leased_until, "pending", 2)
    assert "#ops" not in repr(claimed)


def test_the_most_urgent_goes_first_then_what_was_due_first(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    info = box.queue(one, "a", priority=2, created_at="2026-03-01+00")
    late = box.queue(two, "b", created_at="2026-03-03+00")
    early = box.queue(one, "c", created_at="2026-03-02+00")
    retried = box.queue(one, "d", created_at="2026-03-01+00", next_retry_at="2026-03-04+00")
    critical = box.queue(two, "e", priority=0, created_at="2026-03-05+00")
    assert box.claimed_ids() == [[critical], [early], [late], [retried], [info]]


def test_each_webhook_gets_its_share(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    rows = {webhook: [box.queue(webhook, str(number)) for number in range(3)] for webhook in (one, two)}
    assert sorted(box.claimed_ids(limit=2)) == sorted([[row] for row in rows[one][:2] + rows[two][:2]])
    assert sorted(box.claimed_ids(limit=2)) == sorted([[rows[one][2]], [rows[two][2]]])
    assert box.claim() == []


def test_what_is_not_due_or_not_pending_stays(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.queue(webhook_id, "later", next_retry_at="2999-01-01+00")
    box.queue(webhook_id, "done", status="delivered")
    box.queue(webhook_id, "given up", status="failed")
    assert box.claim() == []


def test_busy_disabled_and_foreign_webhooks_are_left_alone(box: Outbox) -> None:
    busy, disabled = box.webhook("busy"), box.webhook("disabled", enabled=False)
    old_key, plain = box.webhook("old", "email", encryption_key_id="old"), box.webhook("plain")
    mine = box.webhook("mine", "pagerduty", encryption_key_id="new")
    rows = {webhook: box.queue(webhook) for webhook in (busy, disabled, old_key, plain, mine)}
    assert box.claimed_ids(key_id="new", busy_webhooks={busy}, webhook_types=["slack", "pagerduty"]) == [[rows[mine]]]
    assert box.claimed_ids(key_id="new", busy_webhooks={busy}) == [[rows[plain]]]
    assert box.claimed_ids(busy_webhooks={busy}) == [[rows[old_key]]]
    assert box.claimed_ids() == [[rows[busy]]]
    box.connection.execute("UPDATE alert_notification_webhooks SET enabled = TRUE")
    assert box.claimed_ids() == [[rows[disabled]]]


# --- bundles --------------------------------------------------------------------------------------------------------


def test_rows_of_a_bundle_go_together_in_order(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    opened = box.queue(one, "opened", bundle_key="group:a", created_at="2026-03-02+00")
    other = box.queue(two, "opened", bundle_key="group:a", created_at="2026-03-02 01:00+00")
    alone = box.queue(one, "alone", created_at="2026-03-02 02:00+00")
    raised = box.queue(one, "severity:CRITICAL", bundle_key="group:a", priority=0, retry_count=1)
    bundle, second, third = box.claim()
    assert (bundle.queue_ids, bundle.priority, bundle.retry_count) == ([opened, raised], 0, 1)
    assert bundle.message_bodies == ['{"text": "opened"}', '{"text": "severity:CRITICAL"}']
    assert bundle.bundle_key == "group:a"
    assert bundle.first_queued_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert not bundle.is_digest
    assert [second.queue_ids, third.queue_ids] == [[other], [alone]]


def test_an_end_takes_the_opening_along_that_waits_for_its_next_attempt(box: Outbox) -> None:
    webhook_id = box.webhook()
    opened = box.queue(webhook_id, "opened", bundle_key="group:a")
    box.finish(box.claim_one(), "retry")
    assert box.claim() == []
    resolved = box.queue(webhook_id, "resolved", bundle_key="group:a")
    assert box.claimed_ids() == [[opened, resolved]]


def test_a_digest_goes_when_it_is_due(box: Outbox) -> None:
    webhook_id = box.webhook()
    rows = [
        box.queue(webhook_id, str(number), bundle_key="digest:2999-01-01", next_retry_at="2999-01-01 08:00+00")
        for number in range(2)
    ]
    assert box.claim() == []
    box.connection.execute("UPDATE alert_notification_queue SET next_retry_at = '2026-03-02 08:00+00'")
    claimed = box.claim_one()
    assert claimed.is_digest
    assert claimed.queue_ids == rows


def test_a_bundle_of_which_a_part_is_being_sent_waits(box: Outbox) -> None:
    webhook_id = box.webhook()
    first = box.queue(webhook_id, "opened", bundle_key="group:a")
    claimed = box.claim_one()
    second = box.queue(webhook_id, "resolved", bundle_key="group:a")
    alone = box.queue(webhook_id, "alone")
    assert box.claimed_ids() == [[alone]]
    box.finish(claimed, "delivered")
    assert box.claimed_ids() == [[second]]
    assert box.row(first) == ("delivered", 0)


def test_a_bundle_is_told_in_messages_of_a_thousand(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.connection.execute(
        "INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, bundle_key) "
        "SELECT %s, '{}', n::TEXT, 'calls' FROM generate_series(1, 1001) AS n",
        (webhook_id,),
    )
    first = box.claim_one()
    assert len(first.queue_ids) == 1000
    assert box.claim() == []
    box.finish(first, "delivered")
    assert len(box.claim_one().queue_ids) == 1
    assert len(box.log()) == 1000
    assert box.value("SELECT count(DISTINCT attempt_id) FROM alert_notification_log") == 1


@pytest.mark.parametrize(
    ("alerts", "is_open"),
    [
        ({"said": True}, False),
        ({"said": False}, True),
        ({"said": True, "told": False}, True),
        ({"said": True, "told": True}, False),
        ({"said": True, "untold": False}, False),
        ({"said": True, "stranger": False}, False),
    ],
)
def test_a_message_knows_whether_something_of_its_incident_is_open(
    box: Outbox, alerts: dict[str, bool], is_open: bool
) -> None:
    """The row is about 'said'; 'told' and 'untold' are of its group; 'stranger' of another. Values: is it resolved."""
    webhook_id, elsewhere = box.webhook(), box.webhook("elsewhere", enabled=False)
    groups = {"said": "g", "told": "g", "untold": "g", "stranger": "h"}
    ids = {name: box.alert(name, resolved=is_resolved, group_key=groups[name]) for name, is_resolved in alerts.items()}
    for name in {"told", "stranger"} & ids.keys():
        box.queue(webhook_id, "opened", alert_id=ids[name], status="delivered")
    if "untold" in ids:
        box.queue(elsewhere, "opened", alert_id=ids["untold"], status="delivered")
    box.queue(webhook_id, "resolved", alert_id=ids["said"])
    assert box.claim_one().is_still_open is is_open


# --- leases ---------------------------------------------------------------------------------------------------------


def test_what_is_not_finished_in_time_is_claimed_again_and_the_late_outcome_only_logged(box: Outbox) -> None:
    webhook_id = box.webhook()
    queue_id = box.queue(webhook_id)
    slow = box.claim_one(lease_seconds=600)
    box.time_passes(9 * MINUTE)
    assert box.claim() == []
    box.time_passes(MINUTE)
    quick = box.claim_one()
    assert quick.queue_ids == slow.queue_ids
    late = box.finish(slow, "delivered", http_status=200)
    assert (late.status, late.next_retry_at, late.breaker_changed) == ("lease_lost", None, False)
    assert box.row(queue_id, "status, lease_token") == ("pending", quick.lease_token)
    assert box.finish(quick, "delivered").status == "delivered"
    assert box.rows("SELECT outcome, webhook_id, attempt_id FROM alert_notification_log ORDER BY log_id") == [
        ("late_delivered", webhook_id, slow.lease_token),
        ("delivered", webhook_id, quick.lease_token),
    ]


def test_an_expired_lease_that_nobody_claimed_still_holds(box: Outbox) -> None:
    box.queue(box.webhook())
    claimed = box.claim_one()
    box.time_passes(HOUR)
    assert box.finish(claimed, "delivered").status == "delivered"


def test_an_outcome_told_twice_is_logged_once(box: Outbox) -> None:
    box.queue(box.webhook())
    claimed = box.claim_one()
    assert box.finish(claimed, "delivered").status == "delivered"
    assert box.finish(claimed, "delivered").status == "lease_lost"
    assert box.log() == ["delivered"]


def test_a_lost_message_that_was_released_leaves_no_trace(box: Outbox) -> None:
    box.queue(box.webhook())
    slow = box.claim_one()
    box.time_passes(2 * MINUTE)
    box.claim_one()
    assert box.finish(slow, "released").status == "lease_lost"
    assert box.log() == []


def test_a_renewed_lease_is_kept_and_a_lost_one_is_not_among_them(box: Outbox) -> None:
    webhook_id = box.webhook()
    kept, lost = box.queue(webhook_id, "kept"), box.queue(webhook_id, "lost")
    first, second = box.claim(lease_seconds=60)
    assert (first.queue_ids, second.queue_ids) == ([kept], [lost])
    box.finish(second, "delivered")
    assert outbox.renew(box.connection, [first.lease_token, second.lease_token], 600) == {first.lease_token}
    leased_until, due_at = box.row(kept, "leased_until, next_retry_at")
    assert leased_until == due_at
    assert leased_until - first.leased_until >= 540 * SECOND
    box.time_passes(2 * MINUTE)
    assert box.claim() == []


def test_a_row_that_another_transaction_holds_keeps_its_whole_bundle_back(database: Database) -> None:
    with database.connect(autocommit=True) as one, database.connect() as two:
        box = Outbox(one)
        webhook_id = box.webhook()
        bundle = [box.queue(webhook_id, name, bundle_key="group:a") for name in ("opened", "resolved")]
        alone = box.queue(webhook_id, "alone")
        two.execute("SELECT FROM alert_notification_queue WHERE notification_queue_id = %s FOR UPDATE", (bundle[1],))
        assert box.claimed_ids() == [[alone]]
        two.rollback()
        assert box.claimed_ids() == [bundle]


def test_a_claim_waits_until_the_one_before_is_committed(database: Database) -> None:
    with database.connect() as one, database.connect() as two:
        Outbox(one).queue(Outbox(one).webhook())
        one.commit()
        one.execute("SELECT FROM claim_notifications()")
        two.execute("SET LOCAL lock_timeout TO '20ms'")
        with pytest.raises(errors.LockNotAvailable):
            two.execute("SELECT FROM claim_notifications()")
        two.rollback()
        one.commit()
        assert Outbox(two).claim() == []


def test_workers_at_once_send_every_row_once_and_split_no_bundle(database: Database) -> None:
    with database.connect() as setup:
        box = Outbox(setup)
        for name in ("one", "two"):
            webhook_id = box.webhook(name)
            for number in range(120):
                box.queue(webhook_id, str(number), bundle_key=f"group:{number % 40}", priority=number % 3)
    start = Barrier(4)

    def work(_: int) -> list[Claimed]:
        done = []
        with database.connect(autocommit=True) as connection:
            worker = Outbox(connection)
            start.wait()
            while messages := worker.claim(limit=3):
                for message in messages:
                    assert worker.finish(message, "delivered").status == "delivered"
                done += messages
        return done

    with ThreadPoolExecutor(4) as pool:
        messages = [message for done in pool.map(work, range(4)) for message in done]
    assert len(messages) == 80
    assert all(len(message.queue_ids) == 3 for message in messages)
    assert len({queue_id for message in messages for queue_id in message.queue_ids}) == 240
    with database.connect() as connection:
        assert Outbox(connection).log() == ["delivered"] * 240


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_a_delivery_is_final_and_logged(box: Outbox) -> None:
    webhook_id = box.webhook()
    queue_id = box.queue(webhook_id)
    claimed = box.claim_one()
    finished = box.finish(claimed, "delivered", http_status=200)
    assert (finished.status, finished.next_retry_at, finished.breaker_changed) == ("delivered", None, False)
    assert box.row(queue_id, "status, retry_count, next_retry_at, lease_token, leased_until, last_error") == (
        "delivered",
        0,
        None,
        None,
        None,
        None,
    )
    assert box.row(queue_id, "delivered_at") == (box.finished_at(),)
    assert box.rows(
        "SELECT notification_queue_id, duration_ms, http_status, outcome, error, attempt_id, webhook_id "
        "FROM alert_notification_log"
    ) == [(queue_id, 250, 200, "delivered", None, claimed.lease_token, webhook_id)]
    assert box.rows("SELECT FROM webhook_delivery_state") == []


def test_a_failed_attempt_waits_twice_as_long_each_time_and_the_third_is_the_last(box: Outbox) -> None:
    box.connection.execute("UPDATE analytics_settings SET value = '99' WHERE name = 'breaker_failures'")
    queue_id = box.queue(box.webhook())
    for number, minutes in enumerate((1, 2), 1):
        finished = box.finish(box.claim_one(), "retry", http_status=500, error=f"failure {number}")
        assert finished.status == "pending"
        assert finished.next_retry_at is not None
        assert minutes * MINUTE <= finished.next_retry_at - box.finished_at() <= 1.1 * minutes * MINUTE
        assert box.row(queue_id, "retry_count, last_error") == (number, f"failure {number}")
        box.time_passes(0.5 * minutes * MINUTE)
        assert box.claim() == []
        box.time_passes(0.6 * minutes * MINUTE)
    finished = box.finish(box.claim_one(), "retry", error="x" * 501)
    assert (finished.status, finished.next_retry_at) == ("failed", None)
    assert box.row(queue_id, "status, retry_count, last_error") == ("failed", 3, "x" * 500)
    assert box.log() == ["retry"] * 3
    assert box.claim() == []


def test_the_number_of_attempts_is_the_callers(box: Outbox) -> None:
    queue_id = box.queue(box.webhook())
    assert box.finish(box.claim_one(), "retry", max_retries=1).status == "failed"
    assert box.row(queue_id) == ("failed", 1)


@pytest.mark.parametrize(
    ("retries", "priority", "jitter", "seconds"),
    [
        (0, 1, 0.0, 60),
        (0, 1, 1.0, 66),
        (3, 2, 0.5, 504),
        (20, 1, 0.0, 62914560),
        (99, 1, 0.0, 62914560),
        (3, 0, 1.0, 528),
        (4, 0, 0.0, 900),
        (99, 0, 1.0, 900),
    ],
)
def test_the_wait_doubles_and_that_of_critical_is_capped(
    box: Outbox, retries: int, priority: int, jitter: float, seconds: int
) -> None:
    assert box.value("SELECT retry_delay(%s, %s::SMALLINT, %s)", retries, priority, jitter) == seconds * SECOND


def test_critical_goes_on_for_a_day(box: Outbox) -> None:
    box.connection.execute("UPDATE analytics_settings SET value = '99' WHERE name = 'breaker_failures'")
    queue_id = box.queue(box.webhook(), priority=0, retry_count=7)
    box.time_passes(24 * HOUR - MINUTE)
    finished = box.finish(box.claim_one(), "retry")
    assert finished.status == "pending"
    assert finished.next_retry_at is not None
    assert finished.next_retry_at - box.finished_at() == 15 * MINUTE
    box.time_passes(15 * MINUTE)
    assert box.finish(box.claim_one(), "retry").status == "failed"
    assert box.row(queue_id) == ("failed", 9)


def test_critical_that_was_put_back_has_another_day(box: Outbox) -> None:
    queue_id = box.queue(box.webhook(), priority=0, status="failed", retry_count=9, last_error="gone")
    box.time_passes(72 * HOUR)
    assert outbox.redrive(box.connection) == 1
    box.connection.execute("UPDATE alert_notification_queue SET retry_count = 2")
    assert box.finish(box.claim_one(), "retry").status == "pending"
    box.time_passes(24 * HOUR)
    assert box.finish(box.claim_one(), "retry").status == "failed"
    assert box.row(queue_id) == ("failed", 4)


def test_of_a_bundle_the_row_without_attempts_left_fails_and_the_critical_one_goes_on(box: Outbox) -> None:
    webhook_id = box.webhook()
    warning = box.queue(webhook_id, "opened", bundle_key="group:a", retry_count=2)
    critical = box.queue(webhook_id, "severity:CRITICAL", bundle_key="group:a", priority=0, retry_count=2)
    finished = box.finish(box.claim_one(), "retry")
    assert finished.status == "failed"
    assert finished.next_retry_at == box.row(critical, "next_retry_at")[0]
    assert (box.row(warning), box.row(critical)) == (("failed", 3), ("pending", 3))


@pytest.mark.parametrize(("asked", "seconds"), [(None, 60), (0, 1), (90.5, 90.5), (86400, 3600)])
def test_a_rate_limit_holds_the_whole_webhook_back_and_is_no_attempt(
    box: Outbox, asked: float | None, seconds: float
) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    queue_id, behind, other = box.queue(one, "a"), box.queue(one, "b"), box.queue(two)
    limited, unlimited = sorted(box.claim(limit=1), key=lambda message: message.webhook_id)
    finished = box.finish(limited, "rate_limited", http_status=429, retry_after_seconds=asked)
    assert finished.status == "pending"
    assert box.state(one, "blocked_until") == finished.next_retry_at
    assert finished.next_retry_at == box.finished_at() + seconds * SECOND
    assert box.row(queue_id) == ("pending", 0)
    assert box.state(one, "consecutive_failures") == 0
    assert box.log() == ["rate_limited"]
    assert unlimited.queue_ids == [other]
    assert box.finish(unlimited, "delivered").status == "delivered"
    assert box.claim() == []
    box.time_passes(timedelta(seconds=seconds))
    assert sorted(box.claimed_ids()) == sorted([[queue_id], [behind]])


def test_an_overloaded_channel_that_asks_for_a_pause_gets_it_for_all_messages(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.queue(webhook_id, "a")
    behind = box.queue(webhook_id, "b")
    finished = box.finish(box.claim(limit=1)[0], "retry", http_status=503, retry_after_seconds=90)
    assert finished.next_retry_at == box.finished_at() + 90 * SECOND
    assert box.state(webhook_id, "blocked_until") == finished.next_retry_at
    assert box.claim() == []
    box.time_passes(90 * SECOND)
    assert [behind] in box.claimed_ids()


def test_a_shorter_pause_does_not_end_a_longer_one(box: Outbox) -> None:
    webhook_id = box.webhook()
    for name in ("a", "b"):
        box.queue(webhook_id, name)
    first, second = box.claim()
    until = box.finish(first, "rate_limited", retry_after_seconds=600).next_retry_at
    box.finish(second, "rate_limited", retry_after_seconds=1)
    assert box.state(webhook_id, "blocked_until") == until


@pytest.mark.parametrize("outcome", ["rejected", "poison"])
def test_what_cannot_work_fails_at_once(box: Outbox, outcome: Any) -> None:
    queue_id = box.queue(box.webhook(), priority=0)
    assert box.finish(box.claim_one(), outcome, http_status=400, error="no").status == "failed"
    assert box.row(queue_id, "status, retry_count, last_error") == ("failed", 0, "no")
    assert box.log() == [outcome]


def test_a_released_message_is_due_in_its_old_place(box: Outbox) -> None:
    webhook_id = box.webhook()
    first = box.queue(webhook_id, "a")
    claimed = box.claim_one()
    box.queue(webhook_id, "b")
    finished = box.finish(claimed, "released", duration_ms=None)
    assert (finished.status, finished.next_retry_at) == ("pending", None)
    assert box.row(first, "status, retry_count, lease_token, leased_until") == ("pending", 0, None, None)
    assert box.log() == []
    assert box.claimed_ids(limit=1) == [[first]]


def test_what_failed_is_put_back_by_webhook_and_by_row(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    failed = {"status": "failed", "retry_count": 3, "last_error": "refused"}
    first, second, third = box.queue(one, "a", **failed), box.queue(one, "b", **failed), box.queue(two, "c", **failed)
    delivered = box.queue(one, "d", status="delivered")
    assert outbox.redrive(box.connection, webhook_id=one, queue_ids=[second, third, delivered]) == 1
    assert box.row(second, "status, retry_count, last_error, redriven_at = next_retry_at") == (
        "pending",
        0,
        "refused",
        True,
    )
    assert box.claimed_ids() == [[second]]
    assert outbox.redrive(box.connection, webhook_id=two) == 1
    assert outbox.redrive(box.connection, queue_ids=[]) == 0
    assert outbox.redrive(box.connection) == 1
    assert sorted(box.claimed_ids()) == sorted([[first], [third]])
    assert box.row(delivered, "status") == ("delivered",)


# --- pace and breaker -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhook_type", "min_interval_ms", "interval"),
    [("slack", None, SECOND), ("slack", 250, 0.25 * SECOND), ("email", 5000, 5 * SECOND)],
)
def test_a_webhook_with_a_least_interval_gets_one_message_at_a_time(
    box: Outbox, webhook_type: str, min_interval_ms: int | None, interval: timedelta
) -> None:
    webhook_id = box.webhook("slow", webhook_type, min_interval_ms=min_interval_ms)
    rows = [box.queue(webhook_id, str(number)) for number in range(3)]
    for row in rows:
        claimed = box.claim_one()
        assert claimed.queue_ids == [row]
        assert box.state(webhook_id, "next_send_at") == claimed.claimed_at + interval
        box.connection.execute("UPDATE webhook_delivery_state SET next_send_at = '2999-01-01+00'")
        assert box.claim() == []
        box.connection.execute("UPDATE webhook_delivery_state SET next_send_at = '2026-01-01+00'")


@pytest.mark.parametrize(("webhook_type", "min_interval_ms"), [("slack", 0), ("webhook", None), ("email", None)])
def test_without_a_least_interval_messages_go_as_they_come(
    box: Outbox, webhook_type: str, min_interval_ms: int | None
) -> None:
    webhook_id = box.webhook("quick", webhook_type, min_interval_ms=min_interval_ms)
    for number in range(3):
        box.queue(webhook_id, str(number))
    assert len(box.claim()) == 3


def fail(box: Outbox, webhook_id: int, times: int, **arguments: Any) -> list[bool]:
    """Attempts that fail one after the other, each with a new message; which of them changed the breaker."""
    changes = []
    for _ in range(times):
        number = box.value("SELECT count(*) FROM alert_notification_queue")
        box.queue(webhook_id, f"failing {number}")
        message = next(m for m in box.claim() if m.webhook_id == webhook_id)
        changes.append(box.finish(message, **{"outcome": "retry", "max_retries": 1, **arguments}).breaker_changed)
    return changes


def test_five_failures_in_a_row_open_the_breaker_and_single_probes_find_out_when_it_is_well(box: Outbox) -> None:
    webhook_id = box.webhook()
    assert fail(box, webhook_id, 5) == [False, False, False, False, True]
    assert box.state(webhook_id, "breaker_opened_at") == box.finished_at()
    opened_at = box.finished_at()
    for number in range(3):
        box.queue(webhook_id, f"waiting {number}")
    for minutes in (1, 2, 4, 8, 15, 15):
        assert box.state(webhook_id, "breaker_probe_at") - box.finished_at() == minutes * MINUTE
        assert box.claim() == []
        box.time_passes(minutes * MINUTE)
        opened_at -= minutes * MINUTE
        probe = box.claim_one()
        assert box.claim() == []
        assert box.finish(probe, "retry", max_retries=20).breaker_changed is False
        assert box.state(webhook_id, "breaker_opened_at") == opened_at
    box.time_passes(15 * MINUTE)
    assert box.finish(box.claim_one(), "delivered").breaker_changed is True
    assert box.rows(
        "SELECT consecutive_failures, breaker_opened_at, breaker_probe_at, breaker_probe_token "
        "FROM webhook_delivery_state"
    ) == [(0, None, None, None)]
    box.time_passes(HOUR)
    assert len(box.claim()) == 2


def test_a_delivery_starts_the_count_again(box: Outbox) -> None:
    webhook_id = box.webhook()
    fail(box, webhook_id, 4)
    box.queue(webhook_id)
    assert box.finish(box.claim_one(), "delivered").breaker_changed is False
    assert fail(box, webhook_id, 5) == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("outcome", "http_status", "counts"),
    [
        ("retry", 500, True),
        ("retry", None, True),
        ("rejected", None, True),
        ("rejected", 401, True),
        ("rejected", 403, True),
        ("rejected", 404, True),
        ("rejected", 405, True),
        ("rejected", 410, True),
        ("rejected", 400, False),
        ("rejected", 302, False),
        ("rejected", 413, False),
        ("rate_limited", 429, False),
        ("poison", None, False),
        ("released", None, False),
    ],
)
def test_only_what_fails_for_the_channels_sake_counts(
    box: Outbox, outcome: str, http_status: int | None, counts: bool
) -> None:
    webhook_id = box.webhook()
    fail(box, webhook_id, 4)
    changed = fail(box, webhook_id, 1, outcome=outcome, http_status=http_status)
    assert changed == [counts]
    assert box.state(webhook_id, "consecutive_failures") == (5 if counts else 4)


def test_messages_under_way_when_the_breaker_opens_neither_count_nor_probe(box: Outbox) -> None:
    webhook_id = box.webhook()
    for number in range(7):
        box.queue(webhook_id, str(number))
    messages = box.claim()
    changes = [box.finish(message, "retry").breaker_changed for message in messages]
    assert changes == [False] * 4 + [True] + [False] * 2
    assert box.state(webhook_id, "consecutive_failures") == 5
    assert box.state(webhook_id, "breaker_probe_at - breaker_opened_at") == MINUTE


def test_a_message_under_way_that_arrives_closes_the_breaker(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.queue(webhook_id, "slow")
    slow = box.claim_one()
    fail(box, webhook_id, 5)
    assert box.finish(slow, "delivered").breaker_changed is True


@pytest.mark.parametrize(("outcome", "http_status"), [("rejected", 400), ("poison", None), ("released", None)])
def test_a_probe_that_says_nothing_about_the_channel_is_followed_by_another(
    box: Outbox, outcome: Any, http_status: int | None
) -> None:
    webhook_id = box.webhook()
    fail(box, webhook_id, 5)
    box.queue(webhook_id, "probe")
    box.queue(webhook_id, "next")
    box.time_passes(MINUTE)
    assert box.finish(box.claim_one(), outcome, http_status=http_status).breaker_changed is False
    assert box.claim_one().webhook_id == webhook_id
    assert box.claim() == []


def test_a_probe_whose_sender_died_is_followed_by_another_and_a_renewed_one_is_not(box: Outbox) -> None:
    webhook_id = box.webhook()
    fail(box, webhook_id, 5)
    box.queue(webhook_id, "probe")
    after = box.queue(webhook_id, "next")
    box.time_passes(MINUTE)
    probe = box.claim_one(lease_seconds=60)
    outbox.renew(box.connection, [probe.lease_token], 120)
    box.time_passes(110 * SECOND)
    assert box.claim() == []
    box.time_passes(10 * SECOND)
    assert box.claimed_ids() == [[after]]
    box.finish(probe, "retry")
    assert box.state(webhook_id, "consecutive_failures") == 5


def test_a_breaker_does_not_hold_back_other_webhooks(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    fail(box, one, 5)
    box.queue(one)
    other = box.queue(two)
    assert box.claimed_ids() == [[other]]


def test_the_breaker_is_as_patient_as_it_is_set(box: Outbox) -> None:
    box.connection.execute("UPDATE analytics_settings SET value = '2' WHERE name = 'breaker_failures'")
    box.connection.execute("UPDATE analytics_settings SET value = '30 seconds' WHERE name = 'breaker_max_pause'")
    webhook_id = box.webhook()
    assert fail(box, webhook_id, 2) == [False, True]
    assert box.state(webhook_id, "breaker_probe_at - breaker_opened_at") == 30 * SECOND


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("breaker_failures", "0", "the setting breaker_failures is '0', expected a whole number from 1"),
        ("breaker_failures", "five", "the setting breaker_failures is 'five'"),
        ("breaker_failures", "", "the setting breaker_failures is ''"),
        ("breaker_max_pause", "", "the setting breaker_max_pause is empty"),
        ("breaker_max_pause", "-1 minute", "the setting breaker_max_pause is '-1 minute'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_before_anything_is_sent(
    box: Outbox, name: str, value: str, message: str
) -> None:
    queue_id = box.queue(box.webhook())
    box.connection.execute("UPDATE analytics_settings SET value = %s WHERE name = %s", (value, name))
    with pytest.raises(errors.InvalidParameterValue, match=message):
        box.claim()
    assert box.row(queue_id, "lease_token") == (None,)


# --- silence --------------------------------------------------------------------------------------------------------

#: a Monday
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def snooze(box: Outbox, until: object, operation: str | None = None, alert_type: str | None = None) -> None:
    box.connection.execute(
        "INSERT INTO alert_snooze (operation_type, alert_type, snooze_until) VALUES (%s, %s, %s)",
        (operation, alert_type, until),
    )


def blackout(box: Outbox, start_time: str, duration: str, **columns: object) -> None:
    names = ["start_time", "duration", *columns]
    box.connection.execute(
        f"INSERT INTO alert_blackouts ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",
        (start_time, duration, *columns.values()),
    )


def silence(box: Outbox, alert_id: int, webhook_id: int, at: datetime) -> datetime | None:
    return box.value("SELECT silenced_until(%s, %s, %s)", alert_id, webhook_id, at)


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/St_Johns"])
def zoned(box: Outbox, request: pytest.FixtureRequest) -> Outbox:
    box.connection.execute("SELECT set_config('TimeZone', %s, TRUE)", (request.param,))
    return box


@pytest.mark.parametrize(
    ("window", "at", "until"),
    [
        # every night over midnight
        (("22:00", "8 hours", None), MONDAY + 21 * HOUR, None),
        (("22:00", "8 hours", None), MONDAY + 22 * HOUR, MONDAY + 30 * HOUR),
        (("22:00", "8 hours", None), MONDAY + 5 * HOUR, MONDAY + 6 * HOUR),
        (("22:00", "8 hours", None), MONDAY + 6 * HOUR, None),
        # the night that begins on Monday, and no other
        (("22:00", "8 hours", [1]), MONDAY + 23 * HOUR, MONDAY + 30 * HOUR),
        (("22:00", "8 hours", [1]), MONDAY + 29 * HOUR, MONDAY + 30 * HOUR),
        (("22:00", "8 hours", [1]), MONDAY + 5 * HOUR, None),
        (("22:00", "8 hours", [1]), MONDAY + DAY + 23 * HOUR, None),
        # Sunday night reaches into Monday
        (("22:00", "8 hours", [7]), MONDAY + 5 * HOUR, MONDAY + 6 * HOUR),
        (("22:00", "8 hours", [6, 7]), MONDAY - DAY + 23 * HOUR, MONDAY + 6 * HOUR),
        # a whole day, from noon to noon
        (("12:00", "24 hours", [1]), MONDAY + 11 * HOUR, None),
        (("12:00", "24 hours", [1]), MONDAY + 12 * HOUR, MONDAY + 36 * HOUR),
        (("12:00", "1 day", [1]), MONDAY + 35 * HOUR, MONDAY + 36 * HOUR),
        (("12:00", "24 hours", [1]), MONDAY + 36 * HOUR, None),
        # the day on which clocks go forward in America/St_Johns: 2026-03-08
        (("00:00", "1 day", [7]), datetime(2026, 3, 8, 12, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)),
    ],
)
def test_a_blackout_comes_back_at_its_time_in_utc(
    zoned: Outbox, window: tuple[str, str, list[int] | None], at: datetime, until: datetime | None
) -> None:
    alert_id, webhook_id = zoned.alert("a"), zoned.webhook()
    start_time, duration, days = window
    blackout(zoned, start_time, duration, days_of_week=days)
    assert silence(zoned, alert_id, webhook_id, at) == until


@pytest.mark.parametrize(
    ("columns", "is_silent"),
    [
        ({}, True),
        ({"operation_type": "commit"}, True),
        ({"operation_type": "merge"}, False),
        ({"operation_type": "fetch"}, True),
        ({"alert_type": "CORRELATION"}, True),
        ({"alert_type": "ANOMALY"}, False),
        ({"operation_type": "commit", "alert_type": "ANOMALY"}, False),
        ({"enabled": False}, False),
        ({"spare_critical": True}, True),
    ],
)
def test_a_blackout_covers_what_it_names(box: Outbox, columns: dict[str, object], is_silent: bool) -> None:
    evidence = '{"operation_type_1": "commit", "operation_type_2": "fetch"}'
    alert_id, webhook_id = box.alert("a", alert_type="CORRELATION", evidence=evidence), box.webhook()
    blackout(box, "00:00", "24 hours", **columns)
    assert silence(box, alert_id, webhook_id, MONDAY) == (MONDAY + DAY if is_silent else None)


def test_a_blackout_of_a_webhook_and_one_that_spares_critical(box: Outbox) -> None:
    one, two = box.webhook("one"), box.webhook("two")
    warning, critical = box.alert("warning"), box.alert("critical", severity="CRITICAL")
    blackout(box, "00:00", "24 hours", webhook_id=one, spare_critical=True)
    assert [silence(box, warning, one, MONDAY), silence(box, critical, one, MONDAY)] == [MONDAY + DAY, None]
    assert [silence(box, warning, two, MONDAY), silence(box, critical, two, MONDAY)] == [None, None]


def test_the_silence_that_ends_last_counts(box: Outbox) -> None:
    alert_id, webhook_id = box.alert("a"), box.webhook()
    snooze(box, MONDAY + HOUR)
    snooze(box, MONDAY + 3 * HOUR, "commit", "DEGRADATION")
    snooze(box, MONDAY + 9 * HOUR, "merge")
    snooze(box, MONDAY + 9 * HOUR, None, "ANOMALY")
    assert silence(box, alert_id, webhook_id, MONDAY) == MONDAY + 3 * HOUR
    blackout(box, "00:00", "4 hours")
    assert silence(box, alert_id, webhook_id, MONDAY) == MONDAY + 4 * HOUR
    assert silence(box, alert_id, webhook_id, MONDAY + 4 * HOUR) is None
    assert silence(box, -1, webhook_id, MONDAY) is None


@pytest.mark.parametrize(
    ("start_time", "duration", "days"),
    [("00:00", "0", None), ("00:00", "25 hours", None), ("00:00", "1 hour", []), ("00:00", "1 hour", [0])],
)
def test_a_blackout_that_cannot_be_is_refused(
    box: Outbox, start_time: str, duration: str, days: list[int] | None
) -> None:
    with pytest.raises(errors.CheckViolation):
        blackout(box, start_time, duration, days_of_week=days)


def test_what_a_snooze_covers_is_put_off_to_its_end_without_an_attempt(box: Outbox) -> None:
    webhook_id = box.webhook()
    silent = box.queue(webhook_id, "opened", alert_id=box.alert("silent"))
    loud = box.queue(webhook_id, "opened", alert_id=box.alert("loud", operation_type="merge"))
    test = box.queue(webhook_id, "test")
    snooze(box, datetime(2999, 1, 1, tzinfo=UTC), "commit")
    assert box.claimed_ids(limit=2) == [[loud], [test]]
    assert box.row(silent, "status, retry_count, next_retry_at, lease_token") == (
        "pending",
        0,
        datetime(2999, 1, 1, tzinfo=UTC),
        None,
    )
    assert box.log() == []


def test_what_a_blackout_covers_is_put_off_to_its_end(box: Outbox) -> None:
    webhook_id = box.webhook()
    silent = box.queue(webhook_id, "opened", alert_id=box.alert("silent"))
    critical = box.queue(webhook_id, "opened", alert_id=box.alert("critical", severity="CRITICAL"), priority=0)
    blackout(box, "00:00", "24 hours", spare_critical=True)
    assert box.claimed_ids() == [[critical]]
    assert box.row(silent, "(next_retry_at AT TIME ZONE 'UTC')::TIME::TEXT, next_retry_at > created_at") == (
        "00:00:00",
        True,
    )


def test_the_end_of_what_was_told_is_told_in_silence_too(box: Outbox) -> None:
    webhook_id, alert_id = box.webhook(), box.alert("a", resolved=True)
    box.queue(webhook_id, "opened", alert_id=alert_id, status="delivered")
    resolved = box.queue(webhook_id, "resolved", alert_id=alert_id)
    snooze(box, "infinity")
    assert box.claimed_ids() == [[resolved]]


def test_the_end_of_what_was_never_told_waits_with_it(box: Outbox) -> None:
    webhook_id, alert_id = box.webhook(), box.alert("a", resolved=True)
    rows = [box.queue(webhook_id, key, alert_id=alert_id, bundle_key="group:a") for key in ("opened", "resolved")]
    snooze(box, "2999-01-01+00")
    assert box.claim() == []
    box.connection.execute("UPDATE alert_snooze SET snooze_until = '2026-01-01+00'")
    box.connection.execute("UPDATE alert_notification_queue SET next_retry_at = '2026-01-01+00'")
    assert box.claimed_ids() == [rows]


def test_a_silenced_row_stays_behind_when_its_bundle_goes(box: Outbox) -> None:
    webhook_id = box.webhook()
    silent, loud = box.alert("silent"), box.alert("loud", operation_type="merge")
    snooze(box, "2999-01-01+00", "commit")
    waiting = box.queue(webhook_id, "opened", alert_id=silent, bundle_key="group:a", next_retry_at="2998-01-01+00")
    heard = box.queue(webhook_id, "opened", alert_id=loud, bundle_key="group:a")
    assert box.claimed_ids() == [[heard]]
    assert box.row(waiting, "lease_token") == (None,)


# --- the state of the outbox ----------------------------------------------------------------------------------------


def test_the_state_counts_what_is_where_and_says_when_to_look_again(box: Outbox) -> None:
    empty = outbox.queue_state(box.connection)
    assert (empty.pending, empty.leased, empty.waiting, empty.disabled, empty.failed) == (0, 0, 0, 0, 0)
    assert empty.next_due_at is None
    one, off = box.webhook("one"), box.webhook("off", enabled=False)
    box.queue(one, "leased")
    box.claim_one()
    box.queue(one, "waiting", next_retry_at="2998-01-01+00", priority=2)
    due = box.queue(one, "due", created_at="2026-03-02+00")
    box.queue(one, "failed", status="failed")
    box.queue(one, "delivered", status="delivered")
    box.queue(off, "disabled")
    state = outbox.queue_state(box.connection)
    assert (state.pending, state.leased, state.waiting, state.disabled, state.failed) == (4, 1, 1, 1, 1)
    assert state.next_due_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert state.asked_at > empty.asked_at
    box.connection.execute("DELETE FROM alert_notification_queue WHERE notification_queue_id = %s", (due,))
    box.connection.execute(
        "INSERT INTO webhook_delivery_state (webhook_id, blocked_until) VALUES (%s, '2999-01-01+00')", (one,)
    )
    assert outbox.queue_state(box.connection).next_due_at == datetime(2999, 1, 1, tzinfo=UTC)


# --- arguments and roles --------------------------------------------------------------------------------------------

TOKEN = "'00000000-0000-0000-0000-000000000001'"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("claim_notifications(0)", "p_limit is 0, expected at least 1 and at most 1000"),
        ("claim_notifications(1001)", "p_limit is 1001"),
        ("claim_notifications(NULL)", "p_limit is NULL"),
        ("claim_notifications(1, 0)", "p_lease_seconds is 0, expected at least 1 and at most 3600"),
        ("claim_notifications(1, 3601)", "p_lease_seconds is 3601"),
        ("claim_notifications(p_busy_webhooks => NULL)", "p_busy_webhooks is NULL, expected an array"),
        ("claim_notifications(p_webhook_types => '{fax}')", "p_webhook_types is '{fax}', expected some of slack"),
        ("renew_notification_leases('{}', 0)", "p_lease_seconds is 0"),
        ("renew_notification_leases(NULL)", "p_lease_tokens is NULL"),
        ("finish_notification(NULL, '{1}', 'delivered', 1)", "p_lease_token is NULL"),
        (f"finish_notification({TOKEN}, NULL, 'delivered', 1)", "p_queue_ids is NULL, expected the ids"),
        (f"finish_notification({TOKEN}, '{{}}', 'delivered', 1)", "p_queue_ids is '{}'"),
        (f"finish_notification({TOKEN}, '{{1,NULL}}', 'delivered', 1)", "p_queue_ids is '{1,NULL}'"),
        (f"finish_notification({TOKEN}, '{{1}}', NULL, 1)", "p_outcome is NULL, expected delivered, retry"),
        (f"finish_notification({TOKEN}, '{{1}}', 'lost', 1)", "p_outcome is 'lost'"),
        (f"finish_notification({TOKEN}, '{{1}}', 'delivered', NULL)", "p_duration_ms is NULL"),
        (f"finish_notification({TOKEN}, '{{1}}', 'delivered', -1)", "p_duration_ms is -1"),
        (f"finish_notification({TOKEN}, '{{1}}', 'delivered', 'NaN')", "p_duration_ms is NaN"),
        (f"finish_notification({TOKEN}, '{{1}}', 'retry', 1, 99)", "p_http_status is 99"),
        (f"finish_notification({TOKEN}, '{{1}}', 'retry', 1, NULL, NULL, -1)", "p_retry_after_seconds is -1"),
        (f"finish_notification({TOKEN}, '{{1}}', 'retry', 1, NULL, NULL, 'NaN')", "p_retry_after_seconds is NaN"),
        (f"finish_notification({TOKEN}, '{{1}}', 'retry', 1, p_max_retries => 0)", "p_max_retries is 0"),
        (f"finish_notification({TOKEN}, '{{1}}', 'retry', 1, p_max_retries => 21)", "p_max_retries is 21"),
        ("redrive_notifications(-1)", "p_webhook_id is -1, expected the id of a webhook"),
    ],
)
def test_an_argument_out_of_range_is_refused(box: Outbox, call: str, message: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as raised:
        box.rows(f"SELECT * FROM {call}")
    assert message in str(raised.value)


def test_a_message_of_another_schema_or_none_is_a_lost_lease(box: Outbox) -> None:
    assert box.rows(f"SELECT * FROM finish_notification({TOKEN}, '{{-1}}', 'delivered', 1)") == [
        ("lease_lost", None, False)
    ]
    assert box.log() == ["late_delivered"]


def test_the_pipeline_may_do_all_of_it(box: Outbox) -> None:
    webhook_id, alert_id = box.webhook("room", "slack"), box.alert("a")
    box.queue(webhook_id, "opened", alert_id=alert_id)
    box.queue(webhook_id, "given up", status="failed")
    box.connection.execute("SET LOCAL ROLE pggit_pipeline")
    snooze(box, "2999-01-01+00", "merge")
    claimed = box.claim_one()
    assert outbox.renew(box.connection, [claimed.lease_token]) == {claimed.lease_token}
    assert box.finish(claimed, "retry").status == "pending"
    assert outbox.redrive(box.connection) == 1
    assert outbox.queue_state(box.connection).pending == 2


@pytest.mark.parametrize(
    "call",
    [
        "claim_notifications()",
        "renew_notification_leases('{}')",
        f"finish_notification({TOKEN}, '{{1}}', 'delivered', 1)",
        "redrive_notifications()",
        "webhook_delivery_state",
    ],
)
def test_readers_may_do_nothing_of_it(box: Outbox, call: str) -> None:
    box.connection.execute("SET LOCAL ROLE pggit_reader")
    with pytest.raises(errors.InsufficientPrivilege):
        box.rows(f"SELECT * FROM {call}")


def test_retention_leaves_what_was_put_off_and_takes_what_was_told(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.queue(webhook_id, "told")
    box.finish(box.claim_one(), "delivered")
    waiting = box.queue(webhook_id, "waiting", next_retry_at="2999-01-01+00")
    box.connection.execute("UPDATE alert_notification_log SET started_at = '2026-01-01+00'")
    box.connection.execute(
        "UPDATE alert_notification_queue SET created_at = '2026-01-01+00', "
        "delivered_at = CASE status WHEN 'delivered' THEN '2026-01-01+00'::TIMESTAMPTZ END"
    )
    as_of = "'2026-03-02+00'::TIMESTAMPTZ"
    assert box.value(f"SELECT delete_old_logs(30, 10, {as_of})") == 1
    assert box.value(f"SELECT delete_old_notifications(30, 10, TRUE, {as_of})") == 1
    assert box.rows("SELECT notification_queue_id FROM alert_notification_queue") == [(waiting,)]


def test_messages_that_failed_together_do_not_come_back_together(box: Outbox) -> None:
    webhook_id = box.webhook()
    box.connection.execute("UPDATE analytics_settings SET value = '99' WHERE name = 'breaker_failures'")
    for number in range(20):
        box.queue(webhook_id, str(number))
    waits = set()
    for message in box.claim():
        next_retry_at = box.finish(message, "retry").next_retry_at
        assert next_retry_at is not None
        waits.add(next_retry_at - box.finished_at())
    assert len(waits) > 1


def test_a_worker_that_reconnects_finishes_what_it_claimed_before(database: Database) -> None:
    with database.connect(autocommit=True) as first:
        Outbox(first).queue(Outbox(first).webhook())
        claimed = Outbox(first).claim_one()
    with database.connect(autocommit=True) as second:
        assert outbox.finish(second, claimed, "delivered", duration_ms=1).status == "delivered"
