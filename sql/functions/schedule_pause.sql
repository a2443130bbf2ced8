-- schedule_pause(job): let a job have no windows until schedule_resume(), whichever scheduler is active; NULL = all.
-- The scheduler still calls, and is refused. What is running is finished. The number of jobs paused by this call.
-- An unknown job raises 22023.
CREATE OR REPLACE FUNCTION schedule_pause(p_job TEXT DEFAULT NULL)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_jobs INTEGER;
BEGIN
    IF p_job IS NOT NULL THEN
        PERFORM check_job(p_job);
    END IF;
    UPDATE scheduled_jobs AS j SET is_paused = TRUE WHERE j.job = coalesce(p_job, j.job) AND NOT j.is_paused;
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    RETURN v_jobs;
END;
$$;

COMMENT ON FUNCTION schedule_pause(TEXT) IS 'pggit_analytics: pause a scheduled job, or all';
REVOKE ALL ON FUNCTION schedule_pause(TEXT) FROM PUBLIC;
