-- alert_repeat_interval(severity): after how long an open alert of this severity is said again.
-- p_severity: INFO, WARNING or CRITICAL. The value is the setting repeat_interval_<severity>.
-- NULL means never (an empty setting). A setting that is no positive interval raises 22023.
CREATE OR REPLACE FUNCTION alert_repeat_interval(p_severity TEXT)
RETURNS INTERVAL
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_name TEXT := 'repeat_interval_' || lower(p_severity);
    v_value TEXT := alert_setting(v_name);
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
        RAISE EXCEPTION 'the setting % is %, expected a positive interval such as 4 hours, or nothing for never',
            v_name, quote_literal(v_value)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_interval;
END;
$$;

COMMENT ON FUNCTION alert_repeat_interval(TEXT) IS
    'pggit_analytics: after how long an open alert of a severity is said again, NULL = never';
REVOKE ALL ON FUNCTION alert_repeat_interval(TEXT) FROM PUBLIC;
