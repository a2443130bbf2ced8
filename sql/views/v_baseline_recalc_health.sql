-- requires: analysis_time, performance_baselines
-- v_baseline_recalc_health: how fresh the baseline in force of each operation is; one row an operation that has one.
--
-- In force at analysis_time(): valid then, and either active or replaced since. The one that began last is meant.
-- Its last update is last_updated, or, when that moved after analysis_time(), the moment it became valid.
-- freshness: CURRENT within 24 hours, STALE within 7 days (of 24 hours), else VERY_STALE; UNKNOWN, and hours NULL,
-- where no update is known.
CREATE OR REPLACE VIEW v_baseline_recalc_health AS
SELECT
    b.operation_type,
    b.is_active,
    CASE
        WHEN b.hours IS NULL THEN 'UNKNOWN'
        WHEN b.hours < 24 THEN 'CURRENT'
        WHEN b.hours < 168 THEN 'STALE'
        ELSE 'VERY_STALE'
    END AS freshness,
    round(b.hours, 1) AS hours_since_update,
    b.sample_count,
    b.p99_microseconds * 0.001 AS p99_ms,
    b.created_at
FROM (
    SELECT DISTINCT ON (l.operation_type COLLATE "C")
        l.operation_type,
        l.is_active,
        l.sample_count,
        l.p99_microseconds,
        l.created_at,
        extract(EPOCH FROM (SELECT analysis_time()) - CASE
            WHEN NOT isfinite(l.last_updated) THEN NULL
            WHEN l.last_updated <= (SELECT analysis_time()) THEN l.last_updated
            WHEN isfinite(l.valid_from) THEN l.valid_from
        END) / 3600 AS hours
    FROM performance_baselines AS l
    -- first and once, so that a moment without a zone is refused by an empty table as well
    WHERE (SELECT analysis_time()) IS NOT NULL
      AND l.valid_from <= (SELECT analysis_time())
      -- The upper bound tells the planner that few baselines are replaced later than now.
      AND (
          (l.valid_to IS NULL AND l.is_active)
          OR (l.valid_to > (SELECT analysis_time()) AND l.valid_to <= 'infinity')
      )
    ORDER BY l.operation_type COLLATE "C", l.valid_from DESC, l.baseline_id DESC
) AS b
ORDER BY b.operation_type COLLATE "C";

COMMENT ON VIEW v_baseline_recalc_health IS 'pggit_analytics: how fresh the baseline of each operation is';
