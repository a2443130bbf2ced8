-- schedule_install(): make pg_cron the active scheduler and tell it every job; the number of jobs. Repeatable.
-- Raises 55000, naming the remedy, when another scheduler is active, when pg_cron is not in this database (the command
-- `pggit-analytics schedule install` reaches another one), or when a job's period has no cron line.
CREATE OR REPLACE FUNCTION schedule_install()
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_job  RECORD;
    v_jobs INTEGER := 0;
BEGIN
    PERFORM check_pg_cron();
    PERFORM activate_scheduler('pg_cron');
    FOR v_job IN SELECT * FROM pg_cron_jobs() LOOP
        IF v_job.cron_line IS NULL THEN
            RAISE EXCEPTION 'the period of % has no cron line; pg_cron can run it every n minutes or hours that divide an hour or a day, daily or weekly', v_job.job
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM cron.schedule(v_job.name_in_pg_cron, v_job.cron_line, v_job.command);
        v_jobs := v_jobs + 1;
    END LOOP;
    RETURN v_jobs;
END;
$$;

COMMENT ON FUNCTION schedule_install() IS 'pggit_analytics: let pg_cron run the jobs';
REVOKE ALL ON FUNCTION schedule_install() FROM PUBLIC;
