"""The monitoring flow with a Dask cluster: each share is a task run, and the rows are those of one machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pggit_analytics.pipeline import MonitorParameters
from pggit_analytics.postgres.connection import Database
from tests.dask_cluster import DaskCluster

from .conftest import AS_OF, TIMINGS, results
from .test_monitor_performance import FOUND, task_runs


@pytest.fixture
def cluster(slow_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskCluster]:
    with tempfile.TemporaryDirectory(prefix="pggit-dask-") as directory:
        cluster = DaskCluster(Path(directory))
        cluster.configure(f'database_url = "{slow_database.conninfo}"')
        cluster.have_workers(1)
        yield cluster
        cluster.stop()


def test_shares_are_task_runs_and_find_what_one_machine_finds(
    prefect_client: Any,
    monitor_module: ModuleType,
    slow_database: Database,
    cluster: DaskCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = monitor_module.run(MonitorParameters(as_of=AS_OF))
    before = results(slow_database)
    monkeypatch.setenv("PGGIT_SCALE__DASK_ADDRESS", cluster.address)
    monkeypatch.setenv("PGGIT_SCALE__SHARES", "2")
    state = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    result = state.result()
    assert (alone.written.rows_written, result.written.rows_written, result.written.rows_deleted) == (FOUND, 0, 0)
    assert (result.rows_read, results(slow_database)) == (TIMINGS, before)

    runs = [
        (run.name.rpartition("-")[0], run.state.message)
        for run in task_runs(prefect_client, state.state_details.flow_run_id, 4)
    ]
    shares = sorted(message for name, message in runs if name == "share")
    assert shares == [f"{TIMINGS // 3:,} timings of 1 operations", f"{2 * TIMINGS // 3:,} timings of 2 operations"]
    assert {name for name, _ in runs} == {"share", "follow", "write-back"}
