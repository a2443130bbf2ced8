-- alert_setting(name): the value of a row of analytics_settings.
-- Never NULL; a name without a row raises 22023.
CREATE OR REPLACE FUNCTION alert_setting(p_name TEXT)
RETURNS TEXT
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_value TEXT;
BEGIN
    SELECT value INTO v_value FROM analytics_settings WHERE name = p_name;
    IF v_value IS NULL THEN
        RAISE EXCEPTION 'analytics_settings has no row %, deploy again to fill it', quote_nullable(p_name)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_value;
END;
$$;

COMMENT ON FUNCTION alert_setting(TEXT) IS 'pggit_analytics: the value of one alerting setting';
REVOKE ALL ON FUNCTION alert_setting(TEXT) FROM PUBLIC;
