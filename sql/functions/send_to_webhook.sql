-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: get_webhook_decrypted, send_messages
-- send_to_webhook(webhook, message bodies, still open): send_messages() to a stored webhook. What fails on our own side
-- (a message that cannot be read, an address that is missing or cannot be decrypted) is the outcome 'poison'.
-- An unknown webhook is that as well. Never raises.
CREATE OR REPLACE FUNCTION send_to_webhook(
    p_webhook_id     BIGINT,
    p_message_bodies TEXT[],
    p_is_still_open  BOOLEAN,
    OUT outcome             TEXT,
    OUT http_status         INTEGER,
    OUT retry_after_seconds NUMERIC,
    OUT error               TEXT,
    OUT duration_ms         NUMERIC
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_webhook alert_notification_webhooks%ROWTYPE;
    v_address TEXT;
BEGIN
    duration_ms := 0;
    SELECT * INTO v_webhook FROM alert_notification_webhooks WHERE webhook_id = p_webhook_id;
    v_address := get_webhook_decrypted(p_webhook_id);
    IF v_address IS NULL THEN
        outcome := 'poison';
        error := format('the webhook %s has no address', quote_literal(v_webhook.name));
        RETURN;
    END IF;
    SELECT s.* INTO outcome, http_status, retry_after_seconds, error, duration_ms
    FROM send_messages(
        v_webhook.webhook_type, v_address, v_webhook.channel_or_recipient, v_webhook.allow_private, p_message_bodies,
        p_is_still_open) AS s;
EXCEPTION
    WHEN invalid_parameter_value OR object_not_in_prerequisite_state THEN
        -- in words of our own, which repeat no secret
        outcome := 'poison';
        error := SQLERRM;
    WHEN OTHERS THEN
        outcome := 'poison';
        error := format('unexpected error, SQLSTATE %s', SQLSTATE);
END;
$$;

COMMENT ON FUNCTION send_to_webhook(BIGINT, TEXT[], BOOLEAN) IS 'pggit_analytics: send to a stored webhook';
REVOKE ALL ON FUNCTION send_to_webhook(BIGINT, TEXT[], BOOLEAN) FROM PUBLIC;
