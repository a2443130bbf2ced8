"""The report from a real database: every kind of state, the reader's role, and the moment of the views."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics import frames
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.config import load_settings
from pggit_analytics.errors import InvalidArgument, PermissionDenied
from pggit_analytics.pipeline import MonitorParameters, Target, monitor
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract_report import extract_coverage, extract_report
from pggit_analytics.postgres.sources import Source, native
from pggit_analytics.postgres.write_back import RunRecord
from pggit_analytics.postgres.write_incidents import write_incidents
from pggit_analytics.reporting import gather_report

from ..commands import run_here

AS_OF = datetime(2026, 3, 6, 12, tzinfo=UTC)
ONSET = AS_OF - timedelta(hours=6)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _directory(run_directory: Path) -> None:
    """No settings but those of the test, and files go where they are found."""


def record(database: Database, name: str = "commit", *, days: float = 6.0) -> None:
    """A call every two minutes that takes 10 ms, and 30 ms since the onset."""
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
            "SELECT %s, CASE WHEN at >= %s THEN 30 ELSE 10 END * (1 + 0.2 * sin(extract(EPOCH FROM at)::FLOAT8)), at "
            "FROM generate_series(%s::TIMESTAMPTZ, %s, INTERVAL '2 minutes') AS at",
            (name, ONSET, AS_OF - timedelta(days=days), AS_OF),
        )


def write(database: Database, as_of: datetime = AS_OF, *, name: str = "commit", is_over: bool = False) -> None:
    """One incident as a run at this moment would write it."""
    state = {"state": "recovered", "ended_at": as_of - HOUR, "ended_because": "recovered"} if is_over else {}
    incident = {
        **dict.fromkeys(frames.INCIDENTS.columns),
        "incident_key": f"level:{name}",
        "kind": "step",
        "state": "open",
        "severity": "WARNING",
        "operation_type": name,
        "onset": ONSET,
        "onset_low": ONSET,
        "onset_high": ONSET,
        "opened_at": ONSET + HOUR,
        "last_found_at": as_of,
        "missed_runs": 0,
        "lost_ms": 3600.0,
        "lost_ms_per_hour": 600.0,
        "evidence": json.dumps({"kind": "step"}),
        "detected_at": as_of,
        **state,
    }
    operation = {
        **dict.fromkeys(frames.INCIDENT_OPERATIONS.columns),
        "incident_key": f"level:{name}",
        "operation_type": name,
        "kind": "step",
        "onset": ONSET,
        "onset_low": ONSET,
        "onset_high": ONSET,
        "size_ratio": 3.0,
        "opening_ratio": 3.0,
        "calls_before": 4000,
        "calls": 180,
        "p50_before_ms": 10.0,
        "p50_now_ms": 30.0,
        "lost_ms": 3600.0,
        "lost_ms_per_hour": 600.0,
        "detected_at": as_of,
    }
    found = Incidents(frames.INCIDENTS.frame([incident]), frames.INCIDENT_OPERATIONS.frame([operation]))
    with database.connect() as connection:
        write_incidents(
            connection, found, RunRecord("monitor_performance", as_of, as_of - timedelta(days=7), as_of, 4321, "9.8.7")
        )


@pytest.fixture
def slow(database: Database) -> Database:
    """A database with an incident that opened at 8 o'clock and goes on at 12."""
    record(database)
    write(database, AS_OF - 4 * HOUR)
    write(database)
    return database


def gathered(database: Database, as_of: datetime | None = AS_OF):
    return gather_report(Target.of(database, load_settings()), as_of)


def test_a_database_that_was_just_deployed_has_a_page_that_says_what_to_do(database: Database, tmp_path: Path) -> None:
    result = run_here("report", "--database-url", database.conninfo)
    assert result.returncode == 0, result.stderr
    assert "Nobody has looked yet" in result.stdout
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "pggit-analytics analyze" in page


def test_a_database_without_the_project_is_one_line_with_the_remedy(empty_database: Database, tmp_path: Path) -> None:
    result = run_here("report", "--database-url", empty_database.conninfo)
    assert result.returncode == 1
    assert "pggit-analytics db deploy" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_schema_of_an_older_release_is_one_line_with_the_remedy(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("ALTER VIEW v_current_findings RENAME COLUMN alert_source TO was_not_there_yet")
    result = run_here("report", "--database-url", database.conninfo)
    assert result.returncode == 1
    assert "pggit-analytics db deploy" in result.stderr.splitlines()[-1]


def test_an_incident_is_shown_with_the_course_of_its_operation(slow: Database) -> None:
    told = gathered(slow)
    (one,) = told.open
    assert (one.operation, one.lost_ms_per_hour) == ("commit", 600.0)
    assert one.course is not None
    assert one.course.end == AS_OF
    # a call every two minutes
    assert one.course.calls == 1 + (AS_OF - one.course.start) // timedelta(minutes=2)
    assert told.analysed_at == AS_OF


def test_the_moment_is_that_of_the_views(slow: Database) -> None:
    for moment, is_open in ((AS_OF, True), (AS_OF - 3 * HOUR, True), (AS_OF - 5 * HOUR, False)):
        told = gathered(slow, moment)
        with slow.connect() as connection:
            connection.execute("SELECT set_config('pggit.as_of', %s, TRUE)", (moment.isoformat(),))
            keys = [row[0] for row in connection.execute("SELECT incident_key FROM v_open_incidents")]
        assert [one.key for one in told.open] == keys == (["level:commit"] if is_open else [])
        assert told.as_of == moment
    assert gathered(slow, AS_OF - 5 * HOUR).analysed_at is None


def test_without_a_moment_the_setting_of_the_session_counts(slow: Database) -> None:
    moved = conninfo.make_conninfo(slow.conninfo, options="-c pggit.as_of=2026-03-06T09:00:00Z")
    assert gathered(Database(moved), None).as_of == AS_OF - 3 * HOUR


def test_what_is_over_leaves_what_is_wrong_now(slow: Database) -> None:
    write(slow, AS_OF + HOUR, is_over=True)
    told = gathered(slow, AS_OF + HOUR)
    assert told.open == ()
    assert [one.operation for one in told.over] == ["commit"]


def test_a_real_run_fills_the_page(database: Database, tmp_path: Path) -> None:
    record(database)
    record(database, "merge")
    monitor(Target.of(database, load_settings()), MonitorParameters(as_of=AS_OF, notify=True))
    told = gathered(database)
    assert {"commit", "merge"} <= {one.operation for one in told.others} | {
        member.operation for one in told.open for member in one.members
    }
    assert told.pairs["r"].to_list() == pytest.approx([1.0], abs=1e-3)
    result = run_here("report", "--database-url", database.conninfo, "--as-of", AS_OF.isoformat(), "--out", "page.html")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "page.html").stat().st_size < 3_000_000


def test_nothing_is_written(slow: Database) -> None:
    cannot_write = conninfo.make_conninfo(slow.conninfo, options="-c default_transaction_read_only=on")
    assert [one.operation for one in gathered(Database(cannot_write)).open] == ["commit"]


@pytest.fixture
def reader(slow: Database) -> Iterator[Database]:
    """A log-in that may do what pggit_reader may."""
    name, password = f"reader_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    with psycopg.connect(slow.conninfo, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pggit_reader").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )
    yield Database(conninfo.make_conninfo(slow.conninfo, user=name, password=password))
    with psycopg.connect(slow.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_reader_sees_all_of_it(slow: Database, reader: Database) -> None:
    mine, theirs = gathered(slow), gathered(reader)
    assert [one.sentence for one in theirs.open] == [one.sentence for one in mine.open] != []
    assert theirs.open[0].course is not None
    assert theirs.health == mine.health
    result = run_here("report", "--database-url", reader.conninfo, "--as-of", AS_OF.isoformat())
    assert result.returncode == 0, result.stderr


def test_a_stranger_is_refused_in_one_line(reader: Database, slow: Database) -> None:
    with psycopg.connect(slow.conninfo, autocommit=True) as connection:
        user = conninfo.conninfo_to_dict(reader.conninfo)["user"]
        connection.execute(sql.SQL("REVOKE pggit_reader FROM {}").format(sql.Identifier(str(user))))
    with pytest.raises(PermissionDenied, match="pggit_reader"):
        extract_report(reader)


def test_a_moment_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        extract_report(database, AS_OF.replace(tzinfo=None))


def test_the_timings_of_a_source_are_counted_by_operation(database: Database) -> None:
    record(database, "100 % \"odd\" 'name'", days=1)
    query = replace(native("pggit"), query=f"{native('pggit').query.rstrip().rstrip(';')} WHERE 100 % 7 = 2")
    found = extract_coverage(database, query, start=AS_OF - timedelta(hours=1), end=AS_OF)
    assert found.rows() == [("100 % \"odd\" 'name'", 31, AS_OF - timedelta(hours=1), AS_OF)]
    assert isinstance(query, Source)


def test_timings_may_come_from_another_table(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE public.timings (id INT, name TEXT, seconds FLOAT8, ended_at TIMESTAMPTZ)")
        connection.execute("INSERT INTO public.timings VALUES (1, 'commit', 0.5, %s)", (ONSET,))
    write(database)
    (tmp_path / "pggit.toml").write_text(
        "[source]\nquery = 'SELECT id AS metric_id, name AS operation_type, 1000 * seconds AS duration_ms, "
        "ended_at AS created_at FROM public.timings'\n"
    )
    told = gathered(database)
    assert told.coverage.select("operation_type", "calls").rows() == [("commit", 1)]
    assert told.open[0].course is not None
    assert told.open[0].course.points["duration_ms"].to_list() == pytest.approx([500.0])


# The command line.


def test_markdown_goes_to_stdout_or_to_a_file(slow: Database, tmp_path: Path) -> None:
    asked = ("report", "--database-url", slow.conninfo, "--as-of", AS_OF.isoformat(), "--markdown")
    result = run_here(*asked)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("# 1 incident now\n")
    assert list(tmp_path.iterdir()) == []
    assert run_here(*asked, "--out", "report.md").returncode == 0
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == result.stdout


def test_json_is_one_object_with_the_files(slow: Database, tmp_path: Path) -> None:
    result = run_here("report", "--database-url", slow.conninfo, "--as-of", AS_OF.isoformat(), "--json")
    told = json.loads(result.stdout)
    assert told["incidents"][0]["operation"] == "commit"
    (file,) = told["files"]
    assert file == {"file": str(tmp_path / "report.html"), "bytes": (tmp_path / "report.html").stat().st_size}


def test_charts_go_to_a_directory_or_the_first_one_to_a_file(slow: Database, tmp_path: Path) -> None:
    asked = ("report", "--database-url", slow.conninfo, "--as-of", AS_OF.isoformat(), "--png")
    result = run_here(*asked, "charts")
    assert result.returncode == 0, result.stderr
    assert {file.name for file in (tmp_path / "charts").iterdir()} == {"incident-1.png", "runs.png"}
    assert run_here(*asked, "first.png").returncode == 0
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "charts" / "incident-1.png").read_bytes()
    assert run_here(*asked, "runs.png", "--chart", "runs").returncode == 0
    assert (tmp_path / "runs.png").read_bytes() == (tmp_path / "charts" / "runs.png").read_bytes()
    assert not (tmp_path / "report.html").exists()


def test_a_chart_that_is_not_there_is_refused_with_the_names_of_those_that_are(slow: Database) -> None:
    result = run_here(
        "report", "--database-url", slow.conninfo, "--as-of", AS_OF.isoformat(), "--png", "x.png", "--chart", "other"
    )
    assert result.returncode == 2
    assert "'other'" in result.stderr
    assert "incident-1, runs" in result.stderr


def test_a_picture_of_nothing_is_refused(database: Database, tmp_path: Path) -> None:
    result = run_here("report", "--database-url", database.conninfo, "--png", "x.png")
    assert result.returncode == 1
    assert "there is no chart to draw: nobody has looked yet" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_line(slow: Database, tmp_path: Path) -> None:
    result = run_here("report", "--database-url", slow.conninfo, "--out", str(tmp_path / "missing" / "page.html"))
    assert result.returncode == 1
    assert "page.html" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [("--chart", "runs"), ("--open", "--markdown"), ("--as-of", "2026-03-06"), ("--out", ".")]
)
def test_wrong_usage_ends_with_2(database: Database, arguments: tuple[str, ...]) -> None:
    result = run_here("report", "--database-url", database.conninfo, *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_what_was_left_out_is_told(database: Database) -> None:
    record(database)
    suppressed = {
        "operation_type": "commit",
        "kind": "step",
        "onset": ONSET,
        "reason": "below_minimum",
        "detail": "4 % slower",
        "incident_key": None,
        "detected_at": AS_OF,
    }
    found = Incidents(suppressed=frames.SUPPRESSED.check(pl.DataFrame([suppressed], schema=frames.SUPPRESSED.columns)))
    with database.connect() as connection:
        write_incidents(
            connection, found, RunRecord("monitor_performance", AS_OF, AS_OF - timedelta(days=7), AS_OF, 1, "9.8.7")
        )
    assert [(one.reason, one.count) for one in gathered(database).suppressions] == [
        ("the change is below the minimum", 1)
    ]
