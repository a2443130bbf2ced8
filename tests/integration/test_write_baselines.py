"""Baselines adopted by the pipeline are those that the SQL function adopts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pggit_analytics.config import Settings
from pggit_analytics.errors import DatabaseError
from pggit_analytics.pipeline import BaselineParameters, Target, recalculate_baselines
from pggit_analytics.postgres.connection import Database

AS_OF = datetime(2026, 1, 31, tzinfo=UTC)

TABLES = {
    "performance_baselines": """
        SELECT operation_type, is_active, valid_from, valid_to, sample_count, min_microseconds, max_microseconds,
               p50_microseconds, p75_microseconds, p90_microseconds, p95_microseconds, p99_microseconds,
               round(mean_microseconds, 6), round(stddev_microseconds, 6), lookback_days,
               alert_threshold_multiplier, last_updated
        FROM performance_baselines ORDER BY operation_type, valid_from, is_active
    """,
    "performance_baseline_history": """
        SELECT operation_type, old_baseline_id IS NULL, old_p99_microseconds, new_p99_microseconds,
               round(percent_change, 6), sample_count, lookback_days, calculated_at, reason
        FROM performance_baseline_history ORDER BY operation_type, calculated_at
    """,
    "baseline_recalc_execution": """
        SELECT operation_type, status, error_message FROM baseline_recalc_execution
        ORDER BY operation_type, execution_id
    """,
}


def fill(database: Database) -> None:
    """Operations that change, that stay, that are held, that are few, and one nobody knows."""
    with database.connect() as connection:
        connection.execute(
            """
            INSERT INTO performance_metrics (operation_type, duration_ms, created_at)
            SELECT o.name, o.base + (n * 7919 %% 1000) * 0.013 + CASE WHEN n < 100 THEN o.rise ELSE 0 END,
                   %(as_of)s - n * INTERVAL '11 minutes'
            FROM (VALUES ('commit', 5, 40), ('merge', 50, 0), ('rollback', 10, 30), ('get_objects', 1, -1),
                         ('branch_create', 2, 0.01), ('never_heard_of', 3, 9)) AS o (name, base, rise)
            CROSS JOIN generate_series(0, 1200) AS n
            UNION ALL
            SELECT 'get_commits', 1, %(as_of)s FROM generate_series(1, 9)
        """,
            {"as_of": AS_OF},
        )
        connection.execute(
            """
            INSERT INTO performance_alerts (
                operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at)
            VALUES ('rollback', 'THRESHOLD_EXCEEDED', 'CRITICAL', 'test', '{}', %(as_of)s, %(as_of)s)
        """,
            {"as_of": AS_OF},
        )


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.connect() as connection:
        return {name: connection.execute(query.encode()).fetchall() for name, query in TABLES.items()}


def in_sql(database: Database, days: int, as_of: datetime, *, force: bool) -> None:
    with database.connect() as connection:
        connection.execute(
            "SELECT * FROM recalculate_all_baselines_rolling(%s, 10, %s, 3600, %s)", (days, force, as_of)
        )


def in_frames(database: Database, days: int, as_of: datetime, *, force: bool) -> None:
    recalculate_baselines(
        Target.of(database, Settings()), BaselineParameters(as_of=as_of, lookback_days=days, force=force)
    )


def test_a_history_of_recalculations_leaves_the_same_rows_in_both_engines(create_database, deployed_template) -> None:
    databases = [Database(create_database(deployed_template)) for _ in range(2)]
    for database, recalculate in zip(databases, (in_sql, in_frames), strict=True):
        fill(database)
        recalculate(database, 7, datetime(2026, 1, 30, tzinfo=UTC), force=False)  # first baselines
        recalculate(database, 1, AS_OF, force=False)  # changed, unchanged, held
        recalculate(database, 7, datetime(2026, 1, 29, tzinfo=UTC), force=True)  # older than the active ones
        recalculate(database, 2, AS_OF, force=True)  # everything again
    one, two = map(contents, databases)
    assert one == two
    # every kind of change happened
    assert len(one["performance_baselines"]) > 10
    assert {row[-1] for row in one["performance_baseline_history"]} == {"scheduled", "force"}


def test_two_recalculations_at_once_leave_one_active_baseline_each(database: Database) -> None:
    fill(database)
    with ThreadPoolExecutor(4) as pool:
        moments = [(in_frames, 7), (in_sql, 7), (in_frames, 1), (in_sql, 2)]
        for done in [pool.submit(run, database, days, AS_OF, force=True) for run, days in moments]:
            done.result()
    with database.connect() as connection:
        rows = connection.execute("""
            SELECT operation_type, count(*) FILTER (WHERE is_active), count(*)
            FROM performance_baselines GROUP BY 1 ORDER BY 1
        """).fetchall()
        history = connection.execute("SELECT count(*) FROM performance_baseline_history").fetchone()
    assert [(active, total) for _, active, total in rows] == [(1, 4)] * 6
    assert history == (24,)


def test_a_failure_while_writing_leaves_the_old_baselines(database: Database) -> None:
    fill(database)
    in_frames(database, 7, datetime(2026, 1, 30, tzinfo=UTC), force=False)
    before = contents(database)
    with database.connect() as connection:
        connection.execute("ALTER TABLE performance_baseline_history ADD CHECK (reason <> 'force')")
    with pytest.raises(DatabaseError, match="performance_baseline_history"):
        in_frames(database, 7, AS_OF, force=True)
    assert contents(database) == before
    with database.connect() as connection:
        failed = connection.execute("SELECT flow FROM analysis_runs WHERE status = 'FAILED'").fetchall()
    assert failed == [("recalculate_baselines",)]
