"""Sources: which queries are accepted, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.config import SourceSettings
from pggit_analytics.errors import InvalidSource, NotDeployed, PermissionDenied
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract import extract_metrics
from pggit_analytics.postgres.sources import Source, check_source, configured, native, pggit_0_2_1

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = "SELECT 1 AS metric_id, 'a' AS operation_type, 2.5 AS duration_ms, timestamptz '2026-03-01 12:00Z' AS created_at"


def read(database: Database, query: str) -> list[tuple[object, ...]]:
    with extract_metrics(database, Source("query", query), start=NOON, end=NOON) as metrics:
        return metrics.frame.lazy().collect().rows()


@pytest.mark.parametrize(
    "query",
    [
        GOOD,
        f"{GOOD};",
        f"{GOOD} ; ;\n",
        f"{GOOD} -- the end",
        f"{GOOD}; -- the end",
        f"{GOOD}; /* the\nend */ ",
        f"-- first; last\n{GOOD} /* ; */",
        f"WITH x AS ({GOOD}) SELECT * FROM x",
        f"SELECT * FROM ({GOOD}) x WHERE ';' = ';' AND $$;$$ <> $a$;;$a$ AND E'\\';' <> '' AND '100%' LIKE '%'",
        "SELECT 1 AS metric_id, 'a' AS operation_type, 2.5 AS duration_ms, \";\" AS created_at "
        "FROM (SELECT timestamptz '2026-03-01 12:00Z' AS \";\") x",
        f"({GOOD})",
        f"{GOOD} ORDER BY 1 LIMIT 5",
    ],
)
def test_a_single_select_however_it_is_written_is_read(shared_database: Database, query: str) -> None:
    assert read(shared_database, query) == [(1, "a", 2500, NOON)]


@pytest.mark.parametrize("query", ["", " \n", ";", "-- nothing", "/* nothing */ ;"])
def test_an_empty_query_is_refused(shared_database: Database, query: str) -> None:
    with pytest.raises(InvalidSource, match="the query is empty"):
        check_source(shared_database, Source("mine", query))


@pytest.mark.parametrize(
    "query", [f"{GOOD}; {GOOD}", f"{GOOD}; DROP TABLE x", "SELECT 1) AS x; DROP TABLE x; SELECT * FROM (SELECT 1"]
)
def test_more_than_one_statement_is_refused(shared_database: Database, query: str) -> None:
    with pytest.raises(InvalidSource, match="source mine: more than one statement"):
        check_source(shared_database, Source("mine", query))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELEKT 1", "syntax error"),
        ("SELECT 'open", "unterminated"),
        ("SELECT 1 /* open", "unterminated"),
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT * FROM nowhere.at_all", 'relation "nowhere.at_all" does not exist'),
        ("SELECT no_such_column FROM pg_class", 'column "no_such_column" does not exist'),
        ("DELETE FROM pggit.performance_metrics RETURNING *", "syntax error"),
        ("WITH x AS (DELETE FROM pggit.performance_metrics RETURNING *) SELECT * FROM x", "data-modifying"),
        ("VALUES", "syntax error"),
    ],
)
def test_a_query_the_server_refuses_is_named_with_its_reason(
    shared_database: Database, query: str, reason: str
) -> None:
    with pytest.raises(InvalidSource, match=reason) as caught:
        check_source(shared_database, Source("mine", query))
    assert str(caught.value).startswith("source mine: ")
    assert "\n" not in str(caught.value)


def test_everything_missing_or_wrong_is_listed_at_once(shared_database: Database) -> None:
    query = "SELECT gen_random_uuid() AS metric_id, 5 AS operation_type, now()::timestamp AS created_at, true AS extra"
    with pytest.raises(InvalidSource) as caught:
        check_source(shared_database, Source("mine", query))
    assert str(caught.value) == (
        "source mine: metric_id is uuid, expected an integer "
        "(write: ('x' || substr(md5(metric_id::text), 1, 16))::bit(64)::bigint AS metric_id); "
        "operation_type is integer, expected text; "
        "duration_ms is missing; "
        "created_at is timestamp without time zone, expected timestamp with time zone "
        "(write: created_at AT TIME ZONE 'UTC' AS created_at, with the zone it was recorded in) "
        "(columns found: metric_id uuid, operation_type integer, created_at timestamp without time zone, extra boolean)"
    )


def test_a_column_that_appears_twice_is_refused(shared_database: Database) -> None:
    with pytest.raises(InvalidSource, match="metric_id appears 2 times"):
        check_source(shared_database, Source("mine", GOOD.replace("SELECT", "SELECT 7 AS metric_id,")))


@pytest.mark.parametrize(
    ("metric_id", "operation_type", "duration_ms"),
    [
        ("1::smallint", "'a'::varchar(5)", "2.5::real"),
        ("1::bigint", "'a'::name", "2.5::float8"),
        ("1", "'a'::char(1)", "2.5::numeric(14,3)"),
        ("1", "'a'::pg_temp_kind", "2.5::pg_temp_ms"),
    ],
)
def test_every_integer_text_and_number_type_is_accepted(
    database: Database, metric_id: str, operation_type: str, duration_ms: str
) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE TYPE public.pg_temp_kind AS ENUM ('a', 'b')")
        connection.execute("CREATE DOMAIN public.pg_temp_ms AS numeric CHECK (VALUE > 0)")
    query = (
        f"SELECT {metric_id} AS metric_id, {operation_type} AS operation_type, {duration_ms} AS duration_ms, "
        "timestamptz '2026-03-01 12:00Z' AS created_at"
    )
    assert read(database, query) == [(1, "a", 2500, NOON)]


def test_names_in_a_query_are_looked_up_as_in_psql(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE public.timings AS {GOOD}".encode())
    assert read(database, "SELECT * FROM timings") == [(1, "a", 2500, NOON)]


def test_checking_reads_and_changes_nothing(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE public.touched")
    check_source(database, Source("mine", GOOD.replace("SELECT 1", "SELECT nextval('public.touched')")))
    with database.connect() as connection:
        assert connection.execute("SELECT is_called FROM public.touched").fetchone() == (False,)


def test_a_table_the_role_may_not_read_asks_for_the_grant(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE public.timings AS {GOOD}".encode())
        connection.execute("CREATE ROLE source_stranger LOGIN")
    try:
        stranger = Database(conninfo.make_conninfo(database.conninfo, user="source_stranger"))
        with pytest.raises(PermissionDenied, match=r"permission denied for table timings.*grant SELECT on it"):
            check_source(stranger, Source("mine", "SELECT * FROM public.timings"))
    finally:
        with database.connect(autocommit=True) as connection:
            connection.execute("DROP ROLE source_stranger")


def test_the_schemas_own_table_is_accepted_under_any_schema_name(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute('ALTER SCHEMA pggit RENAME TO "Odd ""schema"""')
    check_source(database, native('Odd "schema"'))


def test_the_schemas_own_table_is_missing_before_deploying(empty_database: Database) -> None:
    with pytest.raises(NotDeployed, match=r"pggit-analytics db deploy --schema pggit"):
        check_source(empty_database, native("pggit"))


PGGIT_0_2_1_TABLE = """
CREATE SCHEMA pggit;
CREATE TABLE pggit.performance_metrics (
    metric_id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    operation_type text NOT NULL,
    operation_name text,
    started_at     timestamp(6) NOT NULL,
    completed_at   timestamp(6),
    duration_ms    numeric(10, 3),
    rows_affected  bigint,
    context        jsonb
);
INSERT INTO pggit.performance_metrics (metric_id, operation_type, started_at, completed_at, duration_ms) VALUES
    ('00000000-0000-0000-0000-000000000001', 'commit', '2026-03-01 11:59', '2026-03-01 12:00', 60000.125),
    ('00000000-0000-0000-0000-000000000002', 'commit', '2026-03-01 11:59', NULL, NULL),
    ('00000000-0000-0000-0000-000000000003', 'merge', '2026-03-01 11:59', '2026-03-01 12:00', NULL),
    ('00000000-0000-0000-0000-000000000004', 'merge', '2026-03-01 11:59', '2026-03-01 12:00:00.000001', 1);
"""


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_pggit_0_2_1_is_read_as_utc_whatever_the_server_zone_and_without_unfinished_rows(
    empty_database: Database, zone: str
) -> None:
    with psycopg.connect(empty_database.conninfo, autocommit=True) as connection:
        connection.execute(PGGIT_0_2_1_TABLE)
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone TO '{zone}'".encode())
    check_source(empty_database, pggit_0_2_1())
    with extract_metrics(empty_database, pggit_0_2_1(), start=NOON, end=NOON) as metrics:
        # the id: `printf 00000000-0000-0000-0000-000000000001 | md5sum`, first 16 digits as a signed integer
        assert metrics.frame.lazy().collect().rows() == [(-3934587039931422528, "commit", 60_000_125, NOON)]


def test_pggit_0_2_1_without_its_table_says_so(empty_database: Database) -> None:
    with pytest.raises(InvalidSource, match=r'source pggit-0\.2\.1: relation "pggit\.performance_metrics" does not'):
        check_source(empty_database, pggit_0_2_1())


def test_the_settings_choose_source_and_database(database: Database) -> None:
    assert configured(SourceSettings(), database) == (database, native("pggit"))
    assert configured(SourceSettings(preset="pggit-0.2.1"), database) == (database, pggit_0_2_1())
    replica = SourceSettings(query="SELECT 1", preset="pggit-0.2.1", database_url="postgresql://replica/app")
    assert configured(replica, Database("postgresql://primary/app", "odd")) == (
        Database("postgresql://replica/app", "odd"),
        Source("query", "SELECT 1"),
    )


def test_metrics_of_a_query_have_the_types_of_the_schemas_own(shared_database: Database) -> None:
    with extract_metrics(shared_database, Source("query", GOOD), start=NOON, end=NOON) as metrics:
        assert dict(metrics.frame.lazy().collect_schema()) == {
            "metric_id": pl.Int64,
            "operation_type": pl.String,
            "duration_us": pl.Int64,
            "created_at": pl.Datetime("us", "UTC"),
        }
