-- claim_job_window(...): ask for the window of a job that p_at lies in. Every scheduler asks; one is told to run it.
--   claimed: job_run_id and window_start; run the job and then call finish_job_window(job_run_id, ...)
--   refused: job_run_id is NULL and refusal says why: another scheduler is active, the job is paused or waits for a
--            function, it is running, or the window was run before
-- p_for_session: hold the job's advisory lock until finish_job_window() or the end of the session; otherwise until the
--   end of the transaction, for a caller that claims, runs and finishes in one.
-- p_again: run a window again that failed. Otherwise only one whose session died is run again, 3 times in all.
-- Another connection cannot see or take the window before this transaction commits, so commit before running.
-- A NULL or unknown argument raises 22023.
CREATE OR REPLACE FUNCTION claim_job_window(
    p_job         TEXT,
    p_scheduler   TEXT,
    p_at          TIMESTAMPTZ DEFAULT clock_timestamp(),
    p_for_session BOOLEAN DEFAULT TRUE,
    p_again       BOOLEAN DEFAULT FALSE
)
RETURNS TABLE (job_run_id BIGINT, window_start TIMESTAMPTZ, refusal TEXT)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    c_attempts CONSTANT INTEGER := 3;
    v_active   TEXT;
    v_window   TIMESTAMPTZ;
    v_job      scheduled_jobs%ROWTYPE;
    v_run      job_runs%ROWTYPE;
BEGIN
    PERFORM check_job(p_job);
    PERFORM check_scheduler(p_scheduler);
    PERFORM check_as_of(p_at);
    IF p_for_session IS NULL OR p_again IS NULL THEN
        RAISE EXCEPTION 'for_session and again are % and %, expected true or false',
            quote_nullable(p_for_session), quote_nullable(p_again)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT j.* INTO v_job FROM scheduled_jobs AS j WHERE j.job = p_job;
    v_window := date_bin(v_job.period, p_at, v_job.first_window);
    window_start := v_window;
    SELECT s.scheduler INTO v_active FROM active_scheduler AS s;
    refusal := CASE
        WHEN v_active IS NULL THEN
            format('no scheduler is active; run: pggit-analytics schedule install --scheduler %s', p_scheduler)
        WHEN v_active <> p_scheduler THEN
            format('%s is the active scheduler, %s does nothing', v_active, p_scheduler)
        WHEN v_job.is_paused THEN
            format('%s is paused', p_job)
        WHEN missing_function_of_job(p_job, p_scheduler) IS NOT NULL THEN
            format('%s waits for the function %s', p_job, missing_function_of_job(p_job, p_scheduler))
        WHEN NOT lock_job(p_job, p_for_session) THEN
            format('%s is running', p_job)
    END;
    IF refusal IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- Nobody else holds the lock, so a window that reads RUNNING is that of a session that died.
    INSERT INTO job_runs AS r (job, window_start, scheduler, status, started_at)
    VALUES (p_job, v_window, p_scheduler, 'RUNNING', clock_timestamp())
    ON CONFLICT (job, window_start) DO UPDATE
    SET job_run_id = excluded.job_run_id, scheduler = excluded.scheduler, status = 'RUNNING', attempt = r.attempt + 1,
        started_at = excluded.started_at, finished_at = NULL, message = NULL
    WHERE (r.status = 'RUNNING' AND (r.attempt < c_attempts OR p_again)) OR (r.status = 'FAILED' AND p_again)
    RETURNING r.job_run_id INTO job_run_id;

    IF job_run_id IS NULL THEN
        SELECT r.* INTO v_run FROM job_runs AS r WHERE r.job = p_job AND r.window_start = v_window;
        refusal := format(
            'the window %s of %s was run by %s: %s',
            utc_text(v_run.window_start), p_job, v_run.scheduler,
            CASE WHEN v_run.status = 'RUNNING' THEN format('%s times, and died each time', v_run.attempt)
                 ELSE v_run.status END);
        IF p_for_session THEN
            PERFORM unlock_job(p_job);
        END IF;
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION claim_job_window(TEXT, TEXT, TIMESTAMPTZ, BOOLEAN, BOOLEAN) IS
    'pggit_analytics: ask to run a window of a job; one scheduler may';
REVOKE ALL ON FUNCTION claim_job_window(TEXT, TEXT, TIMESTAMPTZ, BOOLEAN, BOOLEAN) FROM PUBLIC;
