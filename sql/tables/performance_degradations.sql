-- requires: analysis_runs
-- performance_degradations: what detect_performance_degradation found at detected_at (the as_of of the run).
CREATE TABLE IF NOT EXISTS performance_degradations (
    operation_type      TEXT NOT NULL,
    period_start        DATE NOT NULL,
    period_end          DATE NOT NULL,
    p99_old_ms          DOUBLE PRECISION NOT NULL,
    p99_new_ms          DOUBLE PRECISION NOT NULL,
    degradation_percent DOUBLE PRECISION NOT NULL,
    trend               TEXT NOT NULL CHECK (trend IN ('DEGRADING', 'IMPROVING', 'STABLE')),
    confidence          DOUBLE PRECISION NOT NULL,
    severity            TEXT NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
    detected_at         TIMESTAMPTZ NOT NULL,
    run_id              BIGINT NOT NULL REFERENCES analysis_runs (run_id),
    UNIQUE (detected_at, operation_type)
);

-- A run can go when no finding refers to it.
CREATE INDEX IF NOT EXISTS performance_degradations_run_idx ON performance_degradations (run_id);
