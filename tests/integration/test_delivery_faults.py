"""Channels that answer badly, hang, lie or are not who they should be, and messages that cannot be sent.

One worker process meets the lasting ones of `CHANNEL_FAULTS` at once, and another one does after the channels are well
again; most tests look at what the two left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pggit_analytics.delivery.addresses import WEBHOOK_TYPES
from pggit_analytics.postgres.connection import Database
from tests.channel_faults import (
    CHANNEL_FAULTS,
    MESSAGES,
    POISON,
    ChannelFault,
    Channels,
    add_every_type,
)
from tests.deliveries import Deliveries, body
from tests.faults import Account, Ended, Scene
from tests.servers import HttpServer, MailServer

#: over when the worker looks again, so that one run over all faults may meet them more than once
SHORT = [fault for fault in CHANNEL_FAULTS if fault.pause_s == (1, 1)]
LASTING = [fault for fault in CHANNEL_FAULTS if fault not in SHORT]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as it was logged, and what became of its row."""

    outcome: str
    http_status: int | None
    error: str | None
    status: str
    retry_count: int
    last_error: str | None
    #: seconds from the end of the attempt to the next
    pause_s: float | None


_ATTEMPTS = """
    SELECT l.outcome, l.http_status, l.error, q.status, q.retry_count, q.last_error,
        extract(EPOCH FROM q.next_retry_at - (l.started_at + l.duration_ms * INTERVAL '1 millisecond'))::FLOAT8
    FROM alert_notification_log AS l
    JOIN alert_notification_queue AS q USING (notification_queue_id)
    JOIN alert_notification_webhooks AS w ON w.webhook_id = q.webhook_id
    WHERE w.name = %s
    ORDER BY l.log_id
"""


def attempts(scene: Scene, webhook: str) -> list[Attempt]:
    return [Attempt(*one) for one in scene.rows(_ATTEMPTS, webhook)]


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What one run over all faults left, and what the next one did after the channels were well again."""

    scene: Scene
    channels: Channels
    ended: Ended
    #: by webhook
    attempts: dict[str, list[Attempt]]
    requests: dict[str, int]
    account: Account
    in_the_end: Account


@pytest.fixture(scope="module")
def aftermath(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    with Scene(shared_database, tmp_path_factory.mktemp("faults")) as scene, Channels(scene) as channels:
        for fault in LASTING:
            channels.add(fault)
        ended = channels.deliver()
        logged = {webhook: attempts(scene, webhook) for webhook in channels.messages}
        requests = {webhook: len(channel.requests) for webhook, channel in scene.channels.items()}
        account = scene.account()
        channels.mend()
        channels.deliver("--redrive")
        yield Aftermath(scene, channels, ended, logged, requests, account, scene.account())


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.name)
def test_a_fault_has_its_outcome_its_reason_and_its_pause(aftermath: Aftermath, fault: ChannelFault) -> None:
    found = aftermath.attempts[fault.webhook]
    assert len(found) == (1 if fault.is_pausing else MESSAGES)
    for attempt in found:
        assert (attempt.outcome, attempt.http_status, attempt.status) == (
            fault.outcome,
            fault.http_status,
            fault.status,
        )
        assert attempt.error == attempt.last_error
        assert (fault.reason or "") in (attempt.error or "")
        assert attempt.retry_count == (fault.outcome == "retry")
        if fault.pause_s is None:
            assert attempt.pause_s is None
        else:
            assert attempt.pause_s is not None
            assert fault.pause_s[0] <= attempt.pause_s <= fault.pause_s[1]


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.name)
def test_a_server_gets_each_message_once_and_one_that_may_not_be_reached_gets_none(
    aftermath: Aftermath, fault: ChannelFault
) -> None:
    if fault.webhook in aftermath.requests:
        logged = len(aftermath.attempts[fault.webhook])
        assert aftermath.requests[fault.webhook] == (logged if fault.is_received else 0)
    else:
        assert aftermath.channels.mail[fault.webhook].mails == []


def test_a_channel_that_is_well_is_served_in_the_same_run(aftermath: Aftermath) -> None:
    assert [attempt.outcome for attempt in aftermath.attempts["well"]] == ["delivered"] * MESSAGES


def test_every_row_is_delivered_pending_or_failed_with_a_reason_and_no_secret_is_anywhere(aftermath: Aftermath) -> None:
    account = aftermath.account
    assert account.faults == []
    statuses = [fault.status for fault in LASTING for _ in range(MESSAGES)]
    assert account.failed == statuses.count("failed")
    assert account.waiting == statuses.count("pending")
    assert account.delivered == statuses.count("delivered") + MESSAGES
    assert aftermath.ended.json["waiting"] == account.waiting


def test_once_the_channels_are_well_everything_arrives_and_still_no_secret_is_anywhere(aftermath: Aftermath) -> None:
    account = aftermath.in_the_end
    assert account.faults == []
    assert (account.waiting, account.failed, account.duplicated) == (0, 0, 0)
    assert account.delivered == account.rows == (len(LASTING) + 1) * MESSAGES


def test_the_search_for_secrets_looks_everywhere(aftermath: Aftermath) -> None:
    """What is known to be in each place is found there."""
    scene = aftermath.scene
    known = {
        "output of worker1": "HTTP 429",
        "table alert_notification_queue": "HTTP 404",
        "table alert_notification_log": "HTTP 410",
        "table alert_notification_webhooks": "damaged-iv",
        "pg_stat_activity": "claim_notifications",
        "/proc/worker1/cmdline": "pggit_analytics deliver",
        "the server's log": "refused the log-in with 535",
    }
    kept, scene.secrets = scene.secrets, [*known.values()]
    try:
        found = scene.account().leaked
    finally:
        scene.secrets = kept
    assert {f"secret {number} in {place}" for number, place in enumerate(known)} <= set(found)


@pytest.fixture
def scene(database: Database, run_directory: Path) -> Iterator[Scene]:
    with Scene(database, run_directory) as scene:
        yield scene


def test_a_limit_that_asks_for_no_pause_gets_one_and_the_run_comes_to_its_end(scene: Scene) -> None:
    with Channels(scene) as channels:
        for fault in SHORT:
            channels.add(fault)
        channels.deliver()
        for fault in SHORT:
            found = attempts(scene, fault.webhook)
            assert {(attempt.outcome, attempt.retry_count) for attempt in found} == {("rate_limited", 0)}
            assert found[-1].pause_s == 1.0
        channels.mend()
        channels.deliver()
    account = scene.account()
    assert account.faults == []
    assert account.delivered == (len(SHORT) + 1) * MESSAGES


# Messages that cannot be sent, and such as look like it


@pytest.fixture
def outbox(database: Database, run_directory: Path) -> Deliveries:
    return Deliveries(database)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.mark.parametrize("bundle", [None, "group:incident-1"])
def test_rows_that_cannot_be_read_fail_with_their_reason_and_hold_up_nothing(
    outbox: Deliveries, server: HttpServer, bundle: str | None
) -> None:
    outbox.webhook("ops", server.url)
    bodies = [body(operation_type="first"), *POISON, body(operation_type="last")]
    outbox.put("ops", *bodies, bundle=bundle)
    result = outbox.run()
    assert (result.failed, result.waiting) == (len(POISON), 0)
    (first, *poisoned, last) = outbox.queue("status, retry_count, last_error")
    assert first == last == ("delivered", 0, None)
    for (status, retry_count, error), reason in zip(poisoned, POISON.values(), strict=True):
        assert (status, retry_count) == ("failed", 0)
        assert reason in error
        assert len(error.splitlines()) == 1
    told = {finding["operation"] for request in server.requests for finding in request.json["findings"]}
    assert told == {"first", "last"}
    assert sorted({outcome for (outcome,) in outbox.log("outcome")}) == ["delivered", "poison"]
    # nothing of this is held against the channel
    assert outbox.rows("SELECT coalesce(sum(consecutive_failures), 0) FROM webhook_delivery_state") == [(0,)]


#: odd, and still to be heard
ODD = [
    body(operation_type="\ud800 half a character"),
    body(evidence={"p99_old_ms": float("nan"), "p99_new_ms": float("inf")}),
    body(evidence={"p99_old_ms": 10**400, "p99_new_ms": -5}),
    body(evidence=["not", "an", "object"], facts="neither"),
    body(operation_type=["a", "list"], opened_at=12, last_seen_at="yesterday", alert_id="1"),
    body(opened_at="9999-12-31T23:59:59Z", last_seen_at="0001-01-01T00:00:00Z"),
    body(operation_type="x" * 1_000_000, evidence={"slow_since": "y" * 1_000_000}),
    body(operation_type=None, evidence={}),
    body(report_url="javascript:alert(1)", instance="\r\nX-Injected: 1", schema='"; DROP SCHEMA pggit'),
]


def test_rows_with_odd_contents_arrive_at_every_type_of_channel(
    outbox: Deliveries, server: HttpServer, mail: MailServer
) -> None:
    add_every_type(outbox, server, mail)
    for name in WEBHOOK_TYPES:
        outbox.put(name, *ODD)
        outbox.put(name, *ODD, bundle="group:incident-1")
    result = outbox.run()
    errors = [error for (error,) in outbox.queue("last_error") if error]
    assert errors == []
    assert (result.delivered, result.waiting) == (5 * (len(ODD) + 1), 0)
    assert len(server.requests) == 4 * (len(ODD) + 1)
    assert len(mail.mails) == len(ODD) + 1
    assert all(isinstance(json.loads(request.body), dict) for request in server.requests)
    assert not any("x-injected" in request.headers for request in server.requests)
    assert not any(b"\nX-Injected" in taken.content.partition(b"\r\n\r\n")[0] for taken in mail.mails)
