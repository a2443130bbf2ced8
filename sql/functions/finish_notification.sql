-- requires: check_finish_arguments, note_channel_outcome, retry_delay
-- finish_notification(...): what became of a claimed message; always one row.
-- p_lease_token, p_queue_ids: as claim_notifications() gave them. p_outcome:
--   delivered     done
--   retry         failed, and may work later. Counts as an attempt; the next is due after retry_delay(), and not while
--                 the channel asked for a pause (p_retry_after_seconds, of the whole webhook). At p_max_retries it has
--                 failed; CRITICAL goes on until 24 hours after it was queued or put back.
--   rate_limited  the channel asked for a pause of the whole webhook (a minute, unless p_retry_after_seconds says how
--                 long; from a second to an hour); no attempt
--   rejected      failed for good
--   poison        failed for good and on our side: nothing was sent and nothing is held against the channel
--   released      not sent; due at once, no attempt, and not logged
-- status: delivered, failed (of any row) or pending; lease_lost when another caller has claimed the message meanwhile:
--   then nothing changes, and the attempt is logged as late_<outcome>. next_retry_at: when it is due again; NULL for at
--   once and for never. breaker_changed: by this call the channel was found down, or well again.
-- p_error: one line without secrets, cut to 500 characters. An argument out of range raises 22023.
-- Told twice, it is logged once.
CREATE OR REPLACE FUNCTION finish_notification(
    p_lease_token         UUID,
    p_queue_ids           BIGINT[],
    p_outcome             TEXT,
    p_duration_ms         NUMERIC,
    p_http_status         INTEGER DEFAULT NULL,
    p_error               TEXT DEFAULT NULL,
    p_retry_after_seconds NUMERIC DEFAULT NULL,
    p_max_retries         INTEGER DEFAULT 3
)
RETURNS TABLE (status TEXT, next_retry_at TIMESTAMPTZ, breaker_changed BOOLEAN)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
-- it runs once a message: the way there is the same for all, and to plan it anew costs more than to go it
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    v_now           CONSTANT TIMESTAMPTZ := clock_timestamp();
    -- one for the message, so that its rows stay together
    v_jitter        CONSTANT DOUBLE PRECISION := random();
    v_started_at    TIMESTAMPTZ;
    v_blocked_until TIMESTAMPTZ;
    v_webhook_id    BIGINT;
    v_finished      BIGINT;
BEGIN
    PERFORM check_finish_arguments(
        p_lease_token, p_queue_ids, p_outcome, p_duration_ms, p_http_status, p_retry_after_seconds, p_max_retries);
    v_started_at := v_now - coalesce(p_duration_ms, 0) * INTERVAL '1 millisecond';
    IF p_outcome = 'rate_limited' OR (p_outcome = 'retry' AND p_retry_after_seconds IS NOT NULL) THEN
        -- a channel that limits and asks for no pause would be asked again and again without one
        v_blocked_until := v_now
            + INTERVAL '1 second' * least(greatest(coalesce(p_retry_after_seconds, 60), 1), 3600);
    END IF;

    WITH held AS MATERIALIZED (
        SELECT
            q.notification_queue_id,
            CASE
                WHEN p_outcome = 'delivered' THEN 'delivered'
                WHEN p_outcome IN ('rejected', 'poison') THEN 'failed'
                WHEN p_outcome = 'retry' AND q.retry_count + 1 >= p_max_retries
                    AND (q.priority > 0 OR v_now >= coalesce(q.redriven_at, q.created_at) + INTERVAL '24 hours')
                    THEN 'failed'
                ELSE 'pending'
            END AS new_status,
            CASE p_outcome
                WHEN 'retry' THEN
                    greatest(v_now + retry_delay(q.retry_count, q.priority, v_jitter), v_blocked_until)
                WHEN 'rate_limited' THEN v_blocked_until
            END AS due_at
        FROM alert_notification_queue AS q
        WHERE q.lease_token = p_lease_token AND q.notification_queue_id = ANY (p_queue_ids)
        -- locked in one order everywhere, so that two callers never wait for each other
        ORDER BY q.notification_queue_id
        FOR UPDATE
    ), finished AS (
        UPDATE alert_notification_queue AS q
        SET status = h.new_status,
            retry_count = q.retry_count + CASE p_outcome WHEN 'retry' THEN 1 ELSE 0 END,
            next_retry_at = CASE h.new_status WHEN 'pending' THEN h.due_at END,
            delivered_at = CASE h.new_status WHEN 'delivered' THEN v_now END,
            last_error = coalesce(left(p_error, 500), q.last_error),
            lease_token = NULL,
            leased_until = NULL
        FROM held AS h
        WHERE q.notification_queue_id = h.notification_queue_id
        RETURNING q.notification_queue_id, q.webhook_id, q.status, q.next_retry_at
    ), logged AS (
        INSERT INTO alert_notification_log (
            notification_queue_id, started_at, duration_ms, http_status, outcome, error, attempt_id, webhook_id)
        SELECT
            f.notification_queue_id, v_started_at, p_duration_ms, p_http_status, p_outcome, left(p_error, 500),
            p_lease_token, f.webhook_id
        FROM finished AS f
        WHERE p_outcome <> 'released'
    )
    SELECT
        -- the alphabet has them in the order wanted: delivered, failed, pending
        coalesce(min(f.status COLLATE "C"), 'lease_lost'), min(f.next_retry_at), min(f.webhook_id), count(*)
    INTO status, next_retry_at, v_webhook_id, v_finished
    FROM finished AS f;

    IF v_finished < cardinality(p_queue_ids) AND p_outcome <> 'released' THEN
        INSERT INTO alert_notification_log (
            notification_queue_id, started_at, duration_ms, http_status, outcome, error, attempt_id, webhook_id)
        SELECT
            i.notification_queue_id, v_started_at, p_duration_ms, p_http_status, 'late_' || p_outcome,
            left(p_error, 500), p_lease_token, q.webhook_id
        FROM unnest(p_queue_ids) AS i (notification_queue_id)
        LEFT JOIN alert_notification_queue AS q USING (notification_queue_id)
        WHERE NOT EXISTS (
            SELECT
            FROM alert_notification_log AS l
            WHERE l.notification_queue_id = i.notification_queue_id AND l.attempt_id = p_lease_token
        );
    END IF;

    breaker_changed := v_webhook_id IS NOT NULL AND note_channel_outcome(
        v_webhook_id, p_lease_token, p_outcome, p_http_status, v_blocked_until, v_now);
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION finish_notification(UUID, BIGINT[], TEXT, NUMERIC, INTEGER, TEXT, NUMERIC, INTEGER) IS
    'pggit_analytics: what became of a claimed message';
REVOKE ALL ON FUNCTION finish_notification(UUID, BIGINT[], TEXT, NUMERIC, INTEGER, TEXT, NUMERIC, INTEGER) FROM PUBLIC;
