-- requires: analysis_runs
-- performance_incidents: how each incident stood at detected_at (the as_of of the run): one row an incident and run, as
-- long as it is open, and one for its end. incident_key is the same in every run.
-- operation_type is what it is about, of several the first mover. lost_ms is what users lost since the onset,
-- lost_ms_per_hour what they lose now. ended_because: recovered, new_level (its onset left the window) or merged (it is
-- part of merged_into). missed_runs: the latest runs in a row that did not find it. evidence is as it was at opened_at.
CREATE TABLE IF NOT EXISTS performance_incidents (
    incident_key       TEXT NOT NULL,
    kind               TEXT NOT NULL CHECK (kind IN ('step', 'drift', 'episode', 'calls', 'improvement', 'forecast')),
    state              TEXT NOT NULL CHECK (state IN ('open', 'worsening', 'recovered')),
    severity           TEXT NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
    operation_type     TEXT NOT NULL,
    onset              TIMESTAMPTZ NOT NULL,
    onset_low          TIMESTAMPTZ NOT NULL,
    onset_high         TIMESTAMPTZ NOT NULL,
    ended_at           TIMESTAMPTZ,
    ended_because      TEXT CHECK (ended_because IN ('recovered', 'new_level', 'merged')),
    opened_at          TIMESTAMPTZ NOT NULL,
    last_found_at      TIMESTAMPTZ NOT NULL,
    missed_runs        BIGINT NOT NULL CHECK (missed_runs >= 0),
    lost_ms            DOUBLE PRECISION NOT NULL,
    lost_ms_per_hour   DOUBLE PRECISION NOT NULL,
    first_mover        TEXT,
    bottleneck         TEXT,
    bottleneck_support DOUBLE PRECISION,
    merged_into        TEXT,
    expected_breach_at TIMESTAMPTZ,
    evidence           JSONB NOT NULL,
    detected_at        TIMESTAMPTZ NOT NULL,
    run_id             BIGINT NOT NULL REFERENCES analysis_runs (run_id) ON DELETE CASCADE,
    CHECK (onset_low <= onset AND onset <= onset_high),
    CHECK ((state = 'recovered') = (ended_at IS NOT NULL)),
    UNIQUE (incident_key, detected_at)
);

CREATE INDEX IF NOT EXISTS performance_incidents_detected_idx ON performance_incidents (detected_at);

-- They go with their run.
CREATE INDEX IF NOT EXISTS performance_incidents_run_idx ON performance_incidents (run_id);
