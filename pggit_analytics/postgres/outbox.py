"""The outbox: messages are claimed, sent by the caller, and finished. The rules are functions in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row, scalar_row

#: what became of one message: see ``finish_notification`` in ``sql/functions``
Outcome = Literal["delivered", "retry", "rate_limited", "rejected", "poison", "released"]

#: digests have bundle keys of their own
_DIGEST = "digest:"


@dataclass(frozen=True, slots=True)
class Claimed:
    """One message to be sent, under a lease. Sequences by row are in the order of ``queue_ids``."""

    lease_token: UUID
    #: when others may claim it; by the clock of the server, like every instant here
    leased_until: datetime
    claimed_at: datetime
    webhook_id: int
    #: slack, mattermost, pagerduty, email or webhook
    webhook_type: str
    webhook_name: str
    channel_or_recipient: str | None = field(repr=False)
    #: None for a webhook whose address was never stored
    webhook_url_encrypted: bytes | None = field(repr=False)
    webhook_url_iv: bytes | None = field(repr=False)
    encryption_key_id: str | None
    allow_private: bool
    #: None for a row that goes alone
    bundle_key: str | None
    queue_ids: list[int]
    message_bodies: list[str] = field(repr=False)
    #: 0 CRITICAL, 1 WARNING, 2 INFO: the most urgent of the rows
    priority: int
    #: failed attempts so far, the most of any row
    retry_count: int
    first_queued_at: datetime
    #: some alert of the rows, or of their groups as far as this webhook was told, is not resolved
    is_still_open: bool

    @property
    def is_digest(self) -> bool:
        """Whether it is what was gathered over a day."""
        return self.bundle_key is not None and self.bundle_key.startswith(_DIGEST)


@dataclass(frozen=True, slots=True)
class Finished:
    """What the outbox made of an outcome."""

    status: Literal["delivered", "pending", "failed", "lease_lost"]
    #: None: due at once, or never again
    next_retry_at: datetime | None
    #: the channel was found down, or well again, by this message
    breaker_changed: bool


@dataclass(frozen=True, slots=True)
class QueueState:
    """How full the outbox is; rows, not messages."""

    #: the server's clock
    asked_at: datetime
    #: not sent yet, of all webhooks; the next three are parts of it
    pending: int
    #: being sent now
    leased: int
    #: waiting for their time: after a failed attempt, for a digest, for the end of a silence
    waiting: int
    #: pending for webhooks that are disabled
    disabled: int
    failed: int
    #: when the next message can be claimed, which may be past; None when nothing waits for an enabled webhook
    next_due_at: datetime | None


_CLAIM = """
    SELECT *
    FROM claim_notifications(
        %(limit)s, %(lease_seconds)s, %(key_id)s, %(busy_webhooks)s::BIGINT[], %(webhook_types)s::TEXT[])
"""

_FINISH = """
    SELECT *
    FROM finish_notification(
        %(lease_token)s, %(queue_ids)s::BIGINT[], %(outcome)s, %(duration_ms)s::NUMERIC, %(http_status)s::INTEGER,
        %(error)s, %(retry_after_seconds)s::NUMERIC, %(max_retries)s)
"""

# The first due row of each priority is one probe of an index, however many rows wait.
_STATE = """
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS asked_at)
    SELECT
        c.asked_at,
        q.*,
        (SELECT count(*) FROM alert_notification_queue AS f WHERE f.status = 'failed') AS failed,
        (
            SELECT min(greatest(d.due_at, s.next_send_at, s.blocked_until, s.breaker_probe_at))
            FROM alert_notification_webhooks AS w
            LEFT JOIN webhook_delivery_state AS s USING (webhook_id)
            CROSS JOIN generate_series(0, 2) AS p (priority)
            CROSS JOIN LATERAL (
                SELECT coalesce(r.next_retry_at, r.created_at) AS due_at
                FROM alert_notification_queue AS r
                WHERE r.webhook_id = w.webhook_id AND r.priority = p.priority AND r.status = 'pending'
                ORDER BY coalesce(r.next_retry_at, r.created_at), r.notification_queue_id
                LIMIT 1
            ) AS d
            WHERE w.enabled
        ) AS next_due_at
    FROM clock AS c
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS pending,
            count(*) FILTER (WHERE r.leased_until > c.asked_at) AS leased,
            count(*) FILTER (
                WHERE r.next_retry_at > c.asked_at AND r.leased_until > c.asked_at IS NOT TRUE) AS waiting,
            count(*) FILTER (WHERE NOT w.enabled) AS disabled
        FROM alert_notification_queue AS r
        JOIN alert_notification_webhooks AS w USING (webhook_id)
        WHERE r.status = 'pending'
    ) AS q
"""


@contextmanager
def _committed(connection: psycopg.Connection) -> Iterator[None]:
    """For one statement: in autocommit it is a transaction by itself, without two more round trips."""
    with nullcontext() if connection.autocommit else connection.transaction():
        yield


def claim(
    connection: psycopg.Connection,
    *,
    limit: int = 50,
    lease_seconds: int = 60,
    key_id: str | None = None,
    busy_webhooks: Collection[int] = (),
    webhook_types: Collection[str] | None = None,
) -> list[Claimed]:
    """The messages to be sent next, most urgent first; the claim is committed when this returns.

    Args:
        connection: autocommit, or not in a transaction; inside one the claim is committed with it, and others wait.
        limit: messages of each webhook at most, 1 to 1000.
        lease_seconds: how long they are the caller's, 1 to 3600; see `renew`.
        key_id: only webhooks whose address is encrypted with this master key, or not at all; None = any.
        busy_webhooks: webhooks to leave alone, because the caller is still sending to them.
        webhook_types: only these; None = all.

    Raises:
        psycopg.errors.InvalidParameterValue: an argument, or a setting of the breaker, is out of range.
    """
    parameters = {
        "limit": limit,
        "lease_seconds": lease_seconds,
        "key_id": key_id,
        "busy_webhooks": list(busy_webhooks),
        "webhook_types": None if webhook_types is None else list(webhook_types),
    }
    with _committed(connection), connection.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(_CLAIM, parameters).fetchall()


def renew(connection: psycopg.Connection, lease_tokens: Collection[UUID], lease_seconds: int = 60) -> set[UUID]:
    """Keep leases for ``lease_seconds`` from now; those still held. Stop sending what is not among them.

    Raises:
        psycopg.errors.InvalidParameterValue: the seconds are outside 1 to 3600.
    """
    query = "SELECT * FROM renew_notification_leases(%s::UUID[], %s)"
    with _committed(connection), connection.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query, (list(lease_tokens), lease_seconds)).fetchall())


def finish(
    connection: psycopg.Connection,
    message: Claimed,
    outcome: Outcome,
    *,
    duration_ms: float | None = None,
    http_status: int | None = None,
    error: str | None = None,
    retry_after_seconds: float | None = None,
    max_retries: int = 3,
) -> Finished:
    """Tell what became of a message; committed when this returns.

    Args:
        duration_ms: of the attempt; None only for poison and released, where there was none.
        error: one line without secrets; cut to 500 characters.
        retry_after_seconds: the pause that the channel asked for, a second to an hour is honoured.
        max_retries: failed attempts after which the message has failed, 1 to 20.

    Raises:
        psycopg.errors.InvalidParameterValue: an argument is out of range.
    """
    parameters = {
        "lease_token": message.lease_token,
        "queue_ids": message.queue_ids,
        "outcome": outcome,
        "duration_ms": duration_ms,
        "http_status": http_status,
        "error": error,
        "retry_after_seconds": retry_after_seconds,
        "max_retries": max_retries,
    }
    with _committed(connection), connection.cursor(row_factory=class_row(Finished)) as cursor:
        (finished,) = cursor.execute(_FINISH, parameters).fetchall()
    return finished


def redrive(
    connection: psycopg.Connection, *, webhook_id: int | None = None, queue_ids: Sequence[int] | None = None
) -> int:
    """Make failed rows due again, of one webhook or all, only those named or all; how many.

    Raises:
        psycopg.errors.InvalidParameterValue: there is no such webhook.
    """
    parameters = (webhook_id, None if queue_ids is None else list(queue_ids))
    with _committed(connection), connection.cursor(row_factory=scalar_row) as cursor:
        (redriven,) = cursor.execute("SELECT redrive_notifications(%s, %s::BIGINT[])", parameters).fetchall()
    return int(redriven)


def check_self_health(connection: psycopg.Connection, as_of: datetime | None = None) -> int:
    """Raise and resolve the alerts about alerting itself; how many of either. ``as_of`` None = the database's."""
    query = "SELECT check_self_health(coalesce(%s, analysis_time()))"
    with _committed(connection), connection.cursor(row_factory=scalar_row) as cursor:
        (changed,) = cursor.execute(query, (as_of,)).fetchall()
    return int(changed)


def queue_state(connection: psycopg.Connection) -> QueueState:
    """How full the outbox is and when there is something to do next."""
    with _committed(connection), connection.cursor(row_factory=class_row(QueueState)) as cursor:
        (state,) = cursor.execute(_STATE).fetchall()
    return state
