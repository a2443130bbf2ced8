-- requires: analysis_runs
-- suppressed_findings: what was found at detected_at (the as_of of the run) and not told, and why.
-- kind is that of performance_incidents, or variance. incident_key is NULL where no incident was made of it.
-- detail says the reason with figures.
CREATE TABLE IF NOT EXISTS suppressed_findings (
    operation_type TEXT NOT NULL,
    kind           TEXT NOT NULL,
    onset          TIMESTAMPTZ NOT NULL,
    reason         TEXT NOT NULL CHECK (reason IN (
        'direction', 'scatter_only', 'maintenance', 'too_few_calls', 'uncertain', 'below_minimum', 'cost_shift',
        'part_of_incident', 'long_over', 'snoozed')),
    detail         TEXT NOT NULL,
    incident_key   TEXT,
    detected_at    TIMESTAMPTZ NOT NULL,
    run_id         BIGINT NOT NULL REFERENCES analysis_runs (run_id) ON DELETE CASCADE,
    UNIQUE (detected_at, operation_type, kind, onset, reason)
);

-- They go with their run.
CREATE INDEX IF NOT EXISTS suppressed_findings_run_idx ON suppressed_findings (run_id);
