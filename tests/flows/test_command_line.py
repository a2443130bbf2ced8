"""``analyze`` and ``baselines`` with and without a Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pggit_analytics.postgres.connection import Database

from .conftest import AS_OF, PrefectServer, command_line, rows

#: Runs the command line and then says on stderr which of these modules it has imported.
IMPORTS = """
import sys
from pggit_analytics.cli import cli
cli(sys.argv[1:], standalone_mode=False)
print([name for name in ("prefect", "fastapi", "polars") if name in sys.modules], file=sys.stderr)
"""

#: Runs the command line where Prefect is not installed.
NO_PREFECT = """
import sys
sys.modules["prefect"] = None
from pggit_analytics.cli import main
main()
"""

_RESULTS = (
    "analysis_runs, performance_anomalies, performance_degradations, performance_correlations, performance_baselines, "
    "performance_baseline_history, baseline_recalc_execution"
)


def printed(process: subprocess.Popen[str]) -> object:
    """The one JSON object on the process' stdout."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("command", ["analyze", "baselines"])
def test_a_flow_run_prints_the_same_json_as_a_run_without_prefect(
    prefect_server: PrefectServer, slow_database: Database, command: str
) -> None:
    call = (command, "--as-of", AS_OF.isoformat(), "--json")
    recorded = prefect_server.environment
    plain = {name: value for name, value in recorded.items() if name != "PREFECT_API_URL"}
    without = printed(command_line(*call, environment=plain, database=slow_database))
    assert rows(slow_database, "SELECT prefect_flow_run_id IS NULL FROM analysis_runs") == [(True,)]
    with slow_database.connect() as connection:
        connection.execute(f"TRUNCATE {_RESULTS} RESTART IDENTITY CASCADE".encode())
    assert printed(command_line(*call, environment=recorded, database=slow_database)) == without
    assert rows(slow_database, "SELECT prefect_flow_run_id IS NULL FROM analysis_runs") == [(False,)]


def test_options_reach_the_flow_run_although_its_address_is_no_parameter(
    prefect_server: PrefectServer, slow_database: Database
) -> None:
    process = command_line(
        "analyze",
        "--as-of",
        AS_OF.isoformat(),
        "--operation",
        "nosuch",
        "--database-url",
        slow_database.conninfo,
        environment=prefect_server.environment,
    )
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[-1] == (
        "pggit-analytics: operation_type is 'nosuch', expected one of performance_operation_types"
    )
    assert "Traceback" not in err


def test_without_a_server_address_nothing_of_prefect_is_imported_or_started(
    slow_database: Database, tmp_path: Path
) -> None:
    home = tmp_path / "prefect"
    environment = dict(os.environ) | {"PREFECT_HOME": str(home)}
    process = subprocess.run(
        [sys.executable, "-c", IMPORTS, "analyze", "--as-of", AS_OF.isoformat(), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stderr.splitlines()[-1] == "['polars']"
    assert not home.exists()
    assert rows(slow_database, "SELECT status FROM analysis_runs") == [("SUCCESS",)]


@pytest.mark.parametrize(
    ("address", "line", "status"),
    [
        (
            "http://someone:hunter2@127.0.0.1:1/api",
            "the Prefect server at 127.0.0.1:1, named by PREFECT_API_URL, does not answer (ConnectError); start it, or "
            "unset PREFECT_API_URL to run without Prefect",
            1,
        ),
        (
            "nonsense",
            "PREFECT_API_URL is not an address such as http://127.0.0.1:4200/api; correct it, or unset it to run "
            "without Prefect",
            2,
        ),
    ],
)
def test_a_server_that_does_not_answer_fails_with_one_line_and_nothing_is_written(
    slow_database: Database, tmp_path: Path, address: str, line: str, status: int
) -> None:
    environment = dict(os.environ) | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": address}
    process = command_line("analyze", "--json", environment=environment)
    out, err = process.communicate()
    assert (process.returncode, out) == (status, "")
    assert err.splitlines() == [f"pggit-analytics: {line}"]
    assert rows(slow_database, "SELECT count(*) FROM analysis_runs") == [(0,)]


def test_a_server_address_without_prefect_installed_says_what_to_install(run_directory: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", NO_PREFECT, "analyze"],
        env=dict(os.environ) | {"PREFECT_API_URL": "http://127.0.0.1:1/api"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.splitlines() == [
        "pggit-analytics: PREFECT_API_URL is set but Prefect is not installed; install it with: "
        "pip install 'pggit-analytics[flows]', or unset PREFECT_API_URL to run without"
    ]
