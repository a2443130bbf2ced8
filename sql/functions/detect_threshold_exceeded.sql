-- requires: analysis_time
-- detect_threshold_exceeded: whether an operation took longer, at least once in the last p_lookback_hours, than the
-- p99 of its baseline times the baseline's alert_threshold_multiplier; no row where it did not or has no baseline.
--
-- One row: the slowest such metric (the first of equals), the threshold and how many exceeded it.
-- severity: CRITICAL from twice the threshold and for every rollback_ operation, else WARNING.
CREATE OR REPLACE FUNCTION detect_threshold_exceeded(
    p_operation_type TEXT,
    p_lookback_hours INTEGER DEFAULT 24,
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    operation_type  TEXT,
    metric_id       BIGINT,
    duration_ms     NUMERIC,
    baseline_p99_ms NUMERIC,
    threshold_ms    NUMERIC,
    exceeded_count  BIGINT,
    severity        TEXT,
    detected_at     TIMESTAMPTZ
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_p99_ms       NUMERIC;
    v_threshold_ms NUMERIC;
BEGIN
    PERFORM check_operation_type(p_operation_type);
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_as_of(p_as_of);

    SELECT b.p99_microseconds * 0.001, b.p99_microseconds * 0.001 * b.alert_threshold_multiplier
    INTO v_p99_ms, v_threshold_ms
    FROM baseline_at(p_operation_type, p_as_of) AS b;

    RETURN QUERY
    SELECT
        p_operation_type,
        m.metric_id,
        m.duration_ms,
        v_p99_ms,
        v_threshold_ms,
        count(*) OVER (),
        CASE
            WHEN m.duration_ms >= 2 * v_threshold_ms OR starts_with(p_operation_type, 'rollback_') THEN 'CRITICAL'
            ELSE 'WARNING'
        END,
        p_as_of
    FROM performance_metrics AS m
    WHERE m.operation_type = p_operation_type
      AND m.created_at BETWEEN p_as_of - make_interval(hours => p_lookback_hours) AND p_as_of
      AND m.duration_ms > v_threshold_ms
    ORDER BY m.duration_ms DESC, m.metric_id
    LIMIT 1;
END;
$$;

COMMENT ON FUNCTION detect_threshold_exceeded(TEXT, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: an operation far over the p99 of its baseline';
REVOKE ALL ON FUNCTION detect_threshold_exceeded(TEXT, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
