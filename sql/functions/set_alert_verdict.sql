-- set_alert_verdict(alert, verdict): note whether an alert was right, which keeps it for good and is what thresholds
-- are tuned by. TRUE if that changed anything, FALSE if it was noted before.
-- p_verdict: true_positive, false_positive, or NULL to take an earlier one back. Another value, and an unknown alert,
-- raise 22023.
CREATE OR REPLACE FUNCTION set_alert_verdict(p_alert_id BIGINT, p_verdict TEXT)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM check_alert_id(p_alert_id);
    IF p_verdict NOT IN ('true_positive', 'false_positive') THEN
        RAISE EXCEPTION 'verdict is %, expected true_positive, false_positive or NULL', quote_literal(p_verdict)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE performance_alerts
    SET verdict = p_verdict
    WHERE alert_id = p_alert_id AND verdict IS DISTINCT FROM p_verdict;
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION set_alert_verdict(BIGINT, TEXT) IS 'pggit_analytics: note whether an alert was right';
REVOKE ALL ON FUNCTION set_alert_verdict(BIGINT, TEXT) FROM PUBLIC;
