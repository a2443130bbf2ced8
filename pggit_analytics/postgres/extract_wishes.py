"""What people want to hear, read for a look at the past: no lock, nothing written, no more rights than a reader has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl
import psycopg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pggit_analytics.analysis.incidents import Thresholds
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import OPERATION_SETTINGS, SILENCES
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_incidents import (
    OPERATION_SETTINGS_QUERY,
    SILENCES_QUERY,
    read_frame,
    read_thresholds,
)

#: operation -> setting -> value, see `OperationSettings`
NewSettings = Mapping[str, Mapping[str, object]]


class OperationSettings(BaseModel):
    """A row of operation_settings; None = the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    direction: Literal["slower", "faster", "both"] = "slower"
    minimum_effect_ms: float | None = Field(default=None, ge=0)
    minimum_effect_percent: float | None = Field(default=None, ge=0)
    sensitivity: float | None = Field(default=None, ge=0.1, le=10)
    expected_pages_per_week: float | None = Field(default=None, ge=0)
    sla_ms: float | None = Field(default=None, gt=0)


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

    def changed(self, settings: NewSettings) -> Wishes:
        """With other settings of single operations; what is not named stays.

        Raises:
            InvalidArgument: a setting is not known or its value is not allowed.
        """
        rows = {row.pop("operation_type"): row for row in self.settings.to_dicts()}
        for operation, new in settings.items():
            try:
                rows[operation] = OperationSettings.model_validate(rows.get(operation, {}) | dict(new)).model_dump()
            except ValidationError as exc:
                faults = "; ".join(f"{error['loc'][0]} is {error['input']!r}: {error['msg']}" for error in exc.errors())
                raise InvalidArgument(f"settings of {operation!r}: {faults}") from exc
        frame = OPERATION_SETTINGS.frame([{"operation_type": name, **row} for name, row in sorted(rows.items())])
        return replace(self, settings=OPERATION_SETTINGS.check(frame))


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
