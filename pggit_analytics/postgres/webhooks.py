"""Where messages go: the rows of webhooks, their routes and what waits for them. Addresses pass through encrypted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.postgres.connection import Database

ALERT_TYPES = (
    "ANOMALY",
    "DEGRADATION",
    "CORRELATION",
    "THRESHOLD_EXCEEDED",
    "INCIDENT",
    "FORECAST",
    "SELF_HEALTH",
    "BASELINE_RECALC_ERROR",
)
SEVERITIES = ("INFO", "WARNING", "CRITICAL")
DELIVERIES = ("immediate", "digest")

#: pairs that come often and can wait for the daily digest
_DIGESTED = {("ANOMALY", "WARNING"), ("CORRELATION", "WARNING")}

#: what a channel takes at most between two messages that anybody would wait for
_LONGEST_INTERVAL_MS = 3_600_000


class Route(NamedTuple):
    """Alerts of one type and severity go to the webhook, each by itself or in the daily digest."""

    alert_type: str
    severity: str
    #: immediate | digest
    delivery: str


DEFAULT_ROUTES = tuple(
    Route(alert_type, severity, "digest" if (alert_type, severity) in _DIGESTED else "immediate")
    for alert_type in ALERT_TYPES
    for severity in ("CRITICAL", "WARNING")
)


@dataclass(frozen=True, slots=True)
class Secret:
    """An encrypted address."""

    #: ciphertext, then its HMAC
    ciphertext: bytes
    iv: bytes
    #: of the master key that it is encrypted under
    key_id: str


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """One webhook."""

    webhook_id: int
    name: str
    webhook_type: str
    channel_or_recipient: str | None
    enabled: bool
    #: whether it may lie in a private network
    allow_private: bool
    #: milliseconds between two messages; None = by type
    min_interval_ms: int | None
    webhook_url_encrypted: bytes | None
    webhook_url_iv: bytes | None
    encryption_key_id: str | None
    last_tested_at: datetime | None
    #: what the last test said; None before the first
    test_status: str | None

    @property
    def secret(self) -> Secret | None:
        """Its encrypted address; None without one."""
        if self.webhook_url_encrypted is None or self.webhook_url_iv is None or self.encryption_key_id is None:
            return None
        return Secret(self.webhook_url_encrypted, self.webhook_url_iv, self.encryption_key_id)


@dataclass(frozen=True, slots=True)
class WebhookState:
    """How delivery to one webhook goes."""

    webhook_id: int
    #: closed (it works), open (it failed again and again; tried at ``breaker_probe_at``)
    breaker: str
    breaker_probe_at: datetime | None
    #: rows that wait, and rows that failed for good
    pending: int
    failed: int
    #: of the latest row among them that has one
    last_error: str | None


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What `add` stores.

    Raises:
        InvalidArgument: a value is not allowed.
    """

    name: str
    webhook_type: str
    channel_or_recipient: str | None = None
    allow_private: bool = False
    min_interval_ms: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 100 or not self.name.isprintable():
            raise InvalidArgument(f"the name is {self.name!r}; expected 1 to 100 printable characters")
        if self.min_interval_ms is not None and not 0 <= self.min_interval_ms <= _LONGEST_INTERVAL_MS:
            raise InvalidArgument(f"min_interval_ms is {self.min_interval_ms}; expected 0 to {_LONGEST_INTERVAL_MS}")


@dataclass(frozen=True, slots=True)
class OtherKey:
    """A webhook whose messages wait because its address is encrypted under another master key."""

    name: str
    key_id: str
    #: rows that are due, counted up to `_COUNTED`
    waiting: int


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """Rows that will go in one message, as far as is known now."""

    webhook_name: str
    bundle_key: str | None
    message_bodies: tuple[str, ...]
    #: when that was, by the database's clock
    seen_at: datetime


#: counting stops here: beyond that the exact number helps nobody
_COUNTED = 100_000

_COLUMNS = """
    webhook_id, name, webhook_type, channel_or_recipient, enabled, allow_private, min_interval_ms,
    webhook_url_encrypted, webhook_url_iv, encryption_key_id, last_tested_at, test_status
"""

_ADD = """
INSERT INTO alert_notification_webhooks (
    name, webhook_type, channel_or_recipient, allow_private, min_interval_ms,
    webhook_url_encrypted, webhook_url_iv, encryption_key_id)
VALUES (
    %(name)s, %(webhook_type)s, %(channel_or_recipient)s, %(allow_private)s, %(min_interval_ms)s,
    %(ciphertext)s, %(iv)s, %(key_id)s)
ON CONFLICT (name) DO NOTHING
RETURNING webhook_id
"""

_REPLACE = """
UPDATE alert_notification_webhooks
SET webhook_type = %(webhook_type)s, channel_or_recipient = %(channel_or_recipient)s,
    allow_private = %(allow_private)s, min_interval_ms = %(min_interval_ms)s,
    webhook_url_encrypted = %(ciphertext)s, webhook_url_iv = %(iv)s, encryption_key_id = %(key_id)s,
    last_tested_at = NULL, test_status = NULL
WHERE name = %(name)s
RETURNING webhook_id
"""

# A new address starts with a clean slate: what the old one refused says nothing about it.
_FORGET_STATE = "DELETE FROM webhook_delivery_state WHERE webhook_id = %s"

_STATES = """
SELECT
    w.webhook_id,
    CASE WHEN s.breaker_opened_at IS NULL THEN 'closed' ELSE 'open' END AS breaker,
    s.breaker_probe_at,
    count(*) FILTER (WHERE q.status = 'pending') AS pending,
    count(*) FILTER (WHERE q.status = 'failed') AS failed,
    (array_agg(q.last_error ORDER BY q.notification_queue_id DESC) FILTER (WHERE q.last_error IS NOT NULL))[1]
        AS last_error
FROM alert_notification_webhooks AS w
LEFT JOIN webhook_delivery_state AS s ON s.webhook_id = w.webhook_id
LEFT JOIN alert_notification_queue AS q ON q.webhook_id = w.webhook_id AND q.status IN ('pending', 'failed')
GROUP BY w.webhook_id, s.breaker_opened_at, s.breaker_probe_at
ORDER BY w.webhook_id
"""

# The priorities are listed so that the index of what is due is descended once for each.
_DUE = """q.status = 'pending' AND q.priority IN (0, 1, 2)
    AND coalesce(q.next_retry_at, q.created_at) <= clock_timestamp()"""

# Webhooks with something due that nothing but their own pace holds back.
_PACED = f"""
SELECT extract(EPOCH FROM min(s.next_send_at) - clock_timestamp())::FLOAT8
FROM alert_notification_webhooks AS w
JOIN webhook_delivery_state AS s ON s.webhook_id = w.webhook_id
WHERE w.enabled
    AND (w.encryption_key_id IS NULL OR w.encryption_key_id = %s)
    AND s.next_send_at > clock_timestamp()
    AND coalesce(s.blocked_until, '-infinity') <= clock_timestamp()
    AND (s.breaker_opened_at IS NULL OR coalesce(s.breaker_probe_at, '-infinity') <= clock_timestamp())
    AND EXISTS (SELECT FROM alert_notification_queue AS q WHERE q.webhook_id = w.webhook_id AND {_DUE})
"""  # noqa: S608 - a constant

_OTHER_KEYS = f"""
SELECT w.name, w.encryption_key_id AS key_id, due.waiting
FROM alert_notification_webhooks AS w
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting
    FROM (
        SELECT FROM alert_notification_queue AS q WHERE q.webhook_id = w.webhook_id AND {_DUE} LIMIT {_COUNTED}
    ) AS counted
) AS due
WHERE w.enabled AND w.encryption_key_id <> %s AND due.waiting > 0
ORDER BY w.name COLLATE "C"
"""  # noqa: S608 - a constant

_WAITING = """
SELECT w.name, bundle_key, array_agg(message_body ORDER BY notification_queue_id), clock_timestamp()
FROM (
    SELECT notification_queue_id, webhook_id, bundle_key, message_body
    FROM alert_notification_queue
    WHERE status = 'pending'
    ORDER BY notification_queue_id
    LIMIT 1000
) AS first_rows
JOIN alert_notification_webhooks AS w USING (webhook_id)
GROUP BY w.name, bundle_key, CASE WHEN bundle_key IS NULL THEN notification_queue_id END
ORDER BY min(notification_queue_id)
LIMIT %s
"""


_TEST_BODY = """
SELECT
    json_build_object(
        'transition', 'test',
        'instance', coalesce(
            (SELECT nullif(value, '') FROM analytics_settings WHERE name = 'instance_name'), current_database()),
        'schema', current_schema())::TEXT,
    clock_timestamp()
"""


def add(
    database: Database, new: NewWebhook, secret: Secret, routes: Iterable[Route] | None, *, replace: bool = False
) -> int:
    """Store a webhook and its routes; its id.

    Args:
        database: whose webhook it is.
        new: what it is.
        secret: its address.
        routes: what goes there; None = `DEFAULT_ROUTES` for a new one, those it has for one that is replaced.
        replace: a webhook of that name gets the new address; what waits for it goes there.

    Raises:
        InvalidArgument: there is one of that name and ``replace`` is false.
        DatabaseError: see `connection.translated`.
    """
    values = {
        "name": new.name,
        "webhook_type": new.webhook_type,
        "channel_or_recipient": new.channel_or_recipient,
        "allow_private": new.allow_private,
        "min_interval_ms": new.min_interval_ms,
        "ciphertext": secret.ciphertext,
        "iv": secret.iv,
        "key_id": secret.key_id,
    }
    with database.connect() as connection:
        # rotate() must see every address
        connection.execute("LOCK TABLE alert_notification_webhooks IN ROW EXCLUSIVE MODE")
        added = connection.execute(_ADD, values).fetchone()
        if added is not None:
            webhook_id = int(added[0])
            _set_routes(connection, webhook_id, DEFAULT_ROUTES if routes is None else routes)
            return webhook_id
        replaced = connection.execute(_REPLACE, values).fetchone() if replace else None
        if replaced is None:
            raise InvalidArgument(f"there is a webhook {new.name!r} already; give --replace to change its address")
        webhook_id = int(replaced[0])
        connection.execute(_FORGET_STATE, (webhook_id,))
        if routes is not None:
            _set_routes(connection, webhook_id, routes)
        return webhook_id


def list_webhooks(database: Database) -> list[tuple[WebhookRow, WebhookState]]:
    """Every webhook and how delivery to it goes, by name.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        rows = _rows(connection, "")
        states = connection.cursor(row_factory=class_row(WebhookState)).execute(_STATES).fetchall()
    state_of = {state.webhook_id: state for state in states}
    return [(row, state_of[row.webhook_id]) for row in rows if row.webhook_id in state_of]


def find(database: Database, name: str) -> WebhookRow:
    """The webhook of that name.

    Raises:
        InvalidArgument: there is none.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        return _find(connection, name)


def set_enabled(database: Database, name: str, enabled: bool) -> bool:
    """Let messages go to the webhook, or wait; whether that changed anything.

    Raises:
        InvalidArgument: there is none of that name.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        row = _find(connection, name)
        connection.execute(
            "UPDATE alert_notification_webhooks SET enabled = %s WHERE webhook_id = %s", (enabled, row.webhook_id)
        )
    return row.enabled is not enabled


def routes_of(database: Database, name: str) -> list[Route]:
    """What goes to the webhook, in the order of `ALERT_TYPES`, the worst first.

    Raises:
        InvalidArgument: there is none of that name.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        row = _find(connection, name)
        found = connection.execute(
            "SELECT alert_type, severity, delivery FROM alert_notification_settings WHERE webhook_id = %s AND enabled",
            (row.webhook_id,),
        ).fetchall()
    return sorted((Route(*values) for values in found), key=_route_order)


def set_routes(database: Database, name: str, routes: Iterable[Route]) -> None:
    """Let exactly these alerts go to the webhook from now on.

    Raises:
        InvalidArgument: there is none of that name.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        _set_routes(connection, _find(connection, name).webhook_id, routes)


def record_test(database: Database, name: str, status: str) -> None:
    """Remember what a test message met; ``status`` is one line without an address.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        connection.execute(
            "UPDATE alert_notification_webhooks SET last_tested_at = clock_timestamp(), test_status = %s "
            "WHERE name = %s",
            (status, name),
        )


def test_body(database: Database) -> tuple[str, datetime]:
    """The body of a test message, and the database's time.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        row = connection.execute(_TEST_BODY).fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    return str(row[0]), row[1]


def rotate(database: Database, reencrypt: Callable[[WebhookRow, Secret], Secret]) -> int:
    """Encrypt every address anew, all or none; how many changed.

    Args:
        database: whose webhooks they are.
        reencrypt: the address under the new key; the same object for one that is under it already. What it raises
            ends the rotation, and nothing has changed then.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    changed = 0
    with database.connect() as connection:
        # nobody adds an address under the old key meanwhile
        connection.execute("LOCK TABLE alert_notification_webhooks IN SHARE ROW EXCLUSIVE MODE")
        for row in _rows(connection, ""):
            secret = row.secret
            if secret is None or (new := reencrypt(row, secret)) is secret:
                continue
            connection.execute(
                "UPDATE alert_notification_webhooks SET webhook_url_encrypted = %s, webhook_url_iv = %s, "
                "encryption_key_id = %s WHERE webhook_id = %s",
                (new.ciphertext, new.iv, new.key_id, row.webhook_id),
            )
            changed += 1
    return changed


def any_enabled(connection: psycopg.Connection) -> bool:
    """Whether there is anywhere to send to."""
    row = connection.execute("SELECT EXISTS (SELECT FROM alert_notification_webhooks WHERE enabled)").fetchone()
    return row == (True,)


def paced_s(connection: psycopg.Connection, key_id: str) -> float | None:
    """Seconds until the first webhook may be sent to that has something due and waits for nothing but its pace.

    None when there is none. Of webhooks whose address is under the key ``key_id``.
    """
    row = connection.execute(_PACED, (key_id,)).fetchone()
    return None if row is None or row[0] is None else max(0.0, float(row[0]))


def other_keys(connection: psycopg.Connection, key_id: str) -> list[OtherKey]:
    """Enabled webhooks with messages due whose address is not encrypted under ``key_id``, by name."""
    return connection.cursor(row_factory=class_row(OtherKey)).execute(_OTHER_KEYS, (key_id,)).fetchall()


def waiting_messages(database: Database, *, limit: int) -> list[WaitingMessage]:
    """What waits, as the messages it would make, the oldest first; nothing is claimed.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        rows = connection.execute(_WAITING, (limit,)).fetchall()
    return [WaitingMessage(name, key, tuple(bodies), seen_at) for name, key, bodies, seen_at in rows]


def parse_route(text: str) -> Iterator[Route]:
    """``TYPE:SEVERITY`` or ``TYPE:SEVERITY:digest``; the type ALL stands for every type.

    Raises:
        InvalidArgument: that is not what it says.
    """
    parts = text.split(":")
    alert_type, severity, delivery = (*parts, "immediate")[:3] if len(parts) in (2, 3) else ("", "", "")
    alert_type, severity = alert_type.upper(), severity.upper()
    if alert_type not in (*ALERT_TYPES, "ALL") or severity not in SEVERITIES or delivery not in DELIVERIES:
        raise InvalidArgument(
            f"the route is {text!r}; expected TYPE:SEVERITY or TYPE:SEVERITY:digest with a type of "
            f"{', '.join(ALERT_TYPES)} or ALL and a severity of {', '.join(SEVERITIES)}"
        )
    for one in ALERT_TYPES if alert_type == "ALL" else (alert_type,):
        yield Route(one, severity, delivery)


def _rows(connection: psycopg.Connection, condition: str, *values: object) -> list[WebhookRow]:
    query = f'SELECT {_COLUMNS} FROM alert_notification_webhooks {condition} ORDER BY name COLLATE "C"'  # noqa: S608
    return connection.cursor(row_factory=class_row(WebhookRow)).execute(query.encode(), values).fetchall()


def _find(connection: psycopg.Connection, name: str) -> WebhookRow:
    rows = _rows(connection, "WHERE name = %s", name)
    if not rows:
        raise InvalidArgument(f"there is no webhook {name!r}; see: pggit-analytics webhooks list")
    return rows[0]


def _set_routes(connection: psycopg.Connection, webhook_id: int, routes: Iterable[Route]) -> None:
    connection.execute("DELETE FROM alert_notification_settings WHERE webhook_id = %s", (webhook_id,))
    # of routes for one type and severity the last counts, so that ALL can come first and exceptions follow
    latest = {(route.alert_type, route.severity): route for route in routes}
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO alert_notification_settings (webhook_id, alert_type, severity, delivery) "
            "VALUES (%s, %s, %s, %s)",
            [(webhook_id, *route) for route in latest.values()],
        )


def _route_order(route: Route) -> tuple[int, str, int]:
    # the table takes any type, so that rows may be there before the version that knows theirs
    place = ALERT_TYPES.index(route.alert_type) if route.alert_type in ALERT_TYPES else len(ALERT_TYPES)
    return place, route.alert_type, -SEVERITIES.index(route.severity)
