-- check_person(name): raises 22023 unless it names somebody: not NULL, not blank.
CREATE OR REPLACE FUNCTION check_person(p_name TEXT)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_name IS NULL OR btrim(p_name) = '' THEN
        RAISE EXCEPTION 'p_by is %, expected the name of whoever does this', quote_nullable(p_name)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_person(TEXT) IS 'pggit_analytics: raises unless a text names somebody';
REVOKE ALL ON FUNCTION check_person(TEXT) FROM PUBLIC;
