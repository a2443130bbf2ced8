-- p99_between: how many timings of an operation lie in [p_first, p_last] and their p99 in microseconds, interpolated
-- linearly at position 0.99 (n - 1) of the sorted values, as percentile_cont does. p99 is NULL without rows.
--
-- Only the slowest hundredth of the rows is sorted; percentile_cont would sort and convert them all.
CREATE OR REPLACE FUNCTION p99_between(p_operation_type TEXT, p_first TIMESTAMPTZ, p_last TIMESTAMPTZ)
RETURNS TABLE (row_count BIGINT, p99 FLOAT8)
LANGUAGE plpgsql
STABLE
ROWS 1
SET search_path FROM CURRENT
AS $$
DECLARE
    v_position FLOAT8;
    v_lower    BIGINT;
    v_slowest  BIGINT[];
BEGIN
    SELECT count(*) INTO row_count
    FROM performance_metrics AS m
    WHERE m.operation_type = p_operation_type
      AND m.created_at BETWEEN p_first AND p_last;

    v_position := 0.99::FLOAT8 * (row_count - 1);
    v_lower := floor(v_position);

    -- the value above the position, then the one below it; the last one alone when the position is the last
    v_slowest := ARRAY(
        SELECT (m.duration_ms * 1000)::BIGINT
        FROM performance_metrics AS m
        WHERE m.operation_type = p_operation_type
          AND m.created_at BETWEEN p_first AND p_last
        ORDER BY m.duration_ms DESC
        OFFSET greatest(row_count - 2 - v_lower, 0)
        LIMIT least(row_count - v_lower, 2)
    );
    p99 := v_slowest[array_upper(v_slowest, 1)]::FLOAT8;
    p99 := p99 + (v_slowest[1]::FLOAT8 - p99) * (v_position - v_lower);
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION p99_between(TEXT, TIMESTAMPTZ, TIMESTAMPTZ)
    IS 'pggit_analytics: number and p99 of an operation''s timings in a range';
REVOKE ALL ON FUNCTION p99_between(TEXT, TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
