"""How fast messages are delivered: by the worker, beside a bare POST, and by the database itself.

The channels are one server on loopback in a process of its own (`receiver.py`), which can take far more than is sent to
it. Each message is an alert as the pipeline queues it and goes to a generic webhook, signed; each is a request of its
own whose outcome is recorded before the same lane sends the next. Workers run as processes of their own and wait for
each other before they start; their start is not counted. Everything runs on the cores of one machine: the workers, the
server of the database and the channel share them.

With ``--debian-url``, a superuser's URL of a server on this machine that has pgcrypto and plpython3u, the deliverer in
the database is measured there, and beside it the worker on the same server.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from figures import Line, told
from psycopg import conninfo, sql
from pydantic import SecretStr
from receiver import Receiver, capacity

from data import DEFAULT_DIRECTORY, say, server
from pggit_analytics.config import Settings
from pggit_analytics.deliver import DeliveryParameters, deliver
from pggit_analytics.delivery import webhook
from pggit_analytics.delivery.http import HttpSender
from pggit_analytics.delivery.message import compose
from pggit_analytics.postgres import outbox
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.webhooks import NewWebhook
from pggit_analytics.webhook_admin import add_webhook

DATABASE = "benchmark_delivery"
KEY = base64.b64encode(bytes(range(32))).decode()
#: what the requests are signed with
SECRET = "a-secret-of-the-benchmark"

MESSAGES = 20_000
#: workers, webhooks
CONTENDERS = ((1, 1), (1, 4), (2, 1), (2, 4))
BARE_POSTS = 2_000
#: the deliverer in the database takes at most so many rows a call
IN_DATABASE = 1_000

#: what delivers from within the database
INSIDE = ("deliver_pending_notifications()",)

#: rows that wait, rows that were delivered
QUEUES = ((1_000, 0), (100_000, 0), (1_000_000, 0), (1_000, 1_000_000))
CLAIMS = 50
CLAIMED = 50

#: messages that become due one after another, and over how many seconds
STREAM = 10_000
STREAM_SECONDS = 60
STREAM_WEBHOOKS = 4

TARGET_MS = 10.0
TARGET_SHARE = 0.99
TARGET_DELAY_S = 60.0

# The share of each priority and each webhook is the same, and they alternate.
_QUEUE = """
INSERT INTO alert_notification_queue (
    webhook_id, message_body, dedup_key, priority, status, created_at, delivered_at
)
SELECT
    w.ids[1 + n %% cardinality(w.ids)], %(body)s, gen_random_uuid()::TEXT, n %% 3, %(status)s,
    c.began + n * (%(seconds)s * INTERVAL '1 second' / %(rows)s),
    CASE %(status)s WHEN 'delivered' THEN c.began END
FROM generate_series(1, %(rows)s) AS n
CROSS JOIN (SELECT array_agg(webhook_id ORDER BY webhook_id) AS ids FROM alert_notification_webhooks) AS w
CROSS JOIN (SELECT clock_timestamp() AS began OFFSET 0) AS c
"""

_SPAN = "SELECT extract(EPOCH FROM max(delivered_at) - %s)::FLOAT8 FROM alert_notification_queue"

_DELAYS = """
SELECT count(*), count(*) FILTER (WHERE delay <= %(target)s),
       percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY delay)
FROM (
    SELECT extract(EPOCH FROM delivered_at - created_at)::FLOAT8 AS delay FROM alert_notification_queue
) AS d
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a queue was emptied."""

    what: str
    workers: int
    webhooks: int
    messages: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def each_ms(self) -> float:
        """Milliseconds a message."""
        return 1000 * self.seconds / self.messages


@dataclass(frozen=True, slots=True)
class Claim:
    """How long claiming takes with so many rows in the queue; milliseconds."""

    pending: int
    delivered: int
    median_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Stream:
    """How late messages are that become due one after another; seconds."""

    messages: int
    in_time: int
    p50_s: float
    p99_s: float
    longest_s: float

    @property
    def share(self) -> float:
        """Of the messages that were delivered within a minute."""
        return self.in_time / self.messages


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured."""

    #: requests a second that the server takes from a client that does nothing else
    capacity: float
    #: milliseconds of one POST by the same sender, without a database
    bare_ms: float
    throughputs: list[Throughput]
    claims: list[Claim]
    stream: Stream
    #: average number of processes that wanted a core, at the beginning and at the end
    load: tuple[float, float]

    @property
    def single(self) -> Throughput:
        """One worker, one webhook."""
        return self.throughputs[0]

    @property
    def overhead_ms(self) -> float:
        """What a message costs besides the request itself."""
        return self.single.each_ms - self.bare_ms


def measure(server_url: str, debian_url: str | None = None, messages: int = MESSAGES) -> Measured:
    """All figures; the databases are made for it and go again."""
    before = os.getloadavg()[0]
    with Receiver() as receiver:
        takes = capacity(receiver, request_body())
        say("Posting without a database")
        bare_ms = bare_post_ms(receiver)
        throughputs = [throughput(server_url, receiver, *contender, messages=messages) for contender in CONTENDERS]
        if debian_url:
            throughputs += in_database(debian_url, receiver)
        claims = [claim_times(server_url, *queue) for queue in QUEUES]
        streamed = stream(server_url, receiver)
    return Measured(takes, bare_ms, throughputs, claims, streamed, (before, os.getloadavg()[0]))


def message_body() -> str:
    """The body of a queued row: an operation that got slower, with figures."""
    samples = json.loads((files("pggit_analytics.delivery") / "templates" / "samples.json").read_text(encoding="utf-8"))
    said = "CRITICAL commit: p99 from 5.12 to 16.384 ms, since 2026-11-17 18:00 UTC"
    return json.dumps(samples[0]["bodies"][0] | {"text": said})


def request_body() -> bytes:
    """What is sent of it."""
    message = compose([message_body()], now=datetime.now(UTC))
    return json.dumps(webhook.render(message), ensure_ascii=False, separators=(",", ":")).encode()


def settings() -> Settings:
    return Settings(webhook_key=SecretStr(KEY))


@contextmanager
def fresh_database(server_url: str, extensions: Sequence[str] = ()) -> Iterator[Database]:
    """A deployed database that goes again."""
    name = sql.Identifier(DATABASE)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        database = Database(conninfo.make_conninfo(server_url, dbname=DATABASE))
        try:
            with database.connect(own_path=False) as inside:
                for extension in extensions:
                    inside.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
            deploy(database)
            yield database
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def add_webhooks(database: Database, url: str, count: int) -> None:
    """Generic webhooks that all lead to the same server and have no pace."""
    for number in range(count):
        add_webhook(
            database, settings(), NewWebhook(f"channel {number}", "webhook", allow_private=True), f"{url}#{SECRET}", ()
        )


def fill(connection: psycopg.Connection, rows: int, *, status: str = "pending", seconds: float = 0.0) -> None:
    """Queue rows; they become due one after another over ``seconds``, or at once."""
    parameters = {"rows": rows, "status": status, "seconds": seconds, "body": message_body()}
    connection.execute(_QUEUE.encode(), parameters)


def bare_post_ms(receiver: Receiver) -> float:
    """Milliseconds of one POST of the same size by the sender that the worker uses, one after another."""
    body = request_body()
    with HttpSender() as sender:
        sender.post(receiver.url, body, {}, allow_private=True)
        started = perf_counter()
        for _ in range(BARE_POSTS):
            reply = sender.post(receiver.url, body, webhook.sign(SECRET, 1, body), allow_private=True)
            assert reply.outcome == "delivered", reply
        return 1000 * (perf_counter() - started) / BARE_POSTS


def throughput(
    server_url: str, receiver: Receiver, workers: int, webhooks: int, *, messages: int, what: str = "worker"
) -> Throughput:
    """Let workers empty a queue; every message must be delivered, and no request be sent twice."""
    say(f"{messages:,} messages, {workers} of {what}, {webhooks} webhooks")
    with fresh_database(server_url) as database:
        add_webhooks(database, receiver.url, webhooks)
        with database.connect() as connection:
            fill(connection, messages)
        return Throughput(what, workers, webhooks, messages, emptied(database, receiver, workers, messages))


def emptied(database: Database, receiver: Receiver, workers: int, messages: int) -> float:
    """Seconds from the common start of the workers to the last message delivered."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    received = receiver.received()
    processes = [context.Process(target=_work, args=(database.conninfo, ready)) for _ in range(workers)]
    for process in processes:
        process.start()
    with database.connect(autocommit=True) as connection:
        ready.wait()
        (started,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        for process in processes:
            process.join()
        (seconds,) = connection.execute(_SPAN, (started,)).fetchone() or (None,)
        check_delivered(connection, messages)
    assert receiver.received() - received == messages, "a message was sent twice, or not at all"
    return float(seconds)


def check_delivered(connection: psycopg.Connection, messages: int) -> None:
    """Every row is delivered, and was attempted once."""
    counts = connection.execute(
        "SELECT count(*) FILTER (WHERE status = 'delivered'), (SELECT count(*) FROM alert_notification_log)"
        " FROM alert_notification_queue"
    ).fetchone()
    assert counts == (messages, messages), f"{counts} delivered and attempted, expected {messages}"


def _work(url: str, ready: Barrier) -> None:
    ready.wait()
    deliver(Database(url), settings(), DeliveryParameters())


def _stand(url: str, ready: Barrier, stop: Event) -> None:
    """A standing worker that looks for an event of another process."""
    ended = threading.Event()

    def end() -> None:
        stop.wait()
        ended.set()

    threading.Thread(target=end, daemon=True).start()
    ready.wait()
    deliver(Database(url), settings(), DeliveryParameters(), watch=True, stop=ended)


def in_database(debian_url: str, receiver: Receiver) -> list[Throughput]:
    """The deliverer in the database and the worker, in turns, on the same server."""
    say("Delivering from within the database")
    worker = throughput(debian_url, receiver, 1, 1, messages=IN_DATABASE, what="worker, Debian's server")
    with fresh_database(debian_url, ("pgcrypto", "plpython3u")) as database, key_file(debian_url) as file:
        with database.connect(autocommit=True, own_path=False) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET pggit.webhook_key_file = {}").format(
                    sql.Identifier(DATABASE), sql.Literal(str(file))
                )
            )
        add_webhooks(database, receiver.url, 1)
        with database.connect(autocommit=True) as connection:
            fill(connection, IN_DATABASE)
            started = perf_counter()
            connection.execute("SELECT * FROM deliver_pending_notifications(%s)", (IN_DATABASE,))
            seconds = perf_counter() - started
            check_delivered(connection, IN_DATABASE)
    return [worker, Throughput(*INSIDE, 1, 1, IN_DATABASE, seconds)]


@contextmanager
def key_file(server_url: str) -> Iterator[Path]:
    """The master key in a file that the user of the server can read; beside its data, because that is his."""
    with psycopg.connect(server_url) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    owner = Path(data).stat()
    directory = Path(f"{data}_benchmark_{os.getpid()}")
    directory.mkdir(mode=0o755)
    try:
        file = directory / "key"
        file.write_text(KEY)
        os.chown(file, owner.st_uid, owner.st_gid)
        file.chmod(0o600)
        yield file
    finally:
        shutil.rmtree(directory)


def claim_times(server_url: str, pending: int, delivered: int) -> Claim:
    """Claim again and again; what is claimed is delivered, and as much is queued anew."""
    say(f"Claiming with {pending:,} pending and {delivered:,} delivered rows")
    with fresh_database(server_url) as database:
        add_webhooks(database, "http://127.0.0.1:1", 1)
        with database.connect() as connection:
            if delivered:
                fill(connection, delivered, status="delivered")
            fill(connection, pending)
        with database.connect(autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) alert_notification_queue")
            connection.execute("CHECKPOINT")
            times = [_claim(connection) for _ in range(CLAIMS + 1)][1:]
    return Claim(pending, delivered, median(times), max(times))


def _claim(connection: psycopg.Connection) -> float:
    started = perf_counter()
    claimed = outbox.claim(connection, limit=CLAIMED)
    elapsed_ms = 1000 * (perf_counter() - started)
    assert len(claimed) == CLAIMED, f"{len(claimed)} messages claimed"
    for message in claimed:
        outbox.finish(connection, message, "delivered", duration_ms=1.0, http_status=200)
    fill(connection, CLAIMED)
    return elapsed_ms


def stream(server_url: str, receiver: Receiver) -> Stream:
    """Messages become due one after another while a worker stands by."""
    say(f"{STREAM:,} messages become due over {STREAM_SECONDS} s")
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Barrier(2), context.Event()
    with fresh_database(server_url) as database:
        add_webhooks(database, receiver.url, STREAM_WEBHOOKS)
        worker = context.Process(target=_stand, args=(database.conninfo, ready, stop))
        worker.start()
        ready.wait()
        with database.connect(autocommit=True) as connection:
            fill(connection, STREAM, seconds=STREAM_SECONDS)
            _wait_until_empty(connection, worker)
            stop.set()
            worker.join()
            check_delivered(connection, STREAM)
            count, in_time, delays = connection.execute(_DELAYS, {"target": TARGET_DELAY_S}).fetchone() or (0, 0, [])
    return Stream(count, in_time, *delays)


def _wait_until_empty(connection: psycopg.Connection, worker: multiprocessing.process.BaseProcess) -> None:
    while connection.execute("SELECT 1 FROM alert_notification_queue WHERE status = 'pending' LIMIT 1").fetchone():
        assert worker.is_alive(), "the worker has ended"
        worker.join(1.0)


def report(found: Measured) -> str:
    """The figures as Markdown."""
    single = found.single
    lines = [
        f"{os.cpu_count()} cores; {found.load[0]:.1f} processes wanted one at the beginning, {found.load[1]:.1f} at "
        f"the end. The channel takes {found.capacity:,.0f} requests/s from a client that does nothing else.",
        "",
        *table(
            ("", "workers", "webhooks", "messages", "messages/s", "ms each", "ratio to the first"),
            [
                (
                    one.what,
                    str(one.workers),
                    str(one.webhooks),
                    f"{one.messages:,}",
                    f"{one.rate:,.0f}",
                    f"{one.each_ms:.2f}",
                    f"{one.rate / single.rate:.2f}",
                )
                for one in found.throughputs
            ]
            + [
                (
                    "bare POST, one after another",
                    "",
                    "",
                    f"{BARE_POSTS:,}",
                    f"{1000 / found.bare_ms:,.0f}",
                    f"{found.bare_ms:.2f}",
                    f"{single.each_ms / found.bare_ms:.2f}",
                )
            ],
        ),
        "",
        f"Overhead: {found.overhead_ms:.2f} ms a message, {single.each_ms:.2f} ms less the {found.bare_ms:.2f} ms of a "
        f"bare POST; target < {TARGET_MS:g} ms: {_met(found.overhead_ms < TARGET_MS)}.",
        "",
        *table(
            ("pending rows", "delivered rows", f"{CLAIMED} claimed, median ms", "worst ms", "ratio to the first"),
            [
                (
                    f"{one.pending:,}",
                    f"{one.delivered:,}",
                    f"{one.median_ms:.2f}",
                    f"{one.worst_ms:.2f}",
                    f"{one.median_ms / found.claims[0].median_ms:.2f}",
                )
                for one in found.claims
            ],
        ),
        "",
        f"{STREAM:,} messages that become due over {STREAM_SECONDS} s: {100 * found.stream.share:.2f} % delivered "
        f"within a minute of it; delay p50 {found.stream.p50_s:.2f} s, p99 {found.stream.p99_s:.2f} s, longest "
        f"{found.stream.longest_s:.2f} s; target {100 * TARGET_SHARE:.0f} %: "
        f"{_met(found.stream.share >= TARGET_SHARE)}.",
    ]
    return "\n".join(lines)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown; all but the first column are numbers."""
    align = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, align, *rows)]


def _met(condition: bool) -> str:
    return "met" if condition else "not met"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the embedded server lives")
    parser.add_argument("--debian-url", help="a server with pgcrypto and plpython3u, see tests/debian.sh")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"in each queue that is emptied [{MESSAGES}]")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    arguments = parser.parse_args()
    with server(arguments.directory) as url:
        found = measure(url, arguments.debian_url, arguments.messages)
    print(told(lines(found), report(found)) if arguments.json else report(found))


def lines(found: Measured) -> Iterator[Line]:
    """For the table of the README."""
    yield Line(
        "a message, what delivery adds to the request",
        None,
        f"{found.overhead_ms:.2f} ms",
        f"{found.single.each_ms / found.bare_ms:.1f} x a bare POST",
        f"< {TARGET_MS:g} ms",
        found.overhead_ms < TARGET_MS,
    )
    share = found.stream.share
    yield Line(
        "messages delivered within a minute of being due",
        None,
        f"{100 * share:.2f} % of {STREAM:,}",
        aim=f">= {100 * TARGET_SHARE:.0f} %",
        met=share >= TARGET_SHARE,
    )


if __name__ == "__main__":
    main()
