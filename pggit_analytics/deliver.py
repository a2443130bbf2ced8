"""The worker that empties the outbox: claim, commit, send, record; at least once, never lost.

One thread claims. What it claims of one webhook is a *lane*: its messages are sent one after another by a thread of a
pool, each outcome recorded at once on that thread's own connection. Lanes know nothing of each other, so a channel
that is slow, limited or down holds up no other:

- a webhook gets a second lane (up to `LANES_OF_A_WEBHOOK`) only after it has proven quick;
- one that has proven slow shares `SLOW_LANES` with the other slow ones, and a lane gives its thread back after a while.

Every due time is the database's. The clock here only measures spans and stamps signatures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

import psycopg
from pydantic import BaseModel, ConfigDict, Field

from pggit_analytics.config import Settings
from pggit_analytics.delivery.channels import Channel, Senders, open_channel
from pggit_analytics.delivery.encryption import MasterKey, load_master_key
from pggit_analytics.delivery.message import Message, UnreadableMessage, compose, parse
from pggit_analytics.delivery.reply import Reply
from pggit_analytics.errors import ConfigurationError, DatabaseError, DatabaseUnavailable, PggitAnalyticsError
from pggit_analytics.postgres import outbox, webhooks
from pggit_analytics.postgres.connection import Database, translated
from pggit_analytics.postgres.outbox import Claimed, Outcome
from pggit_analytics.postgres.webhooks import OtherKey

_P = ParamSpec("_P")
_R = TypeVar("_R")

log = logging.getLogger("pggit_analytics.deliver")

Progress = Callable[[str], None]

#: threads that send
LANES = 16
#: of them, at most so many work for webhooks that proved slow
SLOW_LANES = 8
#: lanes of one webhook that proved quick
LANES_OF_A_WEBHOOK = 8
#: a send that takes longer makes its webhook a slow one
SLOW_S = 2.0
#: after so long a lane of a slow webhook gives its thread to another
TURN_S = 30.0
#: shortest lease of a message; longer where a send may take that long
LEASE_S = 60
#: how much more than the longest send must be left of a lease for the send to begin
LEASE_MARGIN_S = 10.0
#: how often a worker without work looks for some
LOOK_S = 1.0
#: how soon the claiming thread notices that it is to stop
NOTICE_S = 0.2
#: how often the health of the monitoring itself is checked
SELF_HEALTH_S = 60.0
#: pauses while the database is away double from the first to the last
AWAY_FIRST_S, AWAY_LONGEST_S = 0.2, 30.0
#: so often a run that is to end tries to reach the database before it gives up, about 13 s
AWAY_TRIES = 6
#: the number of messages sent is told so often
PROGRESS_S = 5.0


class DeliveryParameters(BaseModel):
    """How messages are delivered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=50, ge=1, le=1000, description="Messages of a webhook that are claimed at a time")
    max_retries: int = Field(
        default=3, ge=1, le=20, description="Attempts after which a message fails; CRITICAL ones go on for 24 hours"
    )


class OtherMasterKey(ConfigurationError):
    """Messages wait for a webhook whose address is encrypted under another master key."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What one run of the worker did."""

    #: requests and mails sent, and messages that could not be
    messages: int
    delivered: int
    #: for good
    failed: int
    #: to be sent again later
    retried: int
    #: put off by the channel, which does not count as an attempt
    rate_limited: int
    #: sent, but the lease was lost meanwhile: another worker may send them too
    late: int
    #: rows that still wait
    waiting: int
    #: when the first of them is due; None when nothing waits
    next_due_at: datetime | None
    #: webhooks that wait for another master key
    other_keys: tuple[OtherKey, ...] = ()

    def headline(self) -> str:
        """The counts in one line."""
        counts = {
            "delivered": self.delivered,
            "failed": self.failed,
            "to be retried": self.retried,
            "rate limited": self.rate_limited,
            "late": self.late,
        }
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        became = f": {said}" if said else ""
        return f"{_counted(self.messages, 'message')}{became}; {_counted(self.waiting, 'row')} waiting"

    def complaint(self, own_key_id: str) -> str | None:
        """What keeps messages waiting until somebody acts, in one line; None when nothing does."""
        if not self.other_keys:
            return None
        named = "; ".join(
            f"{other.name} ({_counted(other.waiting, 'row')}) needs the key {other.key_id}" for other in self.other_keys
        )
        return (
            f"messages wait for another master key: {named}, this run has {own_key_id}; give that key, or store the "
            "address again with: pggit-analytics webhooks add --replace"
        )


def deliver(
    database: Database,
    settings: Settings,
    parameters: DeliveryParameters,
    *,
    watch: bool = False,
    stop: threading.Event | None = None,
    progress: Progress = lambda _: None,
) -> DeliveryResult:
    """Send what is due, and what becomes due within the pace of its channel; back-off and pauses are not waited for.

    Args:
        database: whose outbox it is.
        settings: the master key, time-outs and certificate authorities.
        parameters: batch size and retries.
        watch: go on for ever.
        stop: once set, the sends in flight are finished, the rest is released and the call returns.
        progress: told what happens.

    Raises:
        MissingKey, ConfigurationError: there are webhooks, but no usable master key.
        DatabaseUnavailable: the database is away; with ``watch`` that is waited out.
        DatabaseError: see `connection.translated`.
    """
    if not watch:
        with database.connect() as connection:
            if not webhooks.any_enabled(connection):
                state = outbox.queue_state(connection)
                return DeliveryResult(0, 0, 0, 0, 0, 0, state.pending, state.next_due_at)
    key = load_master_key(settings)
    with Senders(settings.delivery) as senders:
        worker = Worker(
            database,
            key,
            senders,
            parameters,
            longest_send_s=settings.delivery.total_timeout_s,
            watch=watch,
            stop=stop or threading.Event(),
            progress=progress,
        )
        return worker.run()


def check_deliverable(result: DeliveryResult, settings: Settings) -> None:
    """Nothing, unless messages wait for another master key.

    Raises:
        OtherMasterKey: they do; names the webhooks and the keys.
    """
    if result.other_keys:
        raise OtherMasterKey(result.complaint(load_master_key(settings).key_id))


class Session:
    """The connection of one thread, opened again when it broke."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = ExitStack()
        self._connection: psycopg.Connection | None = None

    def call(self, work: Callable[Concatenate[psycopg.Connection, _P], _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Do the work on the connection; each statement commits.

        Raises:
            DatabaseError: see `connection.translated`. The next call opens a new connection if this one broke.
        """
        try:
            with translated(self._database):
                if self._connection is None:
                    self._connection = self._stack.enter_context(self._database.connect(autocommit=True))
                return work(self._connection, *args, **kwargs)
        except DatabaseError:
            if self._connection is None or self._connection.closed:
                self.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        self._connection = None
        with suppress(DatabaseError):
            self._stack.close()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a message, to be recorded."""

    claimed: Claimed
    outcome: Outcome
    duration_ms: float = 0.0
    http_status: int | None = None
    #: one line without an address
    error: str | None = None
    retry_after_s: float | None = None

    @classmethod
    def of(cls, claimed: Claimed, reply: Reply) -> _Outcome:
        return cls(claimed, reply.outcome, reply.duration_ms, reply.http_status, reply.error, reply.retry_after_s)


@dataclass(slots=True)
class _Lane:
    """Messages of one webhook that one thread sends one after another."""

    messages: Sequence[Claimed]
    #: by the monotonic clock, on the safe side
    leased_until: float
    #: tokens that still hold, as far as is known
    held: set[UUID] = field(default_factory=set)
    #: opened for the first message; one address serves them all
    channel: Channel | None = None

    @property
    def webhook_id(self) -> int:
        return self.messages[0].webhook_id


class Worker:
    """Delivers until nothing is left to do, or for ever; see `deliver`."""

    def __init__(
        self,
        database: Database,
        key: MasterKey,
        senders: Senders,
        parameters: DeliveryParameters,
        *,
        longest_send_s: float,
        watch: bool,
        stop: threading.Event,
        progress: Progress,
    ) -> None:
        self._database = database
        self._key = key
        self._senders = senders
        self._parameters = parameters
        self._watch = watch
        self._stop = stop
        self._progress = progress
        # what a lease must still last for a send to begin
        self._needed_s = longest_send_s + LEASE_MARGIN_S
        self._lease_s = max(LEASE_S, int(2 * self._needed_s))
        self._session = Session(database)
        self._of_thread = threading.local()
        self._sessions: list[Session] = []
        self._lanes: dict[Future[None], int] = {}
        # webhooks by what their last send told; lanes add, under the lock
        self._quick: set[int] = set()
        self._slow: set[int] = set()
        # webhooks that asked for a pause or whose breaker opened: their lanes end
        self._halted: set[int] = set()
        # lanes at work, by webhook
        self._running: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        # outcomes that the database could not take yet, in their order
        self._kept: deque[_Outcome] = deque()
        self._away = threading.Event()
        self._ending = threading.Event()
        self._breaker_changed = threading.Event()
        self._tries = 0
        self._next_health_check = 0.0
        self._next_progress = 0.0
        self._warned: set[str] = set()

    def run(self) -> DeliveryResult:
        """Work until there is nothing left to do.

        Raises:
            DatabaseError: see `deliver`.
        """
        self._progress("Sending the messages that are due")
        try:
            try:
                self._work()
            except DatabaseUnavailable:
                # what is known is worth another try; the error tells of what is not recorded then
                self._record_kept_with_patience(tries=1)
                raise
            self._record_kept_with_patience()
            result = self._result()
        finally:
            for session in (self._session, *self._sessions):
                session.close()
        log.info("%s", result.headline())
        return result

    def _work(self) -> None:
        with ThreadPoolExecutor(LANES, thread_name_prefix="lane") as pool:
            try:
                while not self._stop.is_set() and self._turn(pool):
                    pass
            finally:
                self._end_lanes()

    def _end_lanes(self) -> None:
        """Let the sends in flight finish and the rest be released."""
        self._ending.set()
        wait(self._lanes)
        self._reap()

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """Claim and hand out once; False when there is nothing left to do."""
        self._reap()
        try:
            self._record_kept()
            self._check_self_health()
            has_more = self._claim_and_start(pool) or self._wait_for_lanes() or self._wait_for_work()
        except DatabaseUnavailable as exc:
            self._wait_for_database(exc)
            return True
        if self._tries:
            log.warning("the database is back")
            self._tries = 0
        return has_more

    def _claim_and_start(self, pool: ThreadPoolExecutor) -> bool:
        if len(self._lanes) >= LANES:
            return False
        claimed_at = time.monotonic()
        claimed = self._session.call(
            outbox.claim,
            limit=self._parameters.batch_size,
            lease_seconds=self._lease_s,
            key_id=self._key.key_id,
            busy_webhooks=self._busy(),
        )
        by_webhook: dict[int, list[Claimed]] = {}
        for message in claimed:
            by_webhook.setdefault(message.webhook_id, []).append(message)
        for webhook_id, messages in by_webhook.items():
            lane = _Lane(messages, claimed_at + self._lease_s, {message.lease_token for message in messages})
            self._lanes[pool.submit(self._send_lane, lane)] = webhook_id
        return bool(claimed)

    def _busy(self) -> list[int]:
        """Webhooks that nothing more is to be claimed of now."""
        lanes = Counter(self._lanes.values())
        with self._lock:
            quick, slow = set(self._quick), set(self._slow)
        busy = {
            webhook_id for webhook_id, count in lanes.items() if webhook_id not in quick or count >= LANES_OF_A_WEBHOOK
        }
        if sum(count for webhook_id, count in lanes.items() if webhook_id in slow) >= SLOW_LANES:
            busy |= slow
        return sorted(busy)

    def _wait_for_lanes(self) -> bool:
        if not self._lanes:
            return False
        wait(self._lanes, timeout=NOTICE_S, return_when=FIRST_COMPLETED)
        self._tell_progress()
        return True

    def _wait_for_work(self) -> bool:
        """Wait for what is due soon; False when the run has come to its end."""
        paced_s = self._session.call(webhooks.paced_s, self._key.key_id)
        if self._watch:
            self._warn_of_other_keys()
        elif paced_s is None:
            return False
        self._tell_progress()
        self._stop.wait(LOOK_S if paced_s is None else min(paced_s, LOOK_S))
        return True

    def _reap(self) -> None:
        for future in [future for future in self._lanes if future.done()]:
            webhook_id = self._lanes.pop(future)
            if webhook_id not in self._lanes.values():
                with self._lock:
                    self._halted.discard(webhook_id)
            future.result()

    # what a lane's thread does

    def _send_lane(self, lane: _Lane) -> None:
        began = time.monotonic()
        with self._lock:
            self._running[lane.webhook_id] += 1
        try:
            self._send_messages(lane, began)
        finally:
            with self._lock:
                self._running[lane.webhook_id] -= 1

    def _send_messages(self, lane: _Lane, began: float) -> None:
        for place, claimed in enumerate(lane.messages):
            try:
                if self._is_over(lane, began) or not self._renew_if_short(lane, place):
                    self._release(lane, place)
                    return
                if claimed.lease_token in lane.held:
                    self._send(lane, claimed)
            except DatabaseError:
                # the claiming thread finds out what is wrong when it records what was kept
                self._away.set()
                self._release(lane, place + 1)
                return

    def _is_over(self, lane: _Lane, began: float) -> bool:
        with self._lock:
            is_slow, is_halted = lane.webhook_id in self._slow, lane.webhook_id in self._halted
            slow_lanes = sum(self._running[webhook_id] for webhook_id in self._slow)
        has_had_its_turn = time.monotonic() - began > TURN_S or slow_lanes > SLOW_LANES
        is_ending = self._stop.is_set() or self._ending.is_set() or self._away.is_set()
        return is_ending or is_halted or (is_slow and has_had_its_turn)

    def _renew_if_short(self, lane: _Lane, place: int) -> bool:
        """Have enough of the lease left for one send; False when the database cannot be asked."""
        now = time.monotonic()
        if lane.leased_until - now >= self._needed_s:
            return True
        tokens = [message.lease_token for message in lane.messages[place:]]
        try:
            lane.held = set(self._own_session().call(outbox.renew, tokens, self._lease_s))
        except DatabaseError:
            self._away.set()
            return False
        lane.leased_until = now + self._lease_s
        if lost := len(tokens) - len(lane.held):
            log.warning("%s: %d messages are another worker's now", _name(lane.messages[0]), lost)
        return True

    def _send(self, lane: _Lane, claimed: Claimed) -> None:
        """Send one message and record what became of it."""
        try:
            if lane.channel is None:
                lane.channel = _channel(self._key, claimed)
            message = _message(claimed)
        except UnreadableMessage:
            self._send_readable(lane, claimed)
            return
        except Exception as exc:
            self._record(_Outcome(claimed, "poison", error=_reason(exc)))
            return
        try:
            reply = self._senders.send(lane.channel, message)
        except Exception as exc:
            self._record(_Outcome(claimed, "retry", error=_reason(exc)))
            return
        self._note_pace(claimed.webhook_id, reply)
        self._record(_Outcome.of(claimed, reply))

    def _send_readable(self, lane: _Lane, claimed: Claimed) -> None:
        """Send the message without the rows that cannot be read; those have failed then and hold up nothing."""
        readable: list[tuple[int, str]] = []
        for row in zip(claimed.queue_ids, claimed.message_bodies, strict=True):
            try:
                parse(row[1])
            except UnreadableMessage as exc:
                self._record(_Outcome(_rows_of(claimed, [row]), "poison", error=str(exc)))
            else:
                readable.append(row)
        if readable:
            self._send(lane, _rows_of(claimed, readable))

    def _note_pace(self, webhook_id: int, reply: Reply) -> None:
        with self._lock:
            is_slow = reply.duration_ms > 1000 * SLOW_S
            (self._slow if is_slow else self._quick).add(webhook_id)
            (self._quick if is_slow else self._slow).discard(webhook_id)

    def _record(self, outcome: _Outcome) -> None:
        """Record what became of a message; kept in memory while the database cannot take it.

        Raises:
            DatabaseError: it cannot, and the lane is to end.
        """
        if outcome.error is not None:
            log.warning(
                "%s: %s%s: %s",
                _name(outcome.claimed),
                outcome.outcome,
                "" if outcome.http_status is None else f" ({outcome.http_status})",
                outcome.error,
            )
        try:
            self._finish(self._own_session(), outcome)
        except DatabaseError:
            self._kept.append(outcome)
            raise

    def _release(self, lane: _Lane, place: int) -> None:
        """Give back what the lane does not send."""
        for claimed in lane.messages[place:]:
            if claimed.lease_token not in lane.held:
                continue
            outcome = _Outcome(claimed, "released")
            if self._away.is_set():
                self._kept.append(outcome)
                continue
            try:
                self._record(outcome)
            except DatabaseError:
                self._away.set()

    def _own_session(self) -> Session:
        session: Session | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = Session(self._database)
            with self._lock:
                self._sessions.append(session)
        return session

    # what either does

    def _finish(self, session: Session, outcome: _Outcome) -> None:
        finished = session.call(
            outbox.finish,
            outcome.claimed,
            outcome.outcome,
            duration_ms=outcome.duration_ms,
            http_status=outcome.http_status,
            error=outcome.error,
            retry_after_seconds=outcome.retry_after_s,
            max_retries=self._parameters.max_retries,
        )
        is_halted = outcome.outcome == "rate_limited" or (
            outcome.outcome == "retry" and outcome.retry_after_s is not None
        )
        if finished.breaker_changed:
            self._breaker_changed.set()
            is_open = outcome.outcome != "delivered"
            is_halted = is_halted or is_open
            log.warning("%s: breaker %s", _name(outcome.claimed), "opened" if is_open else "closed")
        with self._lock:
            if is_halted:
                self._halted.add(outcome.claimed.webhook_id)
            if outcome.outcome != "released":
                self._counts[_counted_as(outcome, finished.status)] += 1

    # what the claiming thread does besides

    def _record_kept(self) -> None:
        """Record what the database could not take before.

        Raises:
            DatabaseError: it still cannot.
        """
        while self._kept:
            self._finish(self._session, self._kept[0])
            self._kept.popleft()
        self._away.clear()

    def _record_kept_with_patience(self, tries: int = AWAY_TRIES) -> None:
        """Record what the database could not take before; the last chance for it.

        Raises:
            DatabaseUnavailable: it still cannot; says how many messages that are.
        """
        for attempt in range(tries):
            try:
                self._record_kept()
            except DatabaseUnavailable as exc:
                if attempt + 1 < tries:
                    time.sleep(_pause_s(attempt))
                    continue
                sent = sum(outcome.outcome != "released" for outcome in self._kept)
                raise DatabaseUnavailable(
                    f"{exc}; what became of {_counted(sent, 'message')} is not recorded, so it may be sent again"
                ) from exc
            else:
                return

    def _wait_for_database(self, exc: DatabaseUnavailable) -> None:
        """Pause, longer each time.

        Raises:
            DatabaseUnavailable: this run is not to wait, or no longer.
        """
        self._away.set()
        has_reason = bool(self._lanes or self._kept) and self._tries < AWAY_TRIES
        if not self._watch and not has_reason:
            raise exc
        if self._tries == 0:
            log.warning("%s; trying again", exc)
        self._stop.wait(_pause_s(self._tries))
        self._tries += 1

    def _check_self_health(self) -> None:
        """Let the database look whether the monitoring itself works. That it cannot is no reason not to deliver."""
        if time.monotonic() < self._next_health_check and not self._breaker_changed.is_set():
            return
        self._breaker_changed.clear()
        self._next_health_check = time.monotonic() + SELF_HEALTH_S
        try:
            self._session.call(outbox.check_self_health)
        except DatabaseUnavailable:
            raise
        except DatabaseError as exc:
            log.warning("the monitoring's own health cannot be checked: %s", exc)

    def _warn_of_other_keys(self) -> None:
        for other in self._session.call(webhooks.other_keys, self._key.key_id):
            if other.name not in self._warned:
                self._warned.add(other.name)
                log.warning(
                    "%s: %d rows wait for the key %s, this worker has %s",
                    " ".join(other.name.split()),
                    other.waiting,
                    other.key_id,
                    self._key.key_id,
                )

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now >= self._next_progress and (sent := self._counts.total()):
            self._progress(f"{_counted(sent, 'message')} so far")
            self._next_progress = now + PROGRESS_S

    def _result(self) -> DeliveryResult:
        state = self._session.call(outbox.queue_state)
        others = self._session.call(webhooks.other_keys, self._key.key_id)
        counts = self._counts
        return DeliveryResult(
            messages=counts.total(),
            delivered=counts["delivered"],
            failed=counts["failed"],
            retried=counts["retried"],
            rate_limited=counts["rate_limited"],
            late=counts["late"],
            waiting=state.pending,
            next_due_at=state.next_due_at,
            other_keys=tuple(others),
        )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _rows_of(claimed: Claimed, rows: Sequence[tuple[int, str]]) -> Claimed:
    """The message with some of its rows only."""
    return replace(claimed, queue_ids=[row[0] for row in rows], message_bodies=[row[1] for row in rows])


def _message(claimed: Claimed) -> Message:
    return compose(
        claimed.message_bodies,
        now=claimed.claimed_at,
        is_digest=claimed.is_digest,
        is_still_open=claimed.is_still_open,
    )


def _channel(key: MasterKey, claimed: Claimed) -> Channel:
    return open_channel(
        key,
        name=claimed.webhook_name,
        webhook_type=claimed.webhook_type,
        channel_or_recipient=claimed.channel_or_recipient,
        allow_private=claimed.allow_private,
        ciphertext=claimed.webhook_url_encrypted,
        iv=claimed.webhook_url_iv,
        key_id=claimed.encryption_key_id,
    )


def _counted_as(outcome: _Outcome, status: str) -> str:
    if status == "lease_lost":
        return "late"
    if status == "pending":
        return "rate_limited" if outcome.outcome == "rate_limited" else "retried"
    return status


def _reason(exc: Exception) -> str:
    """Own errors say what is wrong without an address; the text of a foreign one might repeat it."""
    return str(exc) if isinstance(exc, PggitAnalyticsError) else f"unexpected {type(exc).__name__}"


def _name(claimed: Claimed) -> str:
    return " ".join(claimed.webhook_name.split())


def _pause_s(tries: int) -> float:
    return min(AWAY_FIRST_S * 2.0**tries, AWAY_LONGEST_S)
