"""The dead man's switch: run from another machine, it says when the monitoring itself has fallen silent.

`decide` is pure: what was remembered, what was found and the moment go in; what is to be said and remembered come out.
`beat` does the rest: look, say, remember. Nothing of it writes to the database.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pggit_analytics.config import HeartbeatSettings, Settings
from pggit_analytics.delivery.addresses import parse_address
from pggit_analytics.delivery.channels import Channel, Senders, recipients
from pggit_analytics.delivery.http import HttpSender
from pggit_analytics.delivery.message import Message, compose
from pggit_analytics.delivery.reply import Reply
from pggit_analytics.delivery.wording import clean, instant, listed, name
from pggit_analytics.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    InvalidAddress,
    NotDeployed,
    PermissionDenied,
)
from pggit_analytics.heartbeat_memory import Memory, Remembered, Severity, State, StateNotWritten, locked
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.pulse import Pulse, WaitingChannel, take_pulse

#: bytes of a file with an address that are read
_MAX_FILE_BYTES = 4096

#: kinds of trouble that can only be seen in a database that answers
_VISIBLE = ("detector", "delivery", "channels", "schedule")

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not well."""

    kind: str
    severity: Severity
    #: without a moment
    statement: str
    remedy: str
    #: None = only known is when it was noticed
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Blind:
    """What is found where nothing can be seen: the database is away, or does not say what it is asked."""

    trouble: Trouble


Observation = Pulse | Blind


@dataclass(frozen=True, slots=True)
class Saying:
    """What is to be said now."""

    #: opened, repeat:n or resolved
    transition: str
    severity: Severity
    summary: str
    remedy: str
    #: when the first trouble was noticed
    began_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one observation."""

    troubles: tuple[Trouble, ...]
    #: None = nothing
    saying: Saying | None
    #: to be remembered once a channel took it, or nothing is to be said
    said: State
    #: to be remembered when no channel took it
    unsaid: State


def troubles(observation: Observation, limits: HeartbeatSettings) -> tuple[Trouble, ...]:
    """What is not well, what matters most first. Ages are by the database's clock alone."""
    if isinstance(observation, Blind):
        return (observation.trouble,)
    found = (
        _detector(observation, limits),
        _standing(observation, limits),
        _mute(observation, limits),
        _schedule(observation, limits),
    )
    return tuple(trouble for trouble in found if trouble)


def _detector(pulse: Pulse, limits: HeartbeatSettings) -> Trouble | None:
    # an active scheduler is given time for its first run, and for no other
    since = pulse.last_success_at or pulse.scheduler_since
    if since is not None and pulse.asked_at - since <= limits.max_silence:
        return None
    statement = "No monitoring run has ever succeeded"
    remedy = (
        "see when it last ran and why it failed: pggit-analytics schedule list; then run one: pggit-analytics analyze"
    )
    if pulse.last_success_at is None and pulse.scheduler is None:
        remedy = "let a scheduler run it: pggit-analytics schedule install; or run one: pggit-analytics analyze"
    elif pulse.last_success_at is not None:
        statement = "No monitoring run has succeeded"
    return Trouble("detector", "CRITICAL", statement, remedy, pulse.last_success_at)


def _standing(pulse: Pulse, limits: HeartbeatSettings) -> Trouble | None:
    standing = [
        channel for channel in pulse.waiting if pulse.asked_at - _standing_since(channel) > limits.max_delivery_delay
    ]
    if not standing:
        return None
    return Trouble(
        "delivery",
        "CRITICAL",
        f"Messages to {listed([name(channel.name) for channel in standing], 3)} are due and none has been delivered",
        "see that something sends them: pggit-analytics deliver, by the schedule or with --watch",
        min(_standing_since(channel) for channel in standing),
    )


def _standing_since(channel: WaitingChannel) -> datetime:
    return max(channel.due_at, channel.delivered_at or channel.due_at)


def _mute(pulse: Pulse, limits: HeartbeatSettings) -> Trouble | None:
    if pulse.mute_since is None or pulse.asked_at - pulse.mute_since <= limits.max_delivery_delay:
        return None
    return Trouble(
        "channels",
        "CRITICAL",
        "No channel of the database has worked",
        "see their last errors: pggit-analytics webhooks list",
        pulse.mute_since,
    )


def _schedule(pulse: Pulse, limits: HeartbeatSettings) -> Trouble | None:
    late = [
        window
        for window in pulse.windows
        if pulse.asked_at - window.due_at > min(max(window.period, limits.max_delivery_delay), limits.max_silence)
    ]
    if not late:
        return None
    return Trouble(
        "schedule",
        "WARNING",
        f"The scheduler {pulse.scheduler} has not started {listed([name(window.job) for window in late], 3)}",
        "see that it is up: pggit-analytics schedule list",
        min(window.due_at for window in late),
    )


def decide(state: State, observation: Observation, now: datetime, limits: HeartbeatSettings) -> Decision:
    """What to say and to remember.

    A trouble is said when it begins, whatever else is going on; all of them again after ``repeat_every``; and once
    when all is well. What was known before the database went out of sight still holds when it is back.

    Args:
        state: as remembered.
        observation: what was found.
        now: by the clock of this machine, with a zone.
        limits: how long what may be silent.
    """
    found = troubles(observation, limits)
    if not found:
        said_before = [trouble for trouble in state.troubles if trouble.is_told]
        return Decision((), _end(state, said_before, now) if said_before else None, State(), state)
    known = {trouble.kind: trouble for trouble in state.troubles}
    current = tuple(_remembered(trouble, known.get(trouble.kind), now) for trouble in found)
    unseen = tuple(known[kind] for kind in known if kind in _VISIBLE) if isinstance(observation, Blind) else ()
    unsaid = State(
        troubles=current + unseen,
        began_at=state.began_at or now,
        said_at=state.said_at,
        messages=state.messages,
    )
    if all(trouble.is_told for trouble in current) and not _is_repetition_due(state, now, limits):
        return Decision(found, None, unsaid, unsaid)
    told = tuple(trouble.model_copy(update={"is_told": True}) for trouble in current)
    said = unsaid.model_copy(
        update={"troubles": told + unseen, "said_at": now, "messages": state.messages + 1},
    )
    return Decision(found, _news(unsaid, current, found), said, unsaid)


def _remembered(trouble: Trouble, before: Remembered | None, now: datetime) -> Remembered:
    since = trouble.since or (before.since if before else now)
    when = "since" if trouble.since else "noticed"
    return Remembered(
        kind=trouble.kind,
        severity=trouble.severity,
        summary=f"{trouble.statement}{' ' if trouble.since else ', '}{when} {instant(since)}",
        since=since,
        is_told=before is not None and before.is_told,
    )


def _is_repetition_due(state: State, now: datetime, limits: HeartbeatSettings) -> bool:
    """Also when the clock was set back: better once too often."""
    return state.said_at is None or not state.said_at <= now < state.said_at + limits.repeat_every


def _news(state: State, current: Sequence[Remembered], found: Sequence[Trouble]) -> Saying:
    return Saying(
        f"repeat:{state.messages}" if state.messages else "opened",
        _worst(current),
        _summary(current),
        "; ".join(trouble.remedy for trouble in found),
        state.began_at or current[0].since,
    )


def _end(state: State, told: Sequence[Remembered], now: datetime) -> Saying:
    return Saying("resolved", _worst(told), _summary(told), "", state.began_at or now)


def _worst(remembered: Sequence[Remembered]) -> Severity:
    return "CRITICAL" if any(trouble.severity == "CRITICAL" for trouble in remembered) else "WARNING"


def _summary(remembered: Sequence[Remembered]) -> str:
    return ". ".join(trouble.summary for trouble in remembered)


@dataclass(frozen=True, slots=True)
class Watched:
    """Which database a heartbeat is about, as messages name it."""

    #: the same for ever, whether the database can be reached or not
    key: str
    instance: str
    schema: str

    @classmethod
    def of(cls, database: Database, settings: HeartbeatSettings) -> Watched:
        """The name given, else that of the database."""
        place = database.place
        digest = hashlib.sha256(f"{place} {database.schema}".encode()).hexdigest()[:12]
        return cls(f"heartbeat-{digest}", settings.name or place.rpartition("/")[2] or place, database.schema)


def composed(saying: Saying, watched: Watched, now: datetime) -> Message:
    """The message of a saying; all of one database belong to one incident."""
    is_over = saying.transition == "resolved"
    body = {
        "transition": saying.transition,
        "alert_type": "SELF_HEALTH",
        "severity": saying.severity,
        "dedup_key": f"{watched.key}/{saying.began_at.isoformat()}",
        "group_key": watched.key,
        "opened_at": saying.began_at.isoformat(),
        "last_seen_at": now.isoformat(),
        "resolved_at": now.isoformat() if is_over else None,
        "evidence": {"summary": saying.summary, "remedy": saying.remedy},
        "instance": watched.instance,
        "schema": watched.schema,
    }
    message = compose([json.dumps(body)], now=now, is_still_open=not is_over)
    # what is found is not in the tables that a message usually points to
    return replace(message, reproduction=None)


def channel_of(settings: HeartbeatSettings) -> Channel | None:
    """Where the heartbeat speaks; None where that is not configured.

    Raises:
        ConfigurationError: a part is missing or unusable.
    """
    if settings.type is None:
        if settings.address is not None or settings.address_file is not None:
            raise ConfigurationError("[heartbeat] has an address without a type; add type, such as type = 'slack'")
        return None
    try:
        address = parse_address(settings.type, _address(settings), allow_private=settings.allow_private)
    except InvalidAddress as exc:
        raise ConfigurationError(f"[heartbeat] cannot speak: {exc}") from None
    channel = Channel("heartbeat", settings.type, settings.to, settings.allow_private, address)
    if settings.type == "email":
        _check_recipients(settings.to)
    return channel


def _check_recipients(to: str | None) -> None:
    mailboxes = recipients(to)
    if not mailboxes or any("@" not in each or not each.isprintable() or set(each) & set(" <>") for each in mailboxes):
        raise ConfigurationError("[heartbeat] of type email needs mailboxes, such as to = 'dba@example.com'")


def _address(settings: HeartbeatSettings) -> str:
    if settings.address is not None:
        return settings.address.get_secret_value()
    if settings.address_file is None:
        raise ConfigurationError(
            f"[heartbeat] of type {settings.type} has no address; set PGGIT_HEARTBEAT__ADDRESS, or address_file"
        )
    return _read_private(settings.address_file)


def _read_private(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(_MAX_FILE_BYTES)
    except OSError as exc:
        raise ConfigurationError(f"the address_file of [heartbeat], {file}, cannot be read: {exc.strerror}") from None
    if mode & 0o027:
        raise ConfigurationError(
            f"the address_file of [heartbeat], {file}, has mode {mode:04o}, so that others can read or change it; "
            f"chmod 600 {file}"
        )
    return content.decode("utf-8", "replace")


def _ping_url(settings: HeartbeatSettings) -> str | None:
    if settings.ping_url is None:
        return None
    try:
        # a Mattermost address is any URL with TLS, or without where private ones are allowed
        return parse_address(
            "mattermost", settings.ping_url.get_secret_value(), allow_private=settings.allow_private
        ).url
    except InvalidAddress:
        raise ConfigurationError(
            "ping_url of [heartbeat] is no URL such as https://hc-ping.com/ID (http:// needs allow_private)"
        ) from None


@dataclass(frozen=True, slots=True)
class Beat:
    """What one beat found and did."""

    checked_at: datetime
    #: None while the database does not answer, and where there was no run
    last_success_at: datetime | None
    #: worst first; none = all is well
    troubles: tuple[Trouble, ...]
    #: opened, repeat:n, resolved; None = there was nothing to say
    transition: str | None
    #: of the channel; None = nothing to say or no channel
    reply: Reply | None
    #: of ``ping_url``; None = none, or not all is well
    ping: Reply | None
    #: what was said could not be remembered
    memory_fault: str | None

    @property
    def is_well(self) -> bool:
        return not self.troubles


def beat(
    database: Database,
    settings: Settings,
    state_file: Path,
    *,
    clock: Clock = lambda: datetime.now(UTC),
) -> Beat:
    """Look whether the monitoring in a database is alive, and say so where it is due.

    Args:
        database: the one that is watched.
        settings: the section ``[heartbeat]``, and time-outs and authorities of ``[delivery]``.
        state_file: what was said before; made when needed.
        clock: of this machine; only spans between its own readings matter.

    Raises:
        ConfigurationError: something is missing or wrong in the settings.
        StuckHeartbeat: another beat does not end.
    """
    limits = settings.heartbeat
    channel, ping_url = channel_of(limits), _ping_url(limits)
    watched = Watched.of(database, limits)
    with Senders(settings.delivery) as senders, locked(state_file):
        memory = Memory(state_file, watched.key, clock())
        observation = _observed(database, limits)
        now = clock()
        decision = decide(memory.state, observation, now, limits)
        reply = _said(decision.saying, channel, senders, watched, now)
        # without a channel, the exit status has said it
        is_taken = channel is None or reply is None or reply.outcome == "delivered"
        fault = _kept(memory, decision.said if is_taken else decision.unsaid)
        ping = _pinged(ping_url, settings) if ping_url and not decision.troubles else None
    return Beat(
        checked_at=now,
        last_success_at=observation.last_success_at if isinstance(observation, Pulse) else None,
        troubles=decision.troubles,
        transition=decision.saying.transition if decision.saying else None,
        reply=reply,
        ping=ping,
        memory_fault=fault,
    )


def send_test(database: Database, settings: Settings, *, clock: Clock = lambda: datetime.now(UTC)) -> Reply:
    """Send a test message by the channel of the heartbeat; the database is not asked.

    Raises:
        ConfigurationError: there is no channel, or something is wrong in the settings.
    """
    channel = channel_of(settings.heartbeat)
    if channel is None:
        raise ConfigurationError("[heartbeat] has no channel to test; set type and address")
    watched = Watched.of(database, settings.heartbeat)
    body = {"transition": "test", "instance": watched.instance, "schema": watched.schema}
    with Senders(settings.delivery) as senders:
        return senders.send(channel, compose([json.dumps(body)], now=clock()))


def _observed(database: Database, limits: HeartbeatSettings) -> Observation:
    try:
        return take_pulse(database, delivered_within=limits.max_delivery_delay, timeout_s=limits.database_timeout_s)
    except DatabaseError as exc:
        return Blind(_blindness(exc))


_BLINDNESS: tuple[tuple[type[DatabaseError], str], ...] = (
    (DatabaseUnavailable, "away"),
    (NotDeployed, "not_deployed"),
    (PermissionDenied, "not_permitted"),
)


def _blindness(fault: DatabaseError) -> Trouble:
    kind = next((kind for known, kind in _BLINDNESS if isinstance(fault, known)), None)
    # these errors end in their remedy
    statement, _, remedy = str(fault).rpartition("; ") if kind else (f"cannot ask: {fault}", "", "")
    statement = clean(statement, 200)
    if kind == "not_permitted":
        remedy = "grant the role of the heartbeat what docs/heartbeat.md lists, or pggit_pipeline"
    return Trouble(
        kind or "unreadable",
        "CRITICAL",
        f"{statement[:1].upper()}{statement[1:]}",
        remedy or "see that the database and this program are of one release: pggit-analytics db status",
    )


def _said(
    saying: Saying | None, channel: Channel | None, senders: Senders, watched: Watched, now: datetime
) -> Reply | None:
    if saying is None or channel is None:
        return None
    return senders.send(channel, composed(saying, watched, now))


def _kept(memory: Memory, state: State) -> str | None:
    try:
        memory.keep(state)
    except StateNotWritten as exc:
        return str(exc)
    return None


def _pinged(url: str, settings: Settings) -> Reply:
    delivery = settings.delivery
    with HttpSender(
        delivery.ca_file, delivery.connect_timeout_s, delivery.read_timeout_s, delivery.total_timeout_s
    ) as sender:
        return sender.get(url, allow_private=settings.heartbeat.allow_private)
