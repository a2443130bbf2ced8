"""The commands of docs/prefect.md, in their order, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pggit_analytics.postgres.connection import Database

from .conftest import PrefectServer

ROOT = Path(__file__).parents[2]

#: programs that run until they are stopped; other tests start them
_ENDLESS = ("prefect server start", "pggit-analytics serve", "prefect worker start")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("no_deployments_left", "no_automations_left")
def test_every_command_of_the_guide_works(
    prefect_client: Any, prefect_server: PrefectServer, slow_database: Database, tmp_path: Path
) -> None:
    text = (ROOT / "docs" / "prefect.md").read_text()
    for name in ("prefect.yaml", "flows", "contrib"):
        (tmp_path / name).symlink_to(ROOT / name)
    (snippet,) = blocks(text, "python")
    # the address is typed; Slack's server is not asked for anything
    typed = "import getpass as _g; _g.getpass = lambda _: 'https://hooks.slack.com/services/T0/B0/x'\n"
    environment = prefect_server.environment | {"PGGIT_DATABASE_URL": slow_database.conninfo}

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    block_id = run(sys.executable, "-c", typed + snippet).strip()
    commands = f'PATH={Path(sys.executable).parent}:"$PATH"; block_id={block_id}\n' + "\n".join(
        line
        for line in "".join(blocks(text, "sh")).splitlines()
        if not line.startswith((*_ENDLESS, "export PGGIT_DATABASE_URL", "export PREFECT_API_URL"))
    )
    run("bash", "-euc", commands)
    assert {automation.name for automation in prefect_client.read_automations()} == {
        "pggit-analytics: a run failed",
        "pggit-analytics: a check was not started",
        "pggit-analytics: no check in 13 hours",
    }
    pools = [deployment.work_pool_name for deployment in prefect_client.read_deployments()]
    assert pools.count("pggit-analytics") == 7
