"""Monitoring runs on a real Dask cluster: the same rows as on one machine, whatever happens to the workers."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.config import ScaleSettings, SourceSettings
from pggit_analytics.demo.generator import generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.errors import ConfigurationError, DatabaseError
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters, Target, monitor, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.sources import configured, native
from pggit_analytics.scaleout import ClusterUnavailable, done, shared_out
from tests.dask_cluster import DaskCluster, until

AS_OF = datetime(2026, 6, 17, 12, tzinfo=UTC)
PARAMETERS = MonitorParameters(as_of=AS_OF)
RESULTS = (
    "performance_anomalies",
    "performance_degradations",
    "performance_correlations",
    "performance_incidents",
    "performance_incident_operations",
    "suppressed_findings",
)
#: held by a test to keep workers in the middle of reading
GATE = 4711

# Reads as usual, but a worker waits while the gate is held.
_GATED = """
    SELECT m.metric_id, m.operation_type, m.duration_ms, m.created_at
    FROM pggit.performance_metrics AS m
    CROSS JOIN (
        SELECT CASE WHEN current_setting('application_name') = 'worker'
                    THEN (pg_advisory_lock_shared(4711) IS NULL) AND pg_advisory_unlock_shared(4711) END
    ) AS gate
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[DaskCluster]:
    with tempfile.TemporaryDirectory(prefix="pggit-dask-") as directory:
        cluster = DaskCluster(Path(directory))
        yield cluster
        cluster.stop()


@pytest.fixture(scope="module")
def week(create_database: Callable[..., str], deployed_template: str) -> Database:
    """A week of the demo with baselines, and what one machine found in it."""
    database = Database(create_database(deployed_template))
    with database.connect() as connection:
        load_week(connection, generate_week(AS_OF))
    target = Target(database, database, native(database.schema))
    recalculate_baselines(target, BaselineParameters(as_of=AS_OF))
    assert monitor(target, PARAMETERS).written.rows_written > 100
    return database


def on(cluster: DaskCluster, database: Database, **source: Any) -> Target:
    """The database as a target whose shares are done by the cluster, which reads as ``worker``."""
    url = conninfo.make_conninfo(database.conninfo, application_name="worker")
    cluster.configure(f'database_url = "{url}"')
    _, read = configured(SourceSettings(**source), database)
    return Target(database, database, read, scale=ScaleSettings(dask_address=cluster.address, shares=5))


def results(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All result rows, apart from the runs that wrote them."""
    with database.connect() as connection:
        return {
            table: connection.execute(
                f"SELECT to_jsonb(r) - 'run_id' FROM {table} AS r ORDER BY to_jsonb(r) - 'run_id'".encode()
            ).fetchall()
            for table in RESULTS
        }


def test_two_workers_find_the_rows_that_one_machine_found(cluster: DaskCluster, week: Database) -> None:
    cluster.have_workers(2)
    before = results(week)
    assert all(before[table] for table in RESULTS)
    again = monitor(on(cluster, week), PARAMETERS)
    # rows equal in every value are left as they are
    assert (again.written.rows_written, again.written.rows_deleted) == (0, 0)
    assert results(week) == before
    with week.connect() as connection:
        for table in RESULTS:
            connection.execute(f"TRUNCATE {table} CASCADE".encode())
        runs = connection.execute("SELECT rows_read FROM analysis_runs WHERE flow = 'monitor_performance'").fetchall()
    assert runs[0] == runs[1]
    monitor(on(cluster, week), PARAMETERS)
    assert results(week) == before


def test_some_operations_only(cluster: DaskCluster, week: Database) -> None:
    cluster.have_workers(2)
    parameters = MonitorParameters(as_of=AS_OF, operations=("commit", "get_history"))
    target = on(cluster, week)
    alone, shared = (monitor(one, parameters).findings for one in (replace(target, scale=ScaleSettings()), target))
    assert alone.degradations.height == 2
    for name in ("anomalies", "degradations", "correlations", "thresholds", "slow_since"):
        assert getattr(shared, name).equals(getattr(alone, name)), name
    assert (shared.seen_operation_types, shared.operations, shared.engine) == (
        ("commit", "get_history"), ("commit", "get_history"), None,
    )  # fmt: skip


def test_a_worker_killed_in_mid_run_changes_nothing(cluster: DaskCluster, week: Database) -> None:
    cluster.have_workers(2)
    before = results(week)
    target = on(cluster, week, query=_GATED)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    with psycopg.connect(week.conninfo, autocommit=True) as gate, ThreadPoolExecutor(1) as pool:
        gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        run = pool.submit(monitor, target, PARAMETERS)
        try:
            # both workers are reading
            until(lambda: run.done() or gate.execute(waiting, (GATE,)).fetchone() == (2,), "two workers that read")
            worker = cluster.busy_worker()
            assert worker is not None
            cluster.kill(worker)
        finally:
            gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
        result = run.result()
    assert (result.written.rows_written, result.written.rows_deleted) == (0, 0)
    assert result.applied.incidents_written is not None
    assert result.applied.incidents_written.rows_written == 0
    assert results(week) == before


def test_nothing_that_leaves_the_process_holds_the_address(week: Database) -> None:
    secret = "correct-horse-battery"
    database = replace(week, conninfo=conninfo.make_conninfo(week.conninfo, password=secret))
    with shared_out(Target(database, database, native(database.schema)), PARAMETERS) as (_, shares):
        sent = pickle.dumps(shares)
    assert b"commit" in sent
    assert secret.encode() not in sent
    assert b"host=" not in sent


def test_a_share_is_done_wherever_the_settings_lead(
    week: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared_out(Target(week, week, native(week.schema)), PARAMETERS) as (_, shares):
        with pytest.raises(ConfigurationError, match="this worker knows no database"):
            done(shares[0])
        monkeypatch.setenv("PGGIT_SOURCE__DATABASE_URL", week.conninfo)
        part = done(shares[0])
        assert part.calls.operations == shares[0].operations
        other = conninfo.make_conninfo(week.conninfo, dbname="postgres")
        monkeypatch.setenv("PGGIT_SOURCE__DATABASE_URL", other)
        with pytest.raises(DatabaseError, match="every worker must read from the server that the run itself reads"):
            done(shares[0])
        with pytest.raises(ConfigurationError, match=r"this worker has pggit-analytics .*, the run 99\.0"):
            done(replace(shares[0], version="99.0"))
    monkeypatch.setenv("PGGIT_SOURCE__DATABASE_URL", week.conninfo)
    with pytest.raises(DatabaseError, match="does not know the snapshot of this run"):
        done(shares[0])


def test_a_fault_of_a_worker_is_the_fault_of_the_run(cluster: DaskCluster, week: Database) -> None:
    cluster.have_workers(2)
    target = on(cluster, week)
    cluster.configure("")
    with pytest.raises(ConfigurationError, match="this worker knows no database"):
        monitor(target, PARAMETERS)


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("tcp://127.0.0.1:1", ClusterUnavailable, "the Dask scheduler at tcp://127.0.0.1:1 does not answer; start it"),
        ("carrier://pigeon", ConfigurationError, "dask_address is 'carrier://pigeon', expected such as tcp://"),
    ],
)
def test_a_cluster_that_is_not_there(week: Database, address: str, error: type[Exception], said: str) -> None:
    target = Target(week, week, native(week.schema), scale=ScaleSettings(dask_address=address))
    with pytest.raises(error, match=said):
        monitor(target, PARAMETERS)


def test_a_cluster_without_workers(week: Database, tmp_path: Path) -> None:
    empty = DaskCluster(tmp_path)
    try:
        with pytest.raises(ClusterUnavailable, match="has no workers; start one with: dask worker tcp://"):
            monitor(on(empty, week), PARAMETERS)
    finally:
        empty.stop()
