-- check_as_of: raises 22023 unless p_as_of is a finite instant. NULL raises.
CREATE OR REPLACE FUNCTION check_as_of(p_as_of TIMESTAMPTZ)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_as_of IS NULL OR NOT isfinite(p_as_of) THEN
        RAISE EXCEPTION 'p_as_of is %, expected a finite instant', coalesce(p_as_of::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_as_of(TIMESTAMPTZ) IS 'pggit_analytics: raises unless an instant is finite';
REVOKE ALL ON FUNCTION check_as_of(TIMESTAMPTZ) FROM PUBLIC;
