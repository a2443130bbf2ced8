-- requires: check_argument
-- renew_notification_leases(leases, seconds): keep leases for p_lease_seconds from now; those that are still held.
-- A lease that is not among them was lost: what it covered may have been claimed by another caller, so stop sending it.
-- p_lease_tokens: NULL elements are passed over. Seconds outside 1 to 3600, or NULL, raises 22023.
CREATE OR REPLACE FUNCTION renew_notification_leases(p_lease_tokens UUID[], p_lease_seconds INTEGER DEFAULT 60)
RETURNS SETOF UUID
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
-- as in claim_notifications(): row by row, and never by way of the whole queue
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
SET jit TO off
AS $$
DECLARE
    v_until CONSTANT TIMESTAMPTZ := clock_timestamp() + p_lease_seconds * INTERVAL '1 second';
BEGIN
    PERFORM check_argument('p_lease_seconds', p_lease_seconds, 1, 3600);
    IF p_lease_tokens IS NULL THEN
        RAISE EXCEPTION 'p_lease_tokens is NULL, expected an array of leases' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    RETURN QUERY
    -- locked in one order everywhere, so that two callers never wait for each other
    WITH held AS MATERIALIZED (
        SELECT q.notification_queue_id
        FROM alert_notification_queue AS q
        WHERE q.lease_token = ANY (p_lease_tokens)
        ORDER BY q.notification_queue_id
        FOR UPDATE
    ), renewed AS (
        UPDATE alert_notification_queue AS q
        SET leased_until = v_until, next_retry_at = v_until
        FROM held AS h
        WHERE q.notification_queue_id = h.notification_queue_id
        RETURNING q.lease_token
    ), probes AS (
        UPDATE webhook_delivery_state AS s
        SET breaker_probe_at = v_until, updated_at = clock_timestamp()
        FROM (SELECT DISTINCT r.lease_token FROM renewed AS r) AS r
        WHERE s.breaker_probe_token = r.lease_token
    )
    SELECT DISTINCT r.lease_token FROM renewed AS r;
END;
$$;

COMMENT ON FUNCTION renew_notification_leases(UUID[], INTEGER) IS
    'pggit_analytics: keep leases of messages that are being sent; those still held';
REVOKE ALL ON FUNCTION renew_notification_leases(UUID[], INTEGER) FROM PUBLIC;
