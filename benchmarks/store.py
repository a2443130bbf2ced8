"""What the store of timings brings: runs with few new rows beside full ones, the formats, and the memory of it all.

- incremental: seconds to read the 7 days of `analyze` from the database as a whole, and with a store when nothing, 1 %
  at the end of the window or 1 % anywhere in it is new; in turns, the least of several rounds, and its ratio.
- formats: the same day of timings as Parquet (two compressions) and in a DuckDB file: writing it, adding 1 %, summing
  two hours of it, and its size.
- memory: the peak resident memory of `analyze` in a process of its own, without a store, with an empty one and with one
  that holds everything.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Literal

import duckdb
import polars as pl
from figures import Line, table, told

from data import AS_OF, DEFAULT_DIRECTORY, SIZES, prepare, say, server
from pggit_analytics.config import StoreSettings
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.postgres.sources import native

WEEK = timedelta(days=7)

_NEW = """
    INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
    SELECT operation_type, 5, %(as_of)s - random() * %(span)s
    FROM generate_series(1, %(rows)s / 33), performance_operation_types
"""


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(Database(arguments.url), Path(arguments.child))
        return
    size = SIZES[arguments.size]
    with server(arguments.directory) as url, tempfile.TemporaryDirectory() as directory:
        database = prepare(url, size)
        if arguments.json:
            cases = incremental(database, size.rows, arguments.rounds, Path(directory) / "incremental")
            print(told(lines(cases, size.rows), incremental_table(cases)))
            return
        memory(database, Path(directory) / "memory")
        formats(database, Path(directory))
        cases = incremental(database, size.rows, arguments.rounds, Path(directory) / "incremental")
        print(f"\n{incremental_table(cases)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument("--size", choices=SIZES, default="10M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object, of the incremental readings alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser.parse_args()


def _read(database: Database, store: StoreSettings | None) -> tuple[float, int]:
    """Seconds, and rows that the database sent."""
    start = perf_counter()
    with read_metrics(database, native(database.schema), start=AS_OF - WEEK, end=AS_OF, store=store) as metrics:
        return perf_counter() - start, metrics.rows if metrics.moved is None else metrics.moved


#: what is read -> seconds and rows moved of each round
Cases = dict[str, list[tuple[float, int]]]

WHOLE, FEW_NEW = "everything, no store", "1 % new, of the last hour"

#: what reading 1 % may take of the time of reading everything
TARGET = 0.1


def incremental(database: Database, rows: int, rounds: int, directory: Path) -> Cases:
    """Full and incremental readings. The rows added go again."""
    store = StoreSettings(directory=directory)
    cases: Cases = {}
    with database.connect() as connection:
        highest = connection.execute("SELECT max(metric_id) FROM performance_metrics").fetchone()
    assert highest is not None, "an aggregate returns one row"
    cases["everything, into an empty store"] = [_read(database, store)]
    try:
        for number in range(rounds):
            say(f"Round {number + 1}")
            cases.setdefault(WHOLE, []).append(_read(database, None))
            cases.setdefault("nothing new", []).append(_read(database, store))
            for name, span in ((FEW_NEW, timedelta(hours=1)), ("1 % new, of any age", WEEK)):
                with database.connect() as connection:
                    connection.execute(_NEW.encode(), {"as_of": AS_OF, "span": span, "rows": rows // 100})
                cases.setdefault(name, []).append(_read(database, store))
    finally:
        with database.connect(autocommit=True) as connection:
            connection.execute("DELETE FROM performance_metrics WHERE metric_id > %s", highest)
            connection.execute("VACUUM performance_metrics")
    return cases


def lines(cases: Cases, rows: int) -> Iterator[Line]:
    """For the table of the README."""
    (whole, _), (few, moved) = min(cases[WHOLE]), min(cases[FEW_NEW])
    ratio = few / whole
    measured = f"{few:.2f} s, {moved:,} rows moved"
    yield Line(
        "reading with a store, 1 % new", rows, measured, f"{ratio:.3f} x reading all", f"<= {TARGET}", ratio <= TARGET
    )


def incremental_table(cases: Cases) -> str:
    """The table of full and incremental readings."""
    whole = min(seconds for seconds, _ in cases[WHOLE])
    least = {name: min(runs) for name, runs in cases.items()}
    return table(
        ["reading", "rows moved", "least s", "ratio"],
        [[name, f"{moved:,}", f"{seconds:.2f}", f"{seconds / whole:.3f}"] for name, (seconds, moved) in least.items()],
    )


def formats(database: Database, directory: Path) -> None:
    """Print how the formats compare on one day."""
    with read_metrics(database, native(database.schema), start=AS_OF - timedelta(days=1), end=AS_OF) as metrics:
        day = metrics.frame.lazy().collect()
    few, since = day.head(day.height // 100), AS_OF - timedelta(hours=2)
    print(f"\n| {day.height:,} rows | write s | add 1 % s | two hours s | MB |\n| --- | ---: | ---: | ---: | ---: |")
    _parquet(day, few, since, directory, "lz4")
    _parquet(day, few, since, directory, "zstd")
    file = directory / "day.duckdb"

    def write() -> None:
        file.unlink(missing_ok=True)
        with duckdb.connect(file) as connection:
            connection.register("day", day)
            connection.sql("CREATE TABLE metrics AS SELECT * FROM day")

    def add() -> None:
        with duckdb.connect(file) as connection:
            connection.register("few", few)
            connection.sql("INSERT INTO metrics SELECT * FROM few")

    def look() -> None:
        with duckdb.connect(file, read_only=True) as connection:
            connection.sql(
                "SELECT operation_type, sum(duration_us) FROM metrics WHERE created_at > $since GROUP BY 1",
                params={"since": since},
            ).fetchall()

    written, megabytes = _least(write), file.stat().st_size / 1e6
    print(f"| DuckDB | {written:.3f} | {_least(add):.3f} | {_least(look):.3f} | {megabytes:.1f} |")


def _parquet(
    day: pl.DataFrame, few: pl.DataFrame, since: datetime, directory: Path, compression: Literal["lz4", "zstd"]
) -> None:
    file, more = directory / f"{compression}.parquet", directory / f"{compression}-more.parquet"
    written = _least(lambda: day.write_parquet(file, compression=compression))
    added = _least(lambda: few.write_parquet(more, compression=compression))
    recent = pl.scan_parquet([file, more]).filter(pl.col("created_at") > since)
    read = _least(lambda: recent.group_by("operation_type").agg(pl.col("duration_us").sum()).collect())
    megabytes = file.stat().st_size / 1e6
    print(f"| Parquet, {compression} | {written:.3f} | {added:.3f} | {read:.3f} | {megabytes:.1f} |")


def _least(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)


def memory(database: Database, directory: Path) -> None:
    """Print the peak memory of whole runs."""
    print("\n| analyze | peak MiB | s |\n| --- | ---: | ---: |")
    for name, store in (("no store", "-"), ("empty store", str(directory)), ("full store", str(directory))):
        command = [sys.executable, __file__, "--child", store, "--url", database.conninfo]
        done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        print(f"| {name} | {done['peak_mib']:.0f} | {done['seconds']:.1f} |", flush=True)
    shutil.rmtree(directory)


def _child(database: Database, directory: Path) -> None:
    from pggit_analytics.pipeline import MonitorParameters, Target, monitor

    store = None if directory == Path("-") else StoreSettings(directory=directory)
    start = perf_counter()
    monitor(Target(database, database, native(database.schema), store), MonitorParameters(as_of=AS_OF))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": perf_counter() - start, "peak_mib": peak}))


if __name__ == "__main__":
    main()
