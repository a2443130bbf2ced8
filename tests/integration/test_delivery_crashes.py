"""Worker processes that are killed, cut off and misled: nothing is lost, and nothing said twice without a cause."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pggit_analytics.postgres.connection import Database
from tests import crash_faults
from tests.crash_faults import MESSAGES, ROWS, private_file
from tests.deliveries import KEY, OTHER_KEY
from tests.faults import TOKEN, Account, OwnServer, Scene


@pytest.fixture
def scene(shared_database: Database, run_directory: Path) -> Iterator[Scene]:
    with Scene(shared_database, run_directory) as scene:
        scene.outbox.clear()
        yield scene


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    # not below pytest's own directory, which other users cannot enter
    with tempfile.TemporaryDirectory(prefix="pggit-faults-") as directory, OwnServer(Path(directory)) as server:
        yield server


@pytest.fixture
def scene_of_its_own_server(own_server: OwnServer, run_directory: Path) -> Iterator[Scene]:
    with Scene(own_server.new_database(), run_directory, server=own_server) as scene:
        yield scene


def check(account: Account, *, requests: int = MESSAGES, duplicated: int = 0, rows: int = ROWS) -> None:
    """Every row is delivered, and nothing is wrong."""
    assert account.faults == []
    assert (account.rows, account.delivered) == (rows, rows)
    assert (account.requests, account.duplicated) == (requests, duplicated)


def attempts(scene: Scene) -> list[tuple[str, int]]:
    """How many messages had each outcome, by the log."""
    return scene.rows("""
        SELECT outcome, count(DISTINCT attempt_id) FROM alert_notification_log GROUP BY outcome ORDER BY outcome
    """)


# What the other tests rely on


def test_an_account_names_what_is_lost_repeated_and_not_logged(scene: Scene) -> None:
    channel = scene.channel()
    scene.fill(3)
    scene.rows("DELETE FROM alert_notification_queue WHERE dedup_key = 'op00001'")
    scene.rows("UPDATE alert_notification_queue SET status = 'delivered' WHERE dedup_key = 'op00002'")
    for _ in range(2):
        requests.post(channel.url, data="op00003", timeout=20)
    account = scene.account()
    assert account.lost == ["op00001 is gone", "op00002 counts as delivered and nobody accepted it"]
    assert account.duplicated_without_cause == ["op00003 was accepted 2 times and its lease expired 0 times"]
    assert account.unreconciled == ["['op00003']: 2 requests arrived and are not logged"]
    assert account.leaked == []


def test_an_account_names_every_place_where_a_secret_is(scene: Scene) -> None:
    scene.channel()
    scene.rows("UPDATE alert_notification_webhooks SET channel_or_recipient = %s", TOKEN)
    assert scene.account().leaked == ["secret 3 in table alert_notification_webhooks", "secret 3 in the server's log"]


# SIGKILL and SIGTERM


def test_a_worker_killed_before_its_claim_leaves_no_lease_and_the_next_one_sends_all_once(scene: Scene) -> None:
    crash_faults.killed_before_the_claim(scene)
    check(scene.account())
    assert scene.expired == set()
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_claim_for_a_worker_that_is_gone_costs_nothing_but_time(scene: Scene) -> None:
    crash_faults.killed_during_the_claim(scene)
    check(scene.account())
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_worker_killed_after_its_claim_delays_everything_until_the_leases_end(scene: Scene) -> None:
    crash_faults.killed_after_the_claim(scene)
    check(scene.account())
    assert len(scene.expired) == ROWS
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_worker_killed_between_send_and_answer_repeats_that_message_alone(scene: Scene) -> None:
    crash_faults.killed_after_the_send(scene)
    check(scene.account(), requests=MESSAGES + 1, duplicated=1)
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_worker_killed_while_the_server_records_repeats_nothing(scene: Scene) -> None:
    crash_faults.killed_while_it_records(scene)
    check(scene.account())
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_worker_killed_before_it_recorded_repeats_that_message_alone(scene: Scene) -> None:
    crash_faults.killed_before_it_recorded(scene)
    check(scene.account(), requests=MESSAGES + 1, duplicated=1)
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_workers_killed_again_and_again_repeat_nothing_but_what_was_under_way(scene: Scene) -> None:
    """Lanes are several, so which messages were under way is a matter of chance; how many is not."""
    crash_faults.killed_again_and_again(scene)
    account = scene.account()
    assert account.duplicated > 0
    check(account, requests=MESSAGES + 4, duplicated=account.duplicated)
    assert attempts(scene) == [("delivered", MESSAGES)]


def test_a_worker_that_is_told_to_stop_leaves_nothing_to_wait_for(scene: Scene) -> None:
    crash_faults.stopped_and_started(scene)
    stopped, started = (worker.wait() for worker in scene.workers)
    assert (stopped.status, started.status) == (0, 0)
    assert stopped.json["delivered"] + started.json["delivered"] == MESSAGES
    assert stopped.json["waiting"] > 0
    check(scene.account())


# Two at once


def test_two_workers_on_10000_rows_lose_nothing_and_send_nothing_twice(database: Database, run_directory: Path) -> None:
    with Scene(database, run_directory, log_statements=False) as scene:
        crash_faults.two_workers(scene, 10_000)
        ended = [worker.wait() for worker in scene.workers]
        assert [one.status for one in ended] == [0, 0]
        assert all(one.json["delivered"] > 0 for one in ended)
        # 5,000 alone, 3,000 in fours and 2,000 in tens
        check(scene.account(), rows=10_000, requests=5_000 + 750 + 200)
        assert attempts(scene) == [("delivered", 5_950)]


def test_a_lease_that_ends_during_a_slow_send_makes_its_outcome_a_late_one(scene: Scene) -> None:
    crash_faults.lease_ends_during_a_slow_send(scene)
    slow, quick = (worker.wait() for worker in scene.workers)
    assert (slow.json["late"], slow.json["delivered"], quick.json["delivered"]) == (1, 0, 1)
    check(scene.account(), rows=1, requests=2, duplicated=1)
    assert attempts(scene) == [("delivered", 1), ("late_delivered", 1)]
    changed_by_the_late_one = """
        SELECT q.delivered_at >= l.started_at + l.duration_ms * INTERVAL '1 ms', q.retry_count, q.last_error
        FROM alert_notification_queue AS q
        JOIN alert_notification_log AS l USING (notification_queue_id)
        WHERE l.outcome = 'late_delivered'
    """
    assert scene.rows(changed_by_the_late_one) == [(False, 0, None)]


# A database that goes away


def test_connections_cut_in_mid_batch_cost_no_message_and_repeat_none(scene: Scene) -> None:
    crash_faults.connections_are_terminated(scene)
    check(scene.account())
    assert "the database is back" in scene.workers[0].err


@pytest.mark.parametrize("fault", [crash_faults.database_restarts, crash_faults.database_crashes])
def test_a_database_that_restarts_in_mid_batch_costs_no_message_and_repeats_none(
    scene_of_its_own_server: Scene, fault: Callable[[Scene], None]
) -> None:
    fault(scene_of_its_own_server)
    check(scene_of_its_own_server.account())
    assert "the database is back" in scene_of_its_own_server.workers[0].err


# A wrong clock


@pytest.mark.parametrize("by_s", [600, -600])
def test_a_wrong_clock_of_the_worker_changes_no_due_time(scene: Scene, by_s: int) -> None:
    crash_faults.meets_failures_with_a_wrong_clock(scene, by_s)
    account = scene.account()
    assert account.faults == []
    # the row of the failed message, the one of the channel that asked for a pause, and the one that is not due
    assert (account.delivered, account.waiting) == (ROWS - 1, 3)
    assert scene.channels["later"].requests == []

    ((retry_s, pause_s),) = scene.rows("""
        SELECT
            max(extract(EPOCH FROM q.next_retry_at - l.ended_at)) FILTER (WHERE l.outcome = 'retry')::FLOAT8,
            max(extract(EPOCH FROM s.blocked_until - l.ended_at)) FILTER (WHERE l.outcome = 'rate_limited')::FLOAT8
        FROM (SELECT *, started_at + duration_ms * INTERVAL '1 ms' AS ended_at FROM alert_notification_log) AS l
        JOIN alert_notification_queue AS q USING (notification_queue_id)
        LEFT JOIN webhook_delivery_state AS s ON s.webhook_id = q.webhook_id
    """)
    # a minute and up to a tenth more, by the clock that wrote the log
    assert 60 <= retry_s <= 66.001
    assert pause_s == pytest.approx(120, abs=0.001)

    # and the clock was wrong indeed
    stamp = int(scene.channels["busy"].requests[0].headers["x-pggit-timestamp"])
    (sent_at,) = scene.rows("SELECT extract(EPOCH FROM min(started_at))::FLOAT8 FROM alert_notification_log")[0]
    assert stamp - sent_at == pytest.approx(by_s, abs=60)


# Master keys


def test_under_the_wrong_key_nothing_is_sent_and_nothing_fails(scene: Scene) -> None:
    crash_faults.started_with_the_wrong_key(scene)
    wrong, right = (worker.wait() for worker in scene.workers)
    assert (wrong.status, right.status) == (1, 0)
    assert (wrong.json["messages"], wrong.json["waiting"]) == (0, ROWS)
    ((key_id,),) = scene.rows("SELECT encryption_key_id FROM alert_notification_webhooks")
    complaint = wrong.err.splitlines()[-1]
    assert f"ops ({ROWS} rows) needs the key {key_id}" in complaint
    assert "webhooks add --replace" in complaint
    check(scene.account())


def test_a_key_changed_while_the_worker_runs_fails_nothing_and_repeats_nothing(scene: Scene) -> None:
    crash_faults.key_is_changed_while_it_runs(scene)
    old, new = (worker.wait() for worker in scene.workers)
    assert (old.status, new.status) == (0, 0)
    assert old.json["delivered"] > 0
    assert new.json["delivered"] > 0
    check(scene.account())
    assert attempts(scene) == [("delivered", MESSAGES)]


def no_key(directory: Path) -> str | None:
    return None


def no_file(directory: Path) -> str | None:
    return str(directory / "gone.key")


def a_directory(directory: Path) -> str | None:
    (directory / "key").mkdir()
    return str(directory / "key")


def readable_by_others(directory: Path) -> str | None:
    return str(private_file(directory / "open.key", KEY, 0o644))


def cut_short(directory: Path) -> str | None:
    return str(private_file(directory / "short.key", OTHER_KEY[:20]))


@pytest.mark.parametrize(
    ("key_file", "remedy"),
    [
        (no_key, "openssl rand -base64 32 > key"),
        (no_file, "gone.key, is not there; make one: openssl rand"),
        (a_directory, "cannot be read: Is a directory"),
        (readable_by_others, "mode 0644, so that others can read or change it; chmod 600"),
        (cut_short, "the master key has 15 bytes instead of 32"),
    ],
)
def test_without_a_usable_key_one_line_says_why_and_the_messages_wait(
    scene: Scene, key_file: Callable[[Path], str | None], remedy: str
) -> None:
    scene.channel()
    scene.fill(3)
    ended = scene.worker(PGGIT_WEBHOOK_KEY=None, PGGIT_WEBHOOK_KEY_FILE=key_file(scene.directory)).wait()
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert remedy in ended.err
    untouched = [("pending", 0, None, None)] * 3
    assert scene.outbox.queue("status, retry_count, lease_token, next_retry_at") == untouched
    account = scene.account()
    assert account.faults == []
    assert account.requests == 0
