-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: send_to_webhook
-- deliver_claimed_message(...): send a message that claim_notifications() gave out, and record how that went; what
-- became of its rows: delivered, pending (put off), failed, or lease_lost (another one has it, nothing was recorded but
-- the attempt). The arguments are columns of claim_notifications().
CREATE OR REPLACE FUNCTION deliver_claimed_message(
    p_lease_token    UUID,
    p_webhook_id     BIGINT,
    p_queue_ids      BIGINT[],
    p_message_bodies TEXT[],
    p_is_still_open  BOOLEAN,
    p_max_retries    INTEGER
)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_sent   RECORD;
    v_status TEXT;
BEGIN
    SELECT * INTO v_sent FROM send_to_webhook(p_webhook_id, p_message_bodies, p_is_still_open);
    SELECT f.status INTO v_status
    FROM finish_notification(
        p_lease_token, p_queue_ids, v_sent.outcome, v_sent.duration_ms, v_sent.http_status, v_sent.error,
        v_sent.retry_after_seconds, p_max_retries) AS f;
    RETURN v_status;
END;
$$;

COMMENT ON FUNCTION deliver_claimed_message(UUID, BIGINT, BIGINT[], TEXT[], BOOLEAN, INTEGER) IS
    'pggit_analytics: send a claimed message and record how that went';
REVOKE ALL ON FUNCTION deliver_claimed_message(UUID, BIGINT, BIGINT[], TEXT[], BOOLEAN, INTEGER) FROM PUBLIC;
