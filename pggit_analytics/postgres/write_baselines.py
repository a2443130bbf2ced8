"""Adopts recalculated baselines: the new one replaces the old one, with its history, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl
import psycopg

from pggit_analytics.frames import BASELINE_RECALCULATIONS
from pggit_analytics.postgres.write_back import RunRecord, insert_run, register_operation_types

# The columns of frames.BASELINE_RECALCULATIONS that are written.
_ROWS = """
    jsonb_to_recordset(%(rows)s::JSONB) AS r (
        operation_type TEXT, baseline_id BIGINT, sample_count BIGINT, status TEXT, percent_change NUMERIC,
        min_us BIGINT, max_us BIGINT, p50_us BIGINT, p75_us BIGINT, p90_us BIGINT, p95_us BIGINT, p99_us BIGINT,
        mean_us NUMERIC, stddev_us NUMERIC
    )
"""

_KEEP = f"""
    UPDATE performance_baselines AS b
    SET last_updated = greatest(b.last_updated, %(as_of)s)
    FROM {_ROWS}
    WHERE b.baseline_id = r.baseline_id AND r.status = 'UNCHANGED' AND b.valid_from <= %(as_of)s
"""  # noqa: S608 - constants of this module

_RETIRE = f"""
    UPDATE performance_baselines AS b
    SET is_active = FALSE, valid_to = %(as_of)s
    FROM {_ROWS}
    WHERE b.baseline_id = r.baseline_id AND r.status = 'UPDATED'
"""  # noqa: S608 - constants of this module

_ADOPT = f"""
    WITH adopted AS (
        INSERT INTO performance_baselines (
            operation_type, valid_from, sample_count, min_microseconds, max_microseconds,
            p50_microseconds, p75_microseconds, p90_microseconds, p95_microseconds, p99_microseconds,
            mean_microseconds, stddev_microseconds, lookback_days, alert_threshold_multiplier, last_updated
        )
        SELECT
            r.operation_type, %(as_of)s, r.sample_count, r.min_us, r.max_us,
            r.p50_us, r.p75_us, r.p90_us, r.p95_us, r.p99_us,
            r.mean_us, r.stddev_us, %(lookback_days)s,
            coalesce(b.alert_threshold_multiplier, default_threshold_multiplier(r.operation_type)), %(as_of)s
        FROM {_ROWS}
        LEFT JOIN performance_baselines AS b ON b.baseline_id = r.baseline_id
        WHERE r.status = 'UPDATED'
        RETURNING baseline_id, operation_type, p99_microseconds, sample_count
    )

    INSERT INTO performance_baseline_history (
        operation_type, old_baseline_id, new_baseline_id, old_p99_microseconds, new_p99_microseconds,
        percent_change, sample_count, lookback_days, calculated_at, reason
    )
    SELECT
        a.operation_type, b.baseline_id, a.baseline_id, b.p99_microseconds, a.p99_microseconds,
        r.percent_change, a.sample_count, %(lookback_days)s, %(as_of)s, %(reason)s
    FROM adopted AS a
    JOIN {_ROWS} ON r.operation_type = a.operation_type
    LEFT JOIN performance_baselines AS b ON b.baseline_id = r.baseline_id
"""  # noqa: S608 - constants of this module

_EXECUTIONS = f"""
    INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status)
    SELECT r.operation_type, %(started_at)s, clock_timestamp(), 'SUCCESS'
    FROM {_ROWS}
"""  # noqa: S608 - constants of this module

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('pggit_analytics baselines ' || current_schema(), 0))"


def lock_baselines(connection: psycopg.Connection, seen_operation_types: Sequence[str]) -> None:
    """Take the lock of every recalculation, in SQL and here, until the transaction ends; register new operations.

    What was registered is committed first, so that other connections see it.
    """
    register_operation_types(connection, seen_operation_types)
    connection.commit()
    connection.execute(_LOCK)


def write_baselines(
    connection: psycopg.Connection,
    recalculations: pl.DataFrame,
    run: RunRecord,
    *,
    lookback_days: int,
    reason: str,
) -> int:
    """Apply the decisions within the caller's transaction; the id of the run's row.

    Args:
        connection: holds `lock_baselines` since before the decisions were made.
        recalculations: `frames.BASELINE_RECALCULATIONS`.
        run: the run itself.
        lookback_days: what the statistics were computed over.
        reason: scheduled, force or manual.
    """
    BASELINE_RECALCULATIONS.check(recalculations)
    arguments = {
        "rows": json.dumps(recalculations.drop("message").to_dicts()),
        "as_of": run.as_of,
        "started_at": run.started_at,
        "lookback_days": lookback_days,
        "reason": reason,
    }
    for statement in (_KEEP, _RETIRE, _ADOPT, _EXECUTIONS):
        connection.execute(statement.encode(), arguments)
    adopted = recalculations.filter(pl.col("status") == "UPDATED").height
    return insert_run(connection, run, "SUCCESS", None, rows_written=adopted)
