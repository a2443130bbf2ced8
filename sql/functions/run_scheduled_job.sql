-- run_scheduled_job(job): what pg_cron calls when a job is due: run its window that p_at lies in, unless it is refused,
-- and then at most one other job that was missed. What happened, one line a job.
-- An error of the work is recorded in job_runs and raises a warning. An unknown argument or NULL raises 22023.
CREATE OR REPLACE FUNCTION run_scheduled_job(
    p_job       TEXT,
    p_scheduler TEXT DEFAULT 'pg_cron',
    p_at        TIMESTAMPTZ DEFAULT clock_timestamp()
)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_done   TEXT := run_claimed_job(p_job, p_scheduler, p_at);
    v_missed TEXT;
BEGIN
    SELECT m.job INTO v_missed
    FROM missed_jobs(p_at) AS m
    JOIN active_scheduler AS s ON s.scheduler = p_scheduler
    WHERE m.job <> p_job
    LIMIT 1;
    IF v_missed IS NOT NULL THEN
        v_done := v_done || E'\nmissed, made up: ' || run_claimed_job(v_missed, p_scheduler, p_at);
    END IF;
    RETURN v_done;
END;
$$;

COMMENT ON FUNCTION run_scheduled_job(TEXT, TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: what pg_cron calls when a job is due';
REVOKE ALL ON FUNCTION run_scheduled_job(TEXT, TEXT, TIMESTAMPTZ) FROM PUBLIC;
