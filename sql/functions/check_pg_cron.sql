-- check_pg_cron(): raises 55000, naming the remedy, unless the extension pg_cron is in this database and works in UTC.
CREATE OR REPLACE FUNCTION check_pg_cron()
RETURNS VOID
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    c_else     CONSTANT TEXT := 'or use another scheduler: pggit-analytics schedule install --scheduler crontab';
    v_database CONSTANT TEXT := current_setting('cron.database_name', TRUE);
    v_timezone CONSTANT TEXT := coalesce(current_setting('cron.timezone', TRUE), 'GMT');
BEGIN
    IF v_database IS NULL THEN
        RAISE EXCEPTION 'pg_cron is not loaded; install it, add it to shared_preload_libraries and restart the server, %', c_else
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF v_database <> current_database() THEN
        RAISE EXCEPTION 'pg_cron lives in the database %, which cannot be reached from here; run: pggit-analytics schedule install', quote_ident(v_database)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') THEN
        RAISE EXCEPTION 'pg_cron is loaded but not installed; have a superuser run CREATE EXTENSION pg_cron in the database %, %', quote_ident(v_database), c_else
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF upper(v_timezone) NOT IN ('GMT', 'UTC', 'ETC/UTC', 'ETC/GMT') THEN
        RAISE EXCEPTION 'cron.timezone is %, but the schedules are in UTC; set it to GMT, %', v_timezone, c_else
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_pg_cron() IS 'pggit_analytics: raises unless pg_cron can be used from this database';
REVOKE ALL ON FUNCTION check_pg_cron() FROM PUBLIC;
