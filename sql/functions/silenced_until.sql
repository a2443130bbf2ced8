-- silenced_until(alert, webhook, at): until when nothing is said about an alert on a webhook, as seen at p_at.
-- The latest end of the snoozes and blackouts that cover it at p_at. A snooze or blackout of either operation covers a
-- pair, whose names are in the evidence as operation_type_1 and operation_type_2. A blackout begins at its time of day
-- in UTC, on its days in UTC, whatever the time zone of the session.
-- NULL when nothing covers it, there is no such alert, or an argument is NULL.
CREATE OR REPLACE FUNCTION silenced_until(p_alert_id BIGINT, p_webhook_id BIGINT, p_at TIMESTAMPTZ)
RETURNS TIMESTAMPTZ
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_alert      performance_alerts%ROWTYPE;
    v_operations TEXT[];
    v_until      TIMESTAMPTZ;
BEGIN
    SELECT * INTO v_alert FROM performance_alerts WHERE alert_id = p_alert_id;
    v_operations := ARRAY[
        v_alert.operation_type, v_alert.evidence ->> 'operation_type_1', v_alert.evidence ->> 'operation_type_2'];

    SELECT max(s.ends_at) INTO v_until
    FROM (
        SELECT z.operation_type, z.alert_type, z.snooze_until AS ends_at
        FROM alert_snooze AS z
        WHERE z.snooze_until > p_at
        UNION ALL
        SELECT b.operation_type, b.alert_type, w.ends_at
        FROM alert_blackouts AS b
        -- none lasts longer than a day, so it is today's or yesterday's
        CROSS JOIN LATERAL (
            SELECT (p_at AT TIME ZONE 'UTC')::DATE - days_ago AS day FROM generate_series(0, 1) AS days_ago
        ) AS d
        CROSS JOIN LATERAL (
            -- added up without a zone: where clocks change, a day is not 24 hours
            SELECT (d.day + b.start_time) AT TIME ZONE 'UTC' AS begins_at,
                   (d.day + b.start_time + b.duration) AT TIME ZONE 'UTC' AS ends_at
        ) AS w
        WHERE b.enabled
          AND (b.webhook_id IS NULL OR b.webhook_id = p_webhook_id)
          AND (b.days_of_week IS NULL OR extract(ISODOW FROM d.day) = ANY (b.days_of_week))
          AND NOT (b.spare_critical AND v_alert.severity = 'CRITICAL')
          AND w.begins_at <= p_at AND p_at < w.ends_at
    ) AS s
    WHERE v_alert.alert_id IS NOT NULL
      AND (s.alert_type IS NULL OR s.alert_type = v_alert.alert_type)
      AND (s.operation_type IS NULL OR s.operation_type = ANY (v_operations));
    RETURN v_until;
END;
$$;

COMMENT ON FUNCTION silenced_until(BIGINT, BIGINT, TIMESTAMPTZ) IS
    'pggit_analytics: until when nothing is said about an alert on a webhook, NULL = it is said now';
REVOKE ALL ON FUNCTION silenced_until(BIGINT, BIGINT, TIMESTAMPTZ) FROM PUBLIC;
