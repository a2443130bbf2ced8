-- pggit_pipeline: may do what the flows do: read timings, write findings, alerts and messages; no DDL.
-- Roles belong to the whole server: one that exists is left as it is. An installing role that may not create roles
-- is told so, and the rest is installed.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pggit_pipeline') THEN
        CREATE ROLE pggit_pipeline NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this server was deployed at the same moment
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'pggit_analytics: the role pggit_pipeline is not there and % may not create roles; have an administrator run CREATE ROLE pggit_pipeline NOLOGIN, then deploy again',
            current_user;
END;
$$;
