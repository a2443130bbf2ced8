"""What silencing alerts needs besides `alerts`: a span from now on, and the end of a blackout."""

from __future__ import annotations

from datetime import datetime, timedelta

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.postgres.connection import Database


def from_now(database: Database, span: timedelta) -> datetime:
    """The instant that long from now, by the database's clock.

    Raises:
        InvalidArgument: that is beyond the calendar.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    now: datetime = row[0]
    try:
        return now + span
    except OverflowError as exc:
        raise InvalidArgument(f"{span} from now is beyond the calendar") from exc


def set_blackout_enabled(database: Database, blackout_id: int, *, enabled: bool) -> bool:
    """Let a blackout hold, or not; whether that changed anything. What it has put off already stays put off.

    Raises:
        InvalidArgument: there is no such blackout.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        found = connection.execute(
            "SELECT enabled FROM alert_blackouts WHERE blackout_id = %s FOR UPDATE", (blackout_id,)
        ).fetchone()
        if found is None:
            raise InvalidArgument(f"there is no blackout {blackout_id}; see: pggit-analytics alerts blackout list")
        connection.execute("UPDATE alert_blackouts SET enabled = %s WHERE blackout_id = %s", (enabled, blackout_id))
    return bool(found[0]) is not enabled
