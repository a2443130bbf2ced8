-- requires: analysis_time, correlated_operation_pairs
-- detect_correlated_degradation: the pairs of operations that slow down together in the last p_lookback_hours, the
-- bottleneck they likely share and what to do about it. How it is computed: correlated_operation_pairs.
CREATE OR REPLACE FUNCTION detect_correlated_degradation(
    p_lookback_hours        INTEGER DEFAULT 24,
    p_correlation_threshold NUMERIC DEFAULT 0.75,
    p_as_of                 TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    operation_type_1        TEXT,
    operation_type_2        TEXT,
    correlation_coefficient NUMERIC,
    shared_bottleneck       TEXT,
    confidence              NUMERIC,
    recommendation          TEXT,
    detected_at             TIMESTAMPTZ
)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT
        p.operation_type_1,
        p.operation_type_2,
        p.correlation_coefficient,
        p.shared_bottleneck,
        p.confidence,
        p.recommendation,
        p.detected_at
    FROM correlated_operation_pairs(p_lookback_hours, p_correlation_threshold, p_as_of) AS p
    ORDER BY
        p.correlation_coefficient DESC,
        p.operation_type_1 COLLATE "C",
        p.operation_type_2 COLLATE "C";
$$;

COMMENT ON FUNCTION detect_correlated_degradation(INTEGER, NUMERIC, TIMESTAMPTZ)
    IS 'pggit_analytics: pairs of operations that slow down together';
REVOKE ALL ON FUNCTION detect_correlated_degradation(INTEGER, NUMERIC, TIMESTAMPTZ) FROM PUBLIC;
