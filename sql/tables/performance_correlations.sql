-- requires: analysis_runs
-- performance_correlations: what detect_correlated_degradation found at detected_at (the as_of of the run).
-- The two names are in ascending order by code point.
CREATE TABLE IF NOT EXISTS performance_correlations (
    operation_type_1        TEXT NOT NULL,
    operation_type_2        TEXT NOT NULL,
    correlation_coefficient DOUBLE PRECISION NOT NULL,
    shared_minutes          BIGINT NOT NULL,
    shared_bottleneck       TEXT NOT NULL,
    confidence              DOUBLE PRECISION NOT NULL,
    recommendation          TEXT NOT NULL,
    detected_at             TIMESTAMPTZ NOT NULL,
    run_id                  BIGINT NOT NULL REFERENCES analysis_runs (run_id),
    CHECK (operation_type_1 < operation_type_2 COLLATE "C"),
    UNIQUE (detected_at, operation_type_1, operation_type_2)
);

-- A run can go when no finding refers to it.
CREATE INDEX IF NOT EXISTS performance_correlations_run_idx ON performance_correlations (run_id);
