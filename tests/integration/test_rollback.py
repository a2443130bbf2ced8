"""Rolling back both stages, what stands in the way, and restoring from a backup as the runbook says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.errors import DatabaseError, IncompatibleDatabase, InvalidArgument, NotDeployed, PermissionDenied
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy, status
from pggit_analytics.postgres.rollback import roll_back
from tests.dumps import dump, programs_of_server

ROOT = Path(__file__).parents[2]
FUNCTIONS = {
    file.stem
    for file in (ROOT / "sql" / "functions").glob("*.sql")
    if not file.read_text().startswith("-- needs extension: ")
}
VIEWS = {file.stem for file in (ROOT / "sql" / "views").glob("*.sql")}
TRIGGERS = {file.stem for file in (ROOT / "sql" / "triggers").glob("*.sql")}


def as_administrator(database: Database, *statements: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def names_in_catalog(database: Database) -> tuple[set[str], set[str], set[str]]:
    """Functions, views and triggers of the schema."""
    with psycopg.connect(database.conninfo) as connection:
        return tuple(  # type: ignore[return-value]
            {row[0] for row in connection.execute(query)}
            for query in (
                "SELECT proname FROM pg_proc WHERE pronamespace = 'pggit'::regnamespace",
                "SELECT relname FROM pg_class WHERE relnamespace = 'pggit'::regnamespace AND relkind = 'v'",
                "SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid"
                " WHERE relnamespace = 'pggit'::regnamespace AND NOT tgisinternal",
            )
        )


def words(lines: tuple[str, ...], kind: str) -> set[str]:
    return {re.split(r"[ (]", line)[1] for line in lines if line.startswith(f"{kind} ")}


def with_rows(database: Database) -> Database:
    as_administrator(
        database,
        "INSERT INTO pggit.performance_metrics (operation_type, duration_ms, created_at)"
        " SELECT 'commit', n, '2026-03-01 00:00+00'::timestamptz + n * INTERVAL '1 hour'"
        " FROM generate_series(1, 30) AS n",
        "INSERT INTO pggit.merge_relationships VALUES ('m1', 'feature', 'main', now(), 'auto', 'SUCCESS', 10)",
    )
    return database


def test_stage_1_takes_the_functions_and_their_trigger_and_the_views_go_on_working(database: Database) -> None:
    done = roll_back(with_rows(database), 1)

    functions, views, triggers = names_in_catalog(database)
    assert functions == words(done.kept, "function")
    assert "analysis_time" in functions
    assert words(done.dropped, "function") == FUNCTIONS - functions
    assert (views, triggers) == (VIEWS, set())
    assert words(done.dropped, "trigger") == TRIGGERS
    with database.connect() as connection:
        for view in VIEWS:
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view))).fetchall()
        assert connection.execute("SELECT merge_id FROM v_merge_bottleneck_analysis").fetchall() == [("m1",)]
        connection.execute("SET pggit.as_of = '2026-01-01 00:00:00+00'")
        assert connection.execute("SELECT * FROM v_merge_bottleneck_analysis").fetchall() == []


def test_stage_2_takes_every_function_view_and_trigger(database: Database) -> None:
    done = roll_back(database, 2)

    assert names_in_catalog(database) == (set(), set(), set())
    assert words(done.dropped, "function") == FUNCTIONS
    assert words(done.dropped, "view") == VIEWS
    assert done.kept == ()


@pytest.mark.parametrize("stage", [1, 2])
def test_rows_and_tables_stay_and_deploying_restores_everything(database: Database, stage: int) -> None:
    with_rows(database)
    everything, data = dump(database), dump(database, "--data-only")
    tables = dump(database, "--section=post-data", "--table=pggit.performance_m*")

    roll_back(database, stage)

    assert dump(database, "--data-only") == data
    kept = [line for line in tables if "TRIGGER" not in line and "rigger" not in line]
    assert set(kept) <= set(dump(database, "--section=post-data", "--table=pggit.performance_m*"))
    assert not status(database).is_current
    deploy(database)
    assert dump(database) == everything
    assert status(database).is_current
    assert deploy(database).is_unchanged


@pytest.mark.parametrize("stage", [1, 2])
def test_dry_run_lists_what_would_go_and_changes_nothing(database: Database, stage: int) -> None:
    before = dump(database)

    planned = roll_back(database, stage, dry_run=True)

    assert planned.dry_run
    assert dump(database) == before
    done = roll_back(database, stage)
    assert (done.dropped, done.kept) == (planned.dropped, planned.kept)


def test_second_rollback_finds_nothing_to_drop(database: Database) -> None:
    roll_back(database, 2)

    assert roll_back(database, 2).dropped == ()
    assert roll_back(database, 1).dropped == ()


OTHERS = {
    "view of another schema": (
        "CREATE VIEW other.slow AS SELECT * FROM pggit.detect_anomalies_statistical('commit')",
        "view other.slow",
        1,
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW other.cached AS SELECT pggit.utc_text(now()) AS t",
        "materialized view other.cached",
        1,
    ),
    "view over one of our views": (
        "CREATE VIEW other.merges AS SELECT merge_id FROM pggit.v_merge_bottleneck_analysis",
        "view other.merges",
        2,
    ),
    "function with an SQL body": (
        "CREATE FUNCTION other.key() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT pggit.utc_text(now()); END",
        "function other.key()",
        1,
    ),
    "default": (
        "CREATE TABLE other.notes (at timestamptz DEFAULT pggit.analysis_time())",
        "default value for column at of table other.notes",
        2,
    ),
    "default of our own table": (
        "ALTER TABLE pggit.alert_snooze ALTER COLUMN reason SET DEFAULT pggit.utc_text(now())",
        "default value for column reason of table alert_snooze",
        1,
    ),
    "policy": (
        "CREATE POLICY recent ON pggit.performance_metrics USING (created_at < pggit.analysis_time())",
        "policy recent on table performance_metrics",
        2,
    ),
    "trigger of another table": (
        "CREATE TABLE other.t (operation_type text); CREATE TRIGGER mine AFTER INSERT ON other.t"
        " REFERENCING NEW TABLE AS new_metrics FOR EACH STATEMENT EXECUTE FUNCTION pggit.register_operation_types()",
        "trigger mine on table other.t",
        1,
    ),
    "our view replaced by somebody's": (
        "COMMENT ON VIEW pggit.v_current_findings IS 'mine now'",
        "view v_current_findings",
        2,
    ),
}


@pytest.mark.parametrize(("statement", "named", "stage"), OTHERS.values(), ids=OTHERS)
def test_what_others_made_to_depend_on_it_is_named_and_nothing_is_dropped(
    database: Database, statement: str, named: str, stage: int
) -> None:
    as_administrator(database, "CREATE SCHEMA other", statement)
    before = dump(database)

    with pytest.raises(IncompatibleDatabase, match="nothing was changed") as raised:
        roll_back(database, stage)

    assert any(line.startswith(f"{named} depends on ") for line in raised.value.differences), raised.value.differences
    assert "\n" not in str(raised.value)
    assert dump(database) == before


def test_everything_that_is_in_the_way_is_named_at_once(database: Database) -> None:
    as_administrator(database, "CREATE SCHEMA other", *(statement for statement, _, stage in OTHERS.values()))

    with pytest.raises(IncompatibleDatabase) as raised:
        roll_back(database, 2)

    lines = " | ".join(raised.value.differences)
    assert [named for _, named, _ in OTHERS.values() if named not in lines] == []


def test_objects_of_others_in_the_schema_stay(database: Database) -> None:
    as_administrator(
        database,
        "CREATE FUNCTION pggit.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW pggit.v_theirs AS SELECT count(*) FROM pggit.performance_metrics",
        "CREATE TRIGGER theirs BEFORE UPDATE ON pggit.performance_metrics"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    )
    roll_back(database, 2)

    assert names_in_catalog(database) == ({"theirs"}, {"v_theirs"}, {"theirs"})


def test_functions_of_others_that_only_call_ours_are_pointed_out(database: Database) -> None:
    as_administrator(
        database,
        "CREATE FUNCTION public.nightly() RETURNS bigint LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN (SELECT count(*) FROM pggit.detect_correlated_degradation()); END $$",
        "CREATE FUNCTION public.unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )

    assert roll_back(database, 1).callers == ("function public.nightly()",)


@pytest.mark.parametrize("schema", ["My Schema", 'a "quoted" name'])
def test_any_schema_can_be_rolled_back_and_its_neighbour_stays(database: Database, schema: str) -> None:
    other = Database(database.conninfo, schema)
    deploy(other)
    before = dump(database, "--schema=pggit")

    roll_back(other, 2)

    assert dump(database, "--schema=pggit") == before
    with psycopg.connect(database.conninfo) as connection:
        query = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = %s"
        assert connection.execute(query, (schema,)).fetchone() == (0,)


@pytest.mark.parametrize("stage", [0, 3])
def test_other_stages_are_refused(shared_database: Database, stage: int) -> None:
    with pytest.raises(InvalidArgument, match=f"stage is {stage}, expected 1"):
        roll_back(shared_database, stage)


def test_schema_that_does_not_exist_is_said(shared_database: Database) -> None:
    with pytest.raises(NotDeployed, match="no schema elsewhere"):
        roll_back(Database(shared_database.conninfo, "elsewhere"), 1)


def test_role_that_does_not_own_the_objects_is_refused_and_nothing_changes(database: Database) -> None:
    before = dump(database)
    pipeline = Database(conninfo.make_conninfo(database.conninfo, options="-c role=pggit_pipeline"))

    with pytest.raises(PermissionDenied, match="Roll back as the owner"):
        roll_back(pipeline, 2)
    assert dump(database) == before


def test_object_in_use_is_waited_for_and_then_given_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pggit_analytics.postgres.rollback._LOCK_TIMEOUT", "10ms")
    before = dump(database)
    with psycopg.connect(database.conninfo) as reader:
        reader.execute("SELECT * FROM pggit.v_current_findings")
        with pytest.raises(DatabaseError, match="is in use for more than 10ms; nothing was changed"):
            roll_back(database, 2)
    assert dump(database) == before


def run_command(database: Database, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pggit_analytics", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "PGGIT_DATABASE_URL": database.conninfo},
    )


def test_command_lists_drops_and_keeps_as_text_and_as_json(database: Database, run_directory: Path) -> None:
    shown = run_command(database, run_directory, "db", "rollback", "--stage", "1", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "would drop: function raise_alert(" in shown.stdout
    assert "kept, views that stay need it: function analysis_time()" in shown.stdout

    done = run_command(database, run_directory, "db", "rollback", "--stage", "2", "--json")
    assert len(words(tuple(json.loads(done.stdout)["dropped"]), "view")) == len(VIEWS)
    assert names_in_catalog(database) == (set(), set(), set())


def test_command_names_the_dependant_in_one_line_and_fails(database: Database, run_directory: Path) -> None:
    as_administrator(database, "CREATE VIEW public.mine AS SELECT pggit.utc_text(now()) AS t")

    refused = run_command(database, run_directory, "db", "rollback", "--stage", "1")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert "view public.mine depends on function utc_text(timestamp with time zone)" in refused.stderr


def commands_of_runbook() -> dict[str, list[str]]:
    """Heading -> its blocks of commands, in order."""
    sections = re.split(r"^## (.+)$", (ROOT / "docs" / "runbook_restore.md").read_text(), flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^```bash\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
        for heading, body in zip(sections[::2], sections[1::2], strict=True)
    }


def test_commands_of_the_runbook_roll_back_back_up_and_restore(database: Database, run_directory: Path) -> None:
    with_rows(database)
    everything = dump(database)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs_of_server(database)), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PGGIT_DATABASE_URL": database.conninfo}

    def run(block: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=run_directory, env=environment)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    sections = commands_of_runbook()
    assert [len(blocks) for blocks in sections.values()] == [3, 1, 5]

    for block in sections["Stage 1 and 2"]:
        run(block)
    assert dump(database) == everything

    for block in sections["Before stage 3: the backup"]:
        run(block)
    assert "TABLE DATA pggit performance_metrics" in (run_directory / "pggit.list").read_text()

    as_administrator(database, "DELETE FROM pggit.performance_metrics WHERE duration_ms > 5")
    aside, restore, verify, count, drop = sections["Stage 3: restore"]
    run(aside)
    run(restore)
    assert "detect_combined_anomalies: 0 rows, the same" in run(verify)
    assert "30" in run(count)
    run(drop)
    # comparing the engines recalculates baselines and rolls that back, which leaves the numbers it drew
    drawn = "SELECT pg_catalog.setval("
    assert [line for line in dump(database) if not line.startswith(drawn)] == [
        line for line in everything if not line.startswith(drawn)
    ]
    with psycopg.connect(database.conninfo) as connection:
        assert connection.execute("SELECT to_regnamespace('pggit_damaged')").fetchone() == (None,)
