-- operation_facts(operation, from, as_of): what is normal for an operation, and what it does now, as a JSON object:
--   {"baseline": {"p50_ms", "p99_ms", "n"}, "now": {"p50_ms", "p99_ms", "n"}}
-- baseline is the one valid at p_as_of, absent without one; its p50_ms is absent where it was not recorded.
-- now is of the timings in [p_from, p_as_of], absent where performance_metrics has none. Percentiles are interpolated
-- linearly and rounded to whole microseconds; n counts timings. Never NULL; a NULL argument gives {}.
CREATE OR REPLACE FUNCTION operation_facts(p_operation_type TEXT, p_from TIMESTAMPTZ, p_as_of TIMESTAMPTZ)
RETURNS JSONB
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_baseline    JSONB;
    v_now         JSONB;
    v_percentiles FLOAT8[];
    v_count       BIGINT;
BEGIN
    SELECT jsonb_build_object(
        'p50_ms', trim_scale(b.p50_microseconds * 0.001),
        'p99_ms', trim_scale(b.p99_microseconds * 0.001),
        'n', b.sample_count)
    INTO v_baseline
    FROM baseline_at(p_operation_type, p_as_of) AS b;

    SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY (m.duration_ms * 1000)::FLOAT8), count(*)
    INTO v_percentiles, v_count
    FROM performance_metrics AS m
    WHERE m.operation_type = p_operation_type
      AND m.created_at BETWEEN p_from AND p_as_of;
    IF v_count > 0 THEN
        v_now := jsonb_build_object(
            'p50_ms', trim_scale(round(v_percentiles[1]::NUMERIC) * 0.001),
            'p99_ms', trim_scale(round(v_percentiles[2]::NUMERIC) * 0.001),
            'n', v_count);
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object('baseline', v_baseline, 'now', v_now));
END;
$$;

COMMENT ON FUNCTION operation_facts(TEXT, TIMESTAMPTZ, TIMESTAMPTZ) IS
    'pggit_analytics: what is normal for an operation and what it does now';
REVOKE ALL ON FUNCTION operation_facts(TEXT, TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
