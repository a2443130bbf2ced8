-- record_performance_metric: writes one finished operation to performance_metrics and returns its metric_id.
--
-- p_operation_type   1 to 2000 bytes; an operation not known yet is registered (category UNKNOWN)
-- p_duration_ms      at least 0; kept to the microsecond, so less than 0.0005 ms is stored as 0.000
-- p_trace_id         NULL = belongs to no trace
-- p_trace_parent_id  the trace that started this operation; NULL = none. A merge's id is the trace id of its
--                    merge_branches row and the parent id of the rows of its phases
-- p_metadata         NULL = none
-- p_created_at       the instant the operation ended
-- NULL or out of range raises 22023. The caller needs INSERT and SELECT on performance_metrics.
CREATE OR REPLACE FUNCTION record_performance_metric(
    p_operation_type  TEXT,
    p_duration_ms     NUMERIC,
    p_trace_id        TEXT DEFAULT NULL,
    p_trace_parent_id TEXT DEFAULT NULL,
    p_metadata        JSONB DEFAULT NULL,
    p_created_at      TIMESTAMPTZ DEFAULT clock_timestamp()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_metric_id BIGINT;
BEGIN
    IF p_operation_type IS NULL OR octet_length(p_operation_type) NOT BETWEEN 1 AND 2000 THEN
        RAISE EXCEPTION 'p_operation_type is %, expected a name of 1 to 2000 bytes',
            coalesce(quote_literal(left(p_operation_type, 60)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- NaN sorts above every number, so the upper limit refuses it. Half a microsecond more would round out of range.
    IF p_duration_ms IS NULL OR p_duration_ms < 0 OR p_duration_ms >= 99999999999.9995 THEN
        RAISE EXCEPTION 'p_duration_ms is %, expected at least 0 and at most 99999999999.999',
            coalesce(p_duration_ms::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(p_trace_id) > 2000 OR octet_length(p_trace_parent_id) > 2000 THEN
        RAISE EXCEPTION 'a trace id is % bytes long, expected at most 2000',
            greatest(octet_length(p_trace_id), octet_length(p_trace_parent_id))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_created_at IS NULL OR NOT isfinite(p_created_at) THEN
        RAISE EXCEPTION 'p_created_at is %, expected the instant the operation ended',
            coalesce(p_created_at::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO performance_metrics (
        operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id, metadata
    )
    VALUES (p_operation_type, round(p_duration_ms, 3), p_created_at, p_trace_id, p_trace_parent_id, p_metadata)
    RETURNING metric_id INTO v_metric_id;

    RETURN v_metric_id;
END;
$$;

COMMENT ON FUNCTION record_performance_metric(TEXT, NUMERIC, TEXT, TEXT, JSONB, TIMESTAMPTZ)
    IS 'pggit_analytics: writes the timing of one finished operation';
REVOKE ALL ON FUNCTION record_performance_metric(TEXT, NUMERIC, TEXT, TEXT, JSONB, TIMESTAMPTZ) FROM PUBLIC;
