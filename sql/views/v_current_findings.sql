-- requires: analysis_time, performance_alerts, alert_snooze
-- v_current_findings: what is wrong now: the alerts open at analysis_time(), one row each, the most severe first,
-- then the oldest, then alert_id.
--
-- operation_type is NULL for an alert about no operation; of a pair it is the first, both names are in the evidence.
-- last_seen_at of an alert that was found again later is analysis_time(): its trouble had not ended then.
-- is_snoozed: a snooze of the alert's type and of one of its operations (NULL = all) was in force.
-- alert_source: found by the pipeline's engine (incidents) or by the detectors of the plan, see paging_source().
-- evidence is what was known when the alert opened. advice is the recommendation in it, else one for the alert's type.
CREATE OR REPLACE VIEW v_current_findings AS
SELECT
    a.operation_type,
    a.alert_type,
    a.severity,
    a.opened_at AS since,
    least(a.last_seen_at, (SELECT analysis_time())) AS last_seen_at,
    EXISTS (
        SELECT
        FROM alert_snooze AS s
        WHERE s.snooze_until > (SELECT analysis_time())
          AND s.created_at <= (SELECT analysis_time())
          AND (s.alert_type IS NULL OR s.alert_type = a.alert_type)
          AND (
              s.operation_type IS NULL
              OR s.operation_type IN (
                  a.operation_type, a.evidence ->> 'operation_type_1', a.evidence ->> 'operation_type_2')
          )
    ) AS is_snoozed,
    a.acknowledged_at IS NOT NULL AND a.acknowledged_at <= (SELECT analysis_time()) AS is_acknowledged,
    a.evidence,
    CASE
        WHEN jsonb_typeof(a.evidence -> 'recommendation') = 'string' AND a.evidence ->> 'recommendation' <> ''
            THEN a.evidence ->> 'recommendation'
        ELSE CASE a.alert_type
            WHEN 'ANOMALY' THEN
                'Look at what else ran at that moment: locks, checkpoints, vacuum; the metric''s metadata says what it did'
            WHEN 'DEGRADATION' THEN
                'Compare with what changed when it began: releases, data volume, query plans, missing ANALYZE'
            WHEN 'CORRELATION' THEN
                'Look for what the two operations share: tables, locks, disk, connections'
            WHEN 'THRESHOLD_EXCEEDED' THEN
                'Check for lock waits and time-outs first; if this duration is normal now, recalculate the baseline'
            WHEN 'INCIDENT' THEN
                'Start with the operation that got slow first; the others usually follow from it'
            WHEN 'FORECAST' THEN
                'Act before the date in the evidence: add capacity, archive data or tune the operation'
            WHEN 'SELF_HEALTH' THEN
                'The monitoring itself is in trouble: run pggit-analytics doctor'
            WHEN 'BASELINE_RECALC_ERROR' THEN
                'Read the error in the evidence, repair its cause and recalculate the baseline; the old one still applies'
        END
    END AS advice,
    a.alert_id,
    a.alert_source
FROM performance_alerts AS a
-- first and once, so that a moment without a zone is refused by an empty table as well
WHERE (SELECT analysis_time()) IS NOT NULL
  AND a.opened_at <= (SELECT analysis_time())
  -- The upper bound tells the planner that few alerts are resolved later than now.
  AND (a.resolved_at IS NULL OR (a.resolved_at > (SELECT analysis_time()) AND a.resolved_at <= 'infinity'))
ORDER BY
    array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], a.severity), a.opened_at, a.alert_id;

COMMENT ON VIEW v_current_findings IS 'pggit_analytics: what is wrong now, since when, and what to do';
