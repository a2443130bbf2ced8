-- missing_function_of_job(job): the function that the job calls and this schema does not have.
-- NULL when nothing is missing; an unknown job gives NULL.
CREATE OR REPLACE FUNCTION missing_function_of_job(p_job TEXT)
RETURNS TEXT
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT j.needs_function
    FROM scheduled_jobs AS j
    WHERE j.job = p_job
      AND NOT EXISTS (
          SELECT
          FROM pg_proc AS p
          JOIN pg_namespace AS n ON n.oid = p.pronamespace
          WHERE p.proname = j.needs_function AND n.nspname = current_schema()
      );
$$;

COMMENT ON FUNCTION missing_function_of_job(TEXT) IS 'pggit_analytics: what a job waits for, NULL = nothing';
REVOKE ALL ON FUNCTION missing_function_of_job(TEXT) FROM PUBLIC;
