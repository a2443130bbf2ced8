-- requires: job_lock_key
-- unlock_job(job): give back the advisory lock that this session holds on a job; FALSE when it holds none.
CREATE OR REPLACE FUNCTION unlock_job(p_job TEXT)
RETURNS BOOLEAN
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
AS $$
    SELECT pg_advisory_unlock(job_lock_key(p_job));
$$;

COMMENT ON FUNCTION unlock_job(TEXT) IS 'pggit_analytics: give back the advisory lock of a job';
REVOKE ALL ON FUNCTION unlock_job(TEXT) FROM PUBLIC;
