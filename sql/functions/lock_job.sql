-- lock_job(job, for_session): take the advisory lock of a job, for the session or for the transaction.
-- FALSE, without waiting, when any session holds it; this session counts, too, although PostgreSQL would let it in.
CREATE OR REPLACE FUNCTION lock_job(p_job TEXT, p_for_session BOOLEAN)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_key CONSTANT BIGINT := job_lock_key(p_job);
BEGIN
    IF EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.objsubid = 1 AND l.granted
          AND (l.classid::BIGINT << 32) | l.objid::BIGINT = v_key
    ) THEN
        RETURN FALSE;
    ELSIF p_for_session THEN
        RETURN pg_try_advisory_lock(v_key);
    END IF;
    RETURN pg_try_advisory_xact_lock(v_key);
END;
$$;

COMMENT ON FUNCTION lock_job(TEXT, BOOLEAN) IS 'pggit_analytics: take the advisory lock of a job, if it is free';
REVOKE ALL ON FUNCTION lock_job(TEXT, BOOLEAN) FROM PUBLIC;
