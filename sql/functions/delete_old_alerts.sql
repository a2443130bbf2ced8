-- requires: analysis_time, retention_cutoff, lock_alerts
-- delete_old_alerts(...): deletes one batch of alerts that were resolved more than p_days days before p_as_of, and
-- returns how many rows that were. Repeat it, each call in a transaction of its own, while it deletes p_batch_size rows.
--
-- An open alert stays however old; so does one that somebody judged (verdict), which thresholds are tuned by, and one
-- that a message in the queue is about (delete_old_notifications comes first): deleting it would delete the message.
-- While alerts go, nobody can raise one: those who do take turns with the batch (lock_alerts).
-- Rows that others hold are passed over; a lock that is not had in 2 seconds fails the call.
-- Out of range or NULL raises 22023. The caller needs DELETE on performance_alerts.
CREATE OR REPLACE FUNCTION delete_old_alerts(
    p_days       INTEGER,
    p_batch_size INTEGER DEFAULT 10000,
    p_as_of      TIMESTAMPTZ DEFAULT analysis_time()
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
    IF NOT EXISTS (SELECT FROM performance_alerts AS a WHERE a.resolved_at < v_before) THEN
        RETURN 0;
    END IF;
    PERFORM lock_alerts();

    DELETE FROM performance_alerts AS a
    WHERE a.ctid = ANY (ARRAY(
        SELECT o.ctid
        FROM performance_alerts AS o
        WHERE o.resolved_at < v_before
          AND o.verdict IS NULL
          AND NOT EXISTS (SELECT FROM alert_notification_queue AS q WHERE q.alert_id = o.alert_id)
        ORDER BY o.resolved_at
        LIMIT p_batch_size
        FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END;
$$;

COMMENT ON FUNCTION delete_old_alerts(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of alerts resolved long ago';
REVOKE ALL ON FUNCTION delete_old_alerts(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
