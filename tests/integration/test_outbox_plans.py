"""A claim costs the same however much waits or was delivered, and whatever the statistics of the queue say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from pggit_analytics.postgres.connection import Database
from tests.outboxes import Outbox

#: webhook -> (rows, status, bundle key as SQL over n); 'blocked' stands for 19 webhooks
QUEUES: dict[str, tuple[int, LiteralString, LiteralString]] = {
    "single": (60_000, "pending", "NULL"),
    "bundled": (60_000, "pending", "'group:' || n / 10"),
    "one bundle": (20_000, "pending", "'calls'"),
    "delivered": (60_000, "delivered", "'group:' || n / 10"),
}

FILL = """
    INSERT INTO alert_notification_queue (
        webhook_id, message_body, dedup_key, status, priority, bundle_key, created_at, delivered_at)
    SELECT
        w.webhook_id, 'slow', format('%%s/%%s/opened', n, w.webhook_id), %(status)s, n %% 3, {bundle},
        '2026-03-02 12:00+00', CASE WHEN %(status)s = 'delivered' THEN '2026-03-02 12:01+00'::TIMESTAMPTZ END
    FROM alert_notification_webhooks AS w
    CROSS JOIN generate_series(1, %(rows)s) AS n
    WHERE w.name LIKE %(webhook)s
"""

#: rows of the table and entries of its indexes that this transaction has read so far; sequential ones apart
READ = """
    SELECT
        pg_stat_get_xact_tuples_returned('alert_notification_queue'::REGCLASS),
        sum(pg_stat_get_xact_tuples_returned(i.indexrelid))::BIGINT
            + pg_stat_get_xact_tuples_fetched('alert_notification_queue'::REGCLASS)
    FROM pg_index AS i
    WHERE i.indrelid = 'alert_notification_queue'::REGCLASS
"""


@pytest.fixture(scope="module")
def full_database(shared_database: Database) -> Database:
    """200 000 rows, while the statistics still say that everything was delivered to one webhook."""
    with shared_database.connect() as connection:
        box = Outbox(connection)
        connection.execute("ALTER TABLE alert_notification_queue SET (autovacuum_enabled = FALSE)")
        box.webhook("earlier", enabled=False)
        connection.execute(FILL.format(bundle="NULL"), {"rows": 1000, "status": "delivered", "webhook": "earlier"})
        connection.execute("ANALYZE alert_notification_queue")
        for name, (rows, status, bundle) in QUEUES.items():
            box.webhook(name)
            connection.execute(FILL.format(bundle=bundle), {"rows": rows, "status": status, "webhook": name})
        for number in range(19):
            webhook_id = box.webhook(f"blocked {number}", "mattermost")
            connection.execute(
                "INSERT INTO webhook_delivery_state (webhook_id, blocked_until) VALUES (%s, 'infinity')", (webhook_id,)
            )
        connection.execute(FILL.format(bundle="NULL"), {"rows": 500, "status": "pending", "webhook": "blocked %"})
    return shared_database


@pytest.fixture(params=["no statistics", "statistics of an empty queue", "statistics of a full queue"])
def box(full_database: Database, request: pytest.FixtureRequest) -> Iterator[Outbox]:
    with full_database.connect() as connection:
        if request.param == "statistics of a full queue":
            connection.execute("ANALYZE alert_notification_queue")
        elif request.param == "no statistics":
            queue = "'alert_notification_queue'::REGCLASS"
            connection.execute(f"DELETE FROM pg_statistic WHERE starelid = {queue}")
            connection.execute(
                f"""
                UPDATE pg_class SET relpages = 0, reltuples = -1
                WHERE oid = {queue} OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = {queue})
                """
            )
        yield Outbox(connection)
        connection.rollback()
        # what is rolled back stays in the indexes, and the next test would read it
        connection.autocommit = True
        connection.execute("VACUUM alert_notification_queue")


class Reading:
    """What is read from the queue between two looks."""

    def __init__(self, box: Outbox) -> None:
        self.box = box
        self.sequential, self.indexed = box.rows(READ)[0]

    def assert_at_most(self, limit: int) -> None:
        sequential, indexed = self.box.rows(READ)[0]
        assert sequential == self.sequential
        assert indexed - self.indexed <= limit
        self.sequential, self.indexed = sequential, indexed


def others(box: Outbox, webhook: str) -> list[int]:
    return [
        webhook_id
        for (webhook_id,) in box.rows(
            "SELECT webhook_id FROM alert_notification_webhooks WHERE name <> %s AND name NOT LIKE 'blocked %%'",
            webhook,
        )
    ]


@pytest.mark.parametrize(
    ("webhook", "messages", "rows"), [("single", 50, 50), ("bundled", 50, 500), ("one bundle", 1, 1000)]
)
def test_a_claim_and_its_outcomes_read_little_more_than_their_rows(
    box: Outbox, webhook: str, messages: int, rows: int
) -> None:
    busy = others(box, webhook)
    for _ in range(3):
        reading = Reading(box)
        claimed = box.claim(limit=50, busy_webhooks=busy)
        assert len(claimed) == messages
        assert rows * 0.9 <= sum(len(message.queue_ids) for message in claimed) <= rows
        # a row is met in the index of what is due, in that of its bundle, when it is locked, leased and read; and a
        # bundle's rows of the other two priorities lie between
        reading.assert_at_most(rows * 20 + 2000)
        for message in claimed:
            assert box.finish(message, "delivered").status == "delivered"
        reading.assert_at_most(rows * 10)


def test_as_many_messages_as_can_be_claimed_read_little_more_than_their_rows(box: Outbox) -> None:
    reading = Reading(box)
    assert len(box.claim(limit=1000, busy_webhooks=others(box, "single"))) == 1000
    reading.assert_at_most(1000 * 20 + 2000)


def test_a_webhook_with_nothing_but_delivered_messages_costs_nothing(box: Outbox) -> None:
    reading = Reading(box)
    assert box.claim(busy_webhooks=others(box, "delivered")) == []
    reading.assert_at_most(0)


def test_blocked_webhooks_cost_nothing(box: Outbox) -> None:
    reading = Reading(box)
    assert box.claim(busy_webhooks=others(box, "blocked"), webhook_types=["mattermost"]) == []
    reading.assert_at_most(0)


def test_a_long_bundle_that_is_being_sent_is_passed_over_at_a_bounded_cost(box: Outbox) -> None:
    busy = others(box, "one bundle")
    assert len(box.claim(busy_webhooks=busy)) == 1
    reading = Reading(box)
    assert box.claim(busy_webhooks=busy) == []
    # 2000 rows of each priority are looked at, each an entry and a row
    reading.assert_at_most(3 * 2 * 2000 + 100)


def test_silenced_rows_are_put_off_two_thousand_at_a_time(box: Outbox) -> None:
    webhook_id, alert_id = box.webhook("silenced", "pagerduty"), box.alert("a")
    box.connection.execute(
        "INSERT INTO alert_notification_queue (webhook_id, alert_id, message_body, dedup_key) "
        "SELECT %s, %s, 'slow', format('silenced/%%s/opened', n) FROM generate_series(1, 5000) AS n",
        (webhook_id, alert_id),
    )
    box.connection.execute("INSERT INTO alert_snooze (snooze_until) VALUES ('2999-01-01+00')")
    put_off = "SELECT count(*) FROM alert_notification_queue WHERE next_retry_at = '2999-01-01+00'"
    for expected in (2000, 4000, 5000):
        reading = Reading(box)
        assert box.claim(webhook_types=["pagerduty"]) == []
        reading.assert_at_most(2000 * 12)
        assert box.value(put_off) == expected


def test_renewing_reads_what_it_renews(box: Outbox) -> None:
    claimed = box.claim(limit=50, busy_webhooks=others(box, "single"))
    reading = Reading(box)
    tokens = [message.lease_token for message in claimed]
    assert len(box.rows("SELECT renew_notification_leases(%s)", tokens)) == 50
    reading.assert_at_most(50 * 10)
