-- check_argument: raises 22023, naming the value and the allowed range, unless p_low <= p_value <= p_high.
-- With p_low_excluded the lower limit itself is refused. A NULL or NaN value raises.
CREATE OR REPLACE FUNCTION check_argument(
    p_name         TEXT,
    p_value        NUMERIC,
    p_low          NUMERIC,
    p_high         NUMERIC,
    p_low_excluded BOOLEAN DEFAULT FALSE
)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    -- NaN sorts above every number, so the upper limit refuses it.
    IF p_value IS NULL OR p_value < p_low OR p_value > p_high OR (p_low_excluded AND p_value = p_low) THEN
        RAISE EXCEPTION '% is %, expected % % and at most %',
            p_name, coalesce(p_value::TEXT, 'NULL'),
            CASE WHEN p_low_excluded THEN 'more than' ELSE 'at least' END, p_low, p_high
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_argument(TEXT, NUMERIC, NUMERIC, NUMERIC, BOOLEAN)
    IS 'pggit_analytics: raises unless a number is within its range';
REVOKE ALL ON FUNCTION check_argument(TEXT, NUMERIC, NUMERIC, NUMERIC, BOOLEAN) FROM PUBLIC;
