-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- webhook_encrypt(data, key, initialisation vector): the data under AES-CBC with PKCS#7 padding; AES-256 by a key of 32
-- bytes, the vector has 16. NULL gives NULL.
-- It calls pgcrypto by the name of the schema that extension is in; after moving it, deploy again.
DO $do$
BEGIN
    EXECUTE format(
        $definition$
        CREATE OR REPLACE FUNCTION webhook_encrypt(p_data BYTEA, p_key BYTEA, p_iv BYTEA)
        RETURNS BYTEA
        LANGUAGE sql
        IMMUTABLE
        STRICT
        SET search_path FROM CURRENT
        AS $$
            SELECT %s.encrypt_iv(p_data, p_key, p_iv, 'aes-cbc/pad:pkcs');
        $$
        $definition$,
        (SELECT x.extnamespace::REGNAMESPACE FROM pg_extension AS x WHERE x.extname = 'pgcrypto'));
END;
$do$;

COMMENT ON FUNCTION webhook_encrypt(BYTEA, BYTEA, BYTEA) IS 'pggit_analytics: AES-256-CBC';
REVOKE ALL ON FUNCTION webhook_encrypt(BYTEA, BYTEA, BYTEA) FROM PUBLIC;
