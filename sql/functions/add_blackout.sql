-- add_blackout(...): put off what is to be said about such alerts during a window that comes back; the blackout_id.
-- p_start_time: UTC, of each day or (p_days_of_week: 1 Monday to 7 Sunday, NULL = all) some days. p_duration: more than
-- 0 and at most 24 hours. NULL operation, type or webhook means all of them. p_spare_critical: CRITICAL alerts are told
-- all the same. p_reason may be NULL. p_by: who. Anything unknown or out of range raises 22023.
CREATE OR REPLACE FUNCTION add_blackout(
    p_start_time     TIME,
    p_duration       INTERVAL,
    p_days_of_week   INTEGER[] DEFAULT NULL,
    p_operation_type TEXT DEFAULT NULL,
    p_alert_type     TEXT DEFAULT NULL,
    p_webhook_id     BIGINT DEFAULT NULL,
    p_spare_critical BOOLEAN DEFAULT FALSE,
    p_reason         TEXT DEFAULT NULL,
    p_by             TEXT DEFAULT CURRENT_USER
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_fault       TEXT;
    v_blackout_id BIGINT;
BEGIN
    PERFORM check_silence(p_operation_type, p_alert_type, p_by);
    v_fault := CASE
        WHEN p_start_time IS NULL THEN 'start time is NULL, expected a time of day in UTC'
        WHEN p_duration IS NULL OR p_duration <= INTERVAL '0' OR p_duration > INTERVAL '24 hours' THEN
            format('duration is %s, expected more than 0 and at most 24 hours', coalesce(p_duration::TEXT, 'NULL'))
        WHEN p_days_of_week IS NOT NULL
            AND NOT (cardinality(p_days_of_week) > 0 AND p_days_of_week <@ ARRAY[1, 2, 3, 4, 5, 6, 7]) THEN
            format('days of week are %s, expected 1 (Monday) to 7 (Sunday), or NULL for all', p_days_of_week)
        WHEN p_webhook_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM alert_notification_webhooks AS w WHERE w.webhook_id = p_webhook_id) THEN
            format('webhook is %s, expected a webhook_id of alert_notification_webhooks', p_webhook_id)
        WHEN p_spare_critical IS NULL THEN 'spare critical is NULL, expected true or false'
    END;
    IF v_fault IS NOT NULL THEN
        RAISE EXCEPTION '%', v_fault USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO alert_blackouts (
        operation_type, alert_type, webhook_id, days_of_week, start_time, duration, spare_critical, reason, created_by)
    VALUES (
        p_operation_type, p_alert_type, p_webhook_id, p_days_of_week, p_start_time, p_duration, p_spare_critical,
        p_reason, p_by)
    RETURNING blackout_id INTO v_blackout_id;
    RETURN v_blackout_id;
END;
$$;

COMMENT ON FUNCTION add_blackout(TIME, INTERVAL, INTEGER[], TEXT, TEXT, BIGINT, BOOLEAN, TEXT, TEXT) IS
    'pggit_analytics: put off what is to be said during a window that comes back';
REVOKE ALL ON FUNCTION add_blackout(TIME, INTERVAL, INTEGER[], TEXT, TEXT, BIGINT, BOOLEAN, TEXT, TEXT) FROM PUBLIC;
