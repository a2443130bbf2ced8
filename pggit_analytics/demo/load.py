"""Writes a generated week into the database, and tells whether one is there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import polars as pl
import psycopg
from psycopg import sql

from pggit_analytics.demo.generator import DEMO_MERGE_PREFIX, DEMO_USER, Week

#: the row of analytics_settings that says demo data is there, and up to when it reaches
MARKER = "demo_as_of"

#: rows sent between two reports of progress
_SLICE_ROWS = 25_000

_INSERT_MARKER = """
INSERT INTO analytics_settings (name, value, description)
VALUES (%s, %s, 'The demo data is loaded and ends at this instant; its metrics are those of the user ' || %s)
ON CONFLICT (name) DO NOTHING
"""
_LOCK_MARKER = "SELECT value FROM analytics_settings WHERE name = %s FOR UPDATE"
_MOVE_MARKER = "UPDATE analytics_settings SET value = %s WHERE name = %s"
_SELECT_MARKER = "SELECT value FROM analytics_settings WHERE name = %s"
_DELETE_METRICS = "DELETE FROM performance_metrics WHERE user_name = %s"
_DELETE_MERGES = "DELETE FROM merge_relationships WHERE starts_with(merge_id, %s)"


def demo_loaded(connection: psycopg.Connection) -> datetime | None:
    """The instant up to which demo data is loaded, in UTC; None when there is none.

    Raises:
        psycopg.errors.UndefinedTable: the schema is not deployed.
    """
    with connection.transaction():
        row = connection.execute(_SELECT_MARKER, (MARKER,)).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])


def load_week(connection: psycopg.Connection, week: Week, progress: Callable[[int], None] | None = None) -> int:
    """Write the week's metrics and merges in one transaction; a second call with the same ``as_of`` writes nothing.

    An earlier demo week that ends at another instant is replaced. Rows that are not the demo's stay untouched.

    Args:
        connection: its search_path leads to the deployed schema.
        week: what `generate_week` returned.
        progress: called now and then with the number of metrics sent so far.

    Returns:
        The number of metrics written; 0 when this week was there already.

    Raises:
        psycopg.Error: the database refuses; nothing is written then.
    """
    with connection.transaction():
        if not _claim(connection, week.as_of):
            return 0
        _copy(connection, "merge_relationships", week.merges, None)
        _copy(connection, "performance_metrics", week.metrics, progress)
        # Otherwise the planner would take the tables for empty until autovacuum comes by.
        connection.execute("ANALYZE merge_relationships, performance_metrics")
    return week.metrics.height


def _claim(connection: psycopg.Connection, as_of: datetime) -> bool:
    """Set the marker; False when it stands there already. A concurrent load waits here for the other to end."""
    value = as_of.isoformat()
    if connection.execute(_INSERT_MARKER, (MARKER, value, DEMO_USER)).rowcount == 1:
        return True
    row = connection.execute(_LOCK_MARKER, (MARKER,)).fetchone()
    if row is not None and datetime.fromisoformat(row[0]) == as_of:
        return False
    connection.execute(_DELETE_METRICS, (DEMO_USER,))
    connection.execute(_DELETE_MERGES, (DEMO_MERGE_PREFIX,))
    connection.execute(_MOVE_MARKER, (value, MARKER))
    return True


def _copy(
    connection: psycopg.Connection, table: str, frame: pl.DataFrame, progress: Callable[[int], None] | None
) -> None:
    """Send a frame to the columns of the same names."""
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    )
    sent = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for part in frame.iter_slices(_SLICE_ROWS):
            copy.write(
                part.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f%:z", float_precision=3)
            )
            sent += part.height
            if progress is not None:
                progress(sent)
