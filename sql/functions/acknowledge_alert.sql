-- acknowledge_alert(alert, by): somebody has taken note of an alert, which is then not said again at intervals.
-- TRUE if this call did it, FALSE if it was acknowledged before: who came first stays.
-- p_by: who. An unknown alert, and no name, raise 22023.
CREATE OR REPLACE FUNCTION acknowledge_alert(p_alert_id BIGINT, p_by TEXT)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM check_alert_id(p_alert_id);
    PERFORM check_person(p_by);
    UPDATE performance_alerts
    SET acknowledged_by = p_by,
        acknowledged_at = clock_timestamp()
    WHERE alert_id = p_alert_id AND acknowledged_at IS NULL;
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION acknowledge_alert(BIGINT, TEXT) IS 'pggit_analytics: somebody has taken note of an alert';
REVOKE ALL ON FUNCTION acknowledge_alert(BIGINT, TEXT) FROM PUBLIC;
