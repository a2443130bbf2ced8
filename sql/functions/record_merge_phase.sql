-- requires: record_performance_metric
-- record_merge_phase: writes a finished phase of a merge that was timed by the caller; returns its metric_id.
-- The dashboards know the phases merge_base_find, merge_conflict_detect and merge_auto_resolve.
--
-- p_merge_id     the merge: what start_merge returned, or the trace id of its merge_branches metric
-- p_phase        1 to 2000 bytes; an operation not known yet is registered
-- p_duration_ms  at least 0; kept to the microsecond
-- p_metadata     a JSON object; NULL = none
-- p_created_at   the instant the phase ended
-- NULL (but p_metadata) or out of range raises 22023. The caller needs INSERT and SELECT on performance_metrics.
CREATE OR REPLACE FUNCTION record_merge_phase(
    p_merge_id    TEXT,
    p_phase       TEXT,
    p_duration_ms NUMERIC,
    p_metadata    JSONB DEFAULT NULL,
    p_created_at  TIMESTAMPTZ DEFAULT clock_timestamp()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF coalesce(p_merge_id, '') = '' THEN
        RAISE EXCEPTION 'p_merge_id is %, expected the id of a merge', coalesce(quote_literal(p_merge_id), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN record_performance_metric(
        p_operation_type  => p_phase,
        p_duration_ms     => p_duration_ms,
        p_trace_parent_id => p_merge_id,
        p_metadata        => p_metadata,
        p_created_at      => p_created_at
    );
END;
$$;

COMMENT ON FUNCTION record_merge_phase(TEXT, TEXT, NUMERIC, JSONB, TIMESTAMPTZ)
    IS 'pggit_analytics: writes the timing of one phase of a merge';
REVOKE ALL ON FUNCTION record_merge_phase(TEXT, TEXT, NUMERIC, JSONB, TIMESTAMPTZ) FROM PUBLIC;
