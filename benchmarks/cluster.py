"""Two Dask workers beside one: the part of a run that is done in shares, and the whole run.

Both clusters stand on this machine, and runs alternate between them; the least time of each counts. A single worker
already keeps more than one core busy, since the server works for it on two connections: on few cores the ratio stays
low. How many cores were busy (with whatever ran on the machine) is told beside it, and what a second worker could bring
at most if it found the idle ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import psutil
from figures import Line, table, told

from data import AS_OF, DEFAULT_DIRECTORY, SIZES, prepare, say, server
from pggit_analytics.config import ScaleSettings
from pggit_analytics.pipeline import MonitorParameters, Target, monitor
from pggit_analytics.postgres.sources import native
from pggit_analytics.scaleout import monitored_in_shares

#: how many times as fast two workers shall be, on two free cores
TARGET = 1.7


class Measured(NamedTuple):
    """One piece of work."""

    seconds: float
    #: how many cores were not idle, on average
    busy: float


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of a scheduler with so many workers of one thread, each a process."""
    import distributed

    with distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as found:  # type: ignore[no-untyped-call]
        yield str(found.scheduler_address)


def main() -> None:
    """Print the table, or what it is made of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="1M")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shares", type=int, default=8)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    options = parser.parse_args()
    parameters = MonitorParameters(as_of=AS_OF)
    with server(options.directory) as url, ExitStack() as stack:
        database = prepare(url, SIZES[options.size])
        # workers inherit it
        os.environ["PGGIT_DATABASE_URL"] = database.conninfo
        plain = Target(database, database, native(database.schema))
        targets = {
            count: Target(
                database,
                database,
                native(database.schema),
                scale=ScaleSettings(dask_address=stack.enter_context(cluster(count)), shares=options.shares),
            )
            for count in (1, 2)
        }
        best: dict[tuple[str, str], Measured] = {}
        for number in range(options.runs):
            say(f"run {number + 1} of {options.runs}")
            for count, target in targets.items():
                best_of(best, ("in shares", str(count)), lambda target=target: monitored_in_shares(target, parameters))
                best_of(best, ("whole run", str(count)), lambda target=target: monitor(target, parameters))
            best_of(best, ("whole run", "none"), lambda: monitor(plain, parameters))
    head = (
        f"{SIZES[options.size].description}; {options.shares} shares, {os.cpu_count()} cores, least of {options.runs}"
    )
    rows = [
        [part, workers, f"{of.seconds:.2f}", f"{best[part, '1'].seconds / of.seconds:.2f}", f"{of.busy:.2f}"]
        for (part, workers), of in sorted(best.items())
    ]
    details = f"{head}\n\n{table(['part', 'workers', 's', 'times as fast as 1 worker', 'cores busy'], rows)}"
    print(told(lines(best, SIZES[options.size].rows), details) if options.json else details)


def lines(best: dict[tuple[str, str], Measured], rows: int) -> Iterator[Line]:
    """For the table of the README."""
    for part, what in (
        ("in shares", "two Dask workers beside one, what is done in shares"),
        ("whole run", "the same, a whole run"),
    ):
        ratio = best[part, "1"].seconds / best[part, "2"].seconds
        cores, busy = os.cpu_count() or 1, best[part, "1"].busy
        idle = f"one keeps {busy:.2f} of {cores} cores busy, {cores / busy:.2f} x at most"
        has_aim = part == "in shares"
        yield Line(
            what,
            rows,
            f"{best[part, '2'].seconds:.2f} s",
            f"{ratio:.2f} x as fast; {idle}",
            f">= {TARGET} x" if has_aim else "",
            ratio >= TARGET if has_aim else None,
        )


def best_of(best: dict[tuple[str, str], Measured], name: tuple[str, str], work: Callable[[], object]) -> None:
    """Keep the quickest of the works of this name."""
    before, started = psutil.cpu_times(), perf_counter()
    work()
    seconds, after = perf_counter() - started, psutil.cpu_times()
    idle = after.idle - before.idle + after.iowait - before.iowait
    found = Measured(seconds, (os.cpu_count() or 1) - idle / seconds)
    if name not in best or seconds < best[name].seconds:
        best[name] = found


if __name__ == "__main__":
    main()
