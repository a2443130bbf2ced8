-- requires: analysis_time
-- detect_combined_anomalies: outliers of the last p_lookback_hours and the degradation of the last
-- max(7, hours / 24) days, judged together:
--
--   slow outlier (z > 3) | degradation | one row per   | anomaly_type | severity              | alert_required
--   yes                  | > 20 %      | slow outlier  | COMBINED     | CRITICAL              | true
--   yes                  | no          | slow outlier  | SPIKE        | WARNING               | false
--   no                   | > 20 %      | the operation | DEGRADATION  | CRITICAL from 50 %,   | from 50 %
--                                                                      WARNING from 30 %, else INFO
--   fast outlier (z < -3)| any         | fast outlier  | SPIKE        | INFO                  | false
--
-- alert_required: someone should be paged now. A DEGRADATION row has no metric_id and no z_score; degradation_percent
-- is NULL where the operation has not degraded.
CREATE OR REPLACE FUNCTION detect_combined_anomalies(
    p_operation_type TEXT,
    p_lookback_hours INTEGER DEFAULT 24,
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    metric_id           BIGINT,
    operation_type      TEXT,
    anomaly_type        TEXT,
    severity            TEXT,
    z_score             NUMERIC,
    degradation_percent NUMERIC,
    detected_at         TIMESTAMPTZ,
    alert_required      BOOLEAN
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM check_operation_type(p_operation_type);
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_as_of(p_as_of);

    RETURN QUERY
    WITH outliers AS MATERIALIZED (
        SELECT s.metric_id, s.z_score, s.z_score > 0 AS is_slow
        FROM detect_anomalies_statistical(p_operation_type, p_lookback_hours, 3.0, p_as_of) AS s
    ),

    degradation AS MATERIALIZED (
        SELECT d.degradation_percent, d.severity
        FROM detect_performance_degradation(
            p_operation_type, greatest(7, (p_lookback_hours + 23) / 24), 20.0, p_as_of
        ) AS d
    ),

    findings AS (
        SELECT
            o.metric_id,
            CASE WHEN o.is_slow AND d.severity IS NOT NULL THEN 'COMBINED' ELSE 'SPIKE' END AS anomaly_type,
            CASE
                WHEN NOT o.is_slow THEN 'INFO'
                WHEN d.severity IS NOT NULL THEN 'CRITICAL'
                ELSE 'WARNING'
            END AS severity,
            o.z_score,
            d.degradation_percent,
            o.is_slow AND d.severity IS NOT NULL AS alert_required
        FROM outliers AS o
        LEFT JOIN degradation AS d ON TRUE
        UNION ALL
        SELECT NULL, 'DEGRADATION', d.severity, NULL, d.degradation_percent, d.severity = 'CRITICAL'
        FROM degradation AS d
        WHERE NOT EXISTS (SELECT FROM outliers AS o WHERE o.is_slow)
    )

    SELECT
        f.metric_id,
        p_operation_type,
        f.anomaly_type,
        f.severity,
        f.z_score,
        f.degradation_percent,
        p_as_of,
        f.alert_required
    FROM findings AS f
    ORDER BY array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], f.severity), f.metric_id NULLS LAST;
END;
$$;

COMMENT ON FUNCTION detect_combined_anomalies(TEXT, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: outliers and degradation of one operation, judged together';
REVOKE ALL ON FUNCTION detect_combined_anomalies(TEXT, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
