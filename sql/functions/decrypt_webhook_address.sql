-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- requires: webhook_decrypt, webhook_hmac, webhook_key_id, webhook_master_key, webhook_random_bytes
-- decrypt_webhook_address(encrypted, iv, key_id): the address that encrypt_webhook_address() or the pipeline stored so.
-- Raises 55000, naming the remedy, when another key encrypted it or its bytes are not what was stored. NULL gives NULL.
CREATE OR REPLACE FUNCTION decrypt_webhook_address(p_encrypted BYTEA, p_iv BYTEA, p_key_id TEXT)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
STRICT
SET search_path FROM CURRENT
AS $$
DECLARE
    v_master     CONSTANT BYTEA := webhook_master_key();
    v_key_id     CONSTANT TEXT := webhook_key_id();
    -- an HMAC under a key of the moment: how long comparing takes then says nothing about the bytes
    v_moment     CONSTANT BYTEA := webhook_random_bytes(32);
    v_length     CONSTANT INTEGER := length(p_encrypted) - 32;
    v_ciphertext BYTEA;
    v_expected   BYTEA;
BEGIN
    IF p_key_id <> v_key_id THEN
        RAISE EXCEPTION 'the address was encrypted with the key %, and pggit.webhook_key_file holds the key %; restore the former, or store the address again',
            p_key_id, v_key_id
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF v_length >= 16 AND length(p_iv) = 16 THEN
        v_ciphertext := substr(p_encrypted, 1, v_length);
        v_expected := webhook_hmac(
            convert_to(p_key_id, 'UTF8') || p_iv || v_ciphertext,
            webhook_hmac('pggit webhook authentication', v_master));
        IF webhook_hmac(v_expected, v_moment) = webhook_hmac(substr(p_encrypted, v_length + 1), v_moment) THEN
            RETURN convert_from(
                webhook_decrypt(v_ciphertext, webhook_hmac('pggit webhook encryption', v_master), p_iv), 'UTF8');
        END IF;
    END IF;
    RAISE EXCEPTION 'the stored address is damaged or was changed; store it again'
        USING ERRCODE = 'object_not_in_prerequisite_state';
END;
$$;

COMMENT ON FUNCTION decrypt_webhook_address(BYTEA, BYTEA, TEXT) IS 'pggit_analytics: an address from what is stored';
REVOKE ALL ON FUNCTION decrypt_webhook_address(BYTEA, BYTEA, TEXT) FROM PUBLIC;
