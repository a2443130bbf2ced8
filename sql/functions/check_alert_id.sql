-- check_alert_id: raises 22023 unless there is such an alert. NULL raises.
CREATE OR REPLACE FUNCTION check_alert_id(p_alert_id BIGINT)
RETURNS VOID
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM performance_alerts AS a WHERE a.alert_id = p_alert_id) THEN
        RAISE EXCEPTION 'alert is %, expected an alert_id of performance_alerts', coalesce(p_alert_id::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_alert_id(BIGINT) IS 'pggit_analytics: raises unless there is such an alert';
REVOKE ALL ON FUNCTION check_alert_id(BIGINT) FROM PUBLIC;
