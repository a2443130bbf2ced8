-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- webhook_hmac(data, key): their HMAC-SHA256, 32 bytes. NULL gives NULL.
-- It calls pgcrypto by the name of the schema that extension is in; after moving it, deploy again.
DO $do$
BEGIN
    EXECUTE format(
        $definition$
        CREATE OR REPLACE FUNCTION webhook_hmac(p_data BYTEA, p_key BYTEA)
        RETURNS BYTEA
        LANGUAGE sql
        IMMUTABLE
        STRICT
        SET search_path FROM CURRENT
        AS $$
            SELECT %s.hmac(p_data, p_key, 'sha256');
        $$
        $definition$,
        (SELECT x.extnamespace::REGNAMESPACE FROM pg_extension AS x WHERE x.extname = 'pgcrypto'));
END;
$do$;

COMMENT ON FUNCTION webhook_hmac(BYTEA, BYTEA) IS 'pggit_analytics: HMAC-SHA256';
REVOKE ALL ON FUNCTION webhook_hmac(BYTEA, BYTEA) FROM PUBLIC;
