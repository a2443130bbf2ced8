"""Memory of the engine on more rows than it keeps in memory: Parquet files of one week, made in a directory of its own.

Run: .venv/bin/python benchmarks/engine_memory.py [--rows 100000000] [--in-memory]

Prints seconds and the peak of the resident memory after the calls are in order, after the findings and after the
incidents. The rows are 33 operations at an even pace, lognormal durations, one of which doubles before the end.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

AS_OF = datetime(2026, 3, 8, tzinfo=UTC)
WEEK_US = timedelta(days=7) // timedelta(microseconds=1)
OPERATIONS = [f"operation_{number:02}" for number in range(33)]
PARTS = 50


def main() -> None:
    """Make the files, then run the engine on them in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000, help="[100000000]")
    parser.add_argument("--in-memory", action="store_true", help="keep the calls in memory, for comparison")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run(arguments.child, in_memory=arguments.in_memory)
        return
    with TemporaryDirectory() as name:
        make(Path(name), arguments.rows)
        more = ["--in-memory"] if arguments.in_memory else []
        subprocess.run([sys.executable, __file__, "--child", name, *more], check=True)


def make(directory: Path, rows: int) -> None:
    """Files that follow each other in time; within each the operations are mixed."""
    random = np.random.default_rng(3)
    median = np.exp(random.uniform(6, 12, len(OPERATIONS)))
    start = AS_OF.timestamp() * 1e6 - WEEK_US
    size = rows // PARTS
    for part in range(PARTS):
        since = WEEK_US * part // PARTS + np.sort(random.integers(0, WEEK_US // PARTS, size))
        code = random.integers(0, len(OPERATIONS), size)
        duration = (median[code] * np.exp(0.25 * random.standard_normal(size))).astype(np.int64) + 1
        duration[(code == 5) & (part > 40)] *= 2
        pl.DataFrame(
            {
                "metric_id": np.arange(part * size, (part + 1) * size),
                "operation_type": pl.Series(OPERATIONS).gather(code),
                "duration_us": duration,
                "created_at": pl.Series(int(start) + since).cast(pl.Datetime("us", "UTC")),
            }
        ).write_parquet(directory / f"{part:03}.parquet", compression="lz4")


def run(directory: Path, *, in_memory: bool) -> None:
    """The engine from the files to the incidents."""
    from pggit_analytics.analysis.engine_findings import engine_findings
    from pggit_analytics.analysis.engine_incidents import engine_incidents
    from pggit_analytics.analysis.incidents import Incidents
    from pggit_analytics.analysis.ordered_calls import ordered_calls
    from pggit_analytics.frames import OPERATION_SETTINGS
    from pggit_analytics.postgres.disk_columns import DiskColumns

    begun = time.perf_counter()

    def say(what: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{what:10} {time.perf_counter() - begun:7.1f} s  {peak:6,} MiB", flush=True)

    say("libraries")
    calls = ordered_calls(pl.scan_parquet(directory / "*.parquet"), None if in_memory else DiskColumns())
    say("in order")
    found = engine_findings(calls, AS_OF)
    say("findings")
    incidents = engine_incidents(found, Incidents(), as_of=AS_OF, settings=OPERATION_SETTINGS.empty())
    say("incidents")
    print(f"{calls.at.size:,} calls, incidents: {incidents.incidents.height}")


if __name__ == "__main__":
    main()
