-- requires: analysis_time
-- run_job(job): do the work of a scheduled job in the database, now and unconditionally; what it did, in one line.
-- run_scheduled_job() does so once a window. An unknown job or NULL raises 22023.
CREATE OR REPLACE FUNCTION run_job(p_job TEXT)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_weekly CONSTANT BOOLEAN := p_job = 'weekly_force_recalculate_baselines';
    v_done   TEXT;
    v_run_id BIGINT;
BEGIN
    PERFORM check_job(p_job);
    IF p_job IN ('recalculate_performance_baselines', 'weekly_force_recalculate_baselines') THEN
        SELECT string_agg(format('%s %s', s.operations, s.status), ', ' ORDER BY s.status) INTO v_done
        FROM (
            SELECT r.status, count(*) AS operations
            FROM recalculate_all_baselines_rolling(
                CASE WHEN v_weekly THEN 30 ELSE 7 END, CASE WHEN v_weekly THEN 20 ELSE 10 END, v_weekly) AS r
            GROUP BY r.status
        ) AS s;
        RETURN 'baselines: ' || coalesce(v_done, 'no operation is tracked');
    ELSIF p_job = 'check_performance_anomalies' THEN
        v_run_id := check_performance_anomalies();
        SELECT format('run %s: %s result rows written', r.run_id, r.rows_written) INTO v_done
        FROM analysis_runs AS r
        WHERE r.run_id = v_run_id;
        RETURN v_done;
    ELSIF p_job = 'deliver_pending_alerts' THEN
        SELECT format('%s delivered, %s failed, %s put off', d.delivered_count, d.failed_count, d.retry_count) INTO v_done
        FROM deliver_pending_notifications(50, 3) AS d;
        RETURN v_done;
    END IF;
    RAISE EXCEPTION 'job % is in scheduled_jobs, but nothing is known of what it does', quote_literal(p_job)
        USING ERRCODE = 'invalid_parameter_value';
END;
$$;

COMMENT ON FUNCTION run_job(TEXT) IS 'pggit_analytics: do the work of a scheduled job in the database';
REVOKE ALL ON FUNCTION run_job(TEXT) FROM PUBLIC;
