"""Alerts as people see and answer them: list, acknowledge, judge, silence. The rules are functions in the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import class_row

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.postgres.connection import Database, first_line

Verdict = Literal["true_positive", "false_positive"]

#: most alerts that one call lists
MAX_LISTED = 100_000

#: open ones first, the most severe of them first, then the newest; needs no more than pggit_reader may, who does not
#: see the settings and so is shown what is only recorded as well
LIST_ALERTS = """
    WITH paging AS MATERIALIZED (
        SELECT CASE WHEN has_table_privilege('analytics_settings', 'SELECT') THEN paging_source() END AS alert_source
    )

    SELECT
        a.alert_id, a.alert_type, a.severity, a.operation_type,
        alert_headline(a.alert_type, a.operation_type, a.evidence) AS headline,
        a.group_key, a.opened_at, a.last_seen_at, a.resolved_at, a.acknowledged_by, a.acknowledged_at, a.verdict,
        (
            SELECT max(s.snooze_until)
            FROM alert_snooze AS s
            WHERE s.snooze_until > now()
              AND (s.alert_type IS NULL OR s.alert_type = a.alert_type)
              AND (
                  s.operation_type IS NULL
                  OR s.operation_type IN (
                      a.operation_type, a.evidence ->> 'operation_type_1', a.evidence ->> 'operation_type_2')
              )
        ) AS snoozed_until
    FROM performance_alerts AS a
    CROSS JOIN paging AS p
    WHERE (NOT %(only_open)s OR a.resolved_at IS NULL)
      AND (
          %(recorded)s
          OR p.alert_source IS NULL
          OR a.alert_source = p.alert_source
          OR a.alert_type IN ('SELF_HEALTH', 'BASELINE_RECALC_ERROR')
      )
    ORDER BY
        a.resolved_at IS NOT NULL,
        CASE WHEN a.resolved_at IS NULL THEN array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], a.severity) END,
        a.opened_at DESC, a.alert_id DESC
    LIMIT %(limit)s
"""

_LIST_BLACKOUTS = """
    SELECT
        b.blackout_id, b.start_time, b.duration, b.days_of_week, b.operation_type, b.alert_type, w.name AS webhook_name,
        b.spare_critical, b.reason, b.enabled, b.created_by, b.created_at
    FROM alert_blackouts AS b
    LEFT JOIN alert_notification_webhooks AS w ON w.webhook_id = b.webhook_id
    ORDER BY b.blackout_id
"""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert; instants are None where there is none."""

    alert_id: int
    alert_type: str
    #: CRITICAL, WARNING or INFO: the highest it has reached
    severity: str
    #: of a pair the first; None for an alert about no operation
    operation_type: str | None
    #: what happened and how much, in one line
    headline: str
    #: the incident it belongs to; None = its own
    group_key: str | None
    opened_at: datetime
    last_seen_at: datetime
    #: None while it is open
    resolved_at: datetime | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    #: true_positive, false_positive or None = nobody has judged it
    verdict: str | None
    #: when the last snooze that covers it now ends; None = it is not snoozed
    snoozed_until: datetime | None


@dataclass(frozen=True, slots=True)
class Blackout:
    """One window of silence that comes back; None in a scope means all of them."""

    blackout_id: int
    #: UTC
    start_time: time
    duration: timedelta
    #: of the UTC day it begins on, 1 Monday to 7 Sunday; None = every day
    days_of_week: list[int] | None
    operation_type: str | None
    alert_type: str | None
    webhook_name: str | None
    #: CRITICAL alerts are told all the same
    spare_critical: bool
    reason: str | None
    enabled: bool
    created_by: str
    created_at: datetime


def list_alerts(
    database: Database, *, only_open: bool = True, recorded: bool = False, limit: int = 100
) -> list[AlertRow]:
    """The open alerts, the most severe first; with ``only_open=False`` then the resolved ones, newest first.

    Those whose source does not page (`paging_source()`) are left out, unless ``recorded``.

    Raises:
        InvalidArgument: ``limit`` is not 1 to `MAX_LISTED`.
        DatabaseError: see `connection.translated`.
    """
    if not 1 <= limit <= MAX_LISTED:
        raise InvalidArgument(f"limit is {limit}, expected 1 to {MAX_LISTED}")
    with database.connect() as connection:
        cursor = connection.cursor(row_factory=class_row(AlertRow))
        return cursor.execute(LIST_ALERTS, {"only_open": only_open, "recorded": recorded, "limit": limit}).fetchall()


def acknowledge(database: Database, alert_id: int, *, by: str | None = None) -> bool:
    """Take note of an alert, which is then not repeated; False if somebody had before. ``by`` None = the role.

    Raises:
        InvalidArgument: there is no such alert, or ``by`` is blank.
        DatabaseError: see `connection.translated`.
    """
    query = "SELECT acknowledge_alert(%(alert_id)s, coalesce(%(by)s, CURRENT_USER))"
    return bool(_answer(database, query, alert_id=alert_id, by=by))


def set_verdict(database: Database, alert_id: int, verdict: Verdict | None) -> bool:
    """Note whether an alert was right, None = take that back; False if nothing changed.

    Raises:
        InvalidArgument: there is no such alert or verdict.
        DatabaseError: see `connection.translated`.
    """
    query = "SELECT set_alert_verdict(%(alert_id)s, %(verdict)s)"
    return bool(_answer(database, query, alert_id=alert_id, verdict=verdict))


def snooze(
    database: Database,
    until: datetime,
    *,
    operation_type: str | None = None,
    alert_type: str | None = None,
    reason: str | None = None,
    by: str | None = None,
) -> int:
    """Say nothing about alerts of this operation and type (None = all) until then; the snooze's id.

    Raises:
        InvalidArgument: ``until`` has no time zone or is not in the future; an unknown operation or type.
        DatabaseError: see `connection.translated`.
    """
    if until.tzinfo is None:
        raise InvalidArgument(f"until is {until.isoformat()}, expected an instant with a time zone")
    query = """
        SELECT snooze_alerts(
            %(until)s, %(operation_type)s, %(alert_type)s, %(reason)s, coalesce(%(by)s, CURRENT_USER))
    """
    return int(
        _answer(
            database, query, until=until, operation_type=operation_type, alert_type=alert_type, reason=reason, by=by
        )
    )


def add_blackout(
    database: Database,
    *,
    start_time: time,
    duration: timedelta,
    days_of_week: Sequence[int] | None = None,
    operation_type: str | None = None,
    alert_type: str | None = None,
    webhook_id: int | None = None,
    spare_critical: bool = False,
    reason: str | None = None,
    by: str | None = None,
) -> int:
    """Put off what is to be said during a window that comes back (see `Blackout`); its id.

    Raises:
        InvalidArgument: ``start_time`` has a time zone (it is UTC); a value out of range or unknown.
        DatabaseError: see `connection.translated`.
    """
    if start_time.tzinfo is not None:
        raise InvalidArgument(f"start_time is {start_time.isoformat()}, expected a time of day in UTC without a zone")
    query = """
        SELECT add_blackout(
            %(start_time)s, %(duration)s, %(days_of_week)s::INTEGER[], %(operation_type)s, %(alert_type)s,
            %(webhook_id)s, %(spare_critical)s, %(reason)s, coalesce(%(by)s, CURRENT_USER))
    """
    return int(
        _answer(
            database,
            query,
            start_time=start_time,
            duration=duration,
            days_of_week=None if days_of_week is None else list(days_of_week),
            operation_type=operation_type,
            alert_type=alert_type,
            webhook_id=webhook_id,
            spare_critical=spare_critical,
            reason=reason,
            by=by,
        )
    )


def list_blackouts(database: Database) -> list[Blackout]:
    """Every window, in the order made. Needs the right to read webhooks, whose names it tells.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        return connection.cursor(row_factory=class_row(Blackout)).execute(_LIST_BLACKOUTS).fetchall()


def _answer(database: Database, query: LiteralString, **parameters: object) -> Any:
    """The one value that a function of the database returns; what it refuses is an error of the caller."""
    with database.connect() as connection, _refusals():
        row = connection.execute(query, parameters).fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    return row[0]


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InvalidParameterValue as exc:
        raise InvalidArgument(first_line(exc)) from exc
