-- check_job(job): raises 22023, naming the jobs there are, unless p_job is one of scheduled_jobs. NULL raises.
CREATE OR REPLACE FUNCTION check_job(p_job TEXT)
RETURNS VOID
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_job IS NULL OR NOT EXISTS (SELECT FROM scheduled_jobs AS j WHERE j.job = p_job) THEN
        RAISE EXCEPTION 'job is %, expected one of %',
            quote_nullable(p_job), (SELECT string_agg(j.job, ', ' ORDER BY j.job) FROM scheduled_jobs AS j)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_job(TEXT) IS 'pggit_analytics: raises unless a job is known';
REVOKE ALL ON FUNCTION check_job(TEXT) FROM PUBLIC;
