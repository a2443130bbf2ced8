"""Timings in a partitioned table, as docs/scaling.md says; and what deploying over one does."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pggit_analytics.config import SourceSettings
from pggit_analytics.demo.generator import generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.errors import IncompatibleDatabase
from pggit_analytics.pipeline import MonitorParameters, Target, monitor
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.sources import configured, native

AS_OF = datetime(2026, 6, 17, 12, tzinfo=UTC)
GUIDE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_a_partitioned_source_yields_what_the_table_yields_and_its_past_goes_at_once(database: Database) -> None:
    create, forget = snippets("sql")
    (query,) = (
        source["query"] for text in snippets("toml") if "query" in (source := tomllib.loads(text).get("source", {}))
    )
    with database.connect() as connection:
        load_week(connection, generate_week(AS_OF))
        connection.execute(create.encode())
        connection.execute(
            "INSERT INTO timings.metrics "
            "SELECT metric_id, operation_type, duration_ms, created_at FROM performance_metrics"
        )
        (old,) = connection.execute("SELECT count(*) FROM timings.metrics_before").fetchone() or (0,)
    assert old > 0
    monitor(Target(database, database, native(database.schema)), MonitorParameters(as_of=AS_OF))
    _, source = configured(SourceSettings(query=query), database)
    again = monitor(Target(database, database, source), MonitorParameters(as_of=AS_OF))
    assert (again.written.rows_written, again.written.rows_deleted) == (0, 0)
    with database.connect() as connection:
        connection.execute(forget.encode())
    less = monitor(Target(database, database, source), MonitorParameters(as_of=AS_OF))
    assert less.rows_read == again.rows_read - old


def test_deploying_over_a_partitioned_table_is_refused_and_says_why(empty_database: Database) -> None:
    with empty_database.connect(own_path=False) as connection:
        connection.execute(
            snippets("sql")[0]
            .replace("timings.metrics", "pggit.performance_metrics")
            .replace("SCHEMA timings", "SCHEMA pggit")
            .encode()
        )
    with pytest.raises(IncompatibleDatabase, match=r"performance_metrics.*deploy --schema pggit_analytics"):
        deploy(empty_database)
