-- needs extension: pgcrypto
-- needs superuser: what it may call is a superuser's
-- requires: pggit_pipeline
-- pggit_delivery: may send messages from within the database: all that pggit_pipeline may, store webhooks, and use the
-- key of their addresses. Only there where the functions for it are.
-- Roles belong to the whole server: one that exists is left as it is, but for being in pggit_pipeline.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pggit_delivery') THEN
        CREATE ROLE pggit_delivery NOLOGIN;
    END IF;
    IF NOT EXISTS (
        SELECT
        FROM pg_auth_members AS m
        WHERE m.roleid = to_regrole('pggit_pipeline') AND m.member = to_regrole('pggit_delivery')
    ) THEN
        GRANT pggit_pipeline TO pggit_delivery;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this server was deployed at the same moment
END;
$$;
