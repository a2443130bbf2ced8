"""Old tables brought to the present: the first release's, the plan's earlier weeks', and by migrations made up here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pggit_analytics.errors import DatabaseError, IncompatibleDatabase, PggitAnalyticsError
from pggit_analytics.postgres import deploy as deployment
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy, read_sources, status
from pggit_analytics.postgres.migrations import read_migrations
from tests.dumps import dump

ROOT = Path(__file__).parents[2]
FIRST_RELEASE = ROOT / "data" / "fixtures" / "schema_0_1_0"
REGISTER = "0001_register_existing_operation_types"

# Whatever a table has that can be seen, in an order that does not depend on when a column came.
CATALOG = """
SELECT 'column', c.relname::text, a.attname::text,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'pggit'::regnamespace AND c.relkind IN ('r', 'v')
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname::text,
       pg_get_constraintdef(oid) || coalesce(obj_description(oid, 'pg_constraint'), '')
FROM pg_constraint WHERE connamespace = 'pggit'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'pggit'
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname::text,
       pg_get_triggerdef(t.oid) || coalesce(obj_description(t.oid, 'pg_trigger'), '')
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'pggit'::regnamespace AND NOT tgisinternal
UNION ALL
SELECT 'function', p.oid::regprocedure::text, '', pg_get_functiondef(p.oid) || obj_description(p.oid, 'pg_proc')
FROM pg_proc p WHERE p.pronamespace = 'pggit'::regnamespace
UNION ALL
SELECT 'relation', c.relname::text, c.relkind::text,
       concat_ws(' ', obj_description(c.oid, 'pg_class'), c.reloptions, c.relacl)
FROM pg_class c WHERE c.relnamespace = 'pggit'::regnamespace
"""


def catalog(database: Database) -> set[tuple[str, ...]]:
    with psycopg.connect(database.conninfo) as connection:
        return set(connection.execute(CATALOG).fetchall())


def run_files(database: Database, files: list[Path]) -> None:
    with psycopg.connect(database.conninfo) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS pggit")
        connection.execute("SET LOCAL search_path TO pggit, pg_temp")
        for file in files:
            connection.execute(file.read_bytes())


def execute(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def column(database: Database, query: str) -> list[object]:
    with database.connect() as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


def recorded(database: Database) -> list[object]:
    return column(database, "SELECT name FROM deployed_objects WHERE kind = 'migration' ORDER BY name")


@pytest.fixture
def first_release(empty_database: Database) -> Database:
    """The tables of version 0.1.0 in the order in which it made them, with a row in each of two."""
    order = (FIRST_RELEASE / "order.txt").read_text().split()
    run_files(empty_database, [FIRST_RELEASE / f"{name}.sql" for name in order])
    execute(
        empty_database,
        "INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('commit', 5), ('a new one', 7)",
        "INSERT INTO merge_relationships (merge_id, branch_from, branch_into, status)"
        " VALUES ('m', 'a', 'b', 'SUCCESS')",
    )
    return empty_database


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that holds the package's migrations from now on."""
    monkeypatch.setattr(deployment, "read_migrations", lambda: read_migrations(tmp_path))
    return tmp_path


def test_first_release_and_its_migrations_give_the_tables_of_a_new_installation(
    first_release: Database, create_database
) -> None:
    new = Database(create_database())
    deploy(new)

    done = deploy(first_release)

    assert catalog(first_release) == catalog(new)
    assert done.migrations == tuple(f"migration {migration.name}" for migration in read_migrations())
    assert recorded(first_release) == recorded(new)
    assert status(first_release).is_current
    assert deploy(first_release).is_unchanged
    assert column(first_release, "SELECT operation_type FROM performance_metrics ORDER BY 1") == ["a new one", "commit"]
    assert column(first_release, "SELECT merge_id FROM merge_relationships") == ["m"]


def test_tables_deployed_and_then_deployed_again_have_nothing_to_migrate(database: Database) -> None:
    assert deploy(database).migrations == ()
    assert recorded(database) == [migration.name for migration in read_migrations()]


def test_new_installation_records_its_migrations_without_running_them(empty_database: Database, folder: Path) -> None:
    (folder / "0001_impossible.sql").write_text("-- phase: before tables\nSELECT 1 / 0;")

    assert deploy(empty_database).migrations == ()
    assert recorded(empty_database) == ["0001_impossible"]
    assert deploy(empty_database).is_unchanged


def test_operations_of_metrics_that_were_there_before_are_registered(empty_database: Database) -> None:
    run_files(empty_database, [ROOT / "sql" / "tables" / "performance_metrics.sql"])
    execute(
        empty_database,
        "INSERT INTO performance_metrics (operation_type, duration_ms)"
        " SELECT o, 1 FROM unnest(ARRAY['commit', 'nightly', 'Zebra', 'nightly']) AS o",
    )

    assert deploy(empty_database).migrations == (f"migration {REGISTER}",)

    query = (
        "SELECT operation_type || ' ' || category || ' ' || is_tracked FROM performance_operation_types"
        " WHERE operation_type IN ('commit', 'nightly', 'Zebra') ORDER BY 1"
    )
    assert set(column(empty_database, query)) == {"commit WRITE true", "nightly UNKNOWN true", "Zebra UNKNOWN true"}
    assert column(empty_database, "SELECT count(*) FROM performance_operation_types") == [35]
    assert column(empty_database, "SELECT count(*) FROM detect_anomalies_statistical('nightly')") == [0]


def test_tables_that_came_by_psql_are_migrated_without_harm(empty_database: Database) -> None:
    run_files(empty_database, [ROOT / source.file for source in read_sources() if source.kind == "table"])
    before = dump(empty_database, "--data-only")

    assert deploy(empty_database).migrations == tuple(f"migration {m.name}" for m in read_migrations())
    assert dump(empty_database, "--data-only") == before


def test_renamed_column_and_widened_check_keep_their_rows(
    first_release: Database, folder: Path, create_database
) -> None:
    """What comparing alone would refuse: a column under an older name, a check with one value less."""
    execute(
        first_release,
        "ALTER TABLE merge_relationships RENAME COLUMN duration_ms TO took_ms",
        "ALTER TABLE analysis_runs DROP CONSTRAINT analysis_runs_status_check",
        "ALTER TABLE analysis_runs ADD CONSTRAINT analysis_runs_status_check CHECK (status = 'SUCCESS')",
        "UPDATE merge_relationships SET took_ms = 12.5",
    )
    (folder / "0001_rename.sql").write_text(
        "-- phase: before tables\nALTER TABLE merge_relationships RENAME COLUMN took_ms TO duration_ms;"
    )
    (folder / "0002_widen.sql").write_text(
        "-- phase: after tables\nALTER TABLE analysis_runs DROP CONSTRAINT analysis_runs_status_check,"
        " ADD CONSTRAINT analysis_runs_status_check CHECK (status IN ('SUCCESS', 'FAILED'));"
    )
    new = Database(create_database())
    deploy(new)

    assert deploy(first_release).migrations == ("migration 0001_rename", "migration 0002_widen")

    assert column(first_release, "SELECT duration_ms::text FROM merge_relationships") == ["12.500"]
    renamed = {("merge_relationships_duration_ms_check", "merge_relationships_took_ms_check")}
    differing = catalog(first_release) ^ catalog(new)
    # the rename leaves the name of the column's check
    assert {row[2] for row in differing} <= {name for pair in renamed for name in pair}
    assert deploy(first_release).is_unchanged


def test_migrations_run_once_in_their_order_around_the_tables(database: Database, folder: Path) -> None:
    execute(database, "DELETE FROM deployed_objects WHERE kind = 'migration'", "CREATE TABLE steps (step TEXT)")
    note = "INSERT INTO steps VALUES ('{}' || (SELECT count(*) FROM pg_class WHERE relname = 'alert_snooze'));"
    execute(database, "DROP TABLE alert_snooze CASCADE")
    for name, phase in (("0003_c", "before"), ("0001_a", "after"), ("0002_b", "before"), ("0010_d", "after")):
        (folder / f"{name}.sql").write_text(f"-- phase: {phase} tables\n" + note.format(name))

    done = deploy(database)
    deploy(database)

    assert column(database, "SELECT step FROM steps") == ["0002_b0", "0003_c0", "0001_a1", "0010_d1"]
    assert done.migrations == tuple(f"migration {name}" for name in ("0001_a", "0002_b", "0003_c", "0010_d"))
    assert recorded(database) == ["0001_a", "0002_b", "0003_c", "0010_d"]

    (folder / "0011_e.sql").write_text("-- phase: after tables\n" + note.format("0011_e"))
    assert status(database).missing == ("migration 0011_e",)
    assert deploy(database).migrations == ("migration 0011_e",)


def test_dry_run_names_the_migrations_and_applies_none(database: Database, folder: Path) -> None:
    execute(database, "DELETE FROM deployed_objects WHERE kind = 'migration'")
    (folder / "0001_a.sql").write_text("-- phase: before tables\nDELETE FROM performance_operation_types;")

    assert deploy(database, dry_run=True).migrations == ("migration 0001_a",)
    assert recorded(database) == []
    assert column(database, "SELECT count(*) FROM performance_operation_types") == [33]


@pytest.mark.parametrize("phase", ["before", "after"])
def test_failing_migration_leaves_everything_as_it_was(database: Database, folder: Path, phase: str) -> None:
    execute(
        database, "DELETE FROM deployed_objects WHERE kind = 'migration'", "DROP FUNCTION detect_threshold_exceeded"
    )
    before = dump(database)
    text = f"-- phase: {phase} tables\nDELETE FROM performance_operation_types; SELECT 1 / 0;"
    (folder / "0001_bad.sql").write_text(text)

    with pytest.raises(DatabaseError, match=r"sql/migrations/0001_bad.sql cannot be run: division by zero"):
        deploy(database)
    assert dump(database) == before


def test_applied_migration_whose_text_changed_is_refused(database: Database, folder: Path) -> None:
    execute(database, "DELETE FROM deployed_objects WHERE kind = 'migration'")
    (folder / "0001_a.sql").write_text("-- phase: after tables\nSELECT 1;")
    deploy(database)
    before = dump(database)
    (folder / "0001_a.sql").write_text("-- phase: after tables\nSELECT 2;")

    assert status(database).outdated == ("migration 0001_a",)
    with pytest.raises(IncompatibleDatabase, match="migration 0001_a was applied from a file with MD5") as raised:
        deploy(database)
    assert "\n" not in str(raised.value)
    assert dump(database) == before


def test_older_version_does_not_touch_tables_of_a_newer_one(database: Database) -> None:
    execute(database, "INSERT INTO deployed_objects VALUES ('migration', '9999_of_the_future', 'x', '9.0.0')")

    with pytest.raises(IncompatibleDatabase, match="9999_of_the_future was applied and is not part of this version"):
        deploy(database)
    assert status(database).obsolete == ("migration 9999_of_the_future",)


def test_deployment_killed_between_migrations_applies_all_of_them_the_next_time(first_release: Database) -> None:
    """A real process is killed while it waits for a lock that its migration needs."""
    before = dump(first_release)
    script = (
        "import sys; from pggit_analytics.postgres.connection import Database;"
        "from pggit_analytics.postgres.deploy import deploy; deploy(Database(sys.argv[1]))"
    )
    with psycopg.connect(first_release.conninfo, autocommit=True) as watcher:
        with psycopg.connect(first_release.conninfo) as holder:
            # the migration inserts this operation as well and waits for the outcome
            holder.execute("INSERT INTO pggit.performance_operation_types (operation_type) VALUES ('a new one')")
            process = subprocess.Popen([sys.executable, "-c", script, first_release.conninfo], cwd=ROOT)
            backend = None
            while backend is None:
                assert process.poll() is None, "the deployment ended without waiting"
                found = watcher.execute(
                    "SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
                    (holder.info.backend_pid,),
                ).fetchone()
                backend = found and found[0]
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            holder.rollback()
        while watcher.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchall():
            pass

    assert dump(first_release) == before
    assert deploy(first_release).migrations == tuple(f"migration {m.name}" for m in read_migrations())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("register", "-- phase: after tables\n", "expected 0001_what_it_does.sql"),
        ("1_short", "-- phase: after tables\n", "expected 0001_what_it_does.sql"),
        ("0002_no_phase", "SELECT 1;", "does not begin with '-- phase: before tables'"),
        ("0001_again", "-- phase: after tables\n", "have the same number"),
    ],
)
def test_migration_that_is_not_as_it_has_to_be_is_said(folder: Path, name: str, text: str, said: str) -> None:
    (folder / "0001_first.sql").write_text("-- phase: after tables\n")
    (folder / f"{name}.sql").write_text(text)

    with pytest.raises(PggitAnalyticsError, match=said):
        read_migrations(folder)


def test_migrations_of_this_package_are_in_phase_and_numbered_without_gaps() -> None:
    numbers = [int(migration.name[:4]) for migration in read_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
