-- alert_facts(alert): the figures that a message about an alert compares, a JSON object as of operation_facts().
-- "now" looks back from when the alert was last found, or resolved: over the second half of the period of a
-- DEGRADATION, over the last 24 hours for an ANOMALY or THRESHOLD_EXCEEDED. {} for every other alert, and for none.
-- A run may raise hundreds of alerts of one operation: while the temporary table pggit_facts of
-- raise_alerts_of_findings() is there, figures are kept in it and computed once.
CREATE OR REPLACE FUNCTION alert_facts(p_alert_id BIGINT)
RETURNS JSONB
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_operation_type TEXT;
    v_as_of          TIMESTAMPTZ;
    v_hours          INTEGER;
    v_facts          JSONB;
BEGIN
    -- the period is of whole days of 24 hours, so its dates tell how many
    SELECT
        a.operation_type,
        coalesce(a.resolved_at, a.last_seen_at),
        CASE a.alert_type
            WHEN 'DEGRADATION' THEN
                12 * coalesce((a.evidence ->> 'period_end')::DATE - (a.evidence ->> 'period_start')::DATE, 7)
            ELSE 24
        END
    INTO v_operation_type, v_as_of, v_hours
    FROM performance_alerts AS a
    WHERE a.alert_id = p_alert_id AND a.alert_type IN ('DEGRADATION', 'THRESHOLD_EXCEEDED', 'ANOMALY');
    IF v_operation_type IS NULL THEN
        RETURN '{}';
    END IF;
    IF to_regclass('pg_temp.pggit_facts') IS NULL THEN
        RETURN operation_facts(v_operation_type, v_as_of - make_interval(hours => v_hours), v_as_of);
    END IF;

    SELECT f.facts INTO v_facts
    FROM pg_temp.pggit_facts AS f
    WHERE f.operation_type = v_operation_type AND f.as_of = v_as_of AND f.hours = v_hours;
    IF v_facts IS NULL THEN
        v_facts := operation_facts(v_operation_type, v_as_of - make_interval(hours => v_hours), v_as_of);
        INSERT INTO pg_temp.pggit_facts (operation_type, as_of, hours, facts)
        VALUES (v_operation_type, v_as_of, v_hours, v_facts);
    END IF;
    RETURN v_facts;
END;
$$;

COMMENT ON FUNCTION alert_facts(BIGINT) IS 'pggit_analytics: the figures that a message about an alert compares';
REVOKE ALL ON FUNCTION alert_facts(BIGINT) FROM PUBLIC;
