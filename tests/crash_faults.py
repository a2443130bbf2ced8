"""Workers that are killed, cut off and misled, as scenarios: each leaves an outbox from which all was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from pggit_analytics.webhook_admin import rotate_key
from tests.deliveries import OTHER_KEY, settings
from tests.faults import Fault, Scene, once, wait_until
from tests.servers import PATIENCE_S, Authority, Behaviour, Handler, Received, answers, waits_for

#: of most scenarios
ROWS = 60
#: what they are sent in
MESSAGES = 30


def fill(scene: Scene) -> None:
    """Queue `ROWS` rows: first 20 that go alone, then 40 in messages of four."""
    scene.fill(20)
    scene.fill(40, bundle_of=4)


def then_answers(action: Callable[[], object]) -> Behaviour:
    """A server that does something and then answers 200."""

    def behave(handler: Handler) -> None:
        action()
        answers()(handler)

    return behave


def at_request(scene: Scene, number: int, action: Callable[[], object]) -> None:
    """Have the channel ``ops`` do something while it handles its request of that number."""
    channel = scene.channels["ops"]

    def script(request: Received) -> Behaviour:
        return then_answers(action) if len(channel.requests) == number else answers()

    channel.answer(script=script)


def kill_newest(scene: Scene) -> None:
    """SIGKILL for the worker started last."""
    scene.workers[-1].kill()


def terminate_newest(scene: Scene) -> None:
    """SIGTERM for the worker started last."""
    scene.workers[-1].terminate()


# SIGKILL


def killed_before_the_claim(scene: Scene) -> None:
    """The worker waits for its turn to claim."""
    scene.channel()
    fill(scene)
    with scene.holding("SELECT lock_outbox()"):
        worker = scene.worker()
        scene.wait_for_lock_wait(worker, "claim_notifications")
        worker.kill()
        scene.cut(worker)
    assert scene.leased() == 0, "a claim that was never committed"
    scene.worker().wait()


def killed_during_the_claim(scene: Scene) -> None:
    """The worker is gone and the server does not know: the claim may or may not be committed for nobody."""
    scene.channel()
    fill(scene)
    with scene.holding("SELECT lock_outbox()"):
        worker = scene.worker()
        scene.wait_for_lock_wait(worker, "claim_notifications")
        worker.kill()
    scene.wait_until_gone(worker)
    scene.finish()


def killed_after_the_claim(scene: Scene) -> None:
    """The claim is committed; the worker has connected and waits for TLS, so that nothing is sent yet."""
    authority = Authority(scene.directory)
    scene.channel(is_up=False, context=authority.context())
    fill(scene)
    trusting = {"PGGIT_DELIVERY__CA_FILE": str(authority.ca_file), "PGGIT_DELIVERY__CONNECT_TIMEOUT_S": "60"}
    worker = scene.worker(**trusting)
    scene.wait_for_leases()
    worker.kill()
    scene.wait_until_gone(worker)
    scene.let_accept("ops")
    scene.finish(**trusting)


def killed_after_the_send(scene: Scene) -> None:
    """The server has the third message and answers a worker that is gone."""
    scene.channel()
    fill(scene)
    at_request(scene, 3, partial(kill_newest, scene))
    worker = scene.worker()
    worker.wait()
    scene.wait_until_gone(worker)
    scene.finish()


def killed_while_it_records(scene: Scene, *, takes_its_connection_along: bool = False) -> None:
    """The third message is taken and the statement that records it waits for the row; the server completes it."""
    scene.channel()
    fill(scene)
    is_answered = threading.Event()
    at_request(scene, 3, lambda: is_answered.wait(20))
    worker = scene.worker()
    scene.channels["ops"].wait_for_requests(3)
    with scene.holding("SELECT FROM alert_notification_queue WHERE lease_token IS NOT NULL FOR UPDATE"):
        is_answered.set()
        scene.wait_for_lock_wait(worker, "finish_notification")
        worker.kill()
        if takes_its_connection_along:
            scene.cut(worker)
    scene.wait_until_gone(worker)
    scene.finish()


def killed_before_it_recorded(scene: Scene) -> None:
    """The same, and the connection breaks, so that the statement is undone."""
    killed_while_it_records(scene, takes_its_connection_along=True)


def killed_again_and_again(scene: Scene) -> None:
    """One worker after another dies in the middle of a batch, at the 2nd, 9th, 25th and 26th request."""
    channel = scene.channel()
    fill(scene)
    fatal = (2, 9, 25, 26)

    def script(request: Received) -> Behaviour:
        is_fatal = len(channel.requests) in fatal
        return then_answers(partial(kill_newest, scene)) if is_fatal else answers()

    channel.answer(script=script)
    for _ in fatal:
        worker = scene.worker()
        worker.wait()
        scene.wait_until_gone(worker)
        scene.expire_leases()
    scene.finish()


def stopped_and_started(scene: Scene) -> None:
    """SIGTERM in the middle of a batch; no lease has to run out."""
    scene.channel()
    fill(scene)
    at_request(scene, 3, partial(terminate_newest, scene))
    scene.worker("--watch").wait()
    scene.worker().wait()


# Two at once


def two_workers(scene: Scene, rows: int = 10_000) -> None:
    """Two workers over three channels; half of the rows go alone, the others in messages of four and ten."""
    for name, share, bundle_of in (("one", 0.5, 1), ("two", 0.3, 4), ("three", 0.2, 10)):
        scene.channel(name)
        scene.fill(int(rows * share), name, bundle_of=bundle_of)
    with scene.holding("SELECT lock_outbox()"):
        workers = [scene.worker("--batch-size", "40") for _ in range(2)]
        for worker in workers:
            scene.wait_for_lock_wait(worker, "claim_notifications")
    for worker in workers:
        worker.wait()


def lease_ends_during_a_slow_send(scene: Scene) -> None:
    """A second worker sends the message meanwhile; the first one's outcome comes late."""
    channel = scene.channel()
    scene.fill(1)
    goes_on = threading.Event()
    channel.answer(waits_for(goes_on), answers())
    slow = scene.worker(PGGIT_DELIVERY__READ_TIMEOUT_S="60", PGGIT_DELIVERY__TOTAL_TIMEOUT_S="60")
    channel.wait_for_requests(1)
    scene.finish()
    goes_on.set()
    slow.wait()


# A database that goes away


def connections_are_terminated(scene: Scene) -> None:
    """Every tenth request has PostgreSQL drop the connections of the worker before it is answered."""
    channel = scene.channel()
    fill(scene)

    def script(request: Received) -> Behaviour:
        return then_answers(lambda: scene.cut(scene.workers[0])) if len(channel.requests) % 10 == 3 else answers()

    channel.answer(script=script)
    scene.worker().wait()
    # a claim may have been committed just before its connection was cut
    scene.finish()


def database_restarts(scene: Scene, mode: Literal["fast", "immediate"] = "fast") -> None:
    """The server is stopped and started in the middle of a batch."""
    server = scene.server
    assert server is not None
    scene.channel()
    fill(scene)
    is_back = threading.Event()

    def restart() -> None:
        server.restart(mode)
        is_back.set()

    at_request(scene, 5, restart)
    worker = scene.worker("--watch", "--batch-size", "10")
    assert is_back.wait(PATIENCE_S * 3), "the database never came back"
    unclaimed = "SELECT count(*) FROM alert_notification_queue WHERE status = 'pending' AND lease_token IS NULL"
    wait_until(lambda: scene.value(unclaimed) == 0, "the worker to go on", PATIENCE_S * 3)
    worker.stop()
    scene.finish()


def database_crashes(scene: Scene) -> None:
    """The same without a shutdown: it recovers from its log."""
    database_restarts(scene, "immediate")


# A wrong clock


def meets_failures_with_a_wrong_clock(scene: Scene, by_s: int) -> None:
    """One channel answers 500 first, another asks for two minutes; a row of a third is due in five."""
    scene.channel().answer(answers(500), answers())
    fill(scene)
    pause = {"Date": "Mon, 02 Mar 2026 12:00:00 GMT", "Retry-After": "Mon, 02 Mar 2026 12:02:00 GMT"}
    scene.channel("busy").answer(answers(429, headers=pause))
    scene.fill(1, "busy")
    scene.channel("later")
    scene.fill(1, "later")
    scene.rows("""
        UPDATE alert_notification_queue
        SET next_retry_at = clock_timestamp() + INTERVAL '5 min'
        WHERE webhook_id = (SELECT webhook_id FROM alert_notification_webhooks WHERE name = 'later')
    """)
    scene.worker(**scene.clock_shifted(by_s)).wait()


def clock_is_ahead(scene: Scene, by_s: int = 600) -> None:
    """The clock of the worker is ten minutes ahead of the database's."""
    meets_failures_with_a_wrong_clock(scene, by_s)
    scene.channels["busy"].answer(answers())
    scene.time_passes()
    scene.worker(**scene.clock_shifted(by_s)).wait()


def clock_is_behind(scene: Scene) -> None:
    """The clock of the worker is ten minutes behind the database's."""
    clock_is_ahead(scene, -600)


# Keys


def started_with_the_wrong_key(scene: Scene) -> None:
    """The messages wait for the worker that has the right one."""
    scene.channel()
    fill(scene)
    scene.worker(PGGIT_WEBHOOK_KEY=OTHER_KEY).wait()
    scene.worker().wait()


def key_is_changed_while_it_runs(scene: Scene) -> None:
    """The master key is changed during a send; what is claimed already still goes, the rest waits for a new worker."""
    scene.channel()
    fill(scene)
    file = private_file(scene.directory / "new.key", OTHER_KEY)
    at_request(scene, 3, once(lambda: rotate_key(scene.database, settings(), file)))
    old = scene.worker("--watch", "--batch-size", "5")
    wait_until(lambda: "wait for the key" in old.err, "the worker to notice that the key is another")
    scene.worker(PGGIT_WEBHOOK_KEY=None, PGGIT_WEBHOOK_KEY_FILE=str(file)).wait()
    old.stop()


def private_file(file: Path, content: str, mode: int = 0o600) -> Path:
    """A file that only its owner may read, unless said otherwise."""
    file.write_text(content)
    file.chmod(mode)
    return file


CRASH_FAULTS = (
    Fault("SIGKILL before the claim", killed_before_the_claim),
    Fault("SIGKILL during the claim", killed_during_the_claim),
    Fault("SIGKILL after the claim, before a send", killed_after_the_claim),
    Fault("SIGKILL after a send, before its answer", killed_after_the_send),
    Fault("SIGKILL while an outcome is recorded", killed_while_it_records),
    Fault("SIGKILL before an outcome is recorded", killed_before_it_recorded),
    Fault("SIGKILL four times in one batch", killed_again_and_again),
    Fault("SIGTERM in mid-batch", stopped_and_started),
    Fault("two workers, 10,000 rows, three channels", two_workers),
    Fault("a lease that ends during a slow send", lease_ends_during_a_slow_send),
    Fault("connections terminated", connections_are_terminated),
    Fault("database restarted in mid-batch", database_restarts),
    Fault("database crashed in mid-batch", database_crashes),
    Fault("worker's clock 10 minutes ahead", clock_is_ahead),
    Fault("worker's clock 10 minutes behind", clock_is_behind),
    Fault("wrong master key", started_with_the_wrong_key),
    Fault("master key changed while it runs", key_is_changed_while_it_runs),
)
