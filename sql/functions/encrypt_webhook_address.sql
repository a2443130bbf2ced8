-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- requires: webhook_encrypt, webhook_hmac, webhook_key_id, webhook_master_key, webhook_random_bytes
-- encrypt_webhook_address(address): the three columns of alert_notification_webhooks that keep it.
--   encrypted: AES-256-CBC, then 32 bytes of HMAC-SHA256 over key_id, iv and ciphertext, each with a key of its own that
--   is derived from the master key; iv: random, so that equal addresses do not look equal.
-- pggit_analytics/delivery/encryption.py writes and reads the same. NULL gives NULLs.
CREATE OR REPLACE FUNCTION encrypt_webhook_address(
    p_address TEXT, OUT encrypted BYTEA, OUT iv BYTEA, OUT key_id TEXT
)
LANGUAGE plpgsql
VOLATILE
STRICT
SET search_path FROM CURRENT
AS $$
DECLARE
    v_master CONSTANT BYTEA := webhook_master_key();
BEGIN
    iv := webhook_random_bytes(16);
    key_id := webhook_key_id();
    encrypted := webhook_encrypt(
        convert_to(p_address, 'UTF8'), webhook_hmac('pggit webhook encryption', v_master), iv);
    encrypted := encrypted || webhook_hmac(
        convert_to(key_id, 'UTF8') || iv || encrypted, webhook_hmac('pggit webhook authentication', v_master));
END;
$$;

COMMENT ON FUNCTION encrypt_webhook_address(TEXT) IS 'pggit_analytics: an address as it is stored';
REVOKE ALL ON FUNCTION encrypt_webhook_address(TEXT) FROM PUBLIC;
