"""Real processes that write one run: killed half-way, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pggit_analytics.postgres.connection import Database

#: Writes one run. argv: connection string, as_of, and the piece of SQL after which it says so and waits for a line
#: of input, or 'commit' to wait before it commits, or 'begin' to wait before it starts.
WRITER = """
import sys
from datetime import date, datetime, timedelta

import psycopg

from pggit_analytics.frames import ANOMALIES, CORRELATIONS, DEGRADATIONS, THRESHOLDS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_back import Findings, RunRecord, write_back

conninfo, moment, stop = sys.argv[1:]
as_of = datetime.fromisoformat(moment)


def wait():
    print("waiting", flush=True)
    sys.stdin.readline()


class StoppingConnection(psycopg.Connection):
    def execute(self, query, *args, **kwargs):
        cursor = super().execute(query, *args, **kwargs)
        text = query if isinstance(query, str) else query.as_string(self)
        if stop in text:
            wait()
        return cursor


degradation = {
    "operation_type": "commit", "period_start": date(2026, 2, 23), "period_end": date(2026, 3, 2),
    "p99_old_ms": 50.0, "p99_new_ms": 67.6, "degradation_percent": 35.2, "trend": "DEGRADING", "confidence": 0.9,
    "severity": "WARNING", "detected_at": as_of,
}
spikes = [
    {
        "operation_type": "commit", "metric_id": number, "anomaly_type": "SPIKE", "severity": "WARNING",
        "duration_ms": 812.4, "baseline_p99_ms": None, "z_score": 5.1, "deviation_percent": 340.0,
        "degradation_percent": None, "alert_required": False, "detected_at": as_of,
    }
    for number in range(100)
]
findings = Findings(
    ANOMALIES.frame(spikes), DEGRADATIONS.frame([degradation]), CORRELATIONS.empty(), THRESHOLDS.empty(),
    seen_operation_types=("new one",),
)
run = RunRecord("monitor_performance", as_of, as_of - timedelta(days=7), as_of, 1234, "0")

with StoppingConnection.connect(conninfo) as connection:
    connection.execute("SET search_path TO pggit, pg_temp")
    if stop == "begin":
        wait()
    write_back(connection, findings, run, notify=True)
    if stop == "commit":
        wait()
print("committed", flush=True)
"""

T0 = "2026-03-02T12:00:00+00:00"
T1 = "2026-03-02T12:01:00+00:00"


@contextmanager
def writer(database: Database, as_of: str, stop: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, database.conninfo, as_of, stop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def contents(database: Database) -> dict[str, int]:
    """Rows of each table a run writes to; alerts and messages by what they say."""
    counts = {
        "runs": "analysis_runs",
        "anomalies": "performance_anomalies",
        "degradations": "performance_degradations",
        "alerts": "performance_alerts",
        "messages": "alert_notification_queue",
        "new operations": "performance_operation_types WHERE operation_type = 'new one'",
        "temporary tables": "pg_class WHERE relname LIKE 'pggit_new_%'",
    }
    with database.connect() as connection:
        return {
            name: connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]  # type: ignore[index]
            for name, what in counts.items()
        }


def route_everything(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'ops')")
        connection.execute(
            "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) "
            "SELECT alert_type, 'WARNING', webhook_id FROM alert_notification_webhooks, "
            "unnest(ARRAY['ANOMALY', 'DEGRADATION']) AS alert_type"
        )


NOTHING = dict.fromkeys(
    ("runs", "anomalies", "degradations", "alerts", "messages", "new operations", "temporary tables"), 0
)
ONE_RUN = NOTHING | {
    "runs": 1,
    "anomalies": 100,
    "degradations": 1,
    "alerts": 101,
    "messages": 101,
    "new operations": 1,
}


@pytest.mark.parametrize(
    "stop", ["INSERT INTO analysis_runs", "replace_findings(", "raise_alerts_of_findings(", "commit"]
)
def test_a_run_killed_half_way_leaves_nothing_and_the_next_one_completes(database: Database, stop: str) -> None:
    route_everything(database)
    with writer(database, T0, stop) as killed:
        assert says(killed) == "waiting"
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    with writer(database, T0, "begin") as next_run:
        assert says(next_run) == "waiting"
        assert contents(database) | {"temporary tables": 0} == NOTHING
        go_on(next_run)
        assert says(next_run) == "committed"
    assert contents(database) == ONE_RUN


def test_two_processes_at_once_on_one_moment_leave_what_one_would(database: Database) -> None:
    route_everything(database)
    with writer(database, T0, "begin") as first, writer(database, T0, "begin") as second:
        assert [says(first), says(second)] == ["waiting"] * 2
        go_on(first, second)
        assert [says(first), says(second)] == ["committed"] * 2
    assert contents(database) == ONE_RUN | {"runs": 2}


def test_two_processes_at_once_on_two_moments_write_both_and_say_everything_once(database: Database) -> None:
    route_everything(database)
    with writer(database, T0, "begin") as first, writer(database, T1, "begin") as second:
        assert [says(first), says(second)] == ["waiting"] * 2
        go_on(first, second)
        assert [says(first), says(second)] == ["committed"] * 2
    assert contents(database) == ONE_RUN | {"runs": 2, "anomalies": 200, "degradations": 2}


def test_a_process_waits_for_a_killed_one_to_be_gone_and_never_for_its_commit(database: Database) -> None:
    route_everything(database)
    with writer(database, T0, "commit") as killed, writer(database, T0, "begin") as waiting:
        assert [says(killed), says(waiting)] == ["waiting"] * 2
        go_on(waiting)
        os.kill(killed.pid, signal.SIGKILL)
        assert says(waiting) == "committed"
    assert contents(database) == ONE_RUN
