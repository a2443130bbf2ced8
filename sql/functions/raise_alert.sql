-- requires: analysis_time
-- raise_alert(...): record that something was found at p_as_of, queue what is to be said, and return the alert's id.
-- p_operation_type: the operation it is about (of a pair, the first), or NULL.
-- p_dedup_key: what it is about, from alert_key(). An alert is an episode of its key: it stays open until
--   resolve_missing_alerts() has missed it often enough, and found after that it opens the next episode.
-- p_evidence: a JSON object, frozen when the alert opens; instants in it as utc_text().
-- p_point_event: TRUE for what is over when it is found (a spike): resolved at once, and for ever one alert.
-- p_alert_source: who found it; only what paging_source() names has messages queued.
-- Found again, an alert's severity only rises. A p_as_of before the end of the latest episode is part of what is
-- known and opens nothing. Any argument but p_operation_type raises 22023 when NULL or out of range.
-- Two callers at once never open an alert or queue a message twice: they take turns until their commits.
CREATE OR REPLACE FUNCTION raise_alert(
    p_alert_type TEXT,
    p_severity TEXT,
    p_operation_type TEXT,
    p_dedup_key TEXT,
    p_evidence JSONB,
    p_point_event BOOLEAN DEFAULT FALSE,
    p_alert_source TEXT DEFAULT 'plan',
    p_as_of TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    c_rising CONSTANT TEXT[] := ARRAY['INFO', 'WARNING', 'CRITICAL'];
    v_alert performance_alerts%ROWTYPE;
    v_event TEXT := 'found';
BEGIN
    PERFORM check_alert_arguments(
        p_alert_type, p_severity, p_dedup_key, p_evidence, p_point_event, p_alert_source, p_as_of);
    PERFORM lock_alerts();

    SELECT * INTO v_alert FROM performance_alerts WHERE dedup_key = p_dedup_key ORDER BY episode DESC LIMIT 1;

    IF v_alert.alert_id IS NULL OR (NOT p_point_event AND v_alert.resolved_at <= p_as_of) THEN
        INSERT INTO performance_alerts (
            operation_type, alert_type, severity, dedup_key, episode, alert_source, evidence,
            opened_at, last_seen_at, resolved_at)
        VALUES (
            p_operation_type, p_alert_type, p_severity, p_dedup_key, coalesce(v_alert.episode, 0) + 1, p_alert_source,
            p_evidence, p_as_of, p_as_of, CASE WHEN p_point_event THEN p_as_of END)
        RETURNING * INTO v_alert;
    ELSE
        IF array_position(c_rising, p_severity) > array_position(c_rising, v_alert.severity)
            AND (p_point_event OR v_alert.resolved_at IS NULL)
        THEN
            v_event := 'severity';
        ELSIF v_alert.resolved_at IS NOT NULL THEN
            RETURN v_alert.alert_id;
        END IF;

        -- a miss counts until a later run finds it; what is over (a point event) was last seen when it was found
        UPDATE performance_alerts
        SET severity = CASE WHEN v_event = 'severity' THEN p_severity ELSE severity END,
            last_seen_at = CASE WHEN resolved_at IS NULL THEN greatest(last_seen_at, p_as_of) ELSE last_seen_at END,
            missed_runs = CASE WHEN last_missed_at > p_as_of THEN missed_runs ELSE 0 END
        WHERE alert_id = v_alert.alert_id;
    END IF;

    IF p_alert_source = paging_source() THEN
        PERFORM enqueue_alert_messages(v_alert.alert_id, v_event, p_as_of);
    END IF;
    RETURN v_alert.alert_id;
END;
$$;

COMMENT ON FUNCTION raise_alert(TEXT, TEXT, TEXT, TEXT, JSONB, BOOLEAN, TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: record that something was found and queue what is to be said about it';
REVOKE ALL ON FUNCTION raise_alert(TEXT, TEXT, TEXT, TEXT, JSONB, BOOLEAN, TEXT, TIMESTAMPTZ) FROM PUBLIC;
