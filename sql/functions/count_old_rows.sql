-- requires: analysis_time, retention_cutoff, merge_relationships
-- count_old_rows(...): how many rows retention would delete now, one row for each kind asked for, in the order in which
-- retention goes through them: metrics, merges, notifications, results, alerts, baselines, logs.
-- Of a kind that is not asked for (days NULL) there is no row. Rows that others hold at the time are counted, too.
-- Out of range raises 22023. The caller needs SELECT on the tables.
CREATE OR REPLACE FUNCTION count_old_rows(
    p_metrics_days       INTEGER DEFAULT NULL,
    p_results_days       INTEGER DEFAULT NULL,
    p_notifications_days INTEGER DEFAULT NULL,
    p_logs_days          INTEGER DEFAULT NULL,
    p_include_failed     BOOLEAN DEFAULT FALSE,
    p_as_of              TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (kind TEXT, row_count BIGINT)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_metrics       TIMESTAMPTZ;
    v_results       TIMESTAMPTZ;
    -- nothing goes from the queue unless asked for
    v_notifications TIMESTAMPTZ := '-infinity';
    v_logs          TIMESTAMPTZ;
BEGIN
    IF p_include_failed IS NULL THEN
        RAISE EXCEPTION 'p_include_failed is NULL, expected TRUE or FALSE' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_metrics_days IS NOT NULL THEN
        v_metrics := retention_cutoff(p_metrics_days, 1, p_as_of);
        RETURN QUERY SELECT 'metrics', count(*) FROM performance_metrics AS m WHERE m.created_at < v_metrics;
        RETURN QUERY SELECT 'merges', count(*) FROM merge_relationships AS m WHERE m.created_at < v_metrics;
    END IF;

    IF p_notifications_days IS NOT NULL THEN
        v_notifications := retention_cutoff(p_notifications_days, 1, p_as_of);
        RETURN QUERY
        SELECT 'notifications', count(*)
        FROM alert_notification_queue AS q
        WHERE (q.status = 'delivered' OR (q.status = 'failed' AND p_include_failed))
          AND q.created_at < v_notifications
          AND coalesce(q.delivered_at, q.created_at) < v_notifications
          AND NOT EXISTS (
              SELECT FROM performance_alerts AS a WHERE a.alert_id = q.alert_id AND a.resolved_at IS NULL);
    END IF;

    IF p_results_days IS NOT NULL THEN
        v_results := retention_cutoff(p_results_days, 1, p_as_of);
        RETURN QUERY
        SELECT 'results',
            (SELECT count(*) FROM performance_anomalies AS a WHERE a.detected_at < v_results)
            + (SELECT count(*) FROM performance_degradations AS d WHERE d.detected_at < v_results)
            + (SELECT count(*) FROM performance_correlations AS c WHERE c.detected_at < v_results)
            -- the findings of a run are about its moment and go before it
            + (SELECT count(*) FROM analysis_runs AS o
               WHERE o.as_of < v_results
                 AND EXISTS (
                     SELECT FROM analysis_runs AS n
                     WHERE n.flow = o.flow AND n.status = 'SUCCESS' AND (n.as_of, n.run_id) > (o.as_of, o.run_id)));
        RETURN QUERY
        SELECT 'alerts', count(*)
        FROM performance_alerts AS a
        WHERE a.resolved_at < v_results
          AND a.verdict IS NULL
          AND NOT EXISTS (
              SELECT FROM alert_notification_queue AS q
              WHERE q.alert_id = a.alert_id
                -- what goes from the queue goes before
                AND NOT (
                    (q.status = 'delivered' OR (q.status = 'failed' AND p_include_failed))
                    AND q.created_at < v_notifications
                    AND coalesce(q.delivered_at, q.created_at) < v_notifications));
        RETURN QUERY
        SELECT 'baselines',
            (SELECT count(*) FROM performance_baseline_history AS h WHERE h.calculated_at < v_results)
            + (SELECT count(*) FROM performance_baselines AS b
               WHERE NOT b.is_active
                 AND b.valid_to < v_results
                 AND NOT EXISTS (
                     SELECT FROM performance_baseline_history AS h
                     WHERE h.calculated_at >= v_results AND h.old_baseline_id = b.baseline_id)
                 AND NOT EXISTS (
                     SELECT FROM performance_baseline_history AS h
                     WHERE h.calculated_at >= v_results AND h.new_baseline_id = b.baseline_id));
    END IF;

    IF p_logs_days IS NOT NULL THEN
        v_logs := retention_cutoff(p_logs_days, 1, p_as_of);
        RETURN QUERY
        SELECT 'logs',
            (SELECT count(*) FROM alert_notification_log AS l
             WHERE l.started_at < v_logs
               AND NOT EXISTS (
                   SELECT FROM alert_notification_queue AS q
                   WHERE q.notification_queue_id = l.notification_queue_id
                     AND q.status <> 'delivered'
                     AND NOT (q.status = 'failed' AND p_include_failed AND q.created_at < v_notifications)))
            + (SELECT count(*) FROM baseline_recalc_execution AS e
               WHERE e.execution_start < v_logs AND e.status <> 'RUNNING')
            + (SELECT count(*) FROM job_runs AS j
               WHERE j.window_start < v_logs
                 AND j.status <> 'RUNNING'
                 AND EXISTS (SELECT FROM job_runs AS n WHERE n.job = j.job AND n.window_start > j.window_start))
            + (SELECT count(*) FROM alert_snooze AS s
               WHERE s.snooze_until < v_logs
                 AND NOT EXISTS (
                     SELECT FROM performance_alerts AS a
                     WHERE a.resolved_at IS NULL AND a.opened_at <= s.snooze_until))
            + (SELECT count(*) FROM performance_metrics_changes AS c
               WHERE c.noted_at < now() - INTERVAL '48 hours');
    END IF;
END;
$$;

COMMENT ON FUNCTION count_old_rows(INTEGER, INTEGER, INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ)
    IS 'pggit_analytics: how many rows retention would delete';
REVOKE ALL ON FUNCTION count_old_rows(INTEGER, INTEGER, INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ) FROM PUBLIC;
