-- requires: analysis_time, retention_cutoff
-- delete_old_logs(...): deletes one batch of log rows older than p_days days before p_as_of, and returns how many rows
-- that were. Repeat it, each call in a transaction of its own, while it deletes p_batch_size rows.
--
-- First delivery attempts, then finished recalculations of baselines, finished runs of scheduled jobs, and snoozes that
-- have ended. Attempts at a message that is still pending or has failed stay with it; so does the latest run of a job,
-- which says where its schedule is; a snooze stays while an alert that was open before its end still is. Of what is
-- noted of changed timings the last two days stay, whatever p_days: a store that is a day old no longer goes by them.
-- Rows that others hold are passed over; a table that is locked as a whole fails the call after 2 seconds.
-- Out of range or NULL raises 22023. The caller needs DELETE on the tables.
CREATE OR REPLACE FUNCTION delete_old_logs(
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
    v_before CONSTANT TIMESTAMPTZ := retention_cutoff(p_days, p_batch_size, p_as_of);
    v_rows   BIGINT;
    v_total  BIGINT := 0;
BEGIN
    DELETE FROM alert_notification_log AS l
    WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM alert_notification_log AS o
        WHERE o.started_at < v_before
          AND NOT EXISTS (
              SELECT FROM alert_notification_queue AS q
              WHERE q.notification_queue_id = o.notification_queue_id AND q.status <> 'delivered')
        ORDER BY o.started_at LIMIT p_batch_size FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM baseline_recalc_execution AS e
    WHERE e.ctid = ANY (ARRAY(
        SELECT o.ctid FROM baseline_recalc_execution AS o
        WHERE o.execution_start < v_before AND o.status <> 'RUNNING'
        ORDER BY o.execution_start LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM job_runs AS j
    WHERE j.ctid = ANY (ARRAY(
        SELECT o.ctid FROM job_runs AS o
        WHERE o.window_start < v_before
          AND o.status <> 'RUNNING'
          AND EXISTS (SELECT FROM job_runs AS n WHERE n.job = o.job AND n.window_start > o.window_start)
        ORDER BY o.window_start LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM alert_snooze AS s
    WHERE s.ctid = ANY (ARRAY(
        SELECT o.ctid FROM alert_snooze AS o
        WHERE o.snooze_until < v_before
          AND NOT EXISTS (
              SELECT FROM performance_alerts AS a WHERE a.resolved_at IS NULL AND a.opened_at <= o.snooze_until)
        ORDER BY o.snooze_until LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM performance_metrics_changes AS c
    WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_metrics_changes AS o
        WHERE o.noted_at < now() - INTERVAL '48 hours'
        LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_total + v_rows;
END;
$$;

COMMENT ON FUNCTION delete_old_logs(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of old log rows';
REVOKE ALL ON FUNCTION delete_old_logs(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
