"""The flow that recalculates baselines, against a real Prefect server and a real PostgreSQL."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

from pggit_analytics.pipeline import BaselineParameters
from pggit_analytics.postgres.connection import Database

from .conftest import AS_OF, TIMINGS, rows
from .test_monitor_performance import artifacts, task_runs


def test_a_flow_run_its_task_its_artifact_and_the_database_agree(
    prefect_client: Any, baselines_module: ModuleType, slow_database: Database
) -> None:
    state = baselines_module.recalculate_baselines(as_of=AS_OF, return_state=True)
    flow_run = prefect_client.read_flow_run(state.state_details.flow_run_id)
    assert flow_run.name == "as of 2026-03-02 12:00:00 UTC"
    assert flow_run.state.message == f"INSUFFICIENT_DATA: 30, UPDATED: 3; timings read: {TIMINGS:,}; run 1"
    assert [run.name.rpartition("-")[0] for run in task_runs(prefect_client, flow_run.id, 1)] == ["recalculate"]
    assert rows(slow_database, "SELECT prefect_flow_run_id, status, as_of, rows_read FROM analysis_runs") == [
        (str(flow_run.id), "SUCCESS", AS_OF, TIMINGS)
    ]
    shown = json.loads(artifacts(prefect_client, flow_run.id)["baselines"])
    assert len(shown) == 33
    assert [(row["operation"], row["samples"]) for row in shown if row["status"] == "UPDATED"] == [
        ("commit", 1009),
        ("get_commits", 1009),
        ("merge", 1009),
    ]
    assert rows(
        slow_database, "SELECT operation_type FROM performance_baselines WHERE is_active ORDER BY operation_type"
    ) == [("commit",), ("get_commits",), ("merge",)]


def test_a_second_flow_run_keeps_the_baselines(baselines_module: ModuleType, slow_database: Database) -> None:
    baselines_module.run(BaselineParameters(as_of=AS_OF))
    second = baselines_module.run(BaselineParameters(as_of=AS_OF))
    assert set(second.recalculations["status"]) == {"UNCHANGED", "INSUFFICIENT_DATA"}
    assert rows(slow_database, "SELECT count(*) FROM performance_baselines") == [(3,)]
