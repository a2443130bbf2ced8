-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: deliver_claimed_message, seconds_to_next_send, webhook_key_id
-- deliver_pending_notifications(batch size, max retries): send what is due, from within the database; one row of counts,
-- all of rows of alert_notification_queue: sent in all, delivered, failed for good, put off to be tried again.
-- p_batch_size: after this many rows (1 to 1000) it ends; the rows of one message always go together.
-- p_max_retries: failed attempts (1 to 20) after which a row is failed. Others and NULL raise 22023, a missing key 55000.
-- The weaker promise: this is one transaction, which holds the rows' locks and keeps other workers from claiming while
-- it sends, and if it dies all it has sent is sent again. deliver_pending_alerts_by_row(), which pg_cron calls, and
-- `pggit-analytics deliver` commit message by message.
CREATE OR REPLACE FUNCTION deliver_pending_notifications(
    p_batch_size  INTEGER DEFAULT 50,
    p_max_retries INTEGER DEFAULT 3
)
RETURNS TABLE (
    notification_count INTEGER,
    delivered_count    INTEGER,
    failed_count       INTEGER,
    retry_count        INTEGER,
    execution_time_ms  NUMERIC
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_begun   CONSTANT TIMESTAMPTZ := clock_timestamp();
    v_key_id  TEXT;
    v_handled INTEGER := 0;
    v_before  INTEGER;
    v_pause   DOUBLE PRECISION;
    v_message RECORD;
    v_status  TEXT;
    v_rows    INTEGER;
BEGIN
    PERFORM check_argument('batch_size', p_batch_size, 1, 1000);
    PERFORM check_argument('max_retries', p_max_retries, 1, 20);
    v_key_id := webhook_key_id();
    delivered_count := 0;
    failed_count := 0;
    retry_count := 0;
    LOOP
        v_before := v_handled;
        FOR v_message IN SELECT * FROM claim_notifications(1, 60, v_key_id) LOOP
            IF v_handled >= p_batch_size THEN
                PERFORM finish_notification(v_message.lease_token, v_message.queue_ids, 'released', 0);
                CONTINUE;
            END IF;
            v_status := deliver_claimed_message(
                v_message.lease_token, v_message.webhook_id, v_message.queue_ids, v_message.message_bodies,
                v_message.is_still_open, p_max_retries);
            v_rows := cardinality(v_message.queue_ids);
            v_handled := v_handled + v_rows;
            delivered_count := delivered_count + CASE v_status WHEN 'delivered' THEN v_rows ELSE 0 END;
            failed_count := failed_count + CASE v_status WHEN 'failed' THEN v_rows ELSE 0 END;
            retry_count := retry_count + CASE v_status WHEN 'pending' THEN v_rows ELSE 0 END;
        END LOOP;
        EXIT WHEN v_handled >= p_batch_size;
        IF v_handled = v_before THEN
            v_pause := seconds_to_next_send(v_key_id);
            EXIT WHEN v_pause IS NULL;
            PERFORM pg_sleep(v_pause);
        END IF;
    END LOOP;
    notification_count := v_handled;
    execution_time_ms := extract(EPOCH FROM clock_timestamp() - v_begun) * 1000;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION deliver_pending_notifications(INTEGER, INTEGER) IS 'pggit_analytics: send what is due';
REVOKE ALL ON FUNCTION deliver_pending_notifications(INTEGER, INTEGER) FROM PUBLIC;
