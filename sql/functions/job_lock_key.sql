-- job_lock_key(job): the key of the advisory lock that whoever runs the job holds. NULL gives NULL.
CREATE OR REPLACE FUNCTION job_lock_key(p_job TEXT)
RETURNS BIGINT
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT hashtextextended('pggit_analytics job ' || current_schema() || ' ' || p_job, 0);
$$;

COMMENT ON FUNCTION job_lock_key(TEXT) IS 'pggit_analytics: key of the advisory lock of a job';
REVOKE ALL ON FUNCTION job_lock_key(TEXT) FROM PUBLIC;
