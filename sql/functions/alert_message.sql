-- alert_message(alert, transition, facts): the body of one message, a JSON object as text; instants are ISO 8601 in UTC.
-- p_transition: opened, severity:<NEW>, snooze_ended:<snooze_id>, repeat:<k> or resolved.
-- p_facts: the figures to compare, from alert_facts(); NULL = none, {}.
-- instance and report_url are the settings of these names: an unnamed instance is called as its database is, and
-- report_url is null when empty. group_key is null while the alert belongs to no incident.
-- NULL when there is no such alert.
CREATE OR REPLACE FUNCTION alert_message(p_alert_id BIGINT, p_transition TEXT, p_facts JSONB DEFAULT NULL)
RETURNS TEXT
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_message TEXT;
BEGIN
    SELECT json_build_object(
        'text', format(
            '%s %s%s, %s',
            severity,
            CASE split_part(p_transition, ':', 1)
                WHEN 'severity' THEN '(raised) '
                WHEN 'snooze_ended' THEN '(still open after a snooze) '
                WHEN 'repeat' THEN '(still open) '
                WHEN 'resolved' THEN '(resolved) '
                ELSE ''
            END,
            alert_headline(alert_type, operation_type, evidence),
            CASE
                WHEN resolved_at IS NULL THEN 'since ' || to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
                WHEN resolved_at = opened_at THEN
                    'already over, found at ' || to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
                ELSE to_char(opened_at AT TIME ZONE 'UTC', '"from "YYYY-MM-DD HH24:MI')
                    || to_char(resolved_at AT TIME ZONE 'UTC', '" to "YYYY-MM-DD HH24:MI')
            END || ' UTC'),
        'transition', p_transition,
        'alert_id', alert_id,
        'alert_type', alert_type,
        'severity', severity,
        'operation_type', operation_type,
        'dedup_key', dedup_key,
        'episode', episode,
        'opened_at', utc_text(opened_at),
        'last_seen_at', utc_text(last_seen_at),
        'resolved_at', utc_text(resolved_at),
        'group_key', group_key,
        'instance', coalesce(nullif(btrim(alert_setting('instance_name')), ''), current_database()),
        'schema', current_schema(),
        'report_url', nullif(btrim(alert_setting('report_url')), ''),
        'facts', coalesce(p_facts, '{}'),
        'evidence', evidence
    )::TEXT
    INTO v_message
    FROM performance_alerts
    WHERE alert_id = p_alert_id;
    RETURN v_message;
END;
$$;

COMMENT ON FUNCTION alert_message(BIGINT, TEXT, JSONB) IS 'pggit_analytics: the body of one message about an alert';
REVOKE ALL ON FUNCTION alert_message(BIGINT, TEXT, JSONB) FROM PUBLIC;
