-- raise_alerts_of_incidents(operations, as_of): raise and resolve the alerts of the incidents in the temporary table
-- pggit_new_incidents (see replace_incidents), and return how many were resolved. The source of the alerts is 'incidents'.
-- p_operations: the operations looked at; NULL = all. The caller holds lock_alerts() and asked alerts_allowed().
-- One alert an incident, INCIDENT or FORECAST, with the evidence of its opening:
--   open or worsening   raised while it is found; in the runs that miss it, it stays as it is
--   recovered           resolved at once; found only when it was over, it is raised as a point event, unless that was
--                       more than a day before
-- Single slow calls and improvements are point events: said once. What has an open alert and is not among the incidents
-- any more misses a run (resolve_missing_alerts).
CREATE OR REPLACE FUNCTION raise_alerts_of_incidents(p_operations TEXT[], p_as_of TIMESTAMPTZ)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_incident RECORD;
    v_seen     TEXT[] := '{}';
    v_resolved INTEGER := 0;
BEGIN
    FOR v_incident IN
        SELECT
            i.state, i.severity, i.operation_type, i.evidence, i.missed_runs, t.alert_type,
            alert_key(t.alert_type, i.incident_key) AS dedup_key,
            i.kind IN ('calls', 'improvement') OR i.state = 'recovered' AS is_point_event,
            i.opened_at = p_as_of AND i.ended_at >= p_as_of - INTERVAL '24 hours' AS is_just_over
        FROM pg_temp.pggit_new_incidents AS i
        CROSS JOIN LATERAL (
            SELECT CASE i.kind WHEN 'forecast' THEN 'FORECAST' ELSE 'INCIDENT' END AS alert_type
        ) AS t
        ORDER BY
            array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], i.severity), i.incident_key COLLATE "C"
    LOOP
        IF v_incident.state = 'recovered' AND NOT v_incident.is_just_over THEN
            v_resolved := v_resolved + resolve_alert(v_incident.dedup_key, p_as_of)::INTEGER;
            CONTINUE;
        END IF;
        v_seen := v_seen || v_incident.dedup_key;
        CONTINUE WHEN v_incident.missed_runs > 0;
        PERFORM raise_alert(
            v_incident.alert_type, v_incident.severity, v_incident.operation_type, v_incident.dedup_key,
            v_incident.evidence, v_incident.is_point_event, 'incidents', p_as_of);
    END LOOP;
    RETURN v_resolved + resolve_missing_alerts(
        ARRAY['INCIDENT', 'FORECAST'], p_operations, v_seen, 'incidents', p_as_of);
END;
$$;

COMMENT ON FUNCTION raise_alerts_of_incidents(TEXT[], TIMESTAMPTZ) IS
    'pggit_analytics: raise and resolve the alerts that follow from the incidents just found';
REVOKE ALL ON FUNCTION raise_alerts_of_incidents(TEXT[], TIMESTAMPTZ) FROM PUBLIC;
