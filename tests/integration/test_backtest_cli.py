"""The commands backtest and tune: on a real database, with a reader's rights, and without a trace."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.frames import METRICS
from pggit_analytics.postgres.connection import Database
from tests.commands import run_here
from tests.unit.changing_calls import calls, constant, hour, step

#: commit gets slow three hours before the second of these runs
SPAN = ("--from", hour(144).isoformat(), "--to", hour(156).isoformat(), "--step", "6h")


@pytest.fixture(scope="module")
def filled(shared_database: Database) -> Database:
    week = calls({"commit": step(147, 2.5), "get_history": constant})
    columns = "metric_id, operation_type, duration_ms, created_at"
    with (
        shared_database.connect() as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY performance_metrics ({columns}) FROM STDIN".encode()) as copy,
    ):
        for metric_id, name, duration_us, created_at in week.select(list(METRICS.columns)).iter_rows():
            copy.write_row((metric_id, name, duration_us / 1000, created_at))
    with shared_database.connect() as connection:
        connection.execute(
            "INSERT INTO operation_settings (operation_type, expected_pages_per_week) VALUES ('get_history', 1)"
        )
        for number, (verdict, ratio) in enumerate(
            [("true_positive", 2.5), ("false_positive", 1.2), ("false_positive", 1.305)], start=1
        ):
            connection.execute(
                "SELECT set_alert_verdict("
                "raise_alert('INCIDENT', 'WARNING', 'commit', %s, %s, TRUE, 'incidents', %s), %s)",
                (f"INCIDENT/{number}", json.dumps({"size_ratio": ratio}), hour(100 + number), verdict),
            )
    return shared_database


@pytest.fixture(scope="module")
def reader(filled: Database) -> Iterator[Database]:
    """The database as pggit_reader sees it."""
    name = f"pggit_test_{uuid.uuid4().hex}"
    role = sql.Identifier(name)
    with psycopg.connect(filled.conninfo, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'unused' IN ROLE pggit_reader").format(role))
    yield Database(conninfo.make_conninfo(filled.conninfo, user=name, password="unused"), filled.schema)
    with psycopg.connect(filled.conninfo, autocommit=True) as administrator:
        administrator.execute(sql.SQL("DROP OWNED BY {}").format(role))
        administrator.execute(sql.SQL("DROP ROLE {}").format(role))


def run(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_here(*arguments, PGGIT_DATABASE_URL=database.conninfo)


@pytest.fixture(autouse=True)
def _here(run_directory: Path) -> None:
    """No setting but those of the test."""


def answer(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tables(database: Database) -> list[tuple]:
    """Every table of the schema with the rows it has."""
    with database.connect() as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::REGNAMESPACE AND relkind = 'r' "
            "ORDER BY relname"
        ).fetchall()
        return [
            (name, *connection.execute(f'SELECT count(*), max(xmin::TEXT::BIGINT) FROM "{name}"'.encode()).fetchone())
            for (name,) in names
        ]


def test_a_reader_sees_what_would_have_been_said_and_nothing_is_written(filled: Database, reader: Database) -> None:
    before = tables(filled)
    done = run(reader, "backtest", *SPAN, "--json")
    told = answer(done)
    assert "analytics_settings" in done.stderr
    assert done.stderr.count("\n") == 1
    assert tables(filled) == before
    (opened,) = [one for one in told["events"] if one["event"] == "opened" and one["is_page"]]
    assert (opened["operation_type"], opened["said_at"]) == ("commit", hour(150).isoformat())
    assert (told["runs"], told["days"], told["operations"], told["pages"]) == (3, 0.5, 2, 1)
    # a page, two operations, half a day
    assert told["pages_per_operation_day"] == pytest.approx(1.0)
    assert told["default_thresholds"] is True


def test_text_tells_when_what_how_much_and_how_late(filled: Database) -> None:
    done = run(filled, "backtest", *SPAN)
    assert done.returncode == 0
    assert done.stderr == ""
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("2026-03-10 18:00 UTC  CRITICAL  opened")
    assert "commit: " in first
    assert " times as long since 2026-03-10 1" in first
    assert " later" in first
    assert last.startswith("3 runs from 2026-03-10 12:00 UTC to 2026-03-11 00:00 UTC")
    assert "1 page, 1.000 per operation-day; 2.00 CRITICAL a day" in last


def test_thresholds_of_the_database_count_where_they_may_be_read(filled: Database) -> None:
    names = ("incident_warning_times", "incident_warning_lost_percent", "incident_critical_lost_percent")
    with filled.connect() as connection:
        old = connection.execute(
            "SELECT name, value FROM analytics_settings WHERE name = ANY (%s)", (list(names),)
        ).fetchall()
        connection.execute("UPDATE analytics_settings SET value = '100' WHERE name = ANY (%s)", (list(names),))
    try:
        told = answer(run(filled, "backtest", *SPAN, "--json"))
    finally:
        with filled.connect() as connection:
            for name, value in old:
                connection.execute("UPDATE analytics_settings SET value = %s WHERE name = %s", (value, name))
    assert (told["pages"], told["default_thresholds"]) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--from", hour(144).isoformat(), "--to", hour(144).isoformat()), ["from is 2026-03-10 12:00:00+00:00"]),
        (("--from", hour(144).isoformat(), "--to", hour(145).isoformat()), ["step is 6:00:00", "at most 1:00:00"]),
        (("--to", hour(145).isoformat(), "--step", "30s"), ["step is"]),
        (("--to", hour(145).isoformat(), "--step", "8d"), ["step is"]),
        (("--from", hour(-9000).isoformat(), "--to", hour(0).isoformat(), "--step", "1m"), ["runs, not 540001"]),
        (("--from", "2026-03-10"), ["'2026-03-10' is not a date, time and time zone"]),
    ],
)
def test_a_span_that_makes_no_sense_is_refused_in_one_line(
    filled: Database, arguments: tuple[str, ...], parts: list[str]
) -> None:
    done = run(filled, "backtest", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts)


def test_proposals_are_shown_and_written_only_when_asked(filled: Database) -> None:
    before = tables(filled)
    shown = run(filled, "tune", *SPAN)
    assert shown.returncode == 0, shown.stderr
    assert "commit: 14.0 pages a week; 2 of 3 verdicts say false" in shown.stdout
    assert "minimum_effect_percent: 10 % -> 31 %" in shown.stdout
    assert "Nothing is written" in shown.stdout
    assert tables(filled) == before
    applied = answer(run(filled, "tune", *SPAN, "--apply", "--json"))
    assert applied["applied"] == ["commit"]
    with filled.connect() as connection:
        written = connection.execute(
            "SELECT operation_type, direction, minimum_effect_percent, sensitivity, expected_pages_per_week "
            "FROM operation_settings ORDER BY 1"
        ).fetchall()
        connection.execute("DELETE FROM operation_settings WHERE operation_type = 'commit'")
    assert written == [("commit", "slower", 31.0, None, None), ("get_history", "slower", None, None, 1.0)]


def test_a_reader_may_look_at_proposals_but_not_apply_them(filled: Database, reader: Database) -> None:
    before = tables(filled)
    done = run(reader, "tune", *SPAN, "--apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert "operation_settings" in done.stderr
    assert tables(filled) == before
