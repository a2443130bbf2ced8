"""The monitoring flow against a real Prefect server and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
from types import ModuleType
from typing import Any

import pytest
from psycopg import conninfo, sql

from pggit_analytics.errors import ConfigurationError, DatabaseUnavailable, InvalidArgument, NotDeployed
from pggit_analytics.pipeline import MonitorParameters, MonitorResult
from pggit_analytics.postgres.connection import Database

from .conftest import AS_OF, TIMINGS, PrefectServer, command_line, results, rows, until

RUNS = "SELECT prefect_flow_run_id, status, as_of, rows_read, rows_written, error_message FROM analysis_runs"

#: result rows of the plan: a spike of commit and one of merge, both degraded, and that pair
FOUND = 5
#: and of the engine: an incident of two operations, whose spikes are left out for it
FOLLOWED = 1 + 2 + 2


def task_runs(client: Any, flow_run_id: Any, count: int) -> list[Any]:
    """The task runs of a flow run once there are so many in a final state: they are recorded with some delay."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    def finished() -> list[Any]:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
        return found if len(found) >= count and all(run.state.is_final() for run in found) else []

    found: list[Any] = until(finished, f"{count} finished task runs")
    return found


def artifacts(client: Any, flow_run_id: Any) -> dict[str, Any]:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    )
    return {artifact.key: artifact.data for artifact in found}


def test_a_flow_run_its_tasks_its_artifacts_and_its_row_in_analysis_runs_agree(
    prefect_client: Any, monitor_module: ModuleType, slow_database: Database
) -> None:
    state = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    flow_run_id = state.state_details.flow_run_id

    flow_run = prefect_client.read_flow_run(flow_run_id)
    assert flow_run.state_type == "COMPLETED"
    assert flow_run.name == "as of 2026-03-02 12:00:00 UTC"
    assert flow_run.state.message == (
        "incidents: 1, slower operations: 2, groups slow together: 1, single slow calls: 2; "
        f"timings read: {TIMINGS:,}, alerts opened: 0; run 1"
    )
    assert {run.name.rpartition("-")[0]: run.state.message for run in task_runs(prefect_client, flow_run_id, 5)} == {
        "extract": f"{TIMINGS:,} timings since 2026-02-23 12:00 UTC",
        "detect": "slower operations: 2, anomalies: 2, operations over their threshold: 0",
        "correlate": "correlated pairs: 1",
        "follow": "lasting changes: 2, episodes: 0, slow calls: 2, groups slow together: 0, breaches to come: 0",
        "write-back": f"result rows written: {FOUND}, deleted: 0, alerts opened: 0, messages queued: 0",
    }
    assert rows(slow_database, RUNS) == [(str(flow_run_id), "SUCCESS", AS_OF, TIMINGS, FOUND + FOLLOWED, None)]
    shown = artifacts(prefect_client, flow_run_id)
    assert set(shown) == {"incidents", "slow-operations", "slow-groups", "performance-summary"}
    assert [
        (row["operation"], row["since (UTC)"], row["until"], row["change"], row["together with"])
        for row in json.loads(shown["incidents"])
    ] == [("merge", "2026-02-27 00:00", "open", "+100 %", "commit")]
    assert [
        (row["operation"], row["severity"], row["p99 before"], row["p99 now"], row["change"], row["together with"])
        for row in json.loads(shown["slow-operations"])
    ] == [
        ("commit", "CRITICAL", "16 ms", "32 ms", "+100 %", "merge"),
        ("merge", "CRITICAL", "80 ms", "160 ms", "+100 %", "commit"),
    ]
    assert [(row["operations"], row["lowest r"]) for row in json.loads(shown["slow-groups"])] == [("commit, merge", 1)]
    assert "| `commit` | CRITICAL |" in shown["performance-summary"]


def test_a_run_links_the_report_that_the_settings_name(
    prefect_client: Any, monitor_module: ModuleType, slow_database: Database
) -> None:
    for url, expected in (("https://reports.example.org/pggit?a=1", True), ("javascript:alert(1)", False)):
        with slow_database.connect() as connection:
            connection.execute("UPDATE analytics_settings SET value = %s WHERE name = 'report_url'", (url,))
        state = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
        shown = artifacts(prefect_client, state.state_details.flow_run_id)
        assert ("report" in shown) is expected
        assert (url in shown.get("report", "")) is expected


def test_a_second_flow_run_of_the_same_moment_changes_nothing(
    monitor_module: ModuleType, slow_database: Database
) -> None:
    first = monitor_module.run(MonitorParameters(as_of=AS_OF))
    before = results(slow_database)
    second = monitor_module.run(MonitorParameters(as_of=AS_OF))
    assert isinstance(first, MonitorResult)
    assert (first.written.rows_written, second.written.rows_written, second.written.rows_deleted) == (FOUND, 0, 0)
    assert results(slow_database) == before
    assert len(rows(slow_database, RUNS)) == 2


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"lookback_hours": 0}, "lookback_hours"),
        ({"correlation_threshold": float("nan")}, "correlation_threshold"),
        ({"as_of": "2026-03-02T12:00:00"}, "as_of"),
        ({"operations": []}, "operations"),
    ],
)
def test_invalid_parameters_fail_the_run_before_any_task_and_write_nothing(
    prefect_client: Any,
    monitor_module: ModuleType,
    slow_database: Database,
    parameters: dict[str, Any],
    named: str,
) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    state = monitor_module.monitor_performance(**parameters, return_state=True)
    flow_run_id = state.state_details.flow_run_id
    assert state.is_failed()
    assert named in prefect_client.read_flow_run(flow_run_id).state.message
    assert not prefect_client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    assert rows(slow_database, RUNS) == []


def test_a_run_that_cannot_write_is_recorded_as_failed_on_both_sides_with_one_line(
    prefect_client: Any, monitor_module: ModuleType, slow_database: Database
) -> None:
    with slow_database.connect() as connection:
        connection.execute("DROP TABLE performance_degradations")
    state = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    flow_run = prefect_client.read_flow_run(state.state_details.flow_run_id)
    assert flow_run.state_type == "FAILED"
    assert flow_run.state.message.startswith('relation "performance_degradations" does not exist in ')
    assert "\n" not in flow_run.state.message
    assert rows(slow_database, RUNS) == [
        (str(flow_run.id), "FAILED", AS_OF, TIMINGS, 0, flow_run.state.message),
    ]
    assert rows(slow_database, "SELECT count(*) FROM performance_anomalies") == [(0,)]
    with pytest.raises(NotDeployed):
        monitor_module.run(MonitorParameters(as_of=AS_OF))


def test_an_unknown_operation_fails_without_a_retry(
    prefect_client: Any, monitor_module: ModuleType, slow_database: Database
) -> None:
    with pytest.raises(InvalidArgument, match="'nosuch'"):
        monitor_module.run(MonitorParameters(as_of=AS_OF, operations=("nosuch",)))
    assert rows(slow_database, RUNS) == []


def test_a_step_is_tried_again_only_while_the_database_is_away(prefect_client: Any, slow_database: Database) -> None:
    from prefect import flow

    from pggit_analytics import flow_runs

    missing = Database(conninfo.make_conninfo(slow_database.conninfo, dbname="not_there_yet"))
    tried: list[Database] = []

    def connect(*databases: Database) -> int:
        database = databases[len(tried)]
        tried.append(database)
        with database.connect() as connection:
            return len(connection.execute("SELECT FROM no_such_table" if len(tried) == 3 else "SELECT").fetchall())

    step = flow_runs.step(connect, name="connect", description="", describe=str, retry_delays_s=[0.0, 0.0, 0.0])

    @flow(persist_result=False)
    def tries(number: int) -> int:
        return step(*[missing, slow_database][:number], slow_database)

    assert tries(1) == 1
    assert tried == [missing, slow_database]
    tried.clear()

    @flow(persist_result=False)
    def fails() -> int:
        return step(missing, missing, slow_database, slow_database)

    with pytest.raises(NotDeployed):
        fails()
    assert tried == [missing, missing, slow_database]


def test_a_flow_whose_database_stays_away_fails_with_its_one_line(prefect_client: Any, run_directory: Any) -> None:
    from prefect import State, flow

    from pggit_analytics import flow_runs

    def connect() -> None:
        with Database("postgresql://someone:hunter2@127.0.0.1:1/nowhere").connect():
            pass

    step = flow_runs.step(connect, name="connect", description="", describe=str, retry_delays_s=[0.0])

    @flow(persist_result=False)
    def unreachable() -> State[None]:
        return flow_runs.concluded(step, lambda _: "done")

    state = unreachable(return_state=True)
    message = prefect_client.read_flow_run(state.state_details.flow_run_id).state.message
    assert message.startswith("cannot reach 127.0.0.1:1/nowhere: ")
    # once for the try that is repeated, and once in each state
    log = wait_for_logs(prefect_client, state.state_details.flow_run_id)
    assert not [text for text in log if "Traceback" in text or "exhausted" in text]
    assert len([text for text in log if "Retry 1/1 will start" in text]) == 1
    with pytest.raises(DatabaseUnavailable):
        unreachable()


def test_errors_of_other_libraries_are_stored_without_their_text(
    prefect_client: Any, prefect_server: PrefectServer
) -> None:
    from prefect import State, flow

    from pggit_analytics import flow_runs

    secret = "-".join(("tell", "nobody"))  # the log quotes the line that raised

    def connect() -> None:
        raise RuntimeError(f"bad address postgresql://someone:{secret}@db/x")

    step = flow_runs.step(connect, name="connect", description="", describe=str)

    @flow(persist_result=False)
    def broken() -> State[None]:
        return flow_runs.concluded(step, lambda _: "done")

    state = broken(return_state=True)
    message = prefect_client.read_flow_run(state.state_details.flow_run_id).state.message
    assert message == "unexpected RuntimeError; the log of the run says where"
    wait_for_logs(prefect_client, state.state_details.flow_run_id)
    stored = prefect_server.stored_text()
    assert "RuntimeError in" in stored
    assert secret not in stored


def wait_for_logs(client: Any, flow_run_id: Any) -> list[str]:
    """The messages of a flow run's log, once its last one has arrived."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    def messages() -> list[str]:
        found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])), limit=200, offset=0)
        texts = [log.message for log in found]
        return texts if any(text.startswith("Finished in state") and "Flow" not in text for text in texts) else []

    found: list[str] = until(messages, "the log of the flow run")
    return found


def test_nothing_prefect_stores_names_the_password_or_the_address(
    prefect_client: Any,
    prefect_server: PrefectServer,
    monitor_module: ModuleType,
    slow_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role, password = f"flow_role_{os.getpid()}", "correct-horse-battery"
    with slow_database.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
    address = conninfo.make_conninfo(slow_database.conninfo, user=role, password=password)
    monkeypatch.setenv("PGGIT_DATABASE_URL", address)
    done = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    monkeypatch.setenv("PGGIT_SCHEMA", "not_deployed")
    failed = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    monkeypatch.setenv("PGGIT_DATABASE_URL", f"postgresql://{role}:{password}@[::1/x")
    unreadable = monitor_module.monitor_performance(as_of=AS_OF, return_state=True)
    assert [state.type.value for state in (done, failed, unreadable)] == ["COMPLETED", "FAILED", "FAILED"]
    with pytest.raises(ConfigurationError, match="the database URL cannot be read"):
        unreadable.result()
    for state in (done, failed, unreadable):
        wait_for_logs(prefect_client, state.state_details.flow_run_id)

    stored = prefect_server.stored_text()
    assert str(done.state_details.flow_run_id) in stored
    assert password not in stored
    assert role not in stored
    with slow_database.connect() as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_flow_process_killed_while_it_writes_leaves_nothing_and_the_next_one_completes(
    prefect_server: PrefectServer, monitor_module: ModuleType, slow_database: Database
) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = ({})".format(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    )
    with slow_database.connect() as other_writer:
        other_writer.execute("SELECT lock_alerts()")
        process = command_line(
            "analyze",
            "--as-of",
            AS_OF.isoformat(),
            environment=prefect_server.environment,
            database=slow_database,
        )
        try:
            until(lambda: rows(slow_database, waiting) == [(1,)], "the flow waits to write")
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    result = monitor_module.run(MonitorParameters(as_of=AS_OF))
    assert result.written.rows_written == FOUND
    assert [(status, written) for _, status, _, _, written, _ in rows(slow_database, RUNS)] == [
        ("SUCCESS", FOUND + FOLLOWED)
    ]
    assert {table: len(found) for table, found in results(slow_database).items()} == {
        "performance_anomalies": 2,
        "performance_degradations": 2,
        "performance_correlations": 1,
    }
