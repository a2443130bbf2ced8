-- schedule_resume(job): end the pause of a job; NULL = all. The number of jobs resumed by this call.
-- Windows of the pause stay unrun. An unknown job raises 22023.
CREATE OR REPLACE FUNCTION schedule_resume(p_job TEXT DEFAULT NULL)
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
    UPDATE scheduled_jobs AS j
    SET is_paused = FALSE, resumed_at = clock_timestamp()
    WHERE j.job = coalesce(p_job, j.job) AND j.is_paused;
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    RETURN v_jobs;
END;
$$;

COMMENT ON FUNCTION schedule_resume(TEXT) IS 'pggit_analytics: end the pause of a scheduled job, or of all';
REVOKE ALL ON FUNCTION schedule_resume(TEXT) FROM PUBLIC;
