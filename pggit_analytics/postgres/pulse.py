"""What the heartbeat looks at in the database: read, never written, in bounded time."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import DictRow, dict_row

from pggit_analytics.errors import DatabaseUnavailable
from pggit_analytics.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class WaitingChannel:
    """An enabled webhook that messages wait for."""

    name: str
    #: when the first of them could have been sent, pauses of the channel and its breaker considered
    due_at: datetime
    #: the last delivery; None = none within the span asked for
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class NextWindow:
    """The first window of a job that nobody has claimed."""

    job: str
    period: timedelta
    #: when it begins, which may be to come
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a database in reach says of the monitoring in it. All instants are by its clock."""

    asked_at: datetime
    #: the newest moment that a successful monitoring run looked at; None = there was none
    last_success_at: datetime | None
    #: pg_cron, prefect or crontab; None = no scheduler is active
    scheduler: str | None
    scheduler_since: datetime | None
    #: since when every enabled webhook fails; None = one works, or there is none
    mute_since: datetime | None
    #: by name
    waiting: tuple[WaitingChannel, ...]
    #: of the jobs that are expected to run, by name; none while no scheduler is active
    windows: tuple[NextWindow, ...]


# Of runs the moment looked at counts, not the clock of the machine: looking back at last week is no sign of life.
_STATE = """
    SELECT
        now() AS asked_at,
        (
            SELECT max(r.as_of)
            FROM analysis_runs AS r
            WHERE r.flow = 'monitor_performance' AND r.status = 'SUCCESS' AND r.as_of <= now()
        ) AS last_success_at,
        (SELECT s.scheduler FROM active_scheduler AS s) AS scheduler,
        (SELECT s.active_since FROM active_scheduler AS s) AS scheduler_since,
        (
            SELECT CASE WHEN bool_and(d.breaker_opened_at IS NOT NULL) THEN max(d.breaker_opened_at) END
            FROM alert_notification_webhooks AS w
            LEFT JOIN webhook_delivery_state AS d USING (webhook_id)
            WHERE w.enabled
        ) AS mute_since
"""

# The first due row of each priority is one probe of an index, however many rows wait.
_WAITING = """
    SELECT
        w.name,
        greatest(q.due_at, d.next_send_at, d.blocked_until, d.breaker_probe_at) AS due_at,
        (
            SELECT max(l.started_at)
            FROM alert_notification_log AS l
            WHERE l.webhook_id = w.webhook_id AND l.outcome = 'delivered'
              AND l.started_at >= now() - %(delivered_within)s
        ) AS delivered_at
    FROM alert_notification_webhooks AS w
    LEFT JOIN webhook_delivery_state AS d USING (webhook_id)
    CROSS JOIN LATERAL (
        SELECT min(r.due_at) AS due_at
        FROM generate_series(0, 2) AS p (priority)
        CROSS JOIN LATERAL (
            SELECT coalesce(r.next_retry_at, r.created_at) AS due_at
            FROM alert_notification_queue AS r
            WHERE r.webhook_id = w.webhook_id AND r.priority = p.priority AND r.status = 'pending'
            ORDER BY coalesce(r.next_retry_at, r.created_at)
            LIMIT 1
        ) AS r
    ) AS q
    WHERE w.enabled AND q.due_at IS NOT NULL
    ORDER BY w.name COLLATE "C", w.webhook_id
"""

_WINDOWS = """
    SELECT j.job, j.period, date_bin(j.period, l.since, j.first_window) + j.period AS due_at
    FROM scheduled_jobs AS j
    CROSS JOIN active_scheduler AS s
    CROSS JOIN LATERAL (
        SELECT greatest(
            s.active_since,
            j.resumed_at,
            (SELECT max(r.window_start) FROM job_runs AS r WHERE r.job = j.job)) AS since
    ) AS l
    WHERE NOT j.is_paused AND missing_function_of_job(j.job, s.scheduler) IS NULL
    ORDER BY j.job COLLATE "C"
"""


def take_pulse(database: Database, *, delivered_within: timedelta, timeout_s: float) -> Pulse:
    """Ask the database how the monitoring in it does.

    Args:
        database: may be away.
        delivered_within: deliveries before that are not looked for.
        timeout_s: for everything, from looking up the server's name on; whoever hangs is left behind.

    Raises:
        DatabaseUnavailable: it is away, refuses the log-in or did not answer in time.
        DatabaseError: see `connection.translated`.
        ConfigurationError: the address of the database cannot be read.
    """
    answer: queue.SimpleQueue[Pulse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(_read(database, delivered_within, timeout_s))
        except Exception as exc:  # raised again by the thread that waits
            answer.put(exc)

    # neither the resolver nor a server that was stopped after the log-in knows a time-out
    threading.Thread(target=ask, name="pggit-pulse", daemon=True).start()
    try:
        found = answer.get(timeout=timeout_s)
    except queue.Empty:
        raise DatabaseUnavailable(
            f"cannot reach {database.place}: no answer within {timeout_s:g} s; check the network and that the server "
            "is not overloaded"
        ) from None
    if isinstance(found, Exception):
        raise found
    return found


def _read(database: Database, delivered_within: timedelta, timeout_s: float) -> Pulse:
    with database.connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("SELECT set_config('statement_timeout', %s, TRUE)", (f"{max(1, int(1000 * timeout_s))}ms",))
        state: DictRow | None = cursor.execute(_STATE).fetchone()
        assert state is not None, "a SELECT without FROM has one row"
        waiting = cursor.execute(_WAITING, {"delivered_within": delivered_within}).fetchall()
        windows = cursor.execute(_WINDOWS).fetchall()
    return Pulse(
        **state,
        waiting=tuple(WaitingChannel(**row) for row in waiting),
        windows=tuple(NextWindow(**row) for row in windows),
    )
