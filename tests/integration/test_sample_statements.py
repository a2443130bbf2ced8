"""sample statements against Debian's server, which has pg_stat_statements; and what is said where there is none."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.config import StatementOperation, StatementsSettings
from pggit_analytics.errors import ConfigurationError
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.sample_statements import Sampled, sample_statements
from tests.commands import run_here
from tests.integration.test_roles import logged_in

SETTINGS = StatementsSettings(operations=(StatementOperation(name="sleep", pattern=r"(?i)^select pg_sleep"),), top=50)


def test_without_the_extension_the_way_to_it_is_named(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"not installed in .*; add pg_stat_statements to shared_preload"):
        sample_statements(database, SETTINGS)


def test_every_is_refused_with_json_and_outside_its_range(database: Database) -> None:
    for options in (("--every", "60s", "--json"), ("--every", "2d"), ("--every", "0s")):
        done = run_here("sample", "statements", *options, PGGIT_DATABASE_URL=database.conninfo)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.fixture
def sampled(request: pytest.FixtureRequest, database: Database) -> Database:
    """A database with the extension, whose statistics are empty and were sampled once."""
    assert request.config.getoption("--server-url"), "these tests need Debian's server: make test-all"
    execute(database, "CREATE EXTENSION pg_stat_statements SCHEMA public", "SELECT public.pg_stat_statements_reset()")
    assert sample_statements(database, SETTINGS).interval_s is None
    return database


def execute(database: Database, *statements: str, **options: str) -> None:
    """Each in a transaction of its own, without what the sampler itself would leave."""
    with psycopg.connect(conninfo.make_conninfo(database.conninfo, **options), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def metrics(database: Database, operation: str = "sleep") -> list[tuple[float, dict[str, object]]]:
    query = "SELECT duration_ms::FLOAT8, metadata FROM performance_metrics WHERE operation_type = %s ORDER BY metric_id"
    with database.connect() as connection:
        return connection.execute(query, (operation,)).fetchall()


def queryid(database: Database, text: str) -> int:
    query = "SELECT queryid FROM public.pg_stat_statements AS s WHERE query LIKE %s AND dbid = (%s)::OID"
    with psycopg.connect(database.conninfo) as connection:
        (oid,) = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        (found,) = connection.execute(query, (text, oid)).fetchone()
    return int(found)


@pytest.mark.debian
def test_calls_between_two_samples_become_one_timing_of_their_mean(sampled: Database) -> None:
    execute(sampled, "SELECT pg_sleep(0.02)", "SELECT pg_sleep(0.04)", "SELECT pg_sleep(0.06)")
    done = sample_statements(sampled, SETTINGS)

    ((mean, metadata),) = metrics(sampled)
    # they slept 120 ms together, and the server says how long they took in all
    assert mean >= 40
    assert (metadata["calls"], metadata["source"], metadata["queryids"]) == (
        3,
        "pg_stat_statements",
        [str(queryid(sampled, "SELECT pg_sleep%"))],
    )
    assert mean == pytest.approx(metadata["total_ms"] / 3, abs=0.001)
    assert metadata["interval_s"] == done.interval_s


@pytest.mark.debian
def test_nothing_happened_gives_no_timing_and_old_calls_are_counted_once(sampled: Database) -> None:
    execute(sampled, "SELECT pg_sleep(0.01)")
    for _ in range(3):
        sample_statements(sampled, SETTINGS)

    assert [metadata["calls"] for _, metadata in metrics(sampled)] == [1]


@pytest.mark.debian
def test_a_reset_between_the_samples_is_told_and_what_came_after_it_is_counted(sampled: Database) -> None:
    execute(sampled, *["SELECT pg_sleep(0.001)"] * 3)
    sample_statements(sampled, SETTINGS)
    execute(sampled, "SELECT public.pg_stat_statements_reset()", *["SELECT pg_sleep(0.001)"] * 5)
    done = sample_statements(sampled, SETTINGS)

    assert done.was_reset
    assert [metadata["calls"] for _, metadata in metrics(sampled)] == [3, 5]


@pytest.mark.debian
def test_a_reset_of_one_statement_is_seen_by_counters_that_fell(sampled: Database) -> None:
    execute(sampled, *["SELECT pg_sleep(0.001)"] * 3)
    sample_statements(sampled, SETTINGS)
    one = queryid(sampled, "SELECT pg_sleep%")
    execute(sampled, f"SELECT public.pg_stat_statements_reset(0, 0, {one})", "SELECT pg_sleep(0.001)")
    done = sample_statements(sampled, SETTINGS)

    assert not done.was_reset
    assert [metadata["calls"] for _, metadata in metrics(sampled)] == [3, 1]


@pytest.mark.debian
def test_a_statement_without_a_name_is_called_by_its_queryid_and_can_be_named_by_it(sampled: Database) -> None:
    execute(sampled, "SELECT count(*) FROM pg_class WHERE relname = 'x'")
    sample_statements(sampled, SETTINGS)
    one = queryid(sampled, "SELECT count(*) FROM pg_class WHERE relname%")
    assert len(metrics(sampled, f"stmt:{one}")) == 1

    named = StatementsSettings(operations=(StatementOperation(name="lookup", queryid=one),), top=0)
    execute(sampled, "SELECT count(*) FROM pg_class WHERE relname = 'y'")
    done = sample_statements(sampled, named)
    assert (done.timings, len(metrics(sampled, "lookup")), len(metrics(sampled, f"stmt:{one}"))) == (1, 1, 1)


@pytest.mark.debian
def test_statements_of_other_databases_are_not_counted(sampled: Database, empty_database: Database) -> None:
    execute(empty_database, "SELECT pg_sleep(0.001)")
    sample_statements(sampled, SETTINGS)

    assert metrics(sampled) == []


@pytest.mark.debian
def test_two_users_of_one_statement_count_together(sampled: Database) -> None:
    with logged_in(sampled) as stranger:
        execute(stranger, "SELECT pg_sleep(0.001)")
        execute(sampled, "SELECT pg_sleep(0.001)")
        sample_statements(sampled, SETTINGS)

        assert [metadata["calls"] for _, metadata in metrics(sampled)] == [2]


@pytest.mark.debian
def test_the_pipeline_sees_its_own_statements_and_says_that_others_are_hidden(sampled: Database) -> None:
    execute(sampled, "SELECT pg_sleep(0.001)")
    with logged_in(sampled, "pggit_pipeline") as pipeline:
        done = sample_statements(pipeline, SETTINGS)
        assert (done.hidden > 0, metrics(sampled)) == (True, [])
    with logged_in(sampled, "pggit_pipeline", "pg_read_all_stats") as pipeline:
        # the one above was hidden at the sample before, so nobody knows when it was called
        assert (sample_statements(pipeline, SETTINGS).hidden, metrics(sampled)) == (0, [])
        execute(sampled, "SELECT pg_sleep(0.001)")
        sample_statements(pipeline, SETTINGS)
        assert [metadata["calls"] for _, metadata in metrics(sampled)] == [1]


@pytest.mark.debian
def test_counters_are_kept_of_what_is_there_and_of_nothing_else(sampled: Database) -> None:
    execute(sampled, "SELECT pg_sleep(0.001)")
    sample_statements(sampled, SETTINGS)
    execute(sampled, "SELECT public.pg_stat_statements_reset()")
    done = sample_statements(sampled, SETTINGS)
    with sampled.connect() as connection:
        assert connection.execute("SELECT count(*) FROM statement_counters").fetchone() == (done.statements,)
        assert connection.execute("SELECT count(*) FROM statement_sampling").fetchone() == (1,)


@pytest.mark.debian
def test_the_command_samples_once_or_goes_on_until_it_is_stopped(sampled: Database, run_directory: Path) -> None:
    (run_directory / "pggit.toml").write_text(
        "[statements]\ntop = 0\n[[statements.operations]]\nname = 'sleep'\npattern = 'pg_sleep'\n"
    )
    execute(sampled, "SELECT pg_sleep(0.001)")
    done = json.loads(run_here("sample", "statements", "--json", PGGIT_DATABASE_URL=sampled.conninfo).stdout)
    assert (done["timings"], done["calls"]) == (1, 1)
    assert set(done) == set(Sampled.__dataclass_fields__)

    with subprocess.Popen(
        [sys.executable, "-m", "pggit_analytics", "sample", "statements", "--every", "1s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PGGIT_DATABASE_URL": sampled.conninfo, "PATH": "", "PYTHONUNBUFFERED": "1"},
    ) as sampler:
        assert sampler.stdout is not None
        lines = [sampler.stdout.readline() for _ in range(2)]
        sampler.send_signal(signal.SIGTERM)
        _, err = sampler.communicate()
    assert (sampler.returncode, err) == (0, "")
    assert all("0 timings of 0 calls in" in line for line in lines), lines
