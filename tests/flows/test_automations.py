"""contrib/prefect/automations.yaml on a real server: a real message for a real fault."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pggit_analytics.postgres.connection import Database
from tests.servers import HttpServer

from .conftest import PrefectServer, until

AUTOMATIONS = Path(__file__).parents[2] / "contrib" / "prefect" / "automations.yaml"


@pytest.fixture
def channel() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def create(prefect_server: PrefectServer, channel: HttpServer, tmp_path: Path, no_automations_left: None) -> Any:
    """Creates the automations with a block that leads to the channel; changes are made in the file first."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name="ops", url=f"{channel.url}/ops", json_data={"text": "{{subject}}: {{body}}"}
    )
    block_id = block.save("pggit-ops-of-tests", overwrite=True)

    def create(*changes: tuple[str, str]) -> str:
        text = AUTOMATIONS.read_text()
        for old, new in (("BLOCK_ID", str(block_id)), *changes):
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "automations.yaml"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(file)],
            env=prefect_server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return create


def said(channel: HttpServer, text: str) -> list[str]:
    """The messages that hold a text."""
    messages = [json.loads(request.body)["text"] for request in list(channel.requests)]
    return [message for message in messages if text in message]


def test_a_failed_run_sends_its_reason_and_its_address(
    create: Any,
    channel: HttpServer,
    monitor_module: ModuleType,
    slow_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect import tags

    assert "Created 3 automation(s)" in create()
    monkeypatch.setenv("PGGIT_SCHEMA", "not_deployed")
    with tags("pggit-analytics"):
        state = monitor_module.monitor_performance(return_state=True)
    assert state.is_failed()
    (message,) = until(lambda: said(channel, "--schema not_deployed"), "a message about the failed run")
    assert message.startswith("monitor-performance Failed: monitor-performance / as of ")
    assert str(state.state_details.flow_run_id) in message
    assert "run: pggit-analytics db deploy --schema not_deployed" in message


def test_a_check_that_does_not_come_is_missed(create: Any, channel: HttpServer) -> None:
    create(("within: 46800", "within: 10"))
    until(lambda: said(channel, "No run of check_performance_anomalies was completed"), "a message about the silence")
