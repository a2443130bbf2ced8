"""The worker that empties the outbox: real PostgreSQL, real servers on loopback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pggit_analytics.deliver import OtherMasterKey, check_deliverable
from pggit_analytics.errors import DatabaseUnavailable, MissingKey
from pggit_analytics.postgres import outbox as rows_of_outbox
from pggit_analytics.postgres.connection import Database
from tests.deliveries import KEY, OTHER_KEY, SECRET, Deliveries, body, operations, settings
from tests.servers import Behaviour, Handler, HttpServer, Received, answers, waits_for


@pytest.fixture
def outbox(shared_database: Database, run_directory: Path) -> Deliveries:
    outbox = Deliveries(shared_database)
    outbox.clear()
    return outbox


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def other() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def test_what_is_due_is_sent_once_and_recorded(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(operation_type="commit"), body(operation_type="merge"))
    result = outbox.run()
    assert (result.messages, result.delivered, result.waiting, result.next_due_at) == (2, 2, 0, None)
    assert sorted(operations(server.requests)) == ["commit", "merge"]
    assert outbox.queue("status, delivered_at IS NOT NULL, lease_token") == [("delivered", True, None)] * 2
    assert outbox.log() == [("delivered", 200)] * 2
    assert outbox.run().messages == 0
    assert len(server.requests) == 2


def test_critical_goes_first(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(operation_type="info"), priority=2)
    outbox.put("ops", body(operation_type="warning"), priority=1)
    outbox.put("ops", body(operation_type="critical"), priority=0)
    outbox.run()
    assert operations(server.requests) == ["critical", "warning", "info"]


def test_rows_of_a_bundle_are_one_request_and_one_attempt(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", *(body(operation_type=f"op{n}") for n in range(5)), bundle="group:incident-1")
    result = outbox.run()
    assert result.delivered == 1
    (request,) = server.requests
    assert len(request.json["findings"]) == 5
    assert outbox.rows("SELECT count(*), count(DISTINCT attempt_id) FROM alert_notification_log") == [(5, 1)]
    assert outbox.queue("status") == [("delivered",)] * 5


def test_without_any_webhook_no_master_key_is_needed(outbox: Deliveries) -> None:
    without = settings().model_copy(update={"webhook_key": None})
    assert outbox.run(settings=without).messages == 0
    outbox.webhook("ops", "http://127.0.0.1:1")
    with pytest.raises(MissingKey, match="openssl rand"):
        outbox.run(settings=without)


# Channels that are not well


def test_a_channel_that_hangs_holds_up_no_other(outbox: Deliveries, server: HttpServer, other: HttpServer) -> None:
    """The first server answers only once the second one has got everything."""
    is_done = threading.Event()
    server.answer(waits_for(is_done))
    outbox.webhook("slow", server.url)
    outbox.webhook("quick", other.url)
    outbox.put("slow", body(), body(), priority=0)
    outbox.put("quick", *[body()] * 60)

    def count(request: Received) -> Behaviour:
        if len(other.requests) == 60:
            is_done.set()
        return answers()

    other.answer(script=count)
    assert outbox.run(batch_size=10).delivered == 62


def test_a_channel_at_its_pace_is_waited_for_and_holds_up_no_other(
    outbox: Deliveries, server: HttpServer, other: HttpServer
) -> None:
    order: list[str] = []
    server.answer(script=lambda request: order.append("paced") or answers())
    other.answer(script=lambda request: order.append("quick") or answers())
    outbox.webhook("paced", server.url, webhook_type="slack", min_interval_ms=None)
    outbox.webhook("quick", other.url)
    outbox.put("paced", body(), body(), priority=0)
    outbox.put("quick", *[body()] * 30)
    assert outbox.run().delivered == 32
    assert order[-1] == "paced"
    assert order.count("paced") == 2


def test_a_404_fails_at_once_with_its_reason(outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(404))
    outbox.webhook("ops", f"{server.url}/hooks/very-secret-path")
    outbox.put("ops", body())
    result = outbox.run()
    assert (result.failed, result.waiting) == (1, 0)
    (row,) = outbox.queue("status, retry_count, last_error")
    assert row[:2] == ("failed", 0)
    assert "404" in row[2]
    assert "very-secret-path" not in row[2]
    assert outbox.log() == [("rejected", 404)]


def test_a_500_is_tried_again_later_and_not_in_this_run(outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(500), answers())
    outbox.webhook("ops", server.url)
    outbox.put("ops", body())
    result = outbox.run()
    assert (result.retried, result.delivered, result.waiting) == (1, 0, 1)
    assert result.next_due_at is not None
    assert outbox.queue() == [("pending", 1)]
    later = "SELECT next_retry_at - created_at > '50 s'::INTERVAL FROM alert_notification_queue"
    assert outbox.rows(later) == [(True,)]
    with outbox.database.connect() as connection:
        connection.execute("UPDATE alert_notification_queue SET next_retry_at = NULL")
    assert outbox.run().delivered == 1
    assert outbox.log() == [("retry", 500), ("delivered", 200)]


def test_a_429_pauses_the_whole_webhook_and_is_no_attempt(outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(429, headers={"Retry-After": "1800"}))
    outbox.webhook("ops", server.url)
    outbox.put("ops", *[body()] * 5)
    result = outbox.run()
    assert (result.rate_limited, result.messages, result.waiting) == (1, 1, 5)
    assert len(server.requests) == 1
    assert outbox.queue("status, retry_count, lease_token") == [("pending", 0, None)] * 5


def test_after_five_failures_the_rest_is_not_even_tried(outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(500))
    outbox.webhook("ops", server.url)
    outbox.put("ops", *[body()] * 12)
    result = outbox.run()
    assert (result.retried, result.waiting) == (5, 12)
    assert len(server.requests) == 5
    assert sorted(outbox.queue("retry_count")) == [(0,)] * 7 + [(1,)] * 5
    assert outbox.queue("lease_token") == [(None,)] * 12


def test_a_server_that_is_not_there_is_tried_again_later(
    outbox: Deliveries, server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    with HttpServer() as gone:
        outbox.webhook("ops", f"{gone.url}/secret-path")
    outbox.put("ops", body())
    with caplog.at_level(logging.DEBUG):
        assert outbox.run().retried == 1
    assert "ops: retry" in caplog.text
    assert "secret-path" not in caplog.text
    assert SECRET not in caplog.text


# Messages that cannot be sent


def test_a_row_that_cannot_be_read_fails_and_stops_nothing(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(), "no JSON", body())
    result = outbox.run()
    assert (result.delivered, result.failed) == (2, 1)
    assert outbox.queue("status") == [("delivered",), ("failed",), ("delivered",)]
    assert "JSON" in outbox.queue("last_error")[1][0]
    assert sorted(outbox.log()) == [("delivered", 200), ("delivered", 200), ("poison", None)]


def test_a_row_that_cannot_be_read_does_not_take_its_bundle_along(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(operation_type="a"), "{}", body(operation_type="b"), bundle="group:incident-1")
    result = outbox.run()
    assert (result.delivered, result.failed) == (1, 1)
    (request,) = server.requests
    assert {finding["operation"] for finding in request.json["findings"]} == {"a", "b"}
    assert outbox.queue("status") == [("delivered",), ("failed",), ("delivered",)]


def test_a_damaged_address_fails_its_messages_and_no_others(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("damaged", server.url)
    outbox.webhook("none", server.url)
    outbox.webhook("well", server.url)
    with outbox.database.connect() as connection:
        connection.execute("""
            UPDATE alert_notification_webhooks SET webhook_url_encrypted = webhook_url_encrypted || '\\x00'
            WHERE name = 'damaged'
        """)
        connection.execute("""
            UPDATE alert_notification_webhooks
            SET webhook_url_encrypted = NULL, webhook_url_iv = NULL, encryption_key_id = NULL WHERE name = 'none'
        """)
    for name in ("damaged", "none", "well"):
        outbox.put(name, body())
    assert outbox.run().failed == 2
    assert outbox.queue("status") == [("failed",), ("failed",), ("delivered",)]
    errors = [error for (error,) in outbox.queue("last_error")]
    assert "address" in errors[0]
    assert "webhooks add --replace" in errors[1]


def test_an_address_under_another_key_waits_and_is_named(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ours", server.url)
    outbox.webhook("theirs", server.url, key=OTHER_KEY)
    outbox.put("ours", body())
    outbox.put("theirs", body(), body())
    result = outbox.run()
    assert (result.delivered, result.waiting) == (1, 2)
    assert [(waits.name, waits.waiting) for waits in result.other_keys] == [("theirs", 2)]
    with pytest.raises(OtherMasterKey) as caught:
        check_deliverable(result, settings())
    (ours, theirs) = outbox.rows("SELECT encryption_key_id FROM alert_notification_webhooks ORDER BY name")
    assert all(word in str(caught.value) for word in ("theirs (2 rows)", ours[0], theirs[0]))
    assert KEY not in str(caught.value)
    check_deliverable(outbox.run(settings=settings(OTHER_KEY)), settings(OTHER_KEY))
    assert outbox.queue("status") == [("delivered",)] * 3


def test_a_private_address_is_refused_unless_allowed(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    with outbox.database.connect() as connection:
        connection.execute("UPDATE alert_notification_webhooks SET allow_private = FALSE")
    outbox.put("ops", body())
    assert outbox.run().failed == 1
    assert server.requests == []


# Being stopped, and a database that goes away


def test_a_worker_that_is_stopped_finishes_what_is_under_way_and_releases_the_rest(
    outbox: Deliveries, server: HttpServer
) -> None:
    stop, goes_on = threading.Event(), threading.Event()

    def script(request: Received) -> Behaviour:
        stop.set()
        goes_on.set()
        return waits_for(goes_on)

    server.answer(script=script)
    outbox.webhook("ops", server.url)
    outbox.put("ops", *[body()] * 5)
    result = outbox.run(watch=True, stop=stop)
    assert (result.messages, result.delivered, result.waiting) == (1, 1, 4)
    assert (
        outbox.queue("status, retry_count, lease_token, next_retry_at IS NULL")
        == [("delivered", 0, None, True)] + [("pending", 0, None, True)] * 4
    )
    assert outbox.log() == [("delivered", 200)]


def test_a_watching_worker_sends_what_is_queued_later(outbox: Deliveries, server: HttpServer) -> None:
    stop = threading.Event()
    outbox.webhook("ops", server.url)
    watching = threading.Thread(target=outbox.run, kwargs={"watch": True, "stop": stop})
    watching.start()
    try:
        outbox.put("ops", body())
        server.wait_for_requests(1)
        outbox.put("ops", body())
        server.wait_for_requests(2)
    finally:
        stop.set()
        watching.join()
    assert outbox.queue("status") == [("delivered",)] * 2


def cut_connections(outbox: Deliveries) -> Behaviour:
    """A server that has PostgreSQL drop every connection of the database before it answers."""

    def behave(handler: Handler) -> None:
        with psycopg.connect(outbox.database.conninfo, autocommit=True) as connection:
            connection.execute("""
                SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
            """)
        answers()(handler)

    return behave


@pytest.mark.parametrize("watch", [False, True])
def test_what_was_sent_while_the_database_was_away_is_recorded_and_not_sent_again(
    outbox: Deliveries, server: HttpServer, watch: bool
) -> None:
    stop = threading.Event()
    cuts = cut_connections(outbox)

    def script(request: Received) -> Behaviour:
        number = len(server.requests)
        if number == 5 and watch:
            stop.set()
        return cuts if number in {1, 3} else answers()

    server.answer(script=script)
    outbox.webhook("ops", server.url)
    outbox.put("ops", *(body(operation_type=f"op{n}") for n in range(5)))
    result = outbox.run(watch=watch, stop=stop)
    assert (result.delivered, result.late, result.waiting) == (5, 0, 0)
    assert sorted(operations(server.requests)) == [f"op{n}" for n in range(5)]
    assert outbox.log() == [("delivered", 200)] * 5


def test_a_database_that_stays_away_ends_the_run_with_what_is_not_recorded(
    outbox: Deliveries, server: HttpServer, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pggit_analytics.deliver.AWAY_FIRST_S", 0.001)
    name = outbox.database.place.rpartition("/")[2]

    def close(request: Received) -> Behaviour:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
        return answers()

    server.answer(script=close)
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(), body())
    with pytest.raises(DatabaseUnavailable, match="what became of 1 message is not recorded"):
        outbox.run()
    assert len(server.requests) == 1
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    assert outbox.queue("status") == [("pending",)] * 2


class MovableClock:
    """Stands for the module ``time``; what lasts, lasts as long as a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.sleep = time.sleep

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def steals_the_second_message(outbox: Deliveries, server: HttpServer, *, takes_s: float, clock: MovableClock) -> None:
    """While the first message is under way, which takes so long, another worker claims the second one."""

    def script(request: Received) -> Behaviour:
        if len(server.requests) == 1:
            clock.ahead_s = takes_s
            with outbox.database.connect() as connection:
                connection.execute("""
                    UPDATE alert_notification_queue
                    SET lease_token = gen_random_uuid()
                    WHERE message_body::JSON ->> 'operation_type' = 'b'
                """)
        return answers()

    server.answer(script=script)


@pytest.mark.parametrize(
    ("takes_s", "sent", "late"),
    [
        # the lease of 60 s is renewed before the second send, and found lost
        (50.0, ["a"], 0),
        # the lease should have held, so its loss is only noticed when the outcome is to be recorded
        (0.0, ["a", "b"], 1),
    ],
)
def test_a_message_whose_lease_was_lost_is_not_sent_or_at_least_not_recorded(
    outbox: Deliveries,
    server: HttpServer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    takes_s: float,
    sent: list[str],
    late: int,
) -> None:
    clock = MovableClock()
    monkeypatch.setattr("pggit_analytics.deliver.time", clock)
    outbox.webhook("ops", server.url)
    outbox.put("ops", body(operation_type="a"), body(operation_type="b"))
    steals_the_second_message(outbox, server, takes_s=takes_s, clock=clock)
    result = outbox.run()
    assert (result.delivered, result.late, result.waiting) == (1, late, 1)
    assert operations(server.requests) == sent
    assert outbox.log() == [("delivered", 200), ("late_delivered", 200)][: 1 + late]


def test_two_workers_at_once_send_everything_once(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    names = [f"op{n:03}" for n in range(120)]
    outbox.put("ops", *(body(operation_type=name) for name in names))
    workers = [threading.Thread(target=outbox.run, kwargs={"batch_size": 7}) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(operations(server.requests)) == names
    assert outbox.rows("SELECT DISTINCT status FROM alert_notification_queue") == [("delivered",)]


def test_what_is_not_due_stays(outbox: Deliveries, server: HttpServer) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body())
    with outbox.database.connect() as connection:
        connection.execute("UPDATE alert_notification_queue SET next_retry_at = clock_timestamp() + '1 day'")
    result = outbox.run()
    assert (result.messages, result.waiting) == (0, 1)
    assert result.next_due_at is not None
    with outbox.database.connect() as connection:
        state = rows_of_outbox.queue_state(connection)
    assert state.next_due_at == result.next_due_at
    assert result.next_due_at - state.asked_at > timedelta(hours=23)
