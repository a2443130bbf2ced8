-- analysis_time(): the instant the analysis looks back from.
-- The setting pggit.as_of when it is set and not '', else now(). Never NULL.
-- A value without a time zone raises 22023: it would mean another instant in another session.
CREATE OR REPLACE FUNCTION analysis_time()
RETURNS TIMESTAMPTZ
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
SET datestyle TO ISO
AS $$
DECLARE
    v_setting TEXT := current_setting('pggit.as_of', TRUE);
BEGIN
    IF coalesce(v_setting, '') = '' THEN
        RETURN now();
    END IF;

    -- date, time and then a zone: Z, an offset or a name
    IF v_setting !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?\s?(Z|[+-]\d\d(:?\d\d)?|(?!AM|PM|AD|BC)[A-Za-z]+(/[A-Za-z_]+)*)$' THEN
        RAISE EXCEPTION 'pggit.as_of is %, expected a date, time and time zone such as 2026-01-31 12:00:00+00',
            quote_literal(v_setting)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_setting::TIMESTAMPTZ;
END;
$$;

COMMENT ON FUNCTION analysis_time() IS 'pggit_analytics: the instant the analysis looks back from';
REVOKE ALL ON FUNCTION analysis_time() FROM PUBLIC;
