-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- webhook_decrypt(data, key, initialisation vector): what webhook_encrypt() made it of. NULL gives NULL; data that was
-- not encrypted so raises 39000.
-- It calls pgcrypto by the name of the schema that extension is in; after moving it, deploy again.
DO $do$
BEGIN
    EXECUTE format(
        $definition$
        CREATE OR REPLACE FUNCTION webhook_decrypt(p_data BYTEA, p_key BYTEA, p_iv BYTEA)
        RETURNS BYTEA
        LANGUAGE sql
        IMMUTABLE
        STRICT
        SET search_path FROM CURRENT
        AS $$
            SELECT %s.decrypt_iv(p_data, p_key, p_iv, 'aes-cbc/pad:pkcs');
        $$
        $definition$,
        (SELECT x.extnamespace::REGNAMESPACE FROM pg_extension AS x WHERE x.extname = 'pgcrypto'));
END;
$do$;

COMMENT ON FUNCTION webhook_decrypt(BYTEA, BYTEA, BYTEA) IS 'pggit_analytics: the reverse of webhook_encrypt';
REVOKE ALL ON FUNCTION webhook_decrypt(BYTEA, BYTEA, BYTEA) FROM PUBLIC;
