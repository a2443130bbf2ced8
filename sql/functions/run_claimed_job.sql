-- run_claimed_job(job, scheduler, at): run the window of a job that p_at lies in, unless it is refused; what happened,
-- in one line. Claim, work and record are one transaction: if it dies, nothing has happened and the window is free.
-- An error of the work is no error of this function: it undoes the work, is recorded as FAILED and raises a warning.
CREATE OR REPLACE FUNCTION run_claimed_job(p_job TEXT, p_scheduler TEXT, p_at TIMESTAMPTZ)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_claim     RECORD;
    v_succeeded BOOLEAN := TRUE;
    v_message   TEXT;
BEGIN
    SELECT * INTO v_claim FROM claim_job_window(p_job, p_scheduler, p_at, p_for_session => FALSE);
    IF v_claim.refusal IS NOT NULL THEN
        RETURN 'not run: ' || v_claim.refusal;
    END IF;
    BEGIN
        v_message := run_job(p_job);
    EXCEPTION
        WHEN query_canceled OR OTHERS THEN
            v_succeeded := FALSE;
            v_message := SQLERRM;
            RAISE WARNING 'pggit_analytics: % failed: %', p_job, SQLERRM;
    END;
    PERFORM finish_job_window(v_claim.job_run_id, v_succeeded, v_message);
    RETURN format('%s %s: %s', p_job, CASE WHEN v_succeeded THEN 'SUCCESS' ELSE 'FAILED' END, v_message);
END;
$$;

COMMENT ON FUNCTION run_claimed_job(TEXT, TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: run a window of a job in the database, unless it is refused';
REVOKE ALL ON FUNCTION run_claimed_job(TEXT, TEXT, TIMESTAMPTZ) FROM PUBLIC;
