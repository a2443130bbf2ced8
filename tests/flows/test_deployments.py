"""prefect.yaml, deployed to a real server, and the forms its flows get."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pggit_analytics.deliver import DeliveryParameters
from pggit_analytics.pipeline import BaselineParameters, MonitorParameters
from pggit_analytics.resources import directory, flow_module

from .conftest import PrefectServer

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("no_deployments_left")
def test_prefect_deploy_accepts_every_deployment_and_the_form_shows_each_parameter(
    prefect_client: Any, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    shutil.copytree(directory("flows"), tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        ("work-pool", "create", "--type", "process", "pggit-analytics"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            env=prefect_server.environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    deployments = {deployment.name: deployment for deployment in prefect_client.read_deployments()}
    assert set(deployments) == {
        "monitor-performance",
        "recalculate-baselines",
        "deliver-notifications",
        "recalculate_performance_baselines",
        "weekly_force_recalculate_baselines",
        "check_performance_anomalies",
        "deliver_pending_alerts",
    }
    monitor = deployments["monitor-performance"]
    assert monitor.entrypoint == "flows/monitor_performance.py:monitor_performance"
    assert monitor.parameters == {"lookback_hours": 24, "correlation_threshold": 0.75, "notify": False}
    assert (monitor.work_pool_name, monitor.schedules) == ("pggit-analytics", [])
    assert "pggit-analytics" in monitor.tags
    form = monitor.parameter_openapi_schema["properties"]
    assert list(form) == ["as_of", "lookback_hours", "operations", "correlation_threshold", "notify"]
    assert {key: form["lookback_hours"][key] for key in ("type", "minimum", "maximum", "default")} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 87600,
        "default": 24,
    }
    for name, parameters in (
        ("monitor-performance", MonitorParameters),
        ("recalculate-baselines", BaselineParameters),
        ("deliver-notifications", DeliveryParameters),
    ):
        assert deployments[name].description
        form = deployments[name].parameter_openapi_schema["properties"]
        assert {key: field["description"] for key, field in form.items()} == {
            key: field.description for key, field in parameters.model_fields.items()
        }


def test_the_parameters_of_the_flows_are_those_of_the_plain_functions(
    monitor_module: ModuleType, baselines_module: ModuleType
) -> None:
    delivery_module = flow_module("deliver_notifications")
    for flow, parameters in (
        (delivery_module.deliver_notifications, DeliveryParameters),
        (monitor_module.monitor_performance, MonitorParameters),
        (baselines_module.recalculate_baselines, BaselineParameters),
    ):
        defaults = {name: given.default for name, given in inspect.signature(flow.fn).parameters.items()}
        assert defaults == {name: field.default for name, field in parameters.model_fields.items()}
