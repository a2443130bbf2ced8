-- redrive_notifications(webhook, rows): send again what has failed, and return how many rows that were.
-- They are due at once, with no attempt counted; what went wrong last stays readable in last_error.
-- p_webhook_id: only of this webhook; NULL: of all. p_queue_ids: only these of the failed rows; NULL: all of them.
-- A webhook that does not exist raises 22023.
CREATE OR REPLACE FUNCTION redrive_notifications(
    p_webhook_id BIGINT DEFAULT NULL,
    p_queue_ids  BIGINT[] DEFAULT NULL
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_now      CONSTANT TIMESTAMPTZ := clock_timestamp();
    v_redriven BIGINT;
BEGIN
    IF p_webhook_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM alert_notification_webhooks AS w WHERE w.webhook_id = p_webhook_id)
    THEN
        RAISE EXCEPTION 'p_webhook_id is %, expected the id of a webhook, or NULL for all', p_webhook_id
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    UPDATE alert_notification_queue AS q
    SET status = 'pending', retry_count = 0, redriven_at = v_now, next_retry_at = v_now
    WHERE q.status = 'failed'
      AND (p_webhook_id IS NULL OR q.webhook_id = p_webhook_id)
      AND (p_queue_ids IS NULL OR q.notification_queue_id = ANY (p_queue_ids));
    GET DIAGNOSTICS v_redriven = ROW_COUNT;
    RETURN v_redriven;
END;
$$;

COMMENT ON FUNCTION redrive_notifications(BIGINT, BIGINT[]) IS
    'pggit_analytics: send again what has failed';
REVOKE ALL ON FUNCTION redrive_notifications(BIGINT, BIGINT[]) FROM PUBLIC;
