-- missing_function_of_job(job, scheduler): the function that the job waits for: under pg_cron the database does the
-- work, so the function must be in this schema; every other scheduler lets the pipeline do it and waits for none.
-- p_scheduler NULL (no scheduler is active) waits for none either.
-- NULL when nothing is missing; an unknown job gives NULL.
CREATE OR REPLACE FUNCTION missing_function_of_job(p_job TEXT, p_scheduler TEXT)
RETURNS TEXT
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT j.needs_function
    FROM scheduled_jobs AS j
    WHERE j.job = p_job
      AND p_scheduler = 'pg_cron'
      AND NOT EXISTS (
          SELECT
          FROM pg_proc AS p
          JOIN pg_namespace AS n ON n.oid = p.pronamespace
          WHERE p.proname = j.needs_function AND n.nspname = current_schema()
      );
$$;

COMMENT ON FUNCTION missing_function_of_job(TEXT, TEXT) IS
    'pggit_analytics: what a job waits for under a scheduler, NULL = nothing';
REVOKE ALL ON FUNCTION missing_function_of_job(TEXT, TEXT) FROM PUBLIC;
