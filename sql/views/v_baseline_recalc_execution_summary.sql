-- requires: analysis_time, baseline_recalc_execution
-- v_baseline_recalc_execution_summary: how the recalculations of the last 90 days (of 24 hours) went; one row a UTC
-- date with recalculations, the latest first.
--
-- total_operations_updated counts the operations that were tried. One that ended only after analysis_time() was still
-- running then: it counts as such and has no duration. success_rate_percent is of all that were tried, one decimal;
-- durations are in seconds of those that had ended, two decimals, NULL where none had. Rounded half up.
CREATE OR REPLACE VIEW v_baseline_recalc_execution_summary AS
SELECT
    d.execution_day,
    d.total_operations_updated,
    d.successful,
    d.timeouts,
    d.errors,
    round(100.0 * d.successful / d.total_operations_updated, 1) AS success_rate_percent,
    round(extract(EPOCH FROM d.duration) / nullif(d.ended, 0), 2) AS avg_duration_sec,
    round(extract(EPOCH FROM d.longest), 2) AS max_duration_sec,
    d.running
FROM (
    SELECT
        (e.execution_start AT TIME ZONE 'UTC')::DATE AS execution_day,
        count(*) AS total_operations_updated,
        count(*) FILTER (WHERE e.status = 'SUCCESS') AS successful,
        count(*) FILTER (WHERE e.status = 'TIMEOUT') AS timeouts,
        count(*) FILTER (WHERE e.status = 'ERROR') AS errors,
        count(*) FILTER (WHERE e.status = 'RUNNING') AS running,
        count(e.duration) AS ended,
        sum(e.duration) AS duration,
        max(e.duration) AS longest
    FROM (
        SELECT
            r.execution_start,
            CASE WHEN r.execution_end > (SELECT analysis_time()) THEN 'RUNNING' ELSE r.status END AS status,
            CASE WHEN r.execution_end <= (SELECT analysis_time()) THEN r.execution_end - r.execution_start END
                AS duration
        FROM baseline_recalc_execution AS r
        -- first and once, so that a moment without a zone is refused by an empty table as well
        WHERE (SELECT analysis_time()) IS NOT NULL
          AND r.execution_start >= (SELECT analysis_time()) - INTERVAL '2160 hours'
          AND r.execution_start <= (SELECT analysis_time())
    ) AS e
    GROUP BY 1
) AS d
ORDER BY d.execution_day DESC;

COMMENT ON VIEW v_baseline_recalc_execution_summary IS
    'pggit_analytics: how the recalculations of baselines went, by day';
