-- requires: analysis_time
-- resolve_alert(key, as_of): resolve the open alert of a dedup key at once, because it is known to be over, and tell
-- every enabled webhook that was told of it. TRUE when there was one, FALSE otherwise.
-- p_dedup_key: from alert_key(). An episode does not end before it was last seen. NULL, or an infinite as_of, raises 22023.
CREATE OR REPLACE FUNCTION resolve_alert(p_dedup_key TEXT, p_as_of TIMESTAMPTZ DEFAULT analysis_time())
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_alert_id BIGINT;
BEGIN
    PERFORM check_as_of(p_as_of);
    IF p_dedup_key IS NULL THEN
        RAISE EXCEPTION 'dedup key is NULL, expected the result of alert_key()'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM lock_alerts();

    UPDATE performance_alerts
    SET resolved_at = greatest(p_as_of, last_seen_at)
    WHERE dedup_key = p_dedup_key AND resolved_at IS NULL
    RETURNING alert_id INTO v_alert_id;
    IF v_alert_id IS NULL THEN
        RETURN FALSE;
    END IF;
    PERFORM enqueue_alert_messages(v_alert_id, 'resolved', p_as_of);
    RETURN TRUE;
END;
$$;

COMMENT ON FUNCTION resolve_alert(TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: resolve the open alert of a key at once and say so';
REVOKE ALL ON FUNCTION resolve_alert(TEXT, TIMESTAMPTZ) FROM PUBLIC;
