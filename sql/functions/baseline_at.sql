-- requires: performance_baselines
-- baseline_at: the baseline of an operation that is valid at an instant; no row where there is none.
-- With overlapping periods the one that began last is meant.
CREATE OR REPLACE FUNCTION baseline_at(p_operation_type TEXT, p_as_of TIMESTAMPTZ)
RETURNS SETOF performance_baselines
LANGUAGE sql
STABLE
ROWS 1
SET search_path FROM CURRENT
AS $$
    SELECT b.*
    FROM performance_baselines AS b
    WHERE b.operation_type = p_operation_type
      AND b.valid_from <= p_as_of
      AND (b.valid_to IS NULL OR b.valid_to > p_as_of)
    ORDER BY b.valid_from DESC, b.baseline_id DESC
    LIMIT 1;
$$;

COMMENT ON FUNCTION baseline_at(TEXT, TIMESTAMPTZ) IS 'pggit_analytics: the baseline valid at an instant';
REVOKE ALL ON FUNCTION baseline_at(TEXT, TIMESTAMPTZ) FROM PUBLIC;
