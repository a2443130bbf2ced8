"""How long retention takes to delete 10,000,000 timings, or as many as ``--rows`` says, and what a writer notices.

The old rows are 40 to 70 days old, of 33 operations, loaded by time; as many days of one row a second are younger and
stay. The writer inserts one timing after the other, each in its own transaction, first alone and then while retention
deletes; a figure is the time of one INSERT with its COMMIT as the client sees it. Everything is left as a server has it
by default, autovacuum included.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import psycopg
from psycopg import conninfo, sql

from data import DEFAULT_DIRECTORY, say, server
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.retention import Policy, apply_retention

DATABASE = "benchmark_retention"
KEPT_DAYS = 35
SECONDS_ALONE = 20.0

_OLD_ROWS = """
INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
SELECT t.names[1 + i %% 33], (5 * exp(0.3 * random()))::NUMERIC(14, 3),
       now() - INTERVAL '70 days' + i * (INTERVAL '30 days' / %(rows)s)
FROM generate_series(0, %(rows)s - 1) AS g (i)
CROSS JOIN (SELECT array_agg(operation_type ORDER BY operation_type) AS names FROM performance_operation_types) AS t
"""

_YOUNG_ROWS = """
INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
SELECT 'commit', 5, now() - i * INTERVAL '1 second' FROM generate_series(1, 100000) AS g (i)
"""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of each INSERT with its COMMIT."""

    milliseconds: Sequence[float]

    def row(self, name: str) -> str:
        ordered = sorted(self.milliseconds)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99, 0.999)]
        figures = " | ".join(f"{value:.2f}" for value in (*at, ordered[-1]))
        return f"| {name} | {len(ordered):,} | {figures} |"


class Writer:
    """Inserts timings one by one on a thread of its own until it is stopped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._milliseconds: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def latencies(self) -> Latencies:
        return Latencies(self._milliseconds)

    def wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _run(self) -> None:
        with self._database.connect(autocommit=True) as connection:
            while not self._stop.is_set():
                started = perf_counter()
                connection.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('commit', 5)")
                self._milliseconds.append((perf_counter() - started) * 1000)


def prepared(server_url: str, rows: int) -> Database:
    """A new database with the old and the young rows."""
    database = Database(conninfo.make_conninfo(server_url, dbname=DATABASE))
    drop(server_url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(DATABASE)))
    deploy(database)
    with database.connect() as connection:
        say(f"Loading {rows:,} old rows")
        # One build after the load instead of one descent a row.
        index = connection.execute(
            "SELECT pg_get_indexdef('performance_metrics_operation_created_idx'::regclass)"
        ).fetchone()
        assert index is not None, "the deployed table has its covering index"
        connection.execute("DROP INDEX performance_metrics_operation_created_idx")
        connection.execute("ALTER TABLE performance_metrics DISABLE TRIGGER USER")
        connection.execute(_OLD_ROWS.encode(), {"rows": rows})
        connection.execute(_YOUNG_ROWS.encode())
        connection.execute("ALTER TABLE performance_metrics ENABLE TRIGGER USER")
        connection.execute("SET LOCAL maintenance_work_mem TO '1GB'")
        connection.execute(index[0].encode())
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) performance_metrics")
        connection.execute("CHECKPOINT")
    return database


def drop(server_url: str) -> None:
    """Remove the database, which is of no use once its old rows are gone."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))


def measure(database: Database, batch_size: int) -> None:
    """Print both tables."""
    with Writer(database) as alone:
        alone.wait(SECONDS_ALONE)
    ended: list[float] = []

    def note(kind: str, *_: int) -> None:
        if kind == "metrics":
            ended.append(perf_counter())

    with Writer(database) as beside:
        started = perf_counter()
        done = apply_retention(database, Policy(metrics_days=KEPT_DAYS, batch_size=batch_size), progress=note)
        seconds = perf_counter() - started
    with database.connect() as connection:
        left = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE created_at < now() - %s * INTERVAL '1 day')"
            " FROM performance_metrics",
            (KEPT_DAYS,),
        ).fetchone()
    expected = 100_000 + len(alone.latencies.milliseconds) + len(beside.latencies.milliseconds)
    assert left == (expected, 0), f"{left} rows left, expected {expected} and none that is old"

    batches = sorted(after - before for before, after in pairwise(ended))
    deleted = done.rows["metrics"]
    print("| deleted | batches of | seconds | rows/s | median batch ms | longest batch ms |")
    print("|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {deleted:,} | {batch_size:,} | {seconds:.0f} | {deleted / seconds:,.0f} |"
        f" {batches[len(batches) // 2] * 1000:.0f} | {batches[-1] * 1000:.0f} |"
    )
    print("\n| one INSERT and COMMIT | calls | median ms | p95 | p99 | p99.9 | longest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(alone.latencies.row("alone"))
    print(beside.latencies.row("while retention deletes"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the server lives")
    parser.add_argument("--rows", type=int, default=10_000_000, help="old rows to delete [10000000]")
    parser.add_argument("--batch-size", type=int, default=10_000, help="rows of one transaction [10000]")
    arguments = parser.parse_args()
    with server(arguments.directory) as url:
        measure(prepared(url, arguments.rows), arguments.batch_size)
        drop(url)


if __name__ == "__main__":
    main()
