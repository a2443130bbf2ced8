-- raise_alerts_of_findings(operations, as_of): raise an alert for each row of the temporary tables of
-- collect_findings(), group them by incident (group_alerts), and let the open alerts that are not among them miss a
-- run; the number of alerts resolved.
-- p_operations: the operations looked at; NULL = all. The caller holds lock_alerts() and asked alerts_allowed().
--
-- A slow or fast call is a point event. A pair is CRITICAL when both sides are degraded, else WARNING.
-- The evidence is the row and the moment: neither run nor session is in it, so that a rerun freezes the same.
-- pggit_new_degradations may have a column slow_since, which becomes evidence where it is known.
CREATE OR REPLACE FUNCTION raise_alerts_of_findings(p_operations TEXT[], p_as_of TIMESTAMPTZ)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    c_rising CONSTANT TEXT[] := ARRAY['INFO', 'WARNING', 'CRITICAL'];
    v_seen   TEXT[];
BEGIN
    CREATE TEMPORARY TABLE pggit_new_alerts ON COMMIT DROP AS
    SELECT
        f.alert_type, f.severity, f.operation_type, f.dedup_key, f.is_point_event,
        f.finding || jsonb_build_object('detected_at', utc_text(p_as_of), 'as_of', utc_text(p_as_of)) AS evidence
    FROM (
        SELECT
            'ANOMALY' AS alert_type, a.severity, a.operation_type,
            alert_key('ANOMALY', a.operation_type, a.metric_id::TEXT) AS dedup_key,
            TRUE AS is_point_event, to_jsonb(a) AS finding
        FROM pg_temp.pggit_new_anomalies AS a
        WHERE a.anomaly_type IN ('SPIKE', 'COMBINED') AND a.metric_id IS NOT NULL
        UNION ALL
        SELECT
            'DEGRADATION', d.severity, d.operation_type, alert_key('DEGRADATION', d.operation_type), FALSE,
            (to_jsonb(d) - 'slow_since') || jsonb_strip_nulls(
                jsonb_build_object('slow_since', utc_text((to_jsonb(d) ->> 'slow_since')::TIMESTAMPTZ)))
        FROM pg_temp.pggit_new_degradations AS d
        UNION ALL
        SELECT
            'CORRELATION',
            CASE
                WHEN c.operation_type_1 IN (SELECT d.operation_type FROM pg_temp.pggit_new_degradations AS d)
                    AND c.operation_type_2 IN (SELECT d.operation_type FROM pg_temp.pggit_new_degradations AS d)
                    THEN 'CRITICAL'
                ELSE 'WARNING'
            END,
            c.operation_type_1, alert_key('CORRELATION', c.operation_type_1, c.operation_type_2), FALSE, to_jsonb(c)
        FROM pg_temp.pggit_new_correlations AS c
        UNION ALL
        SELECT
            'THRESHOLD_EXCEEDED', t.severity, t.operation_type, alert_key('THRESHOLD_EXCEEDED', t.operation_type),
            FALSE, to_jsonb(t)
        FROM pg_temp.pggit_new_thresholds AS t
    ) AS f;

    -- What alert_facts() computes is the same for all alerts of an operation.
    CREATE TEMPORARY TABLE pggit_facts (
        operation_type TEXT, as_of TIMESTAMPTZ, hours INTEGER, facts JSONB, PRIMARY KEY (operation_type, as_of, hours)
    ) ON COMMIT DROP;

    -- A point event that is known, and no less severe, is for ever what it was: the windows of two runs overlap by
    -- nearly a day, and so most spikes of a run are of this kind.
    PERFORM raise_alert(
        o.alert_type, o.severity, o.operation_type, o.dedup_key, o.evidence, o.is_point_event, 'plan', p_as_of)
    FROM (
        SELECT new.*
        FROM pg_temp.pggit_new_alerts AS new
        WHERE NOT (new.is_point_event AND EXISTS (
            SELECT
            FROM performance_alerts AS known
            WHERE known.dedup_key = new.dedup_key
              AND array_position(c_rising, known.severity) >= array_position(c_rising, new.severity)
        ))
        ORDER BY array_position(c_rising, new.severity) DESC, new.dedup_key COLLATE "C"
    ) AS o;
    DROP TABLE pg_temp.pggit_facts;
    PERFORM group_alerts(p_as_of);

    SELECT coalesce(array_agg(n.dedup_key), '{}') INTO v_seen
    FROM pg_temp.pggit_new_alerts AS n
    WHERE NOT n.is_point_event;
    DROP TABLE pg_temp.pggit_new_alerts;
    RETURN resolve_missing_alerts(
        ARRAY['DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED'], p_operations, v_seen, 'plan', p_as_of);
END;
$$;

COMMENT ON FUNCTION raise_alerts_of_findings(TEXT[], TIMESTAMPTZ) IS
    'pggit_analytics: raise and resolve the alerts that follow from what was just found';
REVOKE ALL ON FUNCTION raise_alerts_of_findings(TEXT[], TIMESTAMPTZ) FROM PUBLIC;
