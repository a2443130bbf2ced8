-- requires: analysis_time, performance_metrics
-- v_merge_phase_timeline: how long each phase of merging took over the last 24 hours; one row a UTC minute and phase,
-- the latest minute first, then by phase.
--
-- p99_phase_ms: linear interpolation over all metrics of the phase that ended in that minute, however many merges
-- they belong to; sample_count is their number.
CREATE OR REPLACE VIEW v_merge_phase_timeline AS
SELECT
    w.time_window,
    f.phase,
    w.p99_us / 1000 AS p99_phase_ms,
    w.sample_count
FROM (VALUES ('merge_auto_resolve'), ('merge_base_find'), ('merge_conflict_detect')) AS f (phase)
-- One range of the index on (operation_type, created_at) each.
CROSS JOIN LATERAL (
    SELECT
        date_bin('1 minute', m.created_at, TIMESTAMPTZ '2000-01-01 00:00+00') AS time_window,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY (m.duration_ms * 1000)::BIGINT::FLOAT8) AS p99_us,
        count(*) AS sample_count
    FROM performance_metrics AS m
    WHERE m.operation_type = f.phase
      AND m.created_at >= (SELECT analysis_time()) - INTERVAL '24 hours'
      AND m.created_at <= (SELECT analysis_time())
    GROUP BY 1
) AS w
-- first and once, so that a moment without a zone is refused by an empty table as well
WHERE (SELECT analysis_time()) IS NOT NULL
ORDER BY w.time_window DESC, f.phase COLLATE "C";

COMMENT ON VIEW v_merge_phase_timeline IS
    'pggit_analytics: the p99 of each phase of merging, by minute of the last 24 hours';
