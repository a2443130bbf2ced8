-- schedule_remove(): take this schema's jobs out of pg_cron, where that lives in this database, and let no scheduler be
-- active; the scheduler that was (NULL = none). Repeatable; the history in job_runs stays.
-- Raises 55000 when pg_cron is active but lives in another database: `pggit-analytics schedule remove` reaches that.
CREATE OR REPLACE FUNCTION schedule_remove()
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_job RECORD;
BEGIN
    IF EXISTS (SELECT FROM active_scheduler AS s WHERE s.scheduler = 'pg_cron') THEN
        PERFORM check_pg_cron();
        FOR v_job IN
            SELECT c.jobid
            FROM cron.job AS c
            WHERE c.database = current_database()
              AND c.username = current_user
              AND c.command IN (SELECT p.command FROM pg_cron_jobs() AS p)
        LOOP
            PERFORM cron.unschedule(v_job.jobid);
        END LOOP;
    END IF;
    RETURN deactivate_scheduler();
END;
$$;

COMMENT ON FUNCTION schedule_remove() IS 'pggit_analytics: let no scheduler run the jobs';
REVOKE ALL ON FUNCTION schedule_remove() FROM PUBLIC;
