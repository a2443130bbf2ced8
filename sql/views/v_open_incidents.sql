-- requires: analysis_time, incidents_at, performance_incident_operations, alert_snooze
-- v_open_incidents: the incidents that were not over at analysis_time(), one row each, the most severe first, then the
-- greatest loss, then incident_key. What no run of the last 7 days has looked at is not shown.
--
-- operation_types: all of its operations, the first to change first. size_ratio: of operation_type, level now to before.
-- lost_ms: what users lost since the onset. first_mover and bottleneck are NULL for a single operation.
-- is_snoozed: a snooze of its operation_type (or all) and of incidents or forecasts (or all) was in force.
CREATE OR REPLACE VIEW v_open_incidents AS
SELECT
    i.incident_key,
    i.kind,
    i.state,
    i.severity,
    i.operation_type,
    o.operation_types,
    o.size_ratio,
    i.onset AS since,
    i.onset_low,
    i.onset_high,
    i.lost_ms,
    i.lost_ms_per_hour,
    i.first_mover,
    i.bottleneck,
    i.bottleneck_support,
    i.expected_breach_at,
    i.opened_at,
    i.last_found_at,
    EXISTS (
        SELECT
        FROM alert_snooze AS s
        WHERE s.snooze_until > (SELECT analysis_time())
          AND s.created_at <= (SELECT analysis_time())
          AND (s.alert_type IS NULL OR s.alert_type = CASE i.kind WHEN 'forecast' THEN 'FORECAST' ELSE 'INCIDENT' END)
          AND (s.operation_type IS NULL OR s.operation_type = i.operation_type)
    ) AS is_snoozed,
    i.evidence,
    i.detected_at
FROM incidents_at((SELECT analysis_time()) - INTERVAL '168 hours', (SELECT analysis_time())) AS i
CROSS JOIN LATERAL (
    SELECT
        array_agg(m.operation_type ORDER BY m.onset, m.operation_type COLLATE "C") AS operation_types,
        max(m.size_ratio) FILTER (WHERE m.operation_type = i.operation_type) AS size_ratio
    FROM performance_incident_operations AS m
    WHERE m.incident_key = i.incident_key AND m.detected_at = i.detected_at
) AS o
WHERE i.state <> 'recovered'
ORDER BY
    array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], i.severity), i.lost_ms_per_hour DESC,
    i.incident_key COLLATE "C";

COMMENT ON VIEW v_open_incidents IS 'pggit_analytics: what is slow now and why, one row a cause';
