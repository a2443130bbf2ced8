"""The command alerts: what is wrong, and what people say to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pggit_analytics.postgres.connection import Database
from tests.commands import run_here
from tests.deliveries import Deliveries

Run = Callable[..., subprocess.CompletedProcess[str]]

T0 = "2026-01-31 12:00+00"


@pytest.fixture
def run(shared_database: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PGGIT_DATABASE_URL", shared_database.conninfo)
    return run_here


@pytest.fixture
def alerts(shared_database: Database) -> Deliveries:
    """Three alerts: 1 open and a WARNING, 2 open and CRITICAL, 3 resolved."""
    database = Deliveries(shared_database)
    database.clear()
    with shared_database.connect() as connection:
        connection.execute("TRUNCATE alert_blackouts RESTART IDENTITY")
        for name, severity in (("commit", "WARNING"), ("merge", "CRITICAL"), ("rollback", "WARNING")):
            connection.execute(
                "SELECT raise_alert('DEGRADATION', %s, %s, %s, %s, p_as_of => %s)",
                (severity, name, f"DEGRADATION/{name}", json.dumps({"p99_old_ms": 5, "p99_new_ms": 15}), T0),
            )
        connection.execute("SELECT resolve_alert('DEGRADATION/rollback', %s)", (datetime(2026, 1, 31, 13, tzinfo=UTC),))
    return database


def answer(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_open_alerts_are_listed_the_most_severe_first(run: Run, alerts: Deliveries) -> None:
    listed = answer(run("alerts", "list", "--json"))["alerts"]
    assert [(one["alert_id"], one["severity"], one["operation_type"]) for one in listed] == [
        (2, "CRITICAL", "merge"),
        (1, "WARNING", "commit"),
    ]
    text = run("alerts", "list").stdout
    assert "2  CRITICAL" in text
    assert "since 2026-01-31 12:00 UTC" in text
    assert "rollback" not in text
    assert [one["alert_id"] for one in answer(run("alerts", "list", "--all", "--limit", "3", "--json"))["alerts"]] == [
        2,
        1,
        3,
    ]
    assert "from 2026-01-31 12:00 UTC to 2026-01-31 13:00 UTC" in run("alerts", "list", "--all").stdout
    assert len(answer(run("alerts", "list", "--limit", "1", "--json"))["alerts"]) == 1


def test_nothing_wrong_is_said_in_words(run: Run, alerts: Deliveries) -> None:
    alerts.clear()
    assert run("alerts", "list").stdout == "Nothing is wrong: no alert is open.\n"


def test_an_alert_is_acknowledged_once_by_whom_it_says(run: Run, alerts: Deliveries) -> None:
    assert answer(run("alerts", "ack", "1", "--by", "ann", "--json")) == {"alert_id": 1, "changed": True}
    assert "was already acknowledged" in run("alerts", "ack", "1", "--by", "bob").stdout
    assert alerts.rows("SELECT acknowledged_by FROM performance_alerts WHERE alert_id = 1") == [("ann",)]
    assert "acknowledged by ann" in run("alerts", "list").stdout


def test_a_verdict_is_kept_and_may_be_changed(run: Run, alerts: Deliveries) -> None:
    assert answer(run("alerts", "verdict", "3", "false_positive", "--json"))["changed"] is True
    assert "was already a false positive" in run("alerts", "verdict", "3", "false_positive").stdout
    assert run("alerts", "verdict", "3", "true_positive").returncode == 0
    assert alerts.rows("SELECT verdict FROM performance_alerts WHERE alert_id = 3") == [("true_positive",)]


def test_a_snooze_by_its_length_or_its_end(run: Run, alerts: Deliveries) -> None:
    (before,) = alerts.rows("SELECT clock_timestamp()")[0]
    done = answer(
        run("alerts", "snooze", "--for", "1h30m", "--operation", "commit", "--reason", "being rebuilt", "--json")
    )
    (after,) = alerts.rows("SELECT clock_timestamp()")[0]
    until = datetime.fromisoformat(done["until"])
    assert before + timedelta(minutes=90) <= until <= after + timedelta(minutes=90)
    stored = "SELECT operation_type, alert_type, reason, snooze_until FROM alert_snooze ORDER BY snooze_id"
    assert alerts.rows(stored) == [("commit", None, "being rebuilt", until)]
    assert "snoozed until" in run("alerts", "list").stdout

    said = run("alerts", "snooze", "--until", "2999-01-01T00:00:00+02:00", "--alert-type", "ANOMALY").stdout
    assert "ANOMALY alerts of all operations until 2998-12-31 22:00 UTC" in said


def test_a_blackout_is_set_listed_and_ended(run: Run, alerts: Deliveries) -> None:
    alerts.webhook("ops", "http://127.0.0.1:1")
    more = ("--days", "sun,sat", "--webhook", "ops", "--spare-critical", "--reason", "backup")
    assert answer(run("alerts", "blackout", "add", "--start", "22:30", "--duration", "2h", *more, "--json")) == {
        "blackout_id": 1
    }
    (listed,) = answer(run("alerts", "blackout", "list", "--json"))["blackouts"]
    assert (listed["start_time"], listed["days_of_week"], listed["webhook_name"]) == ("22:30:00", [6, 7], "ops")
    assert (listed["spare_critical"], listed["enabled"], listed["reason"]) == (True, True, "backup")
    assert run("alerts", "blackout", "list").stdout == (
        "1  sat,sun from 22:30 UTC for 2:00:00: all alerts of all operations, to ops, CRITICAL is sent, backup\n"
    )
    assert answer(run("alerts", "blackout", "end", "1", "--json"))["changed"] is True
    assert "was already ended" in run("alerts", "blackout", "end", "1").stdout
    assert run("alerts", "blackout", "list").stdout.endswith("ended\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ack", "99"], ["99"]),
        (["ack", "x"], ["x", "integer"]),
        (["verdict", "1", "maybe"], ["maybe", "true_positive"]),
        (["verdict", "99", "true_positive"], ["99"]),
        (["list", "--limit", "0"], ["limit is 0"]),
        (["snooze"], ["either --until or --for"]),
        (["snooze", "--for", "1h", "--until", "2999-01-01T00:00:00Z"], ["either --until or --for"]),
        (["snooze", "--for", "soon"], ["'soon'", "2h"]),
        (["snooze", "--for", "0s"], ["after now"]),
        (["snooze", "--for", "999999999d"], ["beyond the calendar"]),
        (["snooze", "--until", "2000-01-01T00:00:00Z"], ["2000", "after now"]),
        (["snooze", "--for", "1h", "--operation", "nosuch"], ["nosuch"]),
        (["snooze", "--for", "1h", "--alert-type", "nosuch"], ["nosuch"]),
        (["blackout", "add", "--start", "25:00", "--duration", "1h"], ["'25:00'", "22:30"]),
        (["blackout", "add", "--start", "22:00+02:00", "--duration", "1h"], ["UTC"]),
        (["blackout", "add", "--start", "22:00", "--duration", "25h"], ["24"]),
        (["blackout", "add", "--start", "22:00", "--duration", "1h", "--days", "monday"], ["'monday'", "mon"]),
        (["blackout", "add", "--start", "22:00", "--duration", "1h", "--webhook", "nobody"], ["'nobody'"]),
        (["blackout", "end", "99"], ["99", "blackout list"]),
    ],
)
def test_wrong_usage_is_one_line_and_changes_nothing(
    run: Run, alerts: Deliveries, arguments: list[str], words: list[str]
) -> None:
    done = run("alerts", *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert alerts.rows("SELECT (SELECT count(*) FROM alert_snooze), (SELECT count(*) FROM alert_blackouts)") == [(0, 0)]
