-- replace_findings(operations, run_id, as_of): make the result rows of p_as_of those of the temporary tables of
-- collect_findings(); the numbers of rows inserted and deleted. A row that is there already, equal in every value, is left alone;
-- others of p_as_of are deleted. p_operations: the operations looked at, rows of others are left alone; NULL = all.
CREATE OR REPLACE FUNCTION replace_findings(p_operations TEXT[], p_run_id BIGINT, p_as_of TIMESTAMPTZ)
RETURNS TABLE (rows_written BIGINT, rows_deleted BIGINT)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_rows BIGINT;
BEGIN
    rows_written := 0;
    rows_deleted := 0;

    -- IS NOT DISTINCT FROM cannot be hashed, and a run may hold a hundred thousand spikes.
    DELETE FROM performance_anomalies AS old
    WHERE old.detected_at = p_as_of
      AND (p_operations IS NULL OR old.operation_type = ANY (p_operations))
      AND NOT EXISTS (
          SELECT
          FROM pg_temp.pggit_new_anomalies AS new
          WHERE new.operation_type = old.operation_type
            AND new.anomaly_type = old.anomaly_type
            AND coalesce(new.metric_id::TEXT, '') = coalesce(old.metric_id::TEXT, '')
            AND (new.severity, new.duration_ms, new.baseline_p99_ms, new.z_score, new.deviation_percent,
                 new.degradation_percent, new.alert_required)
                IS NOT DISTINCT FROM
                (old.severity, old.duration_ms, old.baseline_p99_ms, old.z_score, old.deviation_percent,
                 old.degradation_percent, old.alert_required)
      );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;
    INSERT INTO performance_anomalies (
        operation_type, metric_id, anomaly_type, severity, duration_ms, baseline_p99_ms, z_score, deviation_percent,
        degradation_percent, alert_required, detected_at, run_id
    )
    SELECT
        new.operation_type, new.metric_id, new.anomaly_type, new.severity, new.duration_ms, new.baseline_p99_ms,
        new.z_score, new.deviation_percent, new.degradation_percent, new.alert_required, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_anomalies AS new
    WHERE NOT EXISTS (
        SELECT
        FROM performance_anomalies AS old
        WHERE old.detected_at = p_as_of
          AND old.operation_type = new.operation_type
          AND old.anomaly_type = new.anomaly_type
          AND coalesce(old.metric_id::TEXT, '') = coalesce(new.metric_id::TEXT, '')
    )
    ORDER BY new.operation_type, new.anomaly_type, new.metric_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;

    DELETE FROM performance_degradations AS old
    WHERE old.detected_at = p_as_of
      AND (p_operations IS NULL OR old.operation_type = ANY (p_operations))
      AND NOT EXISTS (
          SELECT
          FROM pg_temp.pggit_new_degradations AS new
          WHERE (new.operation_type, new.period_start, new.period_end, new.p99_old_ms, new.p99_new_ms,
                 new.degradation_percent, new.trend, new.confidence, new.severity)
              = (old.operation_type, old.period_start, old.period_end, old.p99_old_ms, old.p99_new_ms,
                 old.degradation_percent, old.trend, old.confidence, old.severity)
      );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;
    INSERT INTO performance_degradations (
        operation_type, period_start, period_end, p99_old_ms, p99_new_ms, degradation_percent, trend, confidence,
        severity, detected_at, run_id
    )
    SELECT
        new.operation_type, new.period_start, new.period_end, new.p99_old_ms, new.p99_new_ms,
        new.degradation_percent, new.trend, new.confidence, new.severity, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_degradations AS new
    WHERE NOT EXISTS (
        SELECT
        FROM performance_degradations AS old
        WHERE old.detected_at = p_as_of AND old.operation_type = new.operation_type
    )
    ORDER BY new.operation_type;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;

    DELETE FROM performance_correlations AS old
    WHERE old.detected_at = p_as_of
      AND (p_operations IS NULL
           OR (old.operation_type_1 = ANY (p_operations) AND old.operation_type_2 = ANY (p_operations)))
      AND NOT EXISTS (
          SELECT
          FROM pg_temp.pggit_new_correlations AS new
          WHERE (new.operation_type_1, new.operation_type_2, new.correlation_coefficient, new.shared_minutes,
                 new.shared_bottleneck, new.confidence, new.recommendation)
              = (old.operation_type_1, old.operation_type_2, old.correlation_coefficient, old.shared_minutes,
                 old.shared_bottleneck, old.confidence, old.recommendation)
      );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;
    INSERT INTO performance_correlations (
        operation_type_1, operation_type_2, correlation_coefficient, shared_minutes, shared_bottleneck, confidence,
        recommendation, detected_at, run_id
    )
    SELECT
        new.operation_type_1, new.operation_type_2, new.correlation_coefficient, new.shared_minutes,
        new.shared_bottleneck, new.confidence, new.recommendation, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_correlations AS new
    WHERE NOT EXISTS (
        SELECT
        FROM performance_correlations AS old
        WHERE old.detected_at = p_as_of
          AND old.operation_type_1 = new.operation_type_1
          AND old.operation_type_2 = new.operation_type_2
    )
    ORDER BY new.operation_type_1, new.operation_type_2;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION replace_findings(TEXT[], BIGINT, TIMESTAMPTZ) IS
    'pggit_analytics: make the result rows of a moment those just found';
REVOKE ALL ON FUNCTION replace_findings(TEXT[], BIGINT, TIMESTAMPTZ) FROM PUBLIC;
