"""How long a command takes before it does anything: ``--help``, and ``analyze`` of an empty window.

Each is a process of its own, from start to exit, in turns with ``python -c pass`` of the same interpreter. Without a
Prefect server, and without the store. "processor" is the time that processes computed, which other work on the machine
lengthens less than the time on the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from figures import Line, table, told
from psycopg import conninfo

from data import DEFAULT_DIRECTORY, say, server
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy

COMMAND = str(Path(sys.executable).with_name("pggit-analytics"))

PYTHON, HELP, EMPTY = "python -c pass", "pggit-analytics --help", "pggit-analytics analyze, an empty window"

TARGETS_S = {HELP: 0.3, EMPTY: 2.0}


@dataclass(slots=True)
class Starts:
    """Seconds of each round."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> None:
    arguments = _arguments()
    with server(arguments.directory) as url:
        starts = measure(_empty_database(url), arguments.rounds)
    details = report(starts)
    print(told(lines(starts), details) if arguments.json else details)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the database lives")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    return parser.parse_args()


def _empty_database(url: str) -> Database:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS benchmark_empty WITH (FORCE)")
        connection.execute("CREATE DATABASE benchmark_empty TEMPLATE template0")
    database = Database(conninfo.make_conninfo(url, dbname="benchmark_empty"))
    deploy(database)
    return database


def measure(database: Database, rounds: int) -> dict[str, Starts]:
    """Each command once to warm up, then in turns."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PGGIT_"))}
    environment["PGGIT_DATABASE_URL"] = database.conninfo
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        HELP: [COMMAND, "--help"],
        EMPTY: [COMMAND, "analyze", "--no-store"],
    }
    starts = {name: Starts() for name in commands}
    for place in range(rounds + 1):
        say(f"Round {place}")
        for name, command in commands.items():
            before, start = _computed(), perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True)
            elapsed, computed = perf_counter() - start, _computed() - before
            if place:
                starts[name].clock.append(elapsed)
                starts[name].processor.append(computed)
    return starts


def _computed() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(starts: dict[str, Starts]) -> Iterator[Line]:
    """For the table of the README."""
    python = min(starts[PYTHON].clock)
    for name, target in TARGETS_S.items():
        least = min(starts[name].clock)
        measured = f"{least:.2f} s"
        yield Line(name, None, measured, f"{least / python:.0f} x an empty Python", f"<= {target} s", least <= target)


def report(starts: dict[str, Starts]) -> str:
    """Everything measured, as Markdown."""
    rows = [
        [
            name,
            f"{min(of_one.clock):.3f}",
            f"{median(of_one.clock):.3f}",
            f"{min(of_one.processor):.3f}",
            f"<= {TARGETS_S[name]}" if name in TARGETS_S else "",
        ]
        for name, of_one in starts.items()
    ]
    return f"{len(starts[PYTHON].clock)} rounds in turns\n\n" + table(
        ["", "least, s", "median, s", "least processor, s", "aim, s"], rows
    )


if __name__ == "__main__":
    main()
