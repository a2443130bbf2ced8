"""What people want to hear, read for a look at the past: no lock, nothing written, no more rights than a reader has."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg

from pggit_analytics.analysis.incidents import Thresholds
from pggit_analytics.frames import OPERATION_SETTINGS, SILENCES
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_incidents import (
    OPERATION_SETTINGS_QUERY,
    SILENCES_QUERY,
    read_frame,
    read_thresholds,
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What people want to hear of."""

    #: `frames.OPERATION_SETTINGS`
    settings: pl.DataFrame = field(default_factory=OPERATION_SETTINGS.empty)
    #: `frames.SILENCES`
    silences: pl.DataFrame = field(default_factory=SILENCES.empty)
    thresholds: Thresholds = field(default_factory=Thresholds)
    #: operations that nobody watches
    untracked: tuple[str, ...] = ()
    #: False: the role may not read analytics_settings, and ``thresholds`` are those of a new installation
    thresholds_known: bool = True


def extract_wishes(database: Database, start: datetime, end: datetime) -> Wishes:
    """The settings as they are now, and the silences that touch [start, end].

    Raises:
        ConfigurationError: a threshold of analytics_settings is missing or no number.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        known = bool(_value(connection, b"SELECT has_table_privilege('analytics_settings', 'SELECT')"))
        span = {"start": start, "as_of": end}
        return Wishes(
            read_frame(connection, OPERATION_SETTINGS, OPERATION_SETTINGS_QUERY, span),
            read_frame(connection, SILENCES, SILENCES_QUERY, span),
            read_thresholds(connection) if known else Thresholds(),
            tuple(name for (name,) in connection.execute(_UNTRACKED)),
            known,
        )


def default_span(database: Database, length: timedelta) -> tuple[datetime, datetime]:
    """The span of this length that ends now, by the clock that the database's own analysis goes by.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        now = _value(connection, b"SELECT analysis_time()")
    assert isinstance(now, datetime), "analysis_time() is never NULL"
    end = now.astimezone(UTC)
    return end - length, end


_UNTRACKED = b"SELECT operation_type FROM performance_operation_types WHERE NOT is_tracked ORDER BY operation_type"


def _value(connection: psycopg.Connection, query: bytes) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    return row[0]
