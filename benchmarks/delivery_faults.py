"""What becomes of messages when delivery is disturbed: every fault several times; what was lost, repeated or leaked.

Workers are real processes, and channels real servers on loopback; ``tests/faults.py`` says how faults are made and
counted. A message is repeated without cause when no lease of it ended meanwhile: a worker that dies between a send and
its record, or takes longer than its lease, may repeat that one message, and nothing else may be. Exit status 1 when
anything is lost, leaked, or repeated without cause, or the log does not agree with what the servers received.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from data import say
from tests.channel_faults import TABLED_FAULTS
from tests.crash_faults import CRASH_FAULTS
from tests.faults import Account, Fault, OwnServer, Scene

FAULTS: tuple[Fault, ...] = (*CRASH_FAULTS, *TABLED_FAULTS)


def run(fault: Fault, server: OwnServer, directory: Path) -> Account:
    """Make the fault once, in a database and a directory of its own."""
    directory.mkdir()
    with Scene(server.new_database(), directory, server=server) as scene:
        fault.make(scene)
        return scene.account()


def faults_of(fault: Fault, account: Account) -> list[str]:
    """All that is wrong with an account, rows that should have gone or failed included."""
    expected = (fault.waiting, fault.failed)
    found = (account.waiting, account.failed)
    stuck = [f"{found} rows wait and failed instead of {expected}"] if found != expected else []
    return [*account.faults, *stuck]


def row(fault: Fault, accounts: list[Account]) -> str:
    """The line of the table."""

    def total(counts: Iterable[int]) -> str:
        return f"{sum(counts):,}"

    figures = (
        str(len(accounts)),
        total(account.requests for account in accounts),
        total(len(account.lost) for account in accounts),
        total(account.duplicated for account in accounts),
        total(len(account.duplicated_without_cause) for account in accounts),
        total(len(account.unreconciled) for account in accounts),
        total(len(account.leaked) for account in accounts),
    )
    return f"| {fault.name} | {' | '.join(figures)} |"


def measure(faults: Iterable[Fault], runs: int, directory: Path) -> bool:
    """Print the table; whether nothing went wrong."""
    is_well = True
    print("| fault | runs | messages | lost | duplicated | without an expired lease | not reconciled | leaked |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with OwnServer(directory / "server") as server:
        for number, fault in enumerate(faults):
            accounts = [run(fault, server, directory / f"{number}-{turn}") for turn in range(runs)]
            print(row(fault, accounts), flush=True)
            for account in accounts:
                for wrong in faults_of(fault, account):
                    say(f"{fault.name}: {wrong}")
                    is_well = False
    return is_well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each fault [3]")
    parser.add_argument("--only", default="", help="faults with this in their name")
    arguments = parser.parse_args()
    for name in ("pggit_analytics", "mail.log"):  # the latter tells of clients that leave over a certificate
        logging.getLogger(name).addHandler(logging.NullHandler())
    chosen = [fault for fault in FAULTS if arguments.only in fault.name]
    with tempfile.TemporaryDirectory(prefix="pggit-faults-") as directory:
        if not measure(chosen, arguments.runs, Path(directory)):
            sys.exit(1)


if __name__ == "__main__":
    main()
