-- finish_job_window(job_run_id, succeeded, message): record how a claimed window ended.
-- FALSE, and nothing is recorded, when the claim is no longer the caller's: its lock was lost and the window was
-- claimed again. p_message may be NULL and is cut to 1000 characters; the others raise 22023 when NULL.
-- The lock of the session is left to the caller (unlock_job), that of a transaction ends with it.
CREATE OR REPLACE FUNCTION finish_job_window(p_job_run_id BIGINT, p_succeeded BOOLEAN, p_message TEXT)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_job_run_id IS NULL OR p_succeeded IS NULL THEN
        RAISE EXCEPTION 'job_run_id and succeeded are % and %, expected not NULL',
            quote_nullable(p_job_run_id), quote_nullable(p_succeeded)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE job_runs
    SET status = CASE WHEN p_succeeded THEN 'SUCCESS' ELSE 'FAILED' END,
        finished_at = clock_timestamp(),
        message = left(p_message, 1000)
    WHERE job_run_id = p_job_run_id AND status = 'RUNNING';
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION finish_job_window(BIGINT, BOOLEAN, TEXT) IS 'pggit_analytics: record how a claimed window ended';
REVOKE ALL ON FUNCTION finish_job_window(BIGINT, BOOLEAN, TEXT) FROM PUBLIC;
