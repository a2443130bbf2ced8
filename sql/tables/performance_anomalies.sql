-- requires: analysis_runs
-- performance_anomalies: what detect_combined_anomalies found at detected_at (the as_of of the run).
-- metric_id is NULL for a row about the whole operation (DEGRADATION), and with it the columns of one metric.
CREATE TABLE IF NOT EXISTS performance_anomalies (
    operation_type      TEXT NOT NULL,
    metric_id           BIGINT,
    anomaly_type        TEXT NOT NULL CHECK (anomaly_type IN ('COMBINED', 'SPIKE', 'DEGRADATION')),
    severity            TEXT NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
    duration_ms         DOUBLE PRECISION,
    baseline_p99_ms     DOUBLE PRECISION,
    z_score             DOUBLE PRECISION,
    deviation_percent   DOUBLE PRECISION,
    degradation_percent DOUBLE PRECISION,
    alert_required      BOOLEAN NOT NULL,
    detected_at         TIMESTAMPTZ NOT NULL,
    run_id              BIGINT NOT NULL REFERENCES analysis_runs (run_id),
    UNIQUE NULLS NOT DISTINCT (detected_at, operation_type, anomaly_type, metric_id)
);

-- A run can go when no finding refers to it.
CREATE INDEX IF NOT EXISTS performance_anomalies_run_idx ON performance_anomalies (run_id);
