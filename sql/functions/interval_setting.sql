-- interval_setting(name): a setting that is a length of time.
-- NULL when the setting is empty. One that is no positive interval, and an unknown name, raise 22023.
CREATE OR REPLACE FUNCTION interval_setting(p_name TEXT)
RETURNS INTERVAL
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_value    CONSTANT TEXT := alert_setting(p_name);
    v_interval INTERVAL;
BEGIN
    IF btrim(v_value) = '' THEN
        RETURN NULL;
    END IF;
    BEGIN
        v_interval := v_value::INTERVAL;
    EXCEPTION
        WHEN data_exception THEN
            v_interval := NULL;
    END;
    IF v_interval IS NULL OR v_interval <= INTERVAL '0' THEN
        RAISE EXCEPTION 'the setting % is %, expected a positive interval such as 4 hours, or nothing for none',
            p_name, quote_literal(v_value)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_interval;
END;
$$;

COMMENT ON FUNCTION interval_setting(TEXT) IS 'pggit_analytics: a setting that is a length of time';
REVOKE ALL ON FUNCTION interval_setting(TEXT) FROM PUBLIC;
