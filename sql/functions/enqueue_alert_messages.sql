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
-- A SELF_HEALTH alert is not told to the webhook that it is about (evidence: webhook_id).
-- Rows go together by incident (bundle_key 'group:...'). Where the route says digest they wait for the next digest
-- (bundle_key 'digest:<its UTC date>'); the end goes the way of what was said last.
-- A run calls this hundreds of times: one plan serves them all, as making it costs more than following it.
CREATE OR REPLACE FUNCTION enqueue_alert_messages(p_alert_id BIGINT, p_event TEXT, p_as_of TIMESTAMPTZ)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode TO 'force_generic_plan'
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

    IF p_event <> 'resolved' THEN
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
    END IF;

    IF p_event <> 'resolved' AND v_alert.acknowledged_at IS NULL THEN
        v_repeat_seconds := extract(EPOCH FROM alert_repeat_interval(v_alert.severity));
        v_repeat := coalesce(floor(extract(EPOCH FROM p_as_of - v_alert.opened_at) / v_repeat_seconds), 0);
        v_repeat_since := v_alert.opened_at + v_repeat * v_repeat_seconds * INTERVAL '1 second';
    END IF;

    INSERT INTO alert_notification_queue (
        webhook_id, alert_id, message_body, dedup_key, as_of, priority, bundle_key, next_retry_at)
    SELECT
        due.webhook_id, p_alert_id,
        alert_message(p_alert_id, due.transition, (SELECT alert_facts(p_alert_id))),
        format('%s/%s/%s', p_alert_id, due.webhook_id, due.transition), p_as_of,
        array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], v_alert.severity) - 1,
        coalesce(
            'digest:' || to_char(due.digest_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
            'group:' || coalesce(v_alert.group_key, 'alert-' || p_alert_id)),
        due.digest_at
    FROM (
        SELECT
            w.webhook_id,
            CASE
                WHEN p_event = 'resolved' THEN 'resolved'
                WHEN said.latest IS NULL THEN 'opened'
                WHEN p_event = 'severity' THEN 'severity:' || v_alert.severity
                WHEN said.latest < v_snooze.snooze_until THEN 'snooze_ended:' || v_snooze.snooze_id
                WHEN v_repeat >= 1 AND said.latest < v_repeat_since THEN 'repeat:' || v_repeat
            END AS transition,
            CASE
                WHEN CASE WHEN p_event = 'resolved' THEN said.in_digest ELSE s.delivery = 'digest' END
                    THEN next_digest_at(greatest(p_as_of, now()))
            END AS digest_at
        FROM alert_notification_webhooks AS w
        LEFT JOIN alert_notification_settings AS s
            ON s.webhook_id = w.webhook_id
            AND s.alert_type = v_alert.alert_type
            AND s.severity = v_alert.severity
            AND s.enabled
        CROSS JOIN LATERAL (
            SELECT
                max(coalesce(q.as_of, q.created_at)) AS latest,
                (array_agg(starts_with(q.bundle_key, 'digest:') ORDER BY q.notification_queue_id DESC))[1] AS in_digest
            FROM alert_notification_queue AS q
            WHERE q.alert_id = p_alert_id AND q.webhook_id = w.webhook_id
        ) AS said
        WHERE w.enabled
            AND CASE
                WHEN p_event = 'resolved' THEN said.latest IS NOT NULL
                ELSE s.setting_id IS NOT NULL AND NOT (
                    v_alert.alert_type = 'SELF_HEALTH'
                    AND v_alert.evidence ->> 'webhook_id' IS NOT DISTINCT FROM w.webhook_id::TEXT)
            END
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
