-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- requires: decrypt_webhook_address
-- get_webhook_decrypted(webhook): its address; NULL when none is stored. An unknown webhook or NULL raises 22023,
-- a key or an address that does not fit 55000. Its result is a secret: do not select it where results are kept.
CREATE OR REPLACE FUNCTION get_webhook_decrypted(p_webhook_id BIGINT)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_webhook alert_notification_webhooks%ROWTYPE;
BEGIN
    SELECT * INTO v_webhook FROM alert_notification_webhooks WHERE webhook_id = p_webhook_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'webhook_id is %, expected one of alert_notification_webhooks', coalesce(p_webhook_id::TEXT, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN decrypt_webhook_address(
        v_webhook.webhook_url_encrypted, v_webhook.webhook_url_iv, v_webhook.encryption_key_id);
END;
$$;

COMMENT ON FUNCTION get_webhook_decrypted(BIGINT) IS 'pggit_analytics: the address of a webhook';
REVOKE ALL ON FUNCTION get_webhook_decrypted(BIGINT) FROM PUBLIC;
