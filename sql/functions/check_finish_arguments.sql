-- requires: check_argument
-- check_finish_arguments(...): raises 22023, with the value and what is allowed, unless a message can be finished so.
-- The duration may be NULL when nothing was sent (released, poison); http status and retry after may be NULL.
CREATE OR REPLACE FUNCTION check_finish_arguments(
    p_lease_token         UUID,
    p_queue_ids           BIGINT[],
    p_outcome             TEXT,
    p_duration_ms         NUMERIC,
    p_http_status         INTEGER,
    p_retry_after_seconds NUMERIC,
    p_max_retries         INTEGER
)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_fault TEXT;
BEGIN
    v_fault := CASE
        WHEN p_lease_token IS NULL THEN
            'p_lease_token is NULL, expected a lease of claim_notifications()'
        WHEN coalesce(cardinality(p_queue_ids), 0) = 0 OR array_position(p_queue_ids, NULL) IS NOT NULL THEN
            format('p_queue_ids is %L, expected the ids of the message', p_queue_ids)
        WHEN p_outcome IS NULL
            OR p_outcome NOT IN ('delivered', 'retry', 'rate_limited', 'rejected', 'poison', 'released') THEN
            format(
                'p_outcome is %L, expected delivered, retry, rate_limited, rejected, poison or released', p_outcome)
        WHEN p_http_status NOT BETWEEN 100 AND 999 THEN
            format('p_http_status is %s, expected at least 100 and at most 999, or NULL', p_http_status)
        -- NaN is more than every number
        WHEN p_retry_after_seconds < 0 OR p_retry_after_seconds = 'NaN' THEN
            format('p_retry_after_seconds is %s, expected at least 0, or NULL', p_retry_after_seconds)
    END;
    IF v_fault IS NOT NULL THEN
        RAISE EXCEPTION '%', v_fault USING ERRCODE = 'invalid_parameter_value';
    ELSIF p_duration_ms IS NOT NULL OR p_outcome NOT IN ('released', 'poison') THEN
        PERFORM check_argument('p_duration_ms', p_duration_ms, 0, 1e9);
    END IF;
    PERFORM check_argument('p_max_retries', p_max_retries, 1, 20);
END;
$$;

COMMENT ON FUNCTION check_finish_arguments(UUID, BIGINT[], TEXT, NUMERIC, INTEGER, NUMERIC, INTEGER) IS
    'pggit_analytics: raises unless a message can be finished with these arguments';
REVOKE ALL ON FUNCTION check_finish_arguments(UUID, BIGINT[], TEXT, NUMERIC, INTEGER, NUMERIC, INTEGER) FROM PUBLIC;
