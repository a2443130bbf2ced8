-- self_health_faults(as_of): what is wrong with the monitoring itself at p_as_of, one row a fault, with the arguments
-- of raise_alert(): the detector is silent (CRITICAL), an operation that always reported has stopped, a channel's
-- breaker is open (WARNING). operation_type is NULL unless the fault is about one. evidence holds at least summary, one
-- sentence, and remedy. A channel that is disabled is nobody's trouble. A NULL or infinite as_of raises 22023.
CREATE OR REPLACE FUNCTION self_health_faults(p_as_of TIMESTAMPTZ)
RETURNS TABLE (dedup_key TEXT, severity TEXT, operation_type TEXT, evidence JSONB)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM check_as_of(p_as_of);

    RETURN QUERY
    SELECT
        alert_key('SELF_HEALTH', 'detector'), 'CRITICAL', NULL::TEXT,
        jsonb_build_object(
            'summary', format(
                'No monitoring run has succeeded since %s UTC',
                to_char(d.since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')),
            'remedy', 'See when it last ran and why it failed: pggit-analytics schedule list; then run one: '
                'pggit-analytics analyze',
            'silent_since', utc_text(d.since))
    FROM silent_detector_since(p_as_of) AS d (since)
    WHERE d.since IS NOT NULL;

    RETURN QUERY
    SELECT
        alert_key('SELF_HEALTH', 'operation', o.operation_type), 'WARNING', o.operation_type,
        jsonb_build_object(
            'summary', format(
                '%s reported every hour and has been silent since %s UTC',
                o.operation_type, to_char(o.last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')),
            'remedy', 'Check that what runs it is up and still records its timings; if it was retired, set is_tracked '
                'to false for it in performance_operation_types',
            'silent_since', utc_text(o.last_at))
    FROM silent_operations(p_as_of) AS o;

    RETURN QUERY
    SELECT
        alert_key('SELF_HEALTH', 'breaker', w.webhook_id::TEXT), 'WARNING', NULL::TEXT,
        jsonb_build_object(
            'summary', format('Messages to the %s channel %s do not arrive', w.webhook_type, w.name),
            'remedy', 'See its last error: pggit-analytics webhooks list; check its address and that the service is '
                'up; what waits is sent once a message gets through',
            'webhook_id', w.webhook_id,
            'webhook_name', w.name,
            'failures', s.consecutive_failures,
            'failing_since', utc_text(s.breaker_opened_at))
    FROM webhook_delivery_state AS s
    JOIN alert_notification_webhooks AS w ON w.webhook_id = s.webhook_id
    WHERE s.breaker_opened_at IS NOT NULL AND w.enabled
    ORDER BY w.webhook_id;
END;
$$;

COMMENT ON FUNCTION self_health_faults(TIMESTAMPTZ) IS 'pggit_analytics: what is wrong with the monitoring itself';
REVOKE ALL ON FUNCTION self_health_faults(TIMESTAMPTZ) FROM PUBLIC;
