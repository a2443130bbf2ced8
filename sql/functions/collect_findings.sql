-- collect_findings(lookback hours, as_of): ask the detectors about every tracked operation, and keep the answers in
-- four temporary tables with the columns of the result tables: pggit_new_anomalies, pggit_new_degradations,
-- pggit_new_correlations, pggit_new_thresholds. They go with the transaction. The caller has checked the arguments.
CREATE OR REPLACE FUNCTION collect_findings(p_lookback_hours INTEGER, p_as_of TIMESTAMPTZ)
RETURNS VOID
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    CREATE TEMPORARY TABLE pggit_new_anomalies ON COMMIT DROP AS
    WITH combined AS MATERIALIZED (
        SELECT c.*
        FROM performance_operation_types AS t
        CROSS JOIN LATERAL detect_combined_anomalies(t.operation_type, p_lookback_hours, p_as_of) AS c
        WHERE t.is_tracked
    ),

    outliers AS MATERIALIZED (
        SELECT s.*
        FROM performance_operation_types AS t
        CROSS JOIN LATERAL detect_anomalies_statistical(t.operation_type, p_lookback_hours, 3.0, p_as_of) AS s
        WHERE t.is_tracked
    )

    SELECT
        c.operation_type, c.metric_id, c.anomaly_type, c.severity, o.duration_ms::FLOAT8,
        o.baseline_p99_ms::FLOAT8, c.z_score::FLOAT8, o.deviation_percent::FLOAT8, c.degradation_percent::FLOAT8,
        c.alert_required, c.detected_at
    FROM combined AS c
    LEFT JOIN outliers AS o ON o.metric_id = c.metric_id;

    CREATE TEMPORARY TABLE pggit_new_degradations ON COMMIT DROP AS
    SELECT
        t.operation_type, d.period_start, d.period_end, d.p99_old_ms::FLOAT8, d.p99_new_ms::FLOAT8,
        d.degradation_percent::FLOAT8, d.trend, d.confidence::FLOAT8, d.severity, p_as_of AS detected_at
    FROM performance_operation_types AS t
    CROSS JOIN LATERAL detect_performance_degradation(
        t.operation_type, greatest(7, (p_lookback_hours + 23) / 24), 20.0, p_as_of
    ) AS d
    WHERE t.is_tracked;

    CREATE TEMPORARY TABLE pggit_new_correlations ON COMMIT DROP AS
    SELECT
        p.operation_type_1, p.operation_type_2, p.correlation_coefficient::FLOAT8, p.shared_minutes,
        p.shared_bottleneck, p.confidence::FLOAT8, p.recommendation, p.detected_at
    FROM correlated_operation_pairs(p_lookback_hours, 0.75, p_as_of) AS p;

    CREATE TEMPORARY TABLE pggit_new_thresholds ON COMMIT DROP AS
    SELECT
        e.operation_type, e.metric_id, e.duration_ms::FLOAT8, e.baseline_p99_ms::FLOAT8, e.threshold_ms::FLOAT8,
        e.exceeded_count, e.severity, e.detected_at
    FROM performance_operation_types AS t
    CROSS JOIN LATERAL detect_threshold_exceeded(t.operation_type, p_lookback_hours, p_as_of) AS e
    WHERE t.is_tracked;

    ANALYZE pg_temp.pggit_new_anomalies;
END;
$$;

COMMENT ON FUNCTION collect_findings(INTEGER, TIMESTAMPTZ) IS
    'pggit_analytics: ask the detectors about every tracked operation';
REVOKE ALL ON FUNCTION collect_findings(INTEGER, TIMESTAMPTZ) FROM PUBLIC;
