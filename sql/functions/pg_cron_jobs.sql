-- requires: schedule_line
-- pg_cron_jobs: what pg_cron is to be told, one row a job: its name there, the cron line, the command, the database.
-- The name is the job's where the schema is pggit and pg_cron lives in this database, and else says which database and
-- schema it belongs to: one pg_cron serves all databases of a server. cron_line is NULL where pg_cron cannot say it.
-- Delivery is a procedure, because a function cannot commit each message.
CREATE OR REPLACE FUNCTION pg_cron_jobs()
RETURNS TABLE (job TEXT, name_in_pg_cron TEXT, cron_line TEXT, command TEXT, database_name TEXT)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT
        j.job,
        CASE
            WHEN current_schema() = 'pggit' AND current_setting('cron.database_name', TRUE) = current_database()
                THEN j.job
            ELSE format('%s (%s.%s)', j.job, current_database(), current_schema())
        END,
        schedule_line(j.period, j.first_window),
        CASE
            WHEN j.job = 'deliver_pending_alerts' THEN format('CALL %I.deliver_pending_alerts_by_row()', current_schema())
            ELSE format('SELECT %I.run_scheduled_job(%L)', current_schema(), j.job)
        END,
        current_database()
    FROM scheduled_jobs AS j
    ORDER BY j.job COLLATE "C";
$$;

COMMENT ON FUNCTION pg_cron_jobs() IS 'pggit_analytics: what pg_cron is to be told';
REVOKE ALL ON FUNCTION pg_cron_jobs() FROM PUBLIC;
