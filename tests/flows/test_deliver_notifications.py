"""The flow that delivers, against a real Prefect server, a real PostgreSQL and a real channel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pggit_analytics.deliver import DeliveryParameters, OtherMasterKey
from pggit_analytics.postgres.connection import Database
from tests.deliveries import KEY, OTHER_KEY, SECRET, Deliveries, body
from tests.servers import HttpServer, answers

from .conftest import PrefectServer, command_line
from .test_monitor_performance import artifacts, task_runs


@pytest.fixture(scope="session")
def delivery_module(prefect_client: Any) -> ModuleType:
    """flows/deliver_notifications.py, as the command line loads it."""
    from pggit_analytics.resources import flow_module

    return flow_module("deliver_notifications")


@pytest.fixture
def outbox(database: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setenv("PGGIT_DATABASE_URL", database.conninfo)
    monkeypatch.setenv("PGGIT_WEBHOOK_KEY", KEY)
    return Deliveries(database)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def test_a_flow_run_delivers_and_shows_counts_and_no_secret(
    prefect_client: Any,
    prefect_server: PrefectServer,
    delivery_module: ModuleType,
    outbox: Deliveries,
    server: HttpServer,
) -> None:
    server.answer(answers(), answers(404))
    outbox.webhook("ops", f"{server.url}/a-secret-path")
    outbox.put("ops", body(), body())
    state = delivery_module.deliver_notifications(return_state=True)
    flow_run = prefect_client.read_flow_run(state.state_details.flow_run_id)
    assert flow_run.state.message == "2 messages: 1 delivered, 1 failed; 0 rows waiting"
    assert [run.name.rpartition("-")[0] for run in task_runs(prefect_client, flow_run.id, 1)] == ["send"]
    shown = {row["outcome"]: row["messages"] for row in json.loads(artifacts(prefect_client, flow_run.id)["delivery"])}
    assert (shown["delivered"], shown["failed for good"], shown["to be retried"]) == (1, 1, 0)
    for secret in (KEY, SECRET, "a-secret-path"):
        assert secret not in prefect_server.stored_text()


def test_a_flow_run_fails_when_messages_wait_for_another_key(
    delivery_module: ModuleType, outbox: Deliveries, server: HttpServer
) -> None:
    outbox.webhook("theirs", server.url, key=OTHER_KEY)
    outbox.put("theirs", body())
    with pytest.raises(OtherMasterKey, match="theirs"):
        delivery_module.run(DeliveryParameters())


def test_the_command_is_a_flow_run_where_a_server_is_named(
    prefect_server: PrefectServer, outbox: Deliveries, server: HttpServer
) -> None:
    outbox.webhook("ops", server.url)
    outbox.put("ops", body())
    process = command_line(
        "deliver",
        "--json",
        environment=prefect_server.environment | {"PGGIT_WEBHOOK_KEY": KEY},
        database=outbox.database,
    )
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["delivered"] == 1


def test_the_scheduled_job_delivers(delivery_module: ModuleType, outbox: Deliveries, server: HttpServer) -> None:
    from pggit_analytics.resources import flow_module

    outbox.webhook("ops", server.url)
    outbox.put("ops", body())
    with outbox.database.connect() as connection:
        connection.execute("SELECT activate_scheduler('prefect')")
    state = flow_module("scheduled_job").scheduled_job("deliver_pending_alerts", return_state=True)
    assert "1 message: 1 delivered" in state.message
    assert outbox.queue("status") == [("delivered",)]
