-- requires: breaker_limits
-- note_channel_outcome(...): what an attempt says about its channel; TRUE when the breaker opened or closed by it.
-- A delivery closes it. An attempt that failed for the channel's sake counts: retry, and rejected without a status or
-- with one that says the address is no good (401, 403, 404, 405, 410). At breaker_failures in a row it opens, and the
-- channel is tried by single messages: the first after a minute, then after twice as long each time, at most
-- breaker_max_pause. Messages that were under way when it opened do not count again.
-- p_blocked_until: the channel asked for a pause until then; NULL: it did not.
CREATE OR REPLACE FUNCTION note_channel_outcome(
    p_webhook_id    BIGINT,
    p_lease_token   UUID,
    p_outcome       TEXT,
    p_http_status   INTEGER,
    p_blocked_until TIMESTAMPTZ,
    p_at            TIMESTAMPTZ
)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_is_failure CONSTANT BOOLEAN := p_outcome = 'retry' OR (
        p_outcome = 'rejected' AND (p_http_status IS NULL OR p_http_status IN (401, 403, 404, 405, 410)));
    v_state      webhook_delivery_state%ROWTYPE;
    v_is_probe   BOOLEAN;
    v_limits     RECORD;
    v_was_open   BOOLEAN;
BEGIN
    SELECT * INTO v_state FROM webhook_delivery_state WHERE webhook_id = p_webhook_id;
    -- the way of nearly all messages: nothing to write
    IF NOT v_is_failure AND p_blocked_until IS NULL
        AND coalesce(v_state.consecutive_failures, 0) = 0 AND v_state.breaker_opened_at IS NULL
    THEN
        RETURN FALSE;
    END IF;

    INSERT INTO webhook_delivery_state (webhook_id) VALUES (p_webhook_id) ON CONFLICT (webhook_id) DO NOTHING;
    SELECT * INTO v_state FROM webhook_delivery_state WHERE webhook_id = p_webhook_id FOR UPDATE;
    v_was_open := v_state.breaker_opened_at IS NOT NULL;
    v_is_probe := coalesce(v_state.breaker_probe_token = p_lease_token, FALSE);

    IF p_outcome = 'delivered' THEN
        v_state.consecutive_failures := 0;
        v_state.breaker_opened_at := NULL;
        v_state.breaker_probe_at := NULL;
        v_state.breaker_probe_token := NULL;
    ELSIF v_is_failure AND (v_is_probe OR NOT v_was_open) THEN
        v_limits := breaker_limits();
        v_state.consecutive_failures := v_state.consecutive_failures + 1;
        IF v_was_open OR v_state.consecutive_failures >= v_limits.failures THEN
            v_state.breaker_opened_at := coalesce(v_state.breaker_opened_at, p_at);
            v_state.breaker_probe_at := p_at + least(
                INTERVAL '1 minute' * 2 ^ least(greatest(v_state.consecutive_failures - v_limits.failures, 0), 20),
                v_limits.max_pause);
            v_state.breaker_probe_token := NULL;
        END IF;
    ELSIF v_is_probe THEN
        -- it said nothing about the channel, so the next message may try
        v_state.breaker_probe_at := p_at;
        v_state.breaker_probe_token := NULL;
    END IF;

    UPDATE webhook_delivery_state
    SET blocked_until = greatest(v_state.blocked_until, p_blocked_until),
        consecutive_failures = v_state.consecutive_failures,
        breaker_opened_at = v_state.breaker_opened_at,
        breaker_probe_at = v_state.breaker_probe_at,
        breaker_probe_token = v_state.breaker_probe_token,
        updated_at = p_at
    WHERE webhook_id = p_webhook_id;
    RETURN v_was_open <> (v_state.breaker_opened_at IS NOT NULL);
END;
$$;

COMMENT ON FUNCTION note_channel_outcome(BIGINT, UUID, TEXT, INTEGER, TIMESTAMPTZ, TIMESTAMPTZ) IS
    'pggit_analytics: what an attempt says about its channel; whether the breaker changed';
REVOKE ALL ON FUNCTION note_channel_outcome(BIGINT, UUID, TEXT, INTEGER, TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
