-- requires: analysis_time, retention_cutoff
-- delete_old_notifications(...): deletes one batch of messages that were queued and delivered more than p_days days
-- before p_as_of, and returns how many rows that were. Repeat it, each call in a transaction of its own, while it
-- deletes p_batch_size rows.
--
-- A pending message stays however old. A failed one stays, so that it can be seen and sent again, unless
-- p_include_failed. Messages about an alert that is still open stay: they are how it is known what was said already.
-- Rows that others hold are passed over; a table that is locked as a whole fails the call after 2 seconds.
-- Out of range or NULL raises 22023. The caller needs DELETE on alert_notification_queue.
CREATE OR REPLACE FUNCTION delete_old_notifications(
    p_days           INTEGER DEFAULT 30,
    p_batch_size     INTEGER DEFAULT 10000,
    p_include_failed BOOLEAN DEFAULT FALSE,
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET lock_timeout TO '2s'
AS $$
DECLARE
    v_before  CONSTANT TIMESTAMPTZ := retention_cutoff(p_days, p_batch_size, p_as_of);
    v_deleted BIGINT;
BEGIN
    IF p_include_failed IS NULL THEN
        RAISE EXCEPTION 'p_include_failed is NULL, expected TRUE or FALSE' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    DELETE FROM alert_notification_queue AS q
    WHERE q.ctid = ANY (ARRAY(
        SELECT o.ctid
        FROM alert_notification_queue AS o
        WHERE (o.status = 'delivered' OR (o.status = 'failed' AND p_include_failed))
          AND o.created_at < v_before
          AND coalesce(o.delivered_at, o.created_at) < v_before
          AND NOT EXISTS (
              SELECT FROM performance_alerts AS a WHERE a.alert_id = o.alert_id AND a.resolved_at IS NULL)
        ORDER BY o.created_at
        LIMIT p_batch_size
        FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END;
$$;

COMMENT ON FUNCTION delete_old_notifications(INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of messages delivered long ago';
REVOKE ALL ON FUNCTION delete_old_notifications(INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ) FROM PUBLIC;
