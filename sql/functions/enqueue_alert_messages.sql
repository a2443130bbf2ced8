-- enqueue_alert_messages(alert, event, as_of): queue what is to be said about an alert now, and return how many rows.
-- p_event: 'found' (opened, or found again), 'severity' (found, and its severity rose) or 'resolved'.
-- At most one message a webhook and call, unique by '<alert_id>/<webhook_id>/<transition>', the first that applies:
--   opened               the webhook was never told (also later: it was silenced, or routed, after the opening)
--   severity:<NEW>       the severity rose
--   snooze_ended:<id>    a snooze of it has ended and nothing was said since
--   repeat:<k>           the k-th repeat interval of its severity has begun, nothing was said in it and nobody
--                        has acknowledged the alert; intervals that passed unsaid are not made up for
--   resolved             to every enabled webhook that was told anything, whether or not it is snoozed
-- Silent while a snooze covers it, except for 'resolved'. A snooze of either operation covers a pair, whose names
-- are in the evidence as operation_type_1 and operation_type_2. Called with the lock of lock_alerts() held.
CREATE OR REPLACE FUNCTION enqueue_alert_messages(p_alert_id BIGINT, p_event TEXT, p_as_of TIMESTAMPTZ)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_alert performance_alerts%ROWTYPE;
    v_snooze alert_snooze%ROWTYPE;
    v_repeat_seconds NUMERIC;
    v_repeat BIGINT := 0;
    v_repeat_since TIMESTAMPTZ;
    v_queued INTEGER;
BEGIN
    SELECT * INTO v_alert FROM performance_alerts WHERE alert_id = p_alert_id;
    IF NOT FOUND OR p_event IS NULL OR p_event NOT IN ('found', 'severity', 'resolved') OR p_as_of IS NULL THEN
        RAISE EXCEPTION 'alert %, event % and as_of %: expected an existing alert, found, severity or resolved, and an instant',
            coalesce(p_alert_id::TEXT, 'NULL'), quote_nullable(p_event), quote_nullable(p_as_of)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF p_event = 'resolved' THEN
        INSERT INTO alert_notification_queue (webhook_id, alert_id, message_body, dedup_key, as_of)
        SELECT
            webhook_id, p_alert_id, alert_message(p_alert_id, 'resolved'),
            format('%s/%s/resolved', p_alert_id, webhook_id), p_as_of
        FROM alert_notification_webhooks AS w
        WHERE w.enabled
            AND EXISTS (
                SELECT
                FROM alert_notification_queue AS q
                WHERE q.alert_id = p_alert_id AND q.webhook_id = w.webhook_id
            )
        ORDER BY webhook_id
        ON CONFLICT (dedup_key) DO NOTHING;
        GET DIAGNOSTICS v_queued = ROW_COUNT;
        RETURN v_queued;
    END IF;

    -- of the snoozes that cover it, the one that ends last: while that one is active nothing is said
    SELECT * INTO v_snooze
    FROM alert_snooze AS s
    WHERE (s.alert_type IS NULL OR s.alert_type = v_alert.alert_type)
        AND (
            s.operation_type IS NULL
            OR s.operation_type IN (
                v_alert.operation_type, v_alert.evidence ->> 'operation_type_1', v_alert.evidence ->> 'operation_type_2')
        )
    ORDER BY s.snooze_until DESC, s.snooze_id DESC
    LIMIT 1;
    IF v_snooze.snooze_until > p_as_of THEN
        RETURN 0;
    END IF;

    IF v_alert.acknowledged_at IS NULL THEN
        v_repeat_seconds := extract(EPOCH FROM alert_repeat_interval(v_alert.severity));
        v_repeat := coalesce(floor(extract(EPOCH FROM p_as_of - v_alert.opened_at) / v_repeat_seconds), 0);
        v_repeat_since := v_alert.opened_at + v_repeat * v_repeat_seconds * INTERVAL '1 second';
    END IF;

    INSERT INTO alert_notification_queue (webhook_id, alert_id, message_body, dedup_key, as_of)
    SELECT
        due.webhook_id, p_alert_id, alert_message(p_alert_id, due.transition),
        format('%s/%s/%s', p_alert_id, due.webhook_id, due.transition), p_as_of
    FROM (
        SELECT
            w.webhook_id,
            CASE
                WHEN said.latest IS NULL THEN 'opened'
                WHEN p_event = 'severity' THEN 'severity:' || v_alert.severity
                WHEN said.latest < v_snooze.snooze_until THEN 'snooze_ended:' || v_snooze.snooze_id
                WHEN v_repeat >= 1 AND said.latest < v_repeat_since THEN 'repeat:' || v_repeat
            END AS transition
        FROM alert_notification_webhooks AS w
        CROSS JOIN LATERAL (
            SELECT max(coalesce(q.as_of, q.created_at)) AS latest
            FROM alert_notification_queue AS q
            WHERE q.alert_id = p_alert_id AND q.webhook_id = w.webhook_id
        ) AS said
        WHERE w.enabled
            AND EXISTS (
                SELECT
                FROM alert_notification_settings AS s
                WHERE s.webhook_id = w.webhook_id
                    AND s.alert_type = v_alert.alert_type
                    AND s.severity = v_alert.severity
                    AND s.enabled
            )
    ) AS due
    WHERE due.transition IS NOT NULL
    ORDER BY due.webhook_id
    ON CONFLICT (dedup_key) DO NOTHING;
    GET DIAGNOSTICS v_queued = ROW_COUNT;
    RETURN v_queued;
END;
$$;

COMMENT ON FUNCTION enqueue_alert_messages(BIGINT, TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: queue what is to be said about an alert now';
REVOKE ALL ON FUNCTION enqueue_alert_messages(BIGINT, TEXT, TIMESTAMPTZ) FROM PUBLIC;
