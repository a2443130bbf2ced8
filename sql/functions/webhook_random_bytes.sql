-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- webhook_random_bytes(count): random bytes fit for a key, at most 1024. NULL gives NULL.
-- It calls pgcrypto by the name of the schema that extension is in; after moving it, deploy again.
DO $do$
BEGIN
    EXECUTE format(
        $definition$
        CREATE OR REPLACE FUNCTION webhook_random_bytes(p_count INTEGER)
        RETURNS BYTEA
        LANGUAGE sql
        VOLATILE
        STRICT
        SET search_path FROM CURRENT
        AS $$
            SELECT %s.gen_random_bytes(p_count);
        $$
        $definition$,
        (SELECT x.extnamespace::REGNAMESPACE FROM pg_extension AS x WHERE x.extname = 'pgcrypto'));
END;
$do$;

COMMENT ON FUNCTION webhook_random_bytes(INTEGER) IS 'pggit_analytics: random bytes fit for a key';
REVOKE ALL ON FUNCTION webhook_random_bytes(INTEGER) FROM PUBLIC;
