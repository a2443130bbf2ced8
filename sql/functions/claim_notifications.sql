-- requires: breaker_limits, check_claim_arguments, due_messages, lease_messages, lock_outbox, pace_webhooks
-- claim_notifications(...): the messages to be sent next, each under a lease of its own; CRITICAL first, then by due
-- time. Commit at once, send, and tell finish_notification() what became of each; what is not finished when its lease
-- ends is claimed again.
-- p_limit: messages of each webhook at most. It is 1 for one with a least interval between messages, and for one that
--   is tried after failures. p_lease_seconds: how long they are the caller's (see renew_notification_leases).
-- p_key_id: only webhooks whose address is encrypted with this master key, or not at all; NULL: any.
-- p_busy_webhooks: webhooks to leave alone, because the caller is still sending to them. p_webhook_types: NULL = all.
-- Left alone as well: disabled webhooks, those that asked for a pause, and those whose next try is not due.
-- A message is due when one of its rows is; every pending row of its bundle then goes along, so that a finding and its
-- end become one message. It is never split, and never claimed while part of it is being sent. What is silenced is put
-- off to the end of the silence and has not been attempted.
-- message_bodies are in the order of queue_ids; priority is the most urgent, retry_count the highest of the rows;
-- is_still_open: some alert of these rows, or of their groups as far as this webhook was told, is not resolved.
-- Callers take turns until they commit. The clock is the server's. An argument out of range raises 22023.
CREATE OR REPLACE FUNCTION claim_notifications(
    p_limit         INTEGER DEFAULT 50,
    p_lease_seconds INTEGER DEFAULT 60,
    p_key_id        TEXT DEFAULT NULL,
    p_busy_webhooks BIGINT[] DEFAULT '{}',
    p_webhook_types TEXT[] DEFAULT NULL
)
RETURNS TABLE (
    lease_token           UUID,
    leased_until          TIMESTAMPTZ,
    claimed_at            TIMESTAMPTZ,
    webhook_id            BIGINT,
    webhook_type          TEXT,
    webhook_name          TEXT,
    channel_or_recipient  TEXT,
    webhook_url_encrypted BYTEA,
    webhook_url_iv        BYTEA,
    encryption_key_id     TEXT,
    allow_private         BOOLEAN,
    bundle_key            TEXT,
    queue_ids             BIGINT[],
    message_bodies        TEXT[],
    priority              SMALLINT,
    retry_count           INTEGER,
    first_queued_at       TIMESTAMPTZ,
    is_still_open         BOOLEAN
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
-- no way through the whole queue is ever the shorter one, whatever the statistics say, or that there are none
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    v_now        TIMESTAMPTZ;
    v_until      TIMESTAMPTZ;
    v_is_silence BOOLEAN;
    v_first_rows BIGINT[];
    v_tokens     UUID[];
BEGIN
    PERFORM check_claim_arguments(p_limit, p_lease_seconds, p_busy_webhooks, p_webhook_types);
    -- a setting that finish_notification() could not use is refused before anything is sent
    PERFORM breaker_limits();
    PERFORM lock_outbox();
    v_now := clock_timestamp();
    v_until := v_now + p_lease_seconds * INTERVAL '1 second';
    v_is_silence := EXISTS (SELECT FROM alert_snooze AS z WHERE z.snooze_until > v_now)
        OR EXISTS (SELECT FROM alert_blackouts AS b WHERE b.enabled);

    SELECT array_agg(d.notification_queue_id ORDER BY d.priority, d.due_at, d.notification_queue_id)
    INTO v_first_rows
    FROM alert_notification_webhooks AS w
    LEFT JOIN webhook_delivery_state AS s USING (webhook_id)
    CROSS JOIN LATERAL (
        SELECT s.breaker_opened_at IS NOT NULL
            OR webhook_min_interval(w.webhook_type, w.min_interval_ms) > INTERVAL '0' AS is_single
    ) AS l
    CROSS JOIN LATERAL due_messages(
        w.webhook_id, CASE WHEN l.is_single THEN 1 ELSE p_limit END, v_now, v_is_silence) AS d
    WHERE w.enabled
      AND w.webhook_id <> ALL (p_busy_webhooks)
      AND (p_webhook_types IS NULL OR w.webhook_type = ANY (p_webhook_types))
      AND (p_key_id IS NULL OR w.encryption_key_id IS NULL OR w.encryption_key_id = p_key_id)
      AND coalesce(greatest(s.next_send_at, s.blocked_until, s.breaker_probe_at) <= v_now, TRUE);
    IF v_first_rows IS NULL THEN
        RETURN;
    END IF;

    SELECT array_agg(m.lease_token ORDER BY m.place) INTO v_tokens
    FROM lease_messages(v_first_rows, v_now, v_until, v_is_silence) AS m;
    IF v_tokens IS NULL THEN
        RETURN;
    END IF;
    PERFORM pace_webhooks(v_tokens, v_now, v_until);

    RETURN QUERY
    SELECT
        m.lease_token, v_until, v_now, w.webhook_id, w.webhook_type, w.name, w.channel_or_recipient,
        w.webhook_url_encrypted, w.webhook_url_iv, w.encryption_key_id, w.allow_private,
        r.bundle_key, r.queue_ids, r.message_bodies, r.priority, r.retry_count, r.first_queued_at,
        any_alert_open(r.alert_ids, r.webhook_id)
    FROM unnest(v_tokens) WITH ORDINALITY AS m (lease_token, place)
    -- one probe a message
    CROSS JOIN LATERAL (
        SELECT
            min(q.webhook_id) AS webhook_id,
            min(q.bundle_key) AS bundle_key,
            array_agg(q.notification_queue_id ORDER BY q.notification_queue_id) AS queue_ids,
            array_agg(q.message_body ORDER BY q.notification_queue_id) AS message_bodies,
            array_agg(DISTINCT q.alert_id) AS alert_ids,
            min(q.priority) AS priority,
            max(q.retry_count) AS retry_count,
            min(q.created_at) AS first_queued_at
        FROM alert_notification_queue AS q
        WHERE q.lease_token = m.lease_token
    ) AS r
    JOIN alert_notification_webhooks AS w USING (webhook_id)
    ORDER BY r.priority, m.place;
END;
$$;

COMMENT ON FUNCTION claim_notifications(INTEGER, INTEGER, TEXT, BIGINT[], TEXT[]) IS
    'pggit_analytics: the messages to be sent next, each under a lease';
REVOKE ALL ON FUNCTION claim_notifications(INTEGER, INTEGER, TEXT, BIGINT[], TEXT[]) FROM PUBLIC;
