-- requires: analysis_time, merge_relationships
-- v_merge_conflict_hotspots: the pairs of branches whose merges conflicted in the last 30 days (of 24 hours); one row
-- a pair with at least one conflict.
--
-- merge_attempts counts every merge of the pair. Average, maximum and p99 (linear interpolation) are of its
-- conflicting merges whose duration is known, NULL where there is none.
-- Order: the highest conflict rate (as shown, one decimal) first, then the most attempts, then the names.
CREATE OR REPLACE VIEW v_merge_conflict_hotspots AS
SELECT
    h.branch_from,
    h.branch_into,
    h.merge_attempts,
    h.conflict_count,
    h.conflict_rate_percent,
    d.avg_ms AS avg_conflict_resolve_ms,
    d.max_ms AS max_conflict_resolve_ms,
    d.p99_us / 1000 AS p99_conflict_resolve_ms
FROM (
    SELECT
        g.branch_from,
        g.branch_into,
        g.merge_attempts,
        cardinality(g.durations_ms)::BIGINT AS conflict_count,
        round(100.0 * cardinality(g.durations_ms) / g.merge_attempts, 1) AS conflict_rate_percent,
        g.durations_ms
    FROM (
        SELECT
            m.branch_from,
            m.branch_into,
            count(*) AS merge_attempts,
            -- NULL for a duration that is not known, and no array at all without a conflict
            array_agg(m.duration_ms) FILTER (WHERE m.status = 'CONFLICT') AS durations_ms
        FROM merge_relationships AS m
        -- first and once, so that a moment without a zone is refused by an empty table as well
        WHERE (SELECT analysis_time()) IS NOT NULL
          AND m.created_at >= (SELECT analysis_time()) - INTERVAL '720 hours'
          AND m.created_at <= (SELECT analysis_time())
        GROUP BY m.branch_from, m.branch_into
    ) AS g
    WHERE g.durations_ms IS NOT NULL
) AS h
-- Apart from the grouping: percentile_cont inside it would have all merges sorted by the names of their branches.
CROSS JOIN LATERAL (
    SELECT
        avg(v.duration_ms) AS avg_ms,
        max(v.duration_ms) AS max_ms,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY (v.duration_ms * 1000)::BIGINT::FLOAT8) AS p99_us
    FROM unnest(h.durations_ms) AS v (duration_ms)
) AS d
ORDER BY h.conflict_rate_percent DESC, h.merge_attempts DESC, h.branch_from COLLATE "C", h.branch_into COLLATE "C";

COMMENT ON VIEW v_merge_conflict_hotspots IS
    'pggit_analytics: the pairs of branches whose merges conflicted in the last 30 days';
