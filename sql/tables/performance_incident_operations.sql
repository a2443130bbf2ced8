-- requires: analysis_runs
-- performance_incident_operations: the operations of each row of performance_incidents.
-- size_ratio is the level now to the one before, opening_ratio the same when the incident opened or the operation joined.
-- calls are since the onset; percentiles are NULL where there are no calls, p where none was computed.
CREATE TABLE IF NOT EXISTS performance_incident_operations (
    incident_key     TEXT NOT NULL,
    operation_type   TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('step', 'drift', 'episode', 'calls', 'improvement', 'forecast')),
    onset            TIMESTAMPTZ NOT NULL,
    onset_low        TIMESTAMPTZ NOT NULL,
    onset_high       TIMESTAMPTZ NOT NULL,
    ended_at         TIMESTAMPTZ,
    size_ratio       DOUBLE PRECISION NOT NULL,
    opening_ratio    DOUBLE PRECISION NOT NULL,
    p                DOUBLE PRECISION,
    calls_before     BIGINT NOT NULL,
    calls            BIGINT NOT NULL,
    p50_before_ms    DOUBLE PRECISION,
    p99_before_ms    DOUBLE PRECISION,
    p50_now_ms       DOUBLE PRECISION,
    p95_now_ms       DOUBLE PRECISION,
    p99_now_ms       DOUBLE PRECISION,
    lost_ms          DOUBLE PRECISION NOT NULL,
    lost_ms_per_hour DOUBLE PRECISION NOT NULL,
    detected_at      TIMESTAMPTZ NOT NULL,
    run_id           BIGINT NOT NULL REFERENCES analysis_runs (run_id) ON DELETE CASCADE,
    UNIQUE (incident_key, detected_at, operation_type)
);

CREATE INDEX IF NOT EXISTS performance_incident_operations_detected_idx ON performance_incident_operations (detected_at);

-- They go with their run.
CREATE INDEX IF NOT EXISTS performance_incident_operations_run_idx ON performance_incident_operations (run_id);
