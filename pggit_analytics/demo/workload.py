"""A short real workload, timed: what the recorder is for, shown on operations the database has not heard of before."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import psycopg

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.postgres.connection import Database

#: the operation types that the workload records
WORKLOAD_OPERATIONS = ("demo_insert", "demo_lookup", "demo_aggregate", "demo_rollback")

#: takes two to four seconds on two cores
DEFAULT_REPETITIONS = 200

_ROWS_PER_INSERT = 200
_LOOKUPS_PER_REPETITION = 5

# pg_temp is always written out: a table of this name in the schema itself is somebody else's.
_CREATE_TABLE = """
CREATE TEMPORARY TABLE pg_temp.demo_objects (
    object_id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object_name TEXT NOT NULL,
    version     INTEGER NOT NULL,
    definition  TEXT NOT NULL
)
"""
_CREATE_INDEX = "CREATE INDEX ON pg_temp.demo_objects (object_name, version)"
_INSERT = """
INSERT INTO pg_temp.demo_objects (object_name, version, definition)
SELECT 'object_' || number, %(version)s, repeat(md5((%(version)s + number)::text), 8)
FROM generate_series(1, %(rows)s) AS number
"""
_LOOKUP = "SELECT definition FROM pg_temp.demo_objects WHERE object_name = %s ORDER BY version DESC LIMIT 1"
_AGGREGATE = "SELECT object_name, count(*), max(length(definition)) FROM pg_temp.demo_objects GROUP BY object_name"
_CHANGE = "UPDATE pg_temp.demo_objects SET version = version + 1 WHERE object_name = %s"
_DELETE = "DELETE FROM pg_temp.demo_objects WHERE object_name = %s"
_DROP_TABLE = "DROP TABLE pg_temp.demo_objects"


class Timer(Protocol):
    """Anything that times a block, such as `pggit_analytics.recorder.Recorder`."""

    def time(self, operation_type: str, /) -> AbstractContextManager[object]:
        """Time the block under this operation type."""
        ...


def run_workload(database: Database, recorder: Timer, *, repetitions: int = DEFAULT_REPETITIONS) -> int:
    """Insert, look up, aggregate and roll back in a temporary table, each timed under its own operation type.

    Args:
        database: where the work is done; nothing is left behind in it but what the recorder records.
        recorder: times the operations; the caller flushes and closes it.
        repetitions: rounds, 1 or more, each with one insert, five look-ups, one aggregate and one rollback.

    Returns:
        The number of operations timed.

    Raises:
        InvalidArgument: ``repetitions`` is less than 1.
        DatabaseError: the server is away or refuses temporary tables.
    """
    if repetitions < 1:
        raise InvalidArgument(f"repetitions is {repetitions}; allowed is 1 or more")
    with database.connect(autocommit=True) as connection:
        connection.execute(_CREATE_TABLE)
        connection.execute(_CREATE_INDEX)
        for repetition in range(repetitions):
            _repeat_once(connection, recorder, repetition)
        connection.execute(_DROP_TABLE)
    return repetitions * (3 + _LOOKUPS_PER_REPETITION)


def _repeat_once(connection: psycopg.Connection, recorder: Timer, repetition: int) -> None:
    with recorder.time("demo_insert"):
        connection.execute(_INSERT, {"version": repetition, "rows": _ROWS_PER_INSERT})
    for lookup in range(_LOOKUPS_PER_REPETITION):
        name = f"object_{(repetition * 37 + lookup * 41) % _ROWS_PER_INSERT + 1}"
        with recorder.time("demo_lookup"):
            connection.execute(_LOOKUP, (name,)).fetchone()
    with recorder.time("demo_aggregate"):
        connection.execute(_AGGREGATE).fetchall()
    with recorder.time("demo_rollback"), connection.transaction(force_rollback=True):
        connection.execute(_CHANGE, ("object_1",))
        with connection.transaction(force_rollback=True):  # inside the outer one, this is a savepoint
            connection.execute(_DELETE, ("object_1",))
