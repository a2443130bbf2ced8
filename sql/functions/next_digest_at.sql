-- next_digest_at(after): the first instant after p_after at which a digest is sent: every day at the setting
-- digest_time, in UTC. A setting that is no time of day, and a NULL or infinite argument, raise 22023.
CREATE OR REPLACE FUNCTION next_digest_at(p_after TIMESTAMPTZ)
RETURNS TIMESTAMPTZ
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_setting CONSTANT TEXT := btrim(alert_setting('digest_time'));
    v_digest  TIMESTAMPTZ;
BEGIN
    PERFORM check_as_of(p_after);
    IF v_setting !~ '^([01]?[0-9]|2[0-3]):[0-5][0-9]$' THEN
        RAISE EXCEPTION 'the setting digest_time is %, expected a time of day in UTC such as 08:00',
            quote_literal(v_setting)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_digest := ((p_after AT TIME ZONE 'UTC')::DATE + v_setting::TIME) AT TIME ZONE 'UTC';
    RETURN CASE WHEN v_digest > p_after THEN v_digest ELSE v_digest + INTERVAL '24 hours' END;
END;
$$;

COMMENT ON FUNCTION next_digest_at(TIMESTAMPTZ) IS 'pggit_analytics: when the next digest after an instant is sent';
REVOKE ALL ON FUNCTION next_digest_at(TIMESTAMPTZ) FROM PUBLIC;
