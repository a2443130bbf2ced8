-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- requires: complete_webhook_address, encrypt_webhook_address
-- store_webhook_encrypted(name, type, address, recipient, allow_private): add the webhook of this name, or replace all
-- of these of the one there is; its id. Routes and whether it is enabled are kept.
-- p_channel_or_recipient: the addresses an e-mail goes to, separated by commas; else only for people to read, or NULL.
-- p_allow_private: it may be in a private network, which every sender refuses otherwise.
-- Anything else that is NULL or does not fit raises 22023, without repeating the address.
CREATE OR REPLACE FUNCTION store_webhook_encrypted(
    p_name                 TEXT,
    p_webhook_type         TEXT,
    p_url                  TEXT,
    p_channel_or_recipient TEXT DEFAULT NULL,
    p_allow_private        BOOLEAN DEFAULT FALSE
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_stored     RECORD;
    v_webhook_id BIGINT;
BEGIN
    IF coalesce(btrim(p_name), '') = '' THEN
        RAISE EXCEPTION 'name is %, expected not empty', quote_nullable(p_name)
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF p_webhook_type = 'email' AND p_channel_or_recipient !~ '^[^@\s,]+@[^@\s,]+(\s*,\s*[^@\s,]+@[^@\s,]+)*$' IS NOT FALSE
    THEN
        RAISE EXCEPTION 'channel_or_recipient of a webhook of type email is %, expected addresses separated by commas',
            quote_nullable(p_channel_or_recipient)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO v_stored FROM encrypt_webhook_address(
        complete_webhook_address(p_webhook_type, p_url, p_allow_private));

    INSERT INTO alert_notification_webhooks AS w (
        name, webhook_type, channel_or_recipient, allow_private, webhook_url_encrypted, webhook_url_iv, encryption_key_id)
    VALUES (
        p_name, p_webhook_type, p_channel_or_recipient, p_allow_private, v_stored.encrypted, v_stored.iv, v_stored.key_id)
    ON CONFLICT (name) DO UPDATE
    SET webhook_type = excluded.webhook_type, channel_or_recipient = excluded.channel_or_recipient,
        allow_private = excluded.allow_private, webhook_url_encrypted = excluded.webhook_url_encrypted,
        webhook_url_iv = excluded.webhook_url_iv, encryption_key_id = excluded.encryption_key_id,
        last_tested_at = NULL, test_status = NULL
    RETURNING w.webhook_id INTO v_webhook_id;
    RETURN v_webhook_id;
END;
$$;

COMMENT ON FUNCTION store_webhook_encrypted(TEXT, TEXT, TEXT, TEXT, BOOLEAN) IS
    'pggit_analytics: add a webhook, or replace its address';
REVOKE ALL ON FUNCTION store_webhook_encrypted(TEXT, TEXT, TEXT, TEXT, BOOLEAN) FROM PUBLIC;
