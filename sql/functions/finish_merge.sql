-- requires: end_performance_trace, merge_relationships
-- finish_merge: writes the merge that start_merge started, to merge_relationships and as its merge_branches metric, and
-- returns the metric_id. created_at of the merge is when it started.
--
-- Finishing a merge again, as a client does that lost the answer, writes nothing and returns the same metric_id.
--
-- p_merge_id             what start_merge returned
-- p_status               SUCCESS, CONFLICT (there were conflicts, whoever resolved them) or FAILED
-- p_resolution_strategy  auto, manual or rejected; NULL = undecided
-- p_metadata             a JSON object, added to that of the start; NULL = none
-- Any other value raises 22023. The caller needs INSERT and SELECT on performance_metrics and merge_relationships.
CREATE OR REPLACE FUNCTION finish_merge(
    p_merge_id            TEXT,
    p_status              TEXT DEFAULT 'SUCCESS',
    p_resolution_strategy TEXT DEFAULT NULL,
    p_metadata            JSONB DEFAULT NULL
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_metric_id BIGINT;
    v_metric    performance_metrics%ROWTYPE;
BEGIN
    IF p_status IS NULL OR p_status NOT IN ('SUCCESS', 'CONFLICT', 'FAILED') THEN
        RAISE EXCEPTION 'p_status is %, expected SUCCESS, CONFLICT or FAILED', coalesce(quote_literal(p_status), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_resolution_strategy NOT IN ('auto', 'manual', 'rejected') THEN
        RAISE EXCEPTION 'p_resolution_strategy is %, expected auto, manual, rejected or NULL',
            quote_literal(p_resolution_strategy)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    v_metric_id := end_performance_trace(p_merge_id, p_metadata - ARRAY['branch_from', 'branch_into']);
    SELECT * INTO v_metric FROM performance_metrics AS m WHERE m.metric_id = v_metric_id;
    IF v_metric.operation_type <> 'merge_branches'
        OR v_metric.metadata ->> 'branch_from' IS NULL OR v_metric.metadata ->> 'branch_into' IS NULL
    THEN
        RAISE EXCEPTION 'p_merge_id is %, expected a text that start_merge returned', quote_literal(left(p_merge_id, 60))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO merge_relationships (
        merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms
    )
    VALUES (
        p_merge_id, v_metric.metadata ->> 'branch_from', v_metric.metadata ->> 'branch_into',
        v_metric.created_at - v_metric.duration_ms * INTERVAL '1 millisecond',
        p_resolution_strategy, p_status, v_metric.duration_ms
    )
    ON CONFLICT (merge_id) DO NOTHING;
    RETURN v_metric_id;
END;
$$;

COMMENT ON FUNCTION finish_merge(TEXT, TEXT, TEXT, JSONB) IS 'pggit_analytics: writes a merge that was started';
REVOKE ALL ON FUNCTION finish_merge(TEXT, TEXT, TEXT, JSONB) FROM PUBLIC;
