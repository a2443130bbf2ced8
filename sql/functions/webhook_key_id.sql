-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- requires: webhook_hmac, webhook_master_key
-- webhook_key_id(): the name of the master key, which says which key an address was encrypted with and nothing about
-- the key itself: the first 16 hexadecimal digits of an HMAC. Raises 55000 without a key, as webhook_master_key() does.
CREATE OR REPLACE FUNCTION webhook_key_id()
RETURNS TEXT
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN left(encode(webhook_hmac('pggit webhook key id', webhook_master_key()), 'hex'), 16);
END;
$$;

COMMENT ON FUNCTION webhook_key_id() IS 'pggit_analytics: the name of the master key';
REVOKE ALL ON FUNCTION webhook_key_id() FROM PUBLIC;
