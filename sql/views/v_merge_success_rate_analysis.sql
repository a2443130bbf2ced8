-- requires: analysis_time, merge_relationships
-- v_merge_success_rate_analysis: how the merges of the last 7 days (of 24 hours) were resolved; one row a UTC hour
-- with merges, the latest first.
--
-- total_attempts counts every merge; undecided those without a resolution strategy. Percentages are of all attempts.
-- avg_merge_ms and p99_merge_ms look at merges whose duration is known, NULL where there is none; the p99
-- interpolates linearly. All are rounded to one decimal, halves up.
CREATE OR REPLACE VIEW v_merge_success_rate_analysis AS
SELECT
    h.hour,
    h.total_attempts,
    h.auto_resolved,
    h.manual_resolved,
    h.rejected,
    round(100.0 * h.auto_resolved / h.total_attempts, 1) AS auto_resolve_percent,
    round(100.0 * h.manual_resolved / h.total_attempts, 1) AS manual_resolve_percent,
    round(100.0 * h.rejected / h.total_attempts, 1) AS rejection_rate_percent,
    round(h.avg_ms, 1) AS avg_merge_ms,
    -- microseconds to tenths of milliseconds in whole numbers, so that every engine rounds alike
    (floor(h.p99_us + 50)::BIGINT / 100) * 0.1 AS p99_merge_ms,
    h.undecided
FROM (
    SELECT
        date_bin('1 hour', m.created_at, TIMESTAMPTZ '2000-01-01 00:00+00') AS hour,
        count(*) AS total_attempts,
        count(*) FILTER (WHERE m.resolution_strategy = 'auto') AS auto_resolved,
        count(*) FILTER (WHERE m.resolution_strategy = 'manual') AS manual_resolved,
        count(*) FILTER (WHERE m.resolution_strategy = 'rejected') AS rejected,
        count(*) FILTER (WHERE m.resolution_strategy IS NULL) AS undecided,
        avg(m.duration_ms) AS avg_ms,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY (m.duration_ms * 1000)::BIGINT::FLOAT8) AS p99_us
    FROM merge_relationships AS m
    -- first and once, so that a moment without a zone is refused by an empty table as well
    WHERE (SELECT analysis_time()) IS NOT NULL
      AND m.created_at >= (SELECT analysis_time()) - INTERVAL '168 hours'
      AND m.created_at <= (SELECT analysis_time())
    GROUP BY 1
) AS h
ORDER BY h.hour DESC;

COMMENT ON VIEW v_merge_success_rate_analysis IS
    'pggit_analytics: how the merges of the last 7 days were resolved, by hour';
