"""What retention deletes and what never, in batches, beside writers, killed half-way; and the delivery statistics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, errors

from pggit_analytics.errors import DatabaseError, InvalidArgument, PermissionDenied
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.retention import Policy, apply_retention

ROOT = Path(__file__).parents[2]
AS_OF = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
ALL = Policy(metrics_days=30, results_days=30, notifications_days=30, logs_days=30)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


def ago(days: float) -> datetime:
    return AS_OF - timedelta(days=days)


def add_metrics(connection: psycopg.Connection, operation: str, *days: float) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES (%s, 1, %s)",
            [(operation, ago(d)) for d in days],
        )


def add_alert(connection: psycopg.Connection, key: str, resolved: float | None, verdict: str | None = None) -> int:
    row = connection.execute(
        "INSERT INTO performance_alerts (alert_type, severity, dedup_key, evidence, opened_at, last_seen_at,"
        " resolved_at, verdict) VALUES ('DEGRADATION', 'WARNING', %s, '{}', %s, %s, %s, %s) RETURNING alert_id",
        (key, ago(90), ago(90), resolved and ago(resolved), verdict),
    ).fetchone()
    assert row
    return row[0]


def add_message(  # noqa: PLR0917
    connection: psycopg.Connection,
    key: str,
    status: str,
    created: float,
    delivered: float | None = None,
    alert_id: int | None = None,
    retries: int = 0,
) -> int:
    connection.execute(
        "INSERT INTO alert_notification_webhooks (webhook_id, webhook_type, name) VALUES (1, 'slack', 'ops')"
        " ON CONFLICT DO NOTHING"
    )
    row = connection.execute(
        "INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, status, created_at, delivered_at,"
        " alert_id, retry_count) VALUES (1, '{}', %s, %s, %s, %s, %s, %s) RETURNING notification_queue_id",
        (key, status, ago(created), None if delivered is None else ago(delivered), alert_id, retries),
    ).fetchone()
    assert row
    return row[0]


def column(connection: psycopg.Connection, query: str) -> list[object]:
    return [row[0] for row in connection.execute(query.encode()).fetchall()]


def days_left(connection: psycopg.Connection) -> list[float]:
    rows = column(connection, "SELECT created_at FROM performance_metrics ORDER BY created_at DESC")
    return [(AS_OF - at) / timedelta(days=1) for at in rows]  # type: ignore[operator]


def test_only_timings_and_merges_before_the_cutoff_go(database: Database, connection: psycopg.Connection) -> None:
    just_before = 30 + 1 / 86_400
    add_metrics(connection, "commit", 1, 29.5, 30, just_before, 45)
    add_metrics(connection, "zz of my own", 2, 31, 400)
    for name, days in (("young", 30), ("old", 30.5)):
        connection.execute(
            "INSERT INTO merge_relationships (merge_id, branch_from, branch_into, created_at, status)"
            " VALUES (%s, 'a', 'b', %s, 'SUCCESS')",
            (name, ago(days)),
        )

    done = apply_retention(database, Policy(metrics_days=30), as_of=AS_OF)

    assert done.rows == {"metrics": 4, "merges": 1}
    assert days_left(connection) == [1, 2, 29.5, 30]
    assert column(connection, "SELECT merge_id FROM merge_relationships") == ["young"]
    assert apply_retention(database, Policy(metrics_days=30), as_of=AS_OF).rows == {"metrics": 0, "merges": 0}


def test_calls_of_the_plan_s_kind_work_in_sql(connection: psycopg.Connection) -> None:
    add_metrics(connection, "commit", 40, 41, 42)
    add_metrics(connection, "merge", 43, 44)
    connection.execute("SELECT set_config('pggit.as_of', %s, FALSE)", (AS_OF.isoformat(),))
    for batch in ((4, ago(40)), (1, ago(43)), (0, None)):
        assert connection.execute("SELECT * FROM delete_old_metrics(30, 4)").fetchone() == batch
    assert column(connection, "SELECT delete_old_notifications(30)") == [0]
    assert column(connection, "SELECT delete_old_notifications()") == [0]
    assert column(connection, "SELECT total_count FROM get_notification_delivery_stats(24)") == [0]


def test_batches_are_never_larger_than_asked_and_go_on_where_they_ended(connection: psycopg.Connection) -> None:
    add_metrics(connection, "commit", *(40 + n for n in range(25)))
    seen = []
    after: object = "-infinity"
    while (
        row := connection.execute(
            "SELECT * FROM delete_old_metrics(30, 10, 'commit', %s, %s)", (after, AS_OF)
        ).fetchone()
    ) != (0, None):
        assert row
        seen.append(row[0])
        after = row[1]
    assert seen == [10, 10, 5]
    assert column(connection, "SELECT count(*) FROM performance_metrics") == [0]


def test_open_alerts_and_what_hangs_on_them_stay_however_old(
    database: Database, connection: psycopg.Connection
) -> None:
    still_open = add_alert(connection, "open", None)
    said = add_message(connection, "said", "delivered", 80, 80, alert_id=still_open)
    add_alert(connection, "judged", 60, "false_positive")
    add_alert(connection, "resolved lately", 10)
    add_alert(connection, "resolved long ago", 60)
    waiting = add_alert(connection, "told about", 60)
    pending = add_message(connection, "pending", "pending", 60, alert_id=waiting)
    delivered = add_alert(connection, "delivered about", 60)
    add_message(connection, "delivered", "delivered", 60, 59, alert_id=delivered)

    done = apply_retention(database, ALL, as_of=AS_OF)

    assert (done.rows["notifications"], done.rows["alerts"]) == (1, 2)
    assert column(connection, "SELECT dedup_key FROM performance_alerts ORDER BY alert_id") == [
        "open",
        "judged",
        "resolved lately",
        "told about",
    ]
    assert column(connection, "SELECT notification_queue_id FROM alert_notification_queue ORDER BY 1") == [
        said,
        pending,
    ]


def test_message_of_a_resolved_alert_is_kept_with_its_alert_unless_notifications_go_too(
    database: Database, connection: psycopg.Connection
) -> None:
    alert = add_alert(connection, "resolved", 60)
    add_message(connection, "delivered", "delivered", 60, 60, alert_id=alert)

    assert apply_retention(database, Policy(results_days=30), as_of=AS_OF).rows["alerts"] == 0
    assert column(connection, "SELECT status FROM alert_notification_queue") == ["delivered"]


def test_pending_and_failed_messages_stay_unless_failed_ones_are_asked_for(
    database: Database, connection: psycopg.Connection
) -> None:
    add_message(connection, "pending", "pending", 400)
    failed = add_message(connection, "failed", "failed", 400)
    add_message(connection, "delivered long ago", "delivered", 400, 399)
    add_message(connection, "delivered lately", "delivered", 400, 29)
    for queue_id in (failed, failed - 1, 4711):
        connection.execute(
            "INSERT INTO alert_notification_log (notification_queue_id, started_at, outcome)"
            " VALUES (%s, %s, 'refused')",
            (queue_id, ago(200)),
        )

    first = apply_retention(database, Policy(notifications_days=30, logs_days=30), as_of=AS_OF)
    assert first.rows == {"notifications": 1, "logs": 1}
    left = "SELECT dedup_key FROM alert_notification_queue ORDER BY notification_queue_id"
    assert column(connection, left) == ["pending", "failed", "delivered lately"]

    with_failed = Policy(notifications_days=30, logs_days=30, include_failed=True)
    assert apply_retention(database, with_failed, as_of=AS_OF).rows == {"notifications": 1, "logs": 1}
    assert column(connection, left) == ["pending", "delivered lately"]
    assert column(connection, "SELECT notification_queue_id FROM alert_notification_log") == [failed - 1]


def add_run(connection: psycopg.Connection, flow: str, days: float, status: str = "SUCCESS") -> int:
    row = connection.execute(
        'INSERT INTO analysis_runs (flow, as_of, "window", started_at, status, rows_read, rows_written,'
        " package_version)"
        " VALUES (%s, %s, tstzrange(%s, %s, '[]'), %s, %s, 0, 0, '0') RETURNING run_id",
        (flow, ago(days), ago(days + 7), ago(days), ago(days), status),
    ).fetchone()
    assert row
    return row[0]


def add_findings(connection: psycopg.Connection, run: int, days: float) -> None:
    connection.execute(
        "INSERT INTO performance_anomalies (operation_type, metric_id, anomaly_type, severity, alert_required,"
        " detected_at, run_id) SELECT 'commit', n, 'SPIKE', 'INFO', FALSE, %s, %s FROM generate_series(1, 5) AS n",
        (ago(days), run),
    )
    connection.execute(
        "INSERT INTO performance_degradations VALUES ('commit', '2026-01-01', '2026-01-02', 1, 2, 100, 'STABLE', 0,"
        " 'CRITICAL', %s, %s)",
        (ago(days), run),
    )
    connection.execute(
        "INSERT INTO performance_correlations VALUES ('a', 'b', 0.9, 60, 'X', 0.9, 'look', %s, %s)", (ago(days), run)
    )


def test_findings_go_by_their_moment_and_runs_follow_them_but_for_each_flow_s_latest(
    database: Database, connection: psycopg.Connection
) -> None:
    old, kept = add_run(connection, "monitor_performance", 50), add_run(connection, "monitor_performance", 20)
    add_findings(connection, old, 50)
    add_findings(connection, kept, 20)
    only = add_run(connection, "recalculate_baselines", 70)
    add_run(connection, "recalculate_baselines", 80)
    failed = add_run(connection, "recalculate_baselines", 60, "FAILED")

    done = apply_retention(database, Policy(results_days=30, batch_size=3), as_of=AS_OF)

    assert done.rows["results"] == 7 + 2
    assert column(connection, "SELECT run_id FROM analysis_runs ORDER BY run_id") == [kept, only, failed]
    assert column(connection, "SELECT DISTINCT run_id FROM performance_anomalies") == [kept]
    assert column(connection, "SELECT count(*) FROM performance_degradations") == [1]
    assert column(connection, "SELECT count(*) FROM performance_correlations") == [1]


def test_baselines_in_force_or_named_by_kept_history_stay(database: Database, connection: psycopg.Connection) -> None:
    for number, active, valid_to in ((1, True, None), (2, False, 60), (3, False, 60), (4, False, 5)):
        connection.execute(
            "INSERT INTO performance_baselines (baseline_id, operation_type, is_active, valid_from, valid_to,"
            " sample_count, p99_microseconds) VALUES (%s, 'commit', %s, %s, %s, 10, 5000)",
            (number, active, ago(500), valid_to and ago(valid_to)),
        )
    for old, new, days in ((2, 3, 60), (3, 4, 20)):
        connection.execute(
            "INSERT INTO performance_baseline_history (operation_type, old_baseline_id, new_baseline_id,"
            " new_p99_microseconds, sample_count, lookback_days, calculated_at, reason)"
            " VALUES ('commit', %s, %s, 5000, 10, 7, %s, 'scheduled')",
            (old, new, ago(days)),
        )

    assert apply_retention(database, Policy(results_days=30), as_of=AS_OF).rows["baselines"] == 2
    assert column(connection, "SELECT baseline_id FROM performance_baselines ORDER BY 1") == [1, 3, 4]
    assert column(connection, "SELECT new_baseline_id FROM performance_baseline_history") == [4]


def test_logs_go_but_for_running_rows_the_latest_run_of_a_job_and_snoozes_that_still_matter(
    database: Database, connection: psycopg.Connection
) -> None:
    for status, ended in (("SUCCESS", 60), ("RUNNING", None), ("ERROR", 5)):
        connection.execute(
            "INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status)"
            " VALUES ('commit', %s, %s, %s)",
            (ago(60 if status != "ERROR" else 5), ended and ago(ended), status),
        )
    for number, days in enumerate((70, 65, 60)):
        connection.execute(
            "INSERT INTO job_runs (job, window_start, scheduler, status, started_at)"
            " VALUES ('check_performance_anomalies', %s, 'pg_cron', %s, %s)",
            (ago(days), "SUCCESS" if number else "RUNNING", ago(days)),
        )
    for reason, days in (("long over", 100), ("of what is open", 60), ("lately", 5)):
        connection.execute("INSERT INTO alert_snooze (snooze_until, reason) VALUES (%s, %s)", (ago(days), reason))
    add_alert(connection, "open since 90 days", None)

    assert apply_retention(database, Policy(logs_days=30), as_of=AS_OF).rows == {"logs": 1 + 1 + 1}
    assert set(column(connection, "SELECT status FROM baseline_recalc_execution")) == {"RUNNING", "ERROR"}
    assert column(connection, "SELECT window_start FROM job_runs ORDER BY 1") == [ago(70), ago(60)]
    assert set(column(connection, "SELECT reason FROM alert_snooze")) == {"of what is open", "lately"}


@pytest.mark.parametrize("days", [1, 3000])
def test_what_is_noted_of_changed_timings_goes_after_two_days(
    database: Database, connection: psycopg.Connection, days: int
) -> None:
    """By the server's clock: whoever reads timings goes by it, whatever moment retention looks back from."""
    for number, age in enumerate((47, 49, 500)):
        connection.execute(
            "INSERT INTO performance_metrics_changes (transaction_id, hour, change, noted_at) "
            "VALUES (%s, now(), 'added', now() - %s * INTERVAL '1 hour')",
            (number, age),
        )
    policy = Policy(logs_days=days)
    assert apply_retention(database, policy, as_of=AS_OF, dry_run=True).rows == {"logs": 2}
    assert apply_retention(database, policy, as_of=AS_OF).rows == {"logs": 2}
    assert column(connection, "SELECT transaction_id FROM performance_metrics_changes") == [0]


def fill_everything(connection: psycopg.Connection) -> None:
    add_metrics(connection, "commit", *(n / 2 for n in range(200)))
    add_findings(connection, add_run(connection, "monitor_performance", 50), 50)
    add_findings(connection, add_run(connection, "monitor_performance", 40), 40)
    add_run(connection, "monitor_performance", 1)
    add_message(connection, "about nothing", "delivered", 60, 60)
    add_message(connection, "failed", "failed", 60)
    for n in range(6):
        alert = add_alert(connection, f"key {n}", 25 + 5 * n)
        add_message(connection, f"m {n}", ("delivered", "failed", "pending")[n % 3], 50, 50, alert_id=alert)
    for n in range(40):
        connection.execute(
            "INSERT INTO alert_notification_log (notification_queue_id, started_at, outcome) VALUES (%s, %s, 'ok')",
            (n, ago(n * 2)),
        )


@pytest.mark.parametrize("include_failed", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_dry_run_counts_what_a_run_then_deletes_whatever_the_batch(
    database: Database, connection: psycopg.Connection, batch_size: int, include_failed: bool
) -> None:
    fill_everything(connection)
    policy = Policy(30, 30, 30, 30, include_failed=include_failed, batch_size=batch_size)
    before = column(connection, "SELECT count(*) FROM performance_metrics")

    counted = apply_retention(database, policy, as_of=AS_OF, dry_run=True)
    assert column(connection, "SELECT count(*) FROM performance_metrics") == before
    done = apply_retention(database, policy, as_of=AS_OF)

    assert counted.rows == done.rows
    assert list(done.rows) == ["metrics", "merges", "notifications", "results", "alerts", "baselines", "logs"]
    assert done.rows["metrics"] == 139  # 30.5 to 99.5 days, each half day
    assert set(apply_retention(database, policy, as_of=AS_OF).rows.values()) == {0}


def test_progress_ends_at_what_was_counted(database: Database, connection: psycopg.Connection) -> None:
    add_metrics(connection, "commit", *(40 + n for n in range(25)))
    seen: list[tuple[str, int, int]] = []

    policy = Policy(metrics_days=30, batch_size=10)
    apply_retention(database, policy, as_of=AS_OF, progress=lambda *step: seen.append(step))

    assert [step for step in seen if step[0] == "metrics"] == [
        ("metrics", 0, 25),
        ("metrics", 10, 25),
        ("metrics", 20, 25),
        ("metrics", 25, 25),
    ]


def test_rows_that_others_hold_are_passed_over_and_go_the_next_time(
    database: Database, connection: psycopg.Connection
) -> None:
    add_metrics(connection, "commit", 40, 41, 42)
    with psycopg.connect(database.conninfo) as holder:
        holder.execute("SELECT FROM pggit.performance_metrics WHERE created_at = %s FOR KEY SHARE", (ago(41),))
        assert apply_retention(database, Policy(metrics_days=30), as_of=AS_OF).rows["metrics"] == 2
    assert apply_retention(database, Policy(metrics_days=30), as_of=AS_OF).rows["metrics"] == 1


def test_writers_go_on_while_a_batch_has_not_been_committed(connection: psycopg.Connection, database: Database) -> None:
    add_metrics(connection, "commit", 40, 41, 42)
    with database.connect() as retention:
        retention.execute("SELECT delete_old_metrics(30, 100, NULL, '-infinity', %s)", (AS_OF,))
        connection.execute("SET lock_timeout TO '1ms'")
        add_metrics(connection, "commit", 1, 50)
        connection.execute("UPDATE performance_metrics SET metadata = '{}' WHERE created_at = %s", (ago(1),))
        assert column(connection, "SELECT count(*) FROM performance_metrics") == [5]
    assert days_left(connection) == [1, 50]


def test_two_runs_at_once_share_the_work(database: Database, connection: psycopg.Connection) -> None:
    add_metrics(connection, "commit", *(40 + n / 100 for n in range(3000)))
    policy = Policy(metrics_days=30, batch_size=50)

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: apply_retention(database, policy, as_of=AS_OF), range(2)))

    rest = apply_retention(database, policy, as_of=AS_OF).rows["metrics"]
    assert sum(run.rows["metrics"] for run in runs) + rest == 3000
    assert days_left(connection) == []


def test_table_locked_by_maintenance_is_said_and_the_writers_behind_it_do_not_wait_long(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER FUNCTION delete_old_merges SET lock_timeout TO '10ms'")
    add_metrics(connection, "commit", 40)
    with psycopg.connect(database.conninfo) as maintenance:
        # after the counting, which only reads, and the timings
        maintenance.execute("LOCK TABLE pggit.merge_relationships IN SHARE MODE")
        with pytest.raises(DatabaseError, match="locked by another session; what was deleted so far stays deleted"):
            apply_retention(database, Policy(metrics_days=30), as_of=AS_OF)
    assert days_left(connection) == []


KILLED = """
import sys
from datetime import datetime
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.retention import Policy, apply_retention

def wait(kind, deleted, total):
    if deleted >= 200:
        print(deleted, flush=True)
        sys.stdin.readline()

policy = Policy(metrics_days=30, batch_size=100)
apply_retention(Database(sys.argv[1]), policy, as_of=datetime.fromisoformat(sys.argv[2]), progress=wait)
"""


def test_killed_run_has_deleted_whole_batches_and_the_next_one_goes_on(
    database: Database, connection: psycopg.Connection
) -> None:
    add_metrics(connection, "commit", *(40 + n / 100 for n in range(1000)))
    add_metrics(connection, "commit", 1, 2)
    command = [sys.executable, "-c", KILLED, database.conninfo, AS_OF.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "200\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    assert column(connection, "SELECT count(*) FROM performance_metrics") == [802]
    assert apply_retention(database, Policy(metrics_days=30), as_of=AS_OF).rows["metrics"] == 800
    assert days_left(connection) == [1, 2]


@pytest.mark.parametrize(
    "call",
    [
        "delete_old_metrics(0)",
        "delete_old_metrics(NULL)",
        "delete_old_metrics(36501)",
        "delete_old_metrics(30, 0)",
        "delete_old_metrics(30, 10, NULL, NULL)",
        "delete_old_metrics(30, p_as_of => 'infinity')",
        "delete_old_metrics(30, p_as_of => now() + INTERVAL '1 hour')",
        "delete_old_merges(0)",
        "delete_old_results(30, 1000001)",
        "delete_old_alerts(-1)",
        "delete_old_baselines(0)",
        "delete_old_logs(0)",
        "delete_old_notifications(0)",
        "delete_old_notifications(30, 10, NULL)",
        "count_old_rows(0)",
        "count_old_rows(p_include_failed => NULL)",
        "get_notification_delivery_stats(0)",
        "get_notification_delivery_stats(NULL)",
        "get_notification_delivery_stats(24, NULL)",
    ],
)
def test_argument_out_of_range_raises_22023_with_the_range(shared_database: Database, call: str) -> None:
    with (
        psycopg.connect(shared_database.conninfo) as connection,
        pytest.raises(errors.InvalidParameterValue, match="expected"),
    ):
        connection.execute(f"SELECT * FROM pggit.{call}".encode())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "nothing to delete: give at least one of metrics_days"),
        ({"metrics_days": 0}, "metrics_days is 0, expected 1 to 36500"),
        ({"logs_days": 40_000}, "logs_days is 40000, expected 1 to 36500"),
        ({"logs_days": 1, "batch_size": 0}, "batch_size is 0, expected 1 to 1000000"),
        ({"logs_days": 1, "include_failed": True}, "give notifications_days"),
    ],
)
def test_policy_out_of_range_is_refused(arguments: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Policy(**arguments)


def test_moment_in_the_future_is_refused(shared_database: Database) -> None:
    with pytest.raises(InvalidArgument, match="expected an instant that is not in the future"):
        apply_retention(shared_database, Policy(metrics_days=1), as_of=datetime(2999, 1, 1, tzinfo=UTC))


def test_pipeline_role_may_not_delete_history(shared_database: Database) -> None:
    role = Database(conninfo.make_conninfo(shared_database.conninfo, options="-c role=pggit_pipeline"))
    with pytest.raises(PermissionDenied, match="run retention as the owner of the tables"):
        apply_retention(role, Policy(metrics_days=30), as_of=AS_OF)


def test_command_needs_a_kind_deletes_and_prints_json(
    database: Database, connection: psycopg.Connection, run_directory: Path
) -> None:
    connection.execute(
        "INSERT INTO performance_metrics (operation_type, duration_ms, created_at)"
        " VALUES ('commit', 1, '2020-01-01 00:00+00'), ('commit', 1, now())"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pggit_analytics", "retention", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=run_directory,
            env={**os.environ, "PGGIT_DATABASE_URL": database.conninfo},
        )

    nothing = run()
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "would be deleted" in run("--metrics-days", "365", "--dry-run").stdout
    assert column(connection, "SELECT count(*) FROM performance_metrics") == [2]
    done = run("--metrics-days", "365", "--json")
    assert json.loads(done.stdout)["rows"] == {"metrics": 1, "merges": 0}
    assert "metrics: 1 old rows ..." in done.stderr
    assert column(connection, "SELECT count(*) FROM performance_metrics") == [1]


def test_delivery_statistics_of_a_window(connection: psycopg.Connection) -> None:
    """Delivery took 10, 20, ... 100 seconds: mean 55; p95 at position 8.55, so 95.5."""
    hour = 1 / 24
    for n in range(1, 11):
        add_message(connection, f"d{n}", "delivered", hour, hour - n * 10 / 86_400, retries=n % 2)
    add_message(connection, "failed", "failed", 2 * hour, retries=3)
    add_message(connection, "pending", "pending", 3 * hour, retries=2)
    add_message(connection, "delivered afterwards", "delivered", 4 * hour, -hour)
    add_message(connection, "before the window", "delivered", 25 * hour, 25 * hour)
    add_message(connection, "at its edge", "pending", 24 * hour)
    add_message(connection, "after the moment", "pending", -hour)

    row = connection.execute("SELECT * FROM get_notification_delivery_stats(24, %s)", (AS_OF,)).fetchone()

    assert row is not None
    total, pending, delivered, failed, rate, mean, p95, oldest, retries, most = row
    assert (total, pending, delivered, failed) == (14, 3, 10, 1)
    assert float(rate) == 90.9
    assert float(mean) == pytest.approx(55, abs=1e-6)
    assert p95 == pytest.approx(95.5, abs=1e-6)
    assert float(oldest) == 86_400
    assert (retries, most) == (5 + 3 + 2, 3)


def test_delivery_statistics_without_messages_are_one_row_of_nothing(shared_database: Database) -> None:
    with shared_database.connect() as connection:
        row = connection.execute("SELECT * FROM get_notification_delivery_stats()").fetchone()
    assert row == (0, 0, 0, 0, None, None, None, None, 0, 0)
