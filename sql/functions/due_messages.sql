-- requires: notification_silenced_until
-- due_messages(webhook, limit, at, look for silence): the first due row of each message of a webhook that can be
-- claimed, CRITICAL first, then by due time, then id; at most p_limit. Called with the lock of lock_outbox() held.
-- p_look_for_silence: rows that may not be sent yet are put off to the end of the silence on the way.
-- A bundle of which something is being sent is passed over. Of each priority the first 2000 due rows are looked at, so
-- that a claim costs the same however many wait behind them.
CREATE OR REPLACE FUNCTION due_messages(
    p_webhook_id       BIGINT,
    p_limit            INTEGER,
    p_at               TIMESTAMPTZ,
    p_look_for_silence BOOLEAN
)
RETURNS TABLE (notification_queue_id BIGINT, priority SMALLINT, due_at TIMESTAMPTZ)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
-- only the index of due rows gives them in order: it is taken whatever the statistics of a queue that has just been
-- filled or emptied say
SET enable_sort TO off
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    c_looked_at CONSTANT INTEGER := 2000;
    v_seen  TEXT[] := '{}';
    v_left  INTEGER := p_limit;
    v_until TIMESTAMPTZ;
    v_row   RECORD;
BEGIN
    FOR v_priority IN 0..2 LOOP
        FOR v_row IN
            SELECT
                q.notification_queue_id AS id, q.priority, q.bundle_key,
                coalesce(q.next_retry_at, q.created_at) AS due_at
            FROM alert_notification_queue AS q
            WHERE q.webhook_id = p_webhook_id
              AND q.priority = v_priority
              AND q.status = 'pending'
              AND coalesce(q.next_retry_at, q.created_at) <= p_at
            ORDER BY coalesce(q.next_retry_at, q.created_at), q.notification_queue_id
            LIMIT c_looked_at
        LOOP
            CONTINUE WHEN v_row.bundle_key = ANY (v_seen);
            v_until := CASE WHEN p_look_for_silence THEN notification_silenced_until(v_row.id, p_at) END;
            IF v_until IS NOT NULL THEN
                UPDATE alert_notification_queue
                SET next_retry_at = v_until
                WHERE notification_queue_id = (
                    SELECT q.notification_queue_id
                    FROM alert_notification_queue AS q
                    WHERE q.notification_queue_id = v_row.id
                    FOR UPDATE SKIP LOCKED
                );
                CONTINUE;
            END IF;

            IF v_row.bundle_key IS NOT NULL THEN
                v_seen := v_seen || v_row.bundle_key;
                CONTINUE WHEN EXISTS (
                    SELECT
                    FROM alert_notification_queue AS q
                    WHERE q.webhook_id = p_webhook_id AND q.bundle_key = v_row.bundle_key
                      AND q.lease_token IS NOT NULL AND q.leased_until > p_at
                );
            END IF;
            notification_queue_id := v_row.id;
            priority := v_row.priority;
            due_at := v_row.due_at;
            RETURN NEXT;
            v_left := v_left - 1;
            IF v_left = 0 THEN
                RETURN;
            END IF;
        END LOOP;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION due_messages(BIGINT, INTEGER, TIMESTAMPTZ, BOOLEAN) IS
    'pggit_analytics: the first due row of each message of a webhook that can be claimed';
REVOKE ALL ON FUNCTION due_messages(BIGINT, INTEGER, TIMESTAMPTZ, BOOLEAN) FROM PUBLIC;
