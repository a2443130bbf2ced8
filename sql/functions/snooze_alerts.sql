-- snooze_alerts(until, operation, type, reason, by): say nothing about such alerts until p_until; the snooze_id.
-- NULL operation or type means all of them. What is still open then is said again; resolutions are said meanwhile.
-- p_until: after now and finite. p_reason may be NULL. p_by: who. An unknown operation or type, a moment that is not in
-- the future, and no name raise 22023.
CREATE OR REPLACE FUNCTION snooze_alerts(
    p_until          TIMESTAMPTZ,
    p_operation_type TEXT DEFAULT NULL,
    p_alert_type     TEXT DEFAULT NULL,
    p_reason         TEXT DEFAULT NULL,
    p_by             TEXT DEFAULT CURRENT_USER
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_snooze_id BIGINT;
BEGIN
    PERFORM check_silence(p_operation_type, p_alert_type, p_by);
    IF p_until IS NULL OR NOT isfinite(p_until) OR p_until <= clock_timestamp() THEN
        RAISE EXCEPTION 'until is %, expected a finite instant after now', coalesce(p_until::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO alert_snooze (operation_type, alert_type, snooze_until, reason, created_by)
    VALUES (p_operation_type, p_alert_type, p_until, p_reason, p_by)
    RETURNING snooze_id INTO v_snooze_id;
    RETURN v_snooze_id;
END;
$$;

COMMENT ON FUNCTION snooze_alerts(TIMESTAMPTZ, TEXT, TEXT, TEXT, TEXT) IS
    'pggit_analytics: say nothing about some alerts until an instant';
REVOKE ALL ON FUNCTION snooze_alerts(TIMESTAMPTZ, TEXT, TEXT, TEXT, TEXT) FROM PUBLIC;
