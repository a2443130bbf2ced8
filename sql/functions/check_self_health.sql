-- requires: analysis_time
-- check_self_health(as_of): make the SELF_HEALTH alerts say what self_health_faults() finds: raise what is new, resolve
-- at once what is over; the number of alerts that opened or resolved, so that a second call returns 0.
-- Alerts of this type about anything else are left alone, and so are those seen after p_as_of.
-- A NULL or infinite as_of raises 22023.
CREATE OR REPLACE FUNCTION check_self_health(p_as_of TIMESTAMPTZ DEFAULT analysis_time())
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_source  CONSTANT TEXT := paging_source(); -- whichever source pages, these are to be heard
    v_newest  BIGINT;
    v_fault   RECORD;
    v_key     TEXT;
    v_faults  TEXT[] := '{}';
    v_changes INTEGER := 0;
BEGIN
    PERFORM check_as_of(p_as_of);
    PERFORM lock_alerts();
    SELECT coalesce(max(a.alert_id), 0) INTO v_newest FROM performance_alerts AS a;

    FOR v_fault IN SELECT * FROM self_health_faults(p_as_of) LOOP
        v_faults := v_faults || v_fault.dedup_key;
        IF v_newest < raise_alert(
            'SELF_HEALTH', v_fault.severity, v_fault.operation_type, v_fault.dedup_key, v_fault.evidence, FALSE,
            v_source, p_as_of)
        THEN
            v_changes := v_changes + 1;
        END IF;
    END LOOP;

    FOR v_key IN
        SELECT a.dedup_key
        FROM performance_alerts AS a
        WHERE a.resolved_at IS NULL
          AND a.alert_type = 'SELF_HEALTH'
          AND a.last_seen_at <= p_as_of
          AND (
              a.dedup_key = alert_key('SELF_HEALTH', 'detector')
              OR starts_with(a.dedup_key, '["SELF_HEALTH", "operation", ')
              OR starts_with(a.dedup_key, '["SELF_HEALTH", "breaker", ')
          )
          AND a.dedup_key <> ALL (v_faults)
        ORDER BY a.alert_id
    LOOP
        PERFORM resolve_alert(v_key, p_as_of);
        v_changes := v_changes + 1;
    END LOOP;
    RETURN v_changes;
END;
$$;

COMMENT ON FUNCTION check_self_health(TIMESTAMPTZ) IS
    'pggit_analytics: raise and resolve the alerts about the monitoring itself';
REVOKE ALL ON FUNCTION check_self_health(TIMESTAMPTZ) FROM PUBLIC;
