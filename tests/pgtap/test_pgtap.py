"""Runs the pgTAP files of this directory. By hand: CREATE EXTENSION pgtap, then psql -XqAt -f tests/pgtap/x.sql"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy

pytestmark = pytest.mark.debian

FILES = sorted(Path(__file__).parent.glob("*.sql"))

_LINE = re.compile(r"(not ok|ok) (\d+)( .*)?")
_PLAN = re.compile(r"1\.\.(\d+)")


@dataclass(frozen=True)
class Tap:
    """What a TAP stream says."""

    #: tests announced, in each plan line
    plans: list[int]
    #: number of each test, in the order they ran
    numbers: list[int]
    #: failed tests, each with the comment lines that follow it
    failures: list[str]
    #: lines that are neither a plan, a test nor a comment
    others: list[str]


def parse(output: str) -> Tap:
    tap = Tap([], [], [], [])
    is_failing = False
    for line in filter(None, output.splitlines()):
        if line.startswith("#"):
            if is_failing:
                tap.failures[-1] += f"\n{line}"
        elif plan := _PLAN.fullmatch(line):
            tap.plans.append(int(plan[1]))
        elif test := _LINE.fullmatch(line):
            tap.numbers.append(int(test[2]))
            is_failing = test[1] == "not ok"
            if is_failing:
                tap.failures.append(line)
        else:
            tap.others.append(line)
    return tap


@pytest.fixture(scope="module")
def tap_database(request: pytest.FixtureRequest, shared_database: Database) -> Database:
    """A database with pgTAP in the schema public, and with what delivery inside the database needs."""
    assert request.config.getoption("--server-url"), "pgTAP needs Debian's server: make test-all"
    with shared_database.connect() as connection:
        for extension in ("pgtap SCHEMA public", "pgcrypto SCHEMA public", "plpython3u"):
            connection.execute(f"CREATE EXTENSION {extension}".encode())
    deploy(shared_database)
    return shared_database


def run(database: Database, file: Path) -> str:
    psql = shutil.which("psql")
    assert psql, "psql is not installed"
    command = [psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database.conninfo, "-f", str(file)]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_line_of_the_file_is_ok(tap_database: Database, file: Path) -> None:
    tap = parse(run(tap_database, file))

    assert not tap.failures, "\n".join(tap.failures)
    assert not tap.others
    assert len(tap.plans) == 1
    assert tap.numbers == list(range(1, tap.plans[0] + 1))


def test_a_failing_line_a_missing_test_and_a_stray_line_are_noticed() -> None:
    tap = parse("1..4\nok 1 - fine\nnot ok 2 - broken\n# Failed test 2\n#   have: 1\nok 3\nWARNING\n")

    assert tap == Tap([4], [1, 2, 3], ["not ok 2 - broken\n# Failed test 2\n#   have: 1"], ["WARNING"])
