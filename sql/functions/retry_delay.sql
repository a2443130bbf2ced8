-- retry_delay(retries, priority, jitter): how long after a failed attempt the next one is due.
-- p_retry_count: failed attempts before this one. p_priority: 0 (CRITICAL) waits at most 15 minutes.
-- p_jitter: from 0 to 1, lengthens it by up to a tenth. 1 minute x 2^retries; it stops growing after 20.
-- NULL when an argument is NULL.
CREATE OR REPLACE FUNCTION retry_delay(p_retry_count INTEGER, p_priority SMALLINT, p_jitter DOUBLE PRECISION)
RETURNS INTERVAL
LANGUAGE sql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT least(
        INTERVAL '1 minute' * (2::DOUBLE PRECISION ^ least(p_retry_count, 20)) * (1 + 0.1 * p_jitter),
        CASE WHEN p_priority = 0 THEN INTERVAL '15 minutes' END);
$$;

COMMENT ON FUNCTION retry_delay(INTEGER, SMALLINT, DOUBLE PRECISION) IS
    'pggit_analytics: how long after a failed attempt the next one is due';
REVOKE ALL ON FUNCTION retry_delay(INTEGER, SMALLINT, DOUBLE PRECISION) FROM PUBLIC;
