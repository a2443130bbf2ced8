-- requires: analysis_time, merge_relationships, performance_metrics
-- v_merge_bottleneck_analysis: where the time of each merge of the last 24 hours went; one row a merge.
--
-- A phase is the longest of the merge's metrics of that phase (distributed_trace_parent_id = merge_id), NULL in its
-- column and percentage where it did not happen. total_merge_ms is the merge's merge_branches metric
-- (distributed_trace_id = merge_id), else what merge_relationships says, NULL where neither is known.
-- primary_bottleneck: the longest phase (a phase that did not happen counts 0); UNKNOWN on a tie.
-- Percentages are of the total, NULL without one or when it is 0. sla_status: OK up to 99 ms, DEGRADED up to 150 ms,
-- else CRITICAL; UNKNOWN without a total.
-- Order: the longest merges first, those without a total last, then merge_id.
CREATE OR REPLACE VIEW v_merge_bottleneck_analysis AS
SELECT
    m.merge_id,
    m.branch_from,
    m.branch_into,
    m.created_at AS merge_start,
    p.lca_find_ms,
    p.conflict_detect_ms,
    p.auto_resolve_ms,
    p.total_merge_ms,
    CASE
        WHEN c.lca > greatest(c.detect, c.resolve) THEN 'LCA_FINDING'
        WHEN c.detect > greatest(c.lca, c.resolve) THEN 'CONFLICT_DETECTION'
        WHEN c.resolve > greatest(c.lca, c.detect) THEN 'CONFLICT_RESOLUTION'
        ELSE 'UNKNOWN'
    END AS primary_bottleneck,
    -- div() is exact: the quotient in tenths of a percent, halves up
    div(2000 * p.lca_find_ms + p.total_merge_ms, nullif(2 * p.total_merge_ms, 0)) * 0.1 AS lca_percent,
    div(2000 * p.conflict_detect_ms + p.total_merge_ms, nullif(2 * p.total_merge_ms, 0)) * 0.1
        AS conflict_detect_percent,
    div(2000 * p.auto_resolve_ms + p.total_merge_ms, nullif(2 * p.total_merge_ms, 0)) * 0.1 AS resolution_percent,
    CASE
        WHEN p.total_merge_ms <= 99 THEN 'OK'
        WHEN p.total_merge_ms <= 150 THEN 'DEGRADED'
        WHEN p.total_merge_ms > 150 THEN 'CRITICAL'
        ELSE 'UNKNOWN'
    END AS sla_status
FROM merge_relationships AS m
-- An aggregate per merge: it can only be read through performance_metrics_merge_idx, whose expression and condition
-- are repeated here, never by joining the whole table. The moment is no condition of the reading, lest it be combined
-- with an index on created_at, which holds all the table.
CROSS JOIN LATERAL (
    SELECT
        max(s.duration_ms) FILTER (WHERE s.operation_type = 'merge_base_find' AND s.is_known) AS lca_find_ms,
        max(s.duration_ms) FILTER (WHERE s.operation_type = 'merge_conflict_detect' AND s.is_known)
            AS conflict_detect_ms,
        max(s.duration_ms) FILTER (WHERE s.operation_type = 'merge_auto_resolve' AND s.is_known) AS auto_resolve_ms,
        coalesce(
            max(s.duration_ms) FILTER (WHERE s.operation_type = 'merge_branches' AND s.is_known), m.duration_ms
        ) AS total_merge_ms
    FROM (
        SELECT r.operation_type, r.duration_ms, r.created_at <= (SELECT analysis_time()) AS is_known
        FROM performance_metrics AS r
        WHERE r.operation_type IN (
                'merge_base_find', 'merge_conflict_detect', 'merge_auto_resolve', 'merge_branches')
          AND (CASE
              WHEN r.operation_type = 'merge_branches' THEN r.distributed_trace_id
              ELSE r.distributed_trace_parent_id
          END) COLLATE "C" = m.merge_id
    ) AS s
) AS p
CROSS JOIN LATERAL (
    SELECT
        coalesce(p.lca_find_ms, 0) AS lca,
        coalesce(p.conflict_detect_ms, 0) AS detect,
        coalesce(p.auto_resolve_ms, 0) AS resolve
) AS c
-- first and once, so that a moment without a zone is refused by an empty table as well
WHERE (SELECT analysis_time()) IS NOT NULL
  AND m.created_at >= (SELECT analysis_time()) - INTERVAL '24 hours'
  AND m.created_at <= (SELECT analysis_time())
ORDER BY p.total_merge_ms DESC NULLS LAST, m.merge_id COLLATE "C";

COMMENT ON VIEW v_merge_bottleneck_analysis IS
    'pggit_analytics: where the time of each merge of the last 24 hours went';
