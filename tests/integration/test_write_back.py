"""One run's findings in the database: result rows per as_of, alerts per episode, two runs at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from psycopg import errors

from pggit_analytics.errors import DatabaseUnavailable, InvalidArgument, InvalidData
from pggit_analytics.frames import ANOMALIES, CORRELATIONS, DEGRADATIONS, THRESHOLDS
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_back import Findings, RunRecord, WriteResult, record_failed_run, write_back

T0 = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RESULT_TABLES = ("performance_anomalies", "performance_degradations", "performance_correlations")

Row = dict[str, object]


def spike(metric_id: int, operation: str = "commit", **values: object) -> Row:
    return {
        "operation_type": operation,
        "metric_id": metric_id,
        "anomaly_type": "SPIKE",
        "severity": "WARNING",
        "duration_ms": 812.4,
        "baseline_p99_ms": None,
        "z_score": 5.1,
        "deviation_percent": 340.0,
        "degradation_percent": None,
        "alert_required": False,
    } | values


def whole_operation(operation: str = "commit", **values: object) -> Row:
    whole: Row = dict.fromkeys(("metric_id", "duration_ms", "z_score", "deviation_percent"))
    return spike(0, operation) | whole | {"anomaly_type": "DEGRADATION", "degradation_percent": 35.0} | values


def degradation(operation: str = "commit", **values: object) -> Row:
    return {
        "operation_type": operation,
        "period_start": date(2026, 2, 23),
        "period_end": date(2026, 3, 2),
        "p99_old_ms": 50.0,
        "p99_new_ms": 67.6,
        "degradation_percent": 35.2,
        "trend": "DEGRADING",
        "confidence": 0.9,
        "severity": "WARNING",
    } | values


def pair(first: str = "commit", second: str = "merge", **values: object) -> Row:
    return {
        "operation_type_1": first,
        "operation_type_2": second,
        "correlation_coefficient": 0.912,
        "shared_minutes": 42,
        "shared_bottleneck": "LOCKS",
        "confidence": 0.7,
        "recommendation": "Look at the locks",
    } | values


def threshold(operation: str = "commit", **values: object) -> Row:
    return {
        "operation_type": operation,
        "metric_id": 9,
        "duration_ms": 900.0,
        "baseline_p99_ms": 200.0,
        "threshold_ms": 400.0,
        "exceeded_count": 3,
        "severity": "WARNING",
    } | values


def findings(
    as_of: datetime,
    *,
    anomalies: list[Row] | None = None,
    degradations: list[Row] | None = None,
    correlations: list[Row] | None = None,
    thresholds: list[Row] | None = None,
    operations: tuple[str, ...] | None = None,
    seen: tuple[str, ...] = (),
) -> Findings:
    def at(rows: list[Row] | None) -> list[Row]:
        return [row | {"detected_at": as_of} for row in rows or []]

    return Findings(
        ANOMALIES.frame(at(anomalies)),
        DEGRADATIONS.frame(at(degradations)),
        CORRELATIONS.frame(at(correlations)),
        THRESHOLDS.frame(at(thresholds)),
        operations,
        seen,
    )


def a_bit_of_everything(as_of: datetime) -> Findings:
    return findings(
        as_of,
        anomalies=[spike(1), spike(2, "merge"), whole_operation()],
        degradations=[degradation()],
        correlations=[pair()],
        thresholds=[threshold("merge")],
    )


def run_of(as_of: datetime) -> RunRecord:
    return RunRecord(
        flow="monitor_performance",
        as_of=as_of,
        window_start=as_of - timedelta(days=7),
        started_at=as_of + timedelta(seconds=1),
        rows_read=1234,
        package_version="9.8.7",
        prefect_flow_run_id="5f0c",
    )


def write(database: Database, found: Findings, as_of: datetime, *, notify: bool = True) -> WriteResult:
    with database.connect() as connection:
        return write_back(connection, found, run_of(as_of), notify=notify)


def rows(database: Database, query: str) -> list[tuple]:
    with database.connect() as connection:
        return connection.execute(query).fetchall()


def results(database: Database) -> dict[str, list[tuple]]:
    """Every result row with the transaction that wrote it."""
    return {table: rows(database, f"SELECT xmin::TEXT, * FROM {table} ORDER BY 2, 3, 4") for table in RESULT_TABLES}


def said(database: Database) -> list[tuple[str, str]]:
    """(dedup key of the alert, transition) of each message, in the order queued."""
    bodies = rows(database, "SELECT message_body FROM alert_notification_queue ORDER BY notification_queue_id")
    return [(body["dedup_key"], body["transition"]) for body in (json.loads(text) for (text,) in bodies)]


def route_everything(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'ops')")
        connection.execute(
            "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) "
            "SELECT alert_type, severity, webhook_id FROM alert_notification_webhooks, "
            "unnest(ARRAY['ANOMALY', 'DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED']) AS alert_type, "
            "unnest(ARRAY['INFO', 'WARNING', 'CRITICAL']) AS severity"
        )


def database_now(database: Database) -> datetime:
    ((now,),) = rows(database, "SELECT now()")
    return now


# --- the run --------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_with_its_window_and_counts(database: Database) -> None:
    result = write(database, a_bit_of_everything(T0), T0)
    assert rows(
        database,
        'SELECT run_id, flow, as_of, lower("window"), upper("window"), upper_inc("window"), started_at, status, '
        "rows_read, rows_written, package_version, prefect_flow_run_id, error_message FROM analysis_runs",
    ) == [
        (
            *(result.run_id, "monitor_performance", T0, T0 - timedelta(days=7), T0, True, T0 + timedelta(seconds=1)),
            *("SUCCESS", 1234, 5, "9.8.7", "5f0c", None),
        )
    ]
    assert result == WriteResult(
        run_id=result.run_id,
        rows_written=5,
        rows_deleted=0,
        alerts_opened=5,
        alerts_resolved=0,
        messages_queued=0,
        alerts_written=True,
        alerts_withheld_because=None,
    )


def test_a_run_that_found_nothing_is_recorded_too(database: Database) -> None:
    result = write(database, findings(T0), T0)
    assert (result.rows_written, result.rows_deleted, result.alerts_opened) == (0, 0, 0)
    assert rows(database, "SELECT status, rows_written FROM analysis_runs") == [("SUCCESS", 0)]


def test_a_failed_run_is_recorded_without_secrets(database: Database) -> None:
    assert record_failed_run(database, run_of(T0), InvalidData("duration_ms holds 3 NULL"))
    assert record_failed_run(database, run_of(T0), RuntimeError("postgresql://me:secret@host refused"))
    assert rows(database, "SELECT status, rows_written, error_message FROM analysis_runs ORDER BY run_id") == [
        ("FAILED", 0, "duration_ms holds 3 NULL"),
        ("FAILED", 0, "RuntimeError"),
    ]


def test_a_failure_that_cannot_be_recorded_raises_nothing(empty_database: Database, tmp_path: Path) -> None:
    assert not record_failed_run(empty_database, run_of(T0), InvalidData("no"))
    away = Database(f"host={tmp_path} dbname=nowhere")
    assert not record_failed_run(away, run_of(T0), DatabaseUnavailable("away"))


def test_names_first_met_in_the_data_are_registered_and_known_ones_left_alone(database: Database) -> None:
    write(database, findings(T0, seen=("new one", "commit", "new one", "")), T0)
    assert rows(
        database,
        "SELECT operation_type, category, is_tracked FROM performance_operation_types "
        "WHERE operation_type IN ('new one', 'commit', '') ORDER BY 1",
    ) == [("commit", "WRITE", True), ("new one", "UNKNOWN", True)]


# --- results per as_of ----------------------------------------------------------------------------------------------


def test_every_value_arrives_exactly_as_it_was_found(database: Database) -> None:
    name = 'a, "b"\n\\N \\. é'
    found = findings(
        T0,
        anomalies=[
            spike(-5, name, duration_ms=0.1 + 0.2, z_score=float("inf"), deviation_percent=1e-300),
            whole_operation(name, degradation_percent=1 / 3, alert_required=True),
        ],
        degradations=[degradation(name, p99_old_ms=1e22, confidence=float("nan"))],
        correlations=[pair(name, name + "2", recommendation="")],
    )
    result = write(database, found, T0, notify=False)
    for table, frame in zip(RESULT_TABLES, (found.anomalies, found.degradations, found.correlations), strict=True):
        columns = ", ".join(frame.columns)
        stored = rows(database, f"SELECT {columns} FROM {table} ORDER BY 1, 2")
        assert [repr(row) for row in pl.DataFrame(stored, schema=frame.schema, orient="row").rows()] == [
            repr(row) for row in frame.rows()
        ]
        assert rows(database, f"SELECT DISTINCT run_id FROM {table}") == [(result.run_id,)]


def test_the_same_findings_again_change_no_result_no_alert_and_no_message(database: Database) -> None:
    route_everything(database)
    found = a_bit_of_everything(T0)
    first = write(database, found, T0)
    everything = (
        "SELECT * FROM performance_alerts ORDER BY alert_id",
        "SELECT * FROM alert_notification_queue ORDER BY 1",
    )
    before = results(database), *(rows(database, query) for query in everything)
    second = write(database, found, T0)
    assert (results(database), *(rows(database, query) for query in everything)) == before
    assert (second.rows_written, second.rows_deleted, second.alerts_opened, second.messages_queued) == (0, 0, 0, 0)
    assert rows(database, "SELECT run_id FROM analysis_runs ORDER BY 1") == [(first.run_id,), (second.run_id,)]


def test_results_that_changed_are_replaced_and_the_others_keep_their_run(database: Database) -> None:
    first = write(database, findings(T0, anomalies=[spike(1), spike(2), whole_operation()]), T0)
    changed = findings(T0, anomalies=[spike(1), spike(2, z_score=6.0), whole_operation(degradation_percent=36.0)])
    second = write(database, changed, T0)
    assert (second.rows_written, second.rows_deleted) == (2, 2)
    assert rows(
        database,
        "SELECT metric_id, z_score, degradation_percent, run_id FROM performance_anomalies ORDER BY 1 NULLS LAST",
    ) == [
        (1, 5.1, None, first.run_id),
        (2, 6.0, None, second.run_id),
        (None, None, 36.0, second.run_id),
    ]


def test_a_value_that_became_null_is_a_change(database: Database) -> None:
    write(database, findings(T0, anomalies=[spike(1, baseline_p99_ms=3.0)]), T0)
    write(database, findings(T0, anomalies=[spike(1, baseline_p99_ms=None)]), T0)
    assert rows(database, "SELECT baseline_p99_ms FROM performance_anomalies") == [(None,)]


def test_nothing_found_removes_what_that_moment_had_and_nothing_else(database: Database) -> None:
    later = T0 + MINUTE
    write(database, a_bit_of_everything(T0), T0)
    write(database, a_bit_of_everything(later), later)
    result = write(database, findings(T0), T0)
    assert (result.rows_written, result.rows_deleted) == (0, 5)
    for table in RESULT_TABLES:
        assert rows(database, f"SELECT DISTINCT detected_at FROM {table}") == [(later,)]


def test_a_run_of_some_operations_leaves_the_results_of_the_others(database: Database) -> None:
    write(
        database,
        findings(
            T0,
            anomalies=[spike(1), spike(2, "merge")],
            degradations=[degradation(), degradation("merge")],
            correlations=[pair("commit", "merge"), pair("commit", "rollback")],
        ),
        T0,
    )
    result = write(database, findings(T0, operations=("commit", "rollback")), T0)
    assert result.rows_deleted == 3
    assert rows(database, "SELECT operation_type FROM performance_anomalies") == [("merge",)]
    assert rows(database, "SELECT operation_type FROM performance_degradations") == [("merge",)]
    assert rows(database, "SELECT operation_type_2 FROM performance_correlations") == [("merge",)]


# --- alerts ---------------------------------------------------------------------------------------------------------


def test_each_kind_of_finding_opens_its_alert_critical_ones_first(database: Database) -> None:
    route_everything(database)
    found = findings(
        T0,
        anomalies=[
            spike(1),
            spike(2, anomaly_type="COMBINED", severity="CRITICAL", alert_required=True),
            whole_operation("merge"),
        ],
        degradations=[degradation(), degradation("merge", severity="INFO")],
        correlations=[pair("commit", "merge"), pair("commit", "rollback")],
        thresholds=[threshold("rollback_commit", severity="CRITICAL")],
    )
    result = write(database, found, T0)
    assert result.alerts_opened == result.messages_queued == 7
    assert rows(
        database,
        "SELECT alert_type, severity, operation_type, dedup_key, resolved_at FROM performance_alerts ORDER BY alert_id",
    ) == [
        ("ANOMALY", "CRITICAL", "commit", '["ANOMALY", "commit", "2"]', T0),
        ("CORRELATION", "CRITICAL", "commit", '["CORRELATION", "commit", "merge"]', None),
        ("THRESHOLD_EXCEEDED", "CRITICAL", "rollback_commit", '["THRESHOLD_EXCEEDED", "rollback_commit"]', None),
        ("ANOMALY", "WARNING", "commit", '["ANOMALY", "commit", "1"]', T0),
        ("CORRELATION", "WARNING", "commit", '["CORRELATION", "commit", "rollback"]', None),
        ("DEGRADATION", "WARNING", "commit", '["DEGRADATION", "commit"]', None),
        ("DEGRADATION", "INFO", "merge", '["DEGRADATION", "merge"]', None),
    ]


def test_the_evidence_is_the_finding_in_utc_and_nothing_of_the_run(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SET timezone TO 'America/New_York'")
        write_back(connection, findings(T0, thresholds=[threshold()]), run_of(T0), notify=True)
    assert rows(database, "SELECT evidence FROM performance_alerts") == [
        (threshold() | {"detected_at": "2026-03-02T12:00:00.123456Z", "as_of": "2026-03-02T12:00:00.123456Z"},)
    ]


def test_a_spike_in_overlapping_windows_is_one_alert_and_combined_raises_it(database: Database) -> None:
    route_everything(database)
    combined = spike(1, anomaly_type="COMBINED", severity="CRITICAL", alert_required=True)
    for minute, row in enumerate([spike(1), spike(1), combined, combined, spike(1)]):
        as_of = T0 + minute * MINUTE
        write(database, findings(as_of, anomalies=[row]), as_of)
    assert rows(database, "SELECT severity, opened_at, resolved_at FROM performance_alerts") == [("CRITICAL", T0, T0)]
    key = '["ANOMALY", "commit", "1"]'
    assert said(database) == [(key, "opened"), (key, "severity:CRITICAL")]


def test_a_spike_of_no_metric_is_a_result_and_no_alert(database: Database) -> None:
    result = write(database, findings(T0, anomalies=[spike(1) | {"metric_id": None}]), T0)
    assert (result.rows_written, result.alerts_opened) == (1, 0)


def test_three_runs_without_it_resolve_an_alert_and_a_fourth_finding_it_opens_the_next_episode(
    database: Database,
) -> None:
    route_everything(database)
    slow, key = [degradation()], '["DEGRADATION", "commit"]'
    resolved = []
    for minute, rows_found in enumerate([slow, slow, [], [], [], slow]):
        as_of = T0 + minute * MINUTE
        resolved.append(write(database, findings(as_of, degradations=rows_found), as_of).alerts_resolved)
    assert resolved == [0, 0, 0, 0, 1, 0]
    assert rows(database, "SELECT episode, opened_at, resolved_at FROM performance_alerts ORDER BY 1") == [
        (1, T0, T0 + 4 * MINUTE),
        (2, T0 + 5 * MINUTE, None),
    ]
    assert said(database) == [(key, "opened"), (key, "resolved"), (key, "opened")]


def test_runs_of_other_operations_do_not_resolve_an_alert(database: Database) -> None:
    write(database, a_bit_of_everything(T0), T0)
    for minute in range(1, 5):
        as_of = T0 + minute * MINUTE
        write(database, findings(as_of, operations=("commit",)), as_of)
    assert rows(
        database, 'SELECT dedup_key FROM performance_alerts WHERE resolved_at IS NULL ORDER BY dedup_key COLLATE "C"'
    ) == [('["CORRELATION", "commit", "merge"]',), ('["THRESHOLD_EXCEEDED", "merge"]',)]


def test_an_old_moment_writes_results_and_never_pages(database: Database) -> None:
    route_everything(database)
    result = write(database, a_bit_of_everything(T0), T0, notify=False)
    assert result.rows_written == 5
    assert not result.alerts_written
    assert result.alerts_withheld_because == "as_of 2026-03-02T12:00:00.123456+00:00 is more than an hour old"
    assert rows(database, "SELECT count(*) FROM performance_alerts") == [(0,)]
    assert said(database) == []


def test_an_old_moment_pages_when_asked_to(database: Database) -> None:
    route_everything(database)
    result = write(database, a_bit_of_everything(T0), T0, notify=True)
    assert (result.alerts_written, result.alerts_opened, result.messages_queued) == (True, 5, 5)


def test_an_old_moment_without_findings_resolves_nothing(database: Database) -> None:
    write(database, findings(T0, degradations=[degradation()]), T0)
    for minute in range(1, 5):
        write(database, findings(T0 + minute * MINUTE), T0 + minute * MINUTE, notify=False)
    assert rows(database, "SELECT resolved_at, missed_runs FROM performance_alerts") == [(None, 0)]


def test_the_newest_moment_pages_and_an_older_one_after_it_does_not(database: Database) -> None:
    newest = database_now(database)
    older = newest - MINUTE
    assert write(database, findings(newest, degradations=[degradation()]), newest, notify=False).alerts_opened == 1
    result = write(database, findings(older, degradations=[degradation("merge")]), older, notify=False)
    assert (result.rows_written, result.alerts_written) == (1, False)
    assert str(result.alerts_withheld_because).endswith("is older than that of a finished run")
    assert rows(database, "SELECT operation_type FROM performance_alerts") == [("commit",)]


def test_a_moment_in_the_future_never_pages(database: Database) -> None:
    ahead = database_now(database) + timedelta(hours=2)
    result = write(database, findings(ahead, degradations=[degradation()]), ahead, notify=False)
    assert str(result.alerts_withheld_because).endswith("lies in the future")


def test_five_thousand_spikes_in_one_run_are_five_thousand_alerts_once(database: Database) -> None:
    route_everything(database)
    many = [spike(number, f"operation {number % 33}") for number in range(5000)]
    first = write(database, findings(T0, anomalies=many), T0)
    assert (first.rows_written, first.alerts_opened, first.messages_queued) == (5000, 5000, 5000)
    later = T0 + MINUTE
    second = write(database, findings(later, anomalies=many), later)
    assert (second.rows_written, second.alerts_opened, second.messages_queued) == (5000, 0, 0)
    assert rows(database, "SELECT count(*), count(DISTINCT dedup_key) FROM performance_alerts") == [(5000, 5000)]


# --- nothing by halves ----------------------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_caller_commits_and_nothing_stays_after_a_rollback(database: Database) -> None:
    with database.connect() as connection:
        write_back(connection, a_bit_of_everything(T0), run_of(T0), notify=True)
        tables = (*RESULT_TABLES, "analysis_runs", "performance_alerts")
        assert [rows(database, f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 5
        connection.rollback()
    assert [rows(database, f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 5


def test_two_runs_fit_into_one_transaction(database: Database) -> None:
    with database.connect() as connection:
        for minute in range(2):
            as_of = T0 + minute * MINUTE
            write_back(connection, a_bit_of_everything(as_of), run_of(as_of), notify=True)
    assert rows(database, "SELECT count(*) FROM performance_anomalies") == [(6,)]


def test_the_same_finding_twice_in_one_run_is_refused(database: Database) -> None:
    with database.connect() as connection, pytest.raises(errors.UniqueViolation):
        write_back(connection, findings(T0, degradations=[degradation(), degradation()]), run_of(T0))


def test_the_moment_may_be_given_in_any_zone(database: Database) -> None:
    in_tokyo = T0.astimezone(ZoneInfo("Asia/Tokyo"))
    assert write(database, findings(T0, degradations=[degradation()]), in_tokyo).rows_written == 1


def test_findings_of_another_moment_are_refused(database: Database) -> None:
    with pytest.raises(InvalidData, match="anomalies: 1 rows are not of the as_of 2026-03-02T12:01"):
        write(database, findings(T0, anomalies=[spike(1)]), T0 + MINUTE)


def test_findings_outside_the_operations_analysed_are_refused(database: Database) -> None:
    with pytest.raises(InvalidData, match="correlations: merge is not among the operations analysed"):
        write(database, findings(T0, correlations=[pair()], operations=("commit",)), T0)


def test_a_frame_of_another_shape_is_refused(database: Database) -> None:
    found = replace(findings(T0), thresholds=DEGRADATIONS.empty())
    with pytest.raises(InvalidData, match="thresholds exceeded: column metric_id is missing"):
        write(database, found, T0)


@pytest.mark.parametrize("name", ["as_of", "window_start", "started_at"])
def test_an_instant_without_a_zone_is_refused(database: Database, name: str) -> None:
    run = replace(run_of(T0), **{name: T0.replace(tzinfo=None)})
    with database.connect() as connection, pytest.raises(InvalidArgument, match=f"{name} is .* with a time zone"):
        write_back(connection, findings(T0), run)


def test_a_connection_in_autocommit_is_refused(database: Database) -> None:
    with (
        database.connect(autocommit=True) as connection,
        pytest.raises(InvalidArgument, match="the connection is in autocommit"),
    ):
        write_back(connection, findings(T0), run_of(T0))


# --- two runs at once -----------------------------------------------------------------------------------------------


def test_a_second_run_waits_for_the_first(database: Database) -> None:
    found = a_bit_of_everything(T0)
    with database.connect() as first, database.connect() as second:
        write_back(first, found, run_of(T0), notify=True)
        second.execute("SET LOCAL lock_timeout TO '20ms'")
        with pytest.raises(errors.LockNotAvailable):
            write_back(second, found, run_of(T0), notify=True)
        second.rollback()
        first.commit()
        result = write_back(second, found, run_of(T0), notify=True)
        assert (result.rows_written, result.rows_deleted, result.alerts_opened) == (0, 0, 0)


def write_at_once(database: Database, jobs: list[tuple[Findings, datetime]], *, notify: bool) -> list[WriteResult]:
    start = Barrier(len(jobs))

    def job(found: Findings, as_of: datetime) -> WriteResult:
        with database.connect() as connection:
            start.wait()
            return write_back(connection, found, run_of(as_of), notify=notify)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda arguments: job(*arguments), jobs))


def test_four_runs_of_one_moment_at_once_leave_what_one_would(database: Database) -> None:
    route_everything(database)
    written = write_at_once(database, [(a_bit_of_everything(T0), T0)] * 4, notify=True)
    assert sorted(result.rows_written for result in written) == [0, 0, 0, 5]
    assert sorted(result.messages_queued for result in written) == [0, 0, 0, 5]
    assert sorted(transition for _, transition in said(database)) == ["opened"] * 5
    assert rows(database, "SELECT count(*), max(episode) FROM performance_alerts") == [(5, 1)]
    assert rows(database, "SELECT count(*) FROM analysis_runs WHERE status = 'SUCCESS'") == [(4,)]


def test_runs_of_two_moments_at_once_each_write_theirs_and_page_once(database: Database) -> None:
    route_everything(database)
    newest = database_now(database)
    older = newest - MINUTE
    moments = [newest, older, newest, older]
    write_at_once(database, [(a_bit_of_everything(as_of), as_of) for as_of in moments], notify=False)
    assert rows(database, "SELECT detected_at, count(*) FROM performance_anomalies GROUP BY 1 ORDER BY 1") == [
        (older, 3),
        (newest, 3),
    ]
    assert rows(
        database,
        "SELECT dedup_key, count(*), max(last_seen_at) FROM performance_alerts "
        'WHERE resolved_at IS NULL GROUP BY 1 ORDER BY dedup_key COLLATE "C"',
    ) == [
        ('["CORRELATION", "commit", "merge"]', 1, newest),
        ('["DEGRADATION", "commit"]', 1, newest),
        ('["THRESHOLD_EXCEEDED", "merge"]', 1, newest),
    ]
    assert sorted(transition for _, transition in said(database)) == ["opened"] * 5


def test_a_run_in_another_schema_is_not_held_up(create_database) -> None:
    from pggit_analytics.postgres.deploy import deploy

    url = create_database()
    here, there = Database(url, "here"), Database(url, "there")
    deploy(here)
    deploy(there)
    with here.connect() as first, there.connect() as second:
        write_back(first, a_bit_of_everything(T0), run_of(T0), notify=True)
        second.execute("SET LOCAL lock_timeout TO '20ms'")
        assert write_back(second, a_bit_of_everything(T0), run_of(T0), notify=True).alerts_opened == 5
