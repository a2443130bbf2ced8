"""The command line as a person or a script meets it: real processes, real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pggit_analytics.postgres.connection import Database

PASSWORD = "open-sesame-42"


@pytest.fixture
def run(run_directory: Path):
    """Run pggit-analytics in an empty directory."""

    def run(*arguments: str, database: Database | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **variables}
        if database:
            environment["PGGIT_DATABASE_URL"] = database.conninfo
        return subprocess.run(
            [sys.executable, "-m", "pggit_analytics", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=run_directory,
            env=environment,
            timeout=120,
        )

    return run


def one_line(text: str) -> str:
    """The only line of an error."""
    assert text.count("\n") == 1, text
    assert text.startswith("pggit-analytics: "), text
    return text


def tables(database: Database) -> list[tuple[object, ...]]:
    """Everything a failed run might have written."""
    with psycopg.connect(database.conninfo) as connection:
        return [
            connection.execute(f"SELECT count(*) FROM pggit.{name}").fetchone()
            for name in (
                "performance_anomalies",
                "performance_degradations",
                "performance_alerts",
                "performance_baselines",
            )
        ]


def insert_week(database: Database) -> None:
    """commit twice as slow since yesterday, relative to 2026-01-31."""
    with database.connect() as connection:
        connection.execute("""
            INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
            SELECT 'commit', 5 + n % 7 + CASE WHEN n < 1440 THEN 10 ELSE 0 END,
                   TIMESTAMPTZ '2026-01-31 00:00+00' - n * INTERVAL '1 minute'
            FROM generate_series(0, 10000) AS n
        """)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["analyze", "--database-url", f"postgresql://u:{PASSWORD}@127.0.0.1:1/x"], 1, ["127.0.0.1:1/x", "refused"]),
        (["analyze", "--database-url", f"no url {PASSWORD}"], 2, ["database URL", "postgresql://"]),
        (["analyze", "--operation", "nosuch"], 2, ["nosuch", "performance_operation_types"]),
        (["analyze", "--lookback-hours", "0"], 2, ["lookback_hours", "0"]),
        (["analyze", "--lookback-hours", "x"], 2, ["lookback-hours", "x"]),
        (["analyze", "--as-of", "2026-01-01T00:00"], 2, ["2026-01-01T00:00", "time zone"]),
        (["analyze", "--schema", "nope"], 1, ["db deploy --schema nope"]),
        (["baselines", "--lookback-days", "366"], 2, ["lookback_days", "365"]),
        (["baselines", "--min-samples", "0"], 2, ["min_samples", "0"]),
        (["nonsense"], 2, ["nonsense", "--help"]),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(run, database, arguments, status, words) -> None:
    before = tables(database)
    result = run(*arguments, database=database)
    assert result.returncode == status
    message = one_line(result.stderr.removeprefix("Reading the timings ...\n"))
    assert all(word in message for word in words), message
    assert PASSWORD not in result.stdout + result.stderr
    assert result.stdout == ""
    assert tables(database) == before


def test_a_role_without_privileges_is_told_which_role_to_ask_for(run, database, server_url) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS stranger_of_the_cli_test")
        connection.execute("CREATE ROLE stranger_of_the_cli_test LOGIN")
    try:
        url = psycopg.conninfo.make_conninfo(database.conninfo, user="stranger_of_the_cli_test")
        result = run("analyze", "--database-url", url)
        assert result.returncode == 1
        assert "pggit_pipeline" in one_line(result.stderr.removeprefix("Reading the timings ...\n"))
    finally:
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            connection.execute("DROP ROLE stranger_of_the_cli_test")


def test_analyze_prints_one_json_object_and_writes_what_it_says(run, database) -> None:
    insert_week(database)
    result = run("analyze", "--as-of", "2026-01-31T00:00:00Z", "--json", database=database)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["rows_read"] == 10_001
    assert [row["operation_type"] for row in answer["degradations"]] == ["commit"]
    assert answer["written"]["alerts_written"] is False  # the moment is long past
    with database.connect() as connection:
        rows = connection.execute("SELECT operation_type, run_id FROM performance_degradations").fetchall()
    assert rows == [("commit", answer["written"]["run_id"])]


def test_analyzing_again_changes_nothing(run, database) -> None:
    insert_week(database)
    arguments = ("analyze", "--as-of", "2026-01-31T01:00:00+01:00", "--json")
    run(*arguments, database=database)
    before = tables(database)
    answer = json.loads(run(*arguments, database=database).stdout)
    assert (answer["written"]["rows_written"], answer["written"]["rows_deleted"]) == (0, 0)
    assert tables(database) == before


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_nothing_one_row_and_equal_rows_are_analyzed_without_findings(run, database, rows) -> None:
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
            "SELECT 'commit', 5, TIMESTAMPTZ '2026-01-30 12:00+00' FROM generate_series(1, %s)",
            (rows,),
        )
    result = run("analyze", "--as-of", "2026-01-31T00:00:00Z", database=database)
    assert result.returncode == 0, result.stderr
    assert f"{rows} timings read" in result.stdout
    assert "Nothing got slow." in result.stdout


def test_a_session_in_another_time_zone_gets_the_same_answer(run, database) -> None:
    insert_week(database)
    arguments = ("analyze", "--as-of", "2026-01-31T00:00:00Z", "--json")
    answers = [
        json.loads(run(*arguments, database=database, PGTZ=zone, TZ=zone).stdout)
        for zone in ("UTC", "America/New_York", "Asia/Kolkata")
    ]
    for answer in answers:
        del answer["written"], answer["incidents_written"]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("value", "fault"), [("NULL", "NULL duration_ms"), ("-1", "negative duration_ms"), ("'NaN'::FLOAT8", "NaN")]
)
def test_a_source_with_unusable_durations_is_refused_with_their_number(run, database, run_directory, value, fault):
    (run_directory / "pggit.toml").write_text(f'''
        [source]
        query = """SELECT 1 AS metric_id, 'commit' AS operation_type, {value}::FLOAT8 AS duration_ms,
                          now() - '1 hour'::INTERVAL AS created_at"""
    ''')
    result = run("analyze", database=database)
    assert result.returncode == 1
    message = one_line(result.stderr.removeprefix("Reading the timings ...\n"))
    assert f"1 row with {fault}" in message
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM analysis_runs WHERE status = 'SUCCESS'").fetchone() == (0,)


def test_baselines_are_adopted_kept_and_forced(run, database) -> None:
    insert_week(database)
    arguments = ("baselines", "--as-of", "2026-01-30T00:00:00Z", "--json")
    status = [
        {
            row["operation_type"]: row["status"]
            for row in json.loads(run(*arguments, *more, database=database).stdout)["baselines"]
        }
        for more in ((), (), ("--force",))
    ]
    assert [s["commit"] for s in status] == ["UPDATED", "UNCHANGED", "UPDATED"]
    assert {s["merge"] for s in status} == {"INSUFFICIENT_DATA"}
    with database.connect() as connection:
        reasons = connection.execute(
            "SELECT reason, old_baseline_id IS NULL FROM performance_baseline_history ORDER BY history_id"
        ).fetchall()
        active = connection.execute(
            "SELECT p99_microseconds, alert_threshold_multiplier FROM performance_baselines WHERE is_active"
        ).fetchall()
    assert reasons == [("scheduled", True), ("force", False)]
    assert active == [(11_000, 2.5)]  # 5 + n % 7 ms; commit is a fast write


def test_sql_and_dataframes_agree_on_the_data_at_hand(run, database) -> None:
    insert_week(database)
    result = run("db", "check-parity", "--as-of", "2026-01-31T00:00:00Z", "--json", database=database)
    assert result.returncode == 0, result.stdout
    comparisons = {c["sql_object"]: c for c in json.loads(result.stdout)["comparisons"]}
    assert comparisons["detect_performance_degradation"]["rows"] == 1


def test_status_says_when_a_deployment_is_due(run, empty_database) -> None:
    assert run("db", "status", database=empty_database).returncode == 1
    assert run("db", "deploy", database=empty_database).returncode == 0
    assert json.loads(run("db", "status", "--json", database=empty_database).stdout)["is_current"] is True


def test_an_unexpected_error_is_one_line_without_its_text(run, database, run_directory) -> None:
    (run_directory / "pggit.toml").write_text("[source]\nquery = 5\n")
    result = run("analyze", database=database)
    assert result.returncode == 2
    assert "source.query" in one_line(result.stderr)


def test_a_failed_run_is_recorded(run, database, run_directory) -> None:
    with database.connect() as connection:
        connection.execute("ALTER TABLE performance_correlations RENAME TO hidden")
    result = run("analyze", "--as-of", "2026-01-31T00:00:00Z", database=database)
    assert result.returncode == 1
    with database.connect() as connection:
        rows = connection.execute("SELECT flow, status, error_message FROM analysis_runs").fetchall()
        assert connection.execute("SELECT count(*) FROM performance_alerts").fetchone() == (0,)
    assert [(flow, status) for flow, status, _ in rows] == [("monitor_performance", "FAILED")]
    assert "performance_correlations" in rows[0][2]
