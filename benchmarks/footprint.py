"""What the database side costs: bytes per metric, what everything adds to a database, and what a writer notices.

- size: 33 operations and ``--rows`` timings, inserted by time and with the indexes in place, as they come; four of
  the operations belong to merges and have trace ids. One analysis and one calculation of baselines on them. The same
  rows in the table with its primary key alone are what would be there anyway.
- writers: the same inserts into the deployed table, into one without the trigger, and into one with its primary key
  alone, in turns. Each holds ``--rows`` timings before.
  A single row is what ``pgbench`` does with a script of one INSERT, prepared, on one connection: a transaction a row.
  The aim is for transactions that wait until they are on disk, as is the default of the server; without that wait
  (``synchronous_commit = off``) one sees the whole cost. Batches go by COPY, as those of the recorder.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from figures import Line, table, told
from psycopg import conninfo, sql

from data import AS_OF, DEFAULT_DIRECTORY, OPERATIONS, say, server, server_program
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters, Target, monitor, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.sources import native

TARGET_ADDED, TARGET_OVERHEAD = 50 * 2**20, 0.15

DEPLOYED, NO_TRIGGER, BARE = "deployed", "without the trigger", "primary key alone"

_SECONDARY = """
SELECT indexrelid::REGCLASS::TEXT FROM pg_index
WHERE indrelid = 'performance_metrics'::REGCLASS AND NOT indisprimary
ORDER BY 1
"""

# A merge's id is the trace id of its merge_branches and the parent of its phases.
_FILL = """
INSERT INTO performance_metrics (
    operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id
)
SELECT
    t.operation_type,
    (coalesce(t.typical_duration_ms, 10) * exp(0.3 * random()))::NUMERIC(14, 3),
    %(as_of)s - %(span)s * (1 - i / %(rows)s::FLOAT8),
    CASE WHEN t.operation_type = 'merge_branches' THEN 'merge-' || i / 33 END,
    CASE
        WHEN t.operation_type IN ('merge_base_find', 'merge_conflict_detect', 'merge_auto_resolve')
        THEN 'merge-' || i / 33
    END
FROM generate_series(0, %(rows)s - 1) AS g (i)
JOIN (
    SELECT
        row_number() OVER (ORDER BY operation_type COLLATE "C") - 1 AS number, operation_type, typical_duration_ms
    FROM performance_operation_types
) AS t ON t.number = i %% 33
ORDER BY i
"""

_PARTS = """
SELECT c.relname, pg_relation_size(c.oid)
FROM pg_class AS c
WHERE c.oid = 'performance_metrics'::REGCLASS
   OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'performance_metrics'::REGCLASS)
ORDER BY c.relkind DESC, pg_relation_size(c.oid) DESC, c.relname
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes."""

    rows: int
    #: table and each of its indexes
    parts: dict[str, int]
    #: whole databases: with everything; with the same rows in a table that has its primary key alone
    database: int
    bare_database: int

    @property
    def added(self) -> int:
        """What the project adds to a database that records timings."""
        return self.database - self.bare_database


@dataclass(frozen=True, slots=True)
class Writer:
    """Seconds of each round by variant of the table, for one way to write."""

    what: str
    rows_a_round: int
    seconds: dict[str, list[float]]

    def each_us(self, variant: str) -> float:
        """Microseconds a row in the quickest round."""
        return 1e6 * min(self.seconds[variant]) / self.rows_a_round

    def overhead(self, variant: str = DEPLOYED) -> float:
        """How much longer than with the primary key alone; quickest rounds."""
        return min(self.seconds[variant]) / min(self.seconds[BARE]) - 1

    def median_overhead(self) -> float:
        """The middle one of the overheads of the rounds, each of which holds all variants one after the other."""
        pairs = zip(self.seconds[DEPLOYED], self.seconds[BARE], strict=True)
        return median(ours / bare for ours, bare in pairs) - 1


def main() -> None:
    arguments = _arguments()
    with server(arguments.directory) as url:
        say(f"Sizes with {arguments.rows:,} timings")
        sizes = measure_sizes(url, arguments.rows)
        writers = [] if arguments.no_writers else list(measure_writers(url, arguments.rows, arguments.rounds))
    details = report(sizes, writers)
    print(told(lines(sizes, writers), details) if arguments.json else details)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument("--rows", type=int, default=100_000, help="timings in each table [100000]")
    parser.add_argument("--rounds", type=int, default=9, help="of the writers [9]")
    parser.add_argument("--no-writers", action="store_true", help="only sizes")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    return parser.parse_args()


@contextmanager
def new_database(url: str, name: str, rows: int, *, secondary: bool = True, trigger: bool = True) -> Iterator[Database]:
    """A deployed database with so many timings, or one whose metrics have less; dropped at the end."""
    identifier = sql.Identifier(f"benchmark_footprint_{name}")
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        database = Database(conninfo.make_conninfo(url, dbname=f"benchmark_footprint_{name}"))
        deploy(database)
        with database.connect() as inside:
            if not secondary:
                for (index,) in inside.execute(_SECONDARY).fetchall():
                    inside.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
            if not trigger:
                inside.execute("ALTER TABLE performance_metrics DISABLE TRIGGER USER")
            parameters = {"as_of": AS_OF, "span": timedelta(days=7), "rows": rows}
            inside.execute(_FILL, parameters)
        with database.connect(autocommit=True) as inside:
            inside.execute("VACUUM (ANALYZE) performance_metrics")
        yield database
        connection.execute(drop)


# --- size -------------------------------------------------------------------------------------------------------------


def measure_sizes(url: str, rows: int) -> Sizes:
    """Of a database in use, and of one that only records."""
    with new_database(url, "size", rows) as database:
        target = Target(database, database, native(database.schema))
        recalculate_baselines(target, BaselineParameters(as_of=AS_OF))
        monitor(target, MonitorParameters(as_of=AS_OF))
        with database.connect(autocommit=True) as connection:
            parts = dict(connection.execute(_PARTS).fetchall())
            whole = _database_size(connection)
    with psycopg.connect(url, autocommit=True) as connection:
        bare = _only_recording(connection, url, parts)
    return Sizes(rows, parts, whole, bare)


def _database_size(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None, "an aggregate without FROM returns one row"
    return int(row[0])


def _only_recording(connection: psycopg.Connection, url: str, parts: dict[str, int]) -> int:
    """An empty database, with the table and its primary key."""
    name = sql.Identifier("benchmark_footprint_empty")
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    with psycopg.connect(conninfo.make_conninfo(url, dbname="benchmark_footprint_empty")) as inside:
        empty = _database_size(inside)
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    return empty + parts["performance_metrics"] + parts["performance_metrics_pkey"]


# --- writers ----------------------------------------------------------------------------------------------------------


def measure_writers(url: str, rows: int, rounds: int) -> Iterator[Writer]:
    """Every way to write, on all variants in turns."""
    with (
        new_database(url, "bare", rows, secondary=False, trigger=False) as bare,
        new_database(url, "indexed", rows, trigger=False) as indexed,
        new_database(url, "deployed", rows) as deployed,
        tempfile.TemporaryDirectory() as directory,
    ):
        databases = {BARE: bare, NO_TRIGGER: indexed, DEPLOYED: deployed}
        script = Path(directory) / "insert.sql"
        script.write_text(_script(deployed))
        batches = {size: _batch(deployed, size) for size in (100, 10_000)}
        ways: list[tuple[str, int, Callable[[Database], float]]] = [
            ("one row a transaction", 1000, lambda database: _singles(database, script, 1000, wait=True)),
            ("the same, not waiting for the disk", 3000, lambda database: _singles(database, script, 3000, wait=False)),
            ("100 rows a COPY", 10_000, lambda database: _copies(database, batches[100], 100)),
            ("10,000 rows a COPY", 50_000, lambda database: _copies(database, batches[10_000], 5)),
        ]
        for what, rows_a_round, write in ways:
            seconds: dict[str, list[float]] = {variant: [] for variant in databases}
            for place in range(rounds + 1):
                say(f"{what}, round {place}")
                for variant in _turned(list(databases), place):
                    elapsed = write(databases[variant])
                    if place:
                        seconds[variant].append(elapsed)
            yield Writer(what, rows_a_round, seconds)


def _turned(variants: list[str], place: int) -> list[str]:
    """Each variant is the first of a round as often as the others."""
    cut = place % len(variants)
    return variants[cut:] + variants[:cut]


def _names(database: Database) -> list[str]:
    with database.connect() as connection:
        rows = connection.execute("SELECT operation_type FROM performance_operation_types ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def _script(database: Database) -> str:
    names = ", ".join(f"'{name}'" for name in _names(database))
    return (
        f"\\set n random(1, {OPERATIONS})\n\\set us random(100, 90000)\n"
        f"INSERT INTO {database.schema}.performance_metrics (operation_type, duration_ms) "
        f"VALUES ((ARRAY[{names}])[:n], :us / 1000.0);\n"
    )


def _singles(database: Database, script: Path, count: int, *, wait: bool) -> float:
    """Seconds of so many transactions by pgbench, without its connecting."""
    command = [server_program("pgbench") or "pgbench", "-n", "-M", "prepared", "-t", str(count), "-f", str(script)]
    finished = subprocess.run(
        [*command, "-d", database.conninfo],
        env={"PGOPTIONS": f"-c synchronous_commit={'on' if wait else 'off'}"},
        capture_output=True,
        check=True,
        text=True,
    )
    [average] = [line for line in finished.stdout.splitlines() if line.startswith("latency average")]
    return count * float(average.split()[3]) / 1000


def _batch(database: Database, size: int) -> list[tuple[str, float]]:
    names = _names(database)
    return [(names[i % len(names)], 0.1 + i % 997) for i in range(size)]


def _copies(database: Database, batch: list[tuple[str, float]], times: int) -> float:
    """Seconds of so many transactions, a COPY each."""
    with database.connect() as connection:
        connection.execute("SELECT 1")
        connection.commit()
        start = perf_counter()
        for _ in range(times):
            with connection.cursor().copy("COPY performance_metrics (operation_type, duration_ms) FROM STDIN") as copy:
                for row in batch:
                    copy.write_row(row)
            connection.commit()
        return perf_counter() - start


# --- report -----------------------------------------------------------------------------------------------------------


def lines(sizes: Sizes, writers: list[Writer]) -> Iterator[Line]:
    """For the table of the README."""
    each = sum(sizes.parts.values()) / sizes.rows
    heap = sizes.parts["performance_metrics"] / sizes.rows
    yield Line("disk per timing, all indexes", sizes.rows, f"{each:.0f} bytes", f"{each / heap:.2f} x the table alone")
    yield Line(
        "added to a database that records timings",
        sizes.rows,
        f"{_mib(sizes.added)} of {_mib(sizes.database)} MiB",
        aim="< 50 MiB",
        met=sizes.added < TARGET_ADDED,
    )
    for writer in writers:
        has_aim = writer is writers[0]
        both, indexes = 1 + writer.overhead(), 1 + writer.overhead(NO_TRIGGER)
        yield Line(
            f"a writer, {writer.what}",
            sizes.rows,
            f"{writer.each_us(DEPLOYED):.1f} us a row",
            f"{both:.2f} x the primary key alone ({indexes:.2f} x without the trigger)",
            "<= 1.15 x" if has_aim else "",
            writer.overhead() <= TARGET_OVERHEAD if has_aim else None,
        )


def report(sizes: Sizes, writers: list[Writer]) -> str:
    """Everything measured, as Markdown."""
    rows = [[name, _mib(size), f"{size / sizes.rows:.1f}"] for name, size in sizes.parts.items()]
    total = sum(sizes.parts.values())
    rows.append(["all", _mib(total), f"{total / sizes.rows:.1f}"])
    texts = [
        f"{sizes.rows:,} timings of {OPERATIONS} operations",
        table(["", "MiB", "bytes a timing"], rows),
        f"The whole database after baselines and one analysis: {_mib(sizes.database)} MiB. An empty database with "
        f"the same timings and their primary key: {_mib(sizes.bare_database)} MiB. "
        f"Added: {_mib(sizes.added)} MiB, aim < {_mib(TARGET_ADDED)} MiB.",
    ]
    if writers:
        rounds = len(writers[0].seconds[DEPLOYED])
        variants = [BARE, NO_TRIGGER, DEPLOYED]
        head = ["microseconds a row", *variants, "indexes", "trigger", "both", "both, median of rounds"]
        texts += [f"Writers; quickest of {rounds} rounds in turns", table(head, map(_cells, writers))]
    return "\n\n".join(texts)


def _cells(writer: Writer) -> list[str]:
    indexes, both = writer.overhead(NO_TRIGGER), writer.overhead()
    times = [f"{writer.each_us(variant):.1f}" for variant in (BARE, NO_TRIGGER, DEPLOYED)]
    shares = [f"{100 * share:+.0f} %" for share in (indexes, both - indexes, both, writer.median_overhead())]
    return [writer.what, *times, *shares]


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


if __name__ == "__main__":
    main()
