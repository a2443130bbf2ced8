"""Deletes what is old, in batches that are each a transaction of their own, through the ``delete_old_`` functions.

What goes and what never does is said there. A run that is stopped or killed has deleted whole batches; the next one
goes on. Writers are not held up, and two runs at once share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors

from pggit_analytics.errors import DatabaseError, InvalidArgument, PermissionDenied
from pggit_analytics.postgres.connection import Database, first_line

#: called with the kind, the rows of it deleted so far, and how many there were
Progress = Callable[[str, int, int], None]

_LONGEST_DAYS = 36_500
_LARGEST_BATCH = 1_000_000

_COUNT = """
SELECT kind, row_count
FROM count_old_rows(%(metrics)s, %(results)s, %(notifications)s, %(logs)s, %(include_failed)s, %(as_of)s)
"""

#: kind -> one batch of it
_BATCHES = {
    "merges": "SELECT delete_old_merges(%(metrics)s, %(batch_size)s, %(as_of)s)",
    "notifications": "SELECT delete_old_notifications(%(notifications)s, %(batch_size)s, %(include_failed)s, "
    "%(as_of)s)",
    "results": "SELECT delete_old_results(%(results)s, %(batch_size)s, %(as_of)s)",
    "alerts": "SELECT delete_old_alerts(%(results)s, %(batch_size)s, %(as_of)s)",
    "baselines": "SELECT delete_old_baselines(%(results)s, %(batch_size)s, %(as_of)s)",
    "logs": "SELECT delete_old_logs(%(logs)s, %(batch_size)s, %(as_of)s)",
}

_METRICS = """
SELECT deleted_count, last_created_at
FROM delete_old_metrics(%(metrics)s, %(batch_size)s, %(operation)s, %(after)s, %(as_of)s)
"""

# One descent of the index for each operation.
_OPERATIONS = """
WITH RECURSIVE seen (operation_type) AS (
    SELECT min(m.operation_type) FROM performance_metrics AS m
    UNION ALL
    SELECT (SELECT min(m.operation_type) FROM performance_metrics AS m WHERE m.operation_type > s.operation_type)
    FROM seen AS s WHERE s.operation_type IS NOT NULL
)
SELECT operation_type FROM seen WHERE operation_type IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """How many days of 24 hours each kind is kept, 1 to 36500; None = for ever.

    Raises:
        InvalidArgument: a number is out of range, or nothing is to be deleted.
    """

    #: timings and merges, by when they ended and began
    metrics_days: int | None = None
    #: findings and runs by the moment they are about, resolved alerts, replaced baselines and their history
    results_days: int | None = None
    #: delivered messages
    notifications_days: int | None = None
    #: delivery attempts, recalculations of baselines, runs of scheduled jobs, ended snoozes
    logs_days: int | None = None
    #: failed messages go like delivered ones
    include_failed: bool = False
    #: rows of one transaction, 1 to 1000000
    batch_size: int = 10_000

    def __post_init__(self) -> None:
        names = ("metrics_days", "results_days", "notifications_days", "logs_days")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if not given:
            raise InvalidArgument(f"nothing to delete: give at least one of {', '.join(names)}")
        for name, value in given.items():
            if not 1 <= value <= _LONGEST_DAYS:
                raise InvalidArgument(f"{name} is {value}, expected 1 to {_LONGEST_DAYS}")
        if not 1 <= self.batch_size <= _LARGEST_BATCH:
            raise InvalidArgument(f"batch_size is {self.batch_size}, expected 1 to {_LARGEST_BATCH}")
        if self.include_failed and self.notifications_days is None:
            raise InvalidArgument("include_failed is about notifications: give notifications_days")


@dataclass(frozen=True, slots=True)
class Retention:
    """What was deleted, or with ``dry_run`` would be."""

    schema: str
    dry_run: bool
    #: the moment the days are counted back from
    as_of: datetime
    #: kind -> rows, in the order they were gone through
    rows: dict[str, int]


def apply_retention(
    database: Database,
    policy: Policy,
    *,
    as_of: datetime | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Retention:
    """Delete everything older than the policy says, as seen at ``as_of`` (None = now, by the database's clock).

    Raises:
        DatabaseError: a table is locked by others for more than 2 seconds, or the database refuses; what was deleted
            before stays deleted, and the next call goes on.
        PermissionDenied: the role may not delete; only the owner of the tables may unless others were granted it.
        DatabaseUnavailable, NotDeployed: see `Database.connect`.
    """
    report = progress or _say_nothing
    with database.connect(autocommit=True) as connection, _explained(database):
        # Batches lost in a crash are simply deleted again, so none has to wait for the disk.
        connection.execute("SET synchronous_commit TO off")
        moment = as_of or _value(connection, "SELECT analysis_time()", {})
        parameters = _parameters(policy, moment)
        old: dict[str, int] = dict(connection.execute(_COUNT.encode(), parameters).fetchall())
        if dry_run:
            return Retention(database.schema, dry_run, moment, old)
        rows: dict[str, int] = {}
        for kind, total in old.items():
            rows[kind] = 0
            report(kind, 0, total)
            for deleted in _batches(connection, kind, parameters):
                rows[kind] += deleted
                report(kind, rows[kind], total)
    return Retention(database.schema, dry_run, moment, rows)


def _say_nothing(kind: str, deleted: int, total: int) -> None:
    """The progress of a call that asked for none."""


def _parameters(policy: Policy, as_of: datetime) -> dict[str, object]:
    return {
        "metrics": policy.metrics_days,
        "results": policy.results_days,
        "notifications": policy.notifications_days,
        "logs": policy.logs_days,
        "include_failed": policy.include_failed,
        "batch_size": policy.batch_size,
        "as_of": as_of,
    }


def _batches(connection: psycopg.Connection, kind: str, parameters: dict[str, object]) -> Iterator[int]:
    """Delete a kind batch by batch and yield how many rows each had; a batch that is not full was the last."""
    if kind == "metrics":
        for (operation,) in connection.execute(_OPERATIONS.encode()).fetchall():
            yield from _batches_of_operation(connection, {**parameters, "operation": operation})
        return
    while True:
        deleted = int(_value(connection, _BATCHES[kind], parameters))
        yield deleted
        if deleted < int(str(parameters["batch_size"])):
            return


def _batches_of_operation(connection: psycopg.Connection, parameters: dict[str, object]) -> Iterator[int]:
    """Each batch begins where the one before ended, so that no index entry of a deleted row is met twice."""
    after: object = "-infinity"
    while True:
        row = connection.execute(_METRICS.encode(), {**parameters, "after": after}).fetchone()
        deleted, last = row if row else (0, None)
        yield deleted
        if last is None or deleted < int(str(parameters["batch_size"])):
            return
        after = last


def _value(connection: psycopg.Connection, query: str, parameters: dict[str, object]) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except errors.InvalidParameterValue as exc:
        raise InvalidArgument(first_line(exc)) from exc
    except errors.InsufficientPrivilege as exc:
        raise PermissionDenied(
            f"{first_line(exc)} in {database.place}; run retention as the owner of the tables"
        ) from exc
    except errors.LockNotAvailable as exc:
        raise DatabaseError(
            f"a table of schema {database.schema} of {database.place} is locked by another session; what was deleted "
            "so far stays deleted, run retention again later"
        ) from exc
