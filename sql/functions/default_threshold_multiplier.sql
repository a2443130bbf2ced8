-- default_threshold_multiplier: how many times its baseline p99 an operation may take before it alerts, when nobody
-- has set it: 2.5 for the fast writes (typically 5 ms or less), else 2.0. Also 2.0 for an unknown operation.
CREATE OR REPLACE FUNCTION default_threshold_multiplier(p_operation_type TEXT)
RETURNS NUMERIC
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (
        SELECT
        FROM performance_operation_types AS t
        WHERE t.operation_type = p_operation_type AND t.category = 'WRITE' AND t.typical_duration_ms <= 5
    ) THEN
        RETURN 2.5;
    END IF;
    RETURN 2.0;
END;
$$;

COMMENT ON FUNCTION default_threshold_multiplier(TEXT)
    IS 'pggit_analytics: the alert threshold of an operation for which nobody has set one';
REVOKE ALL ON FUNCTION default_threshold_multiplier(TEXT) FROM PUBLIC;
