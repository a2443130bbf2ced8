-- merge_relationships: one row per attempted merge; merge_id is the trace id of its metrics (see performance_metrics).
-- resolution_strategy is NULL while undecided or unknown; duration_ms is NULL until the merge has ended.
-- conflict_count: objects that both branches had changed, unresolved_count those nobody has decided; NULL = not counted.
CREATE TABLE IF NOT EXISTS merge_relationships (
    merge_id            TEXT PRIMARY KEY,
    branch_from         TEXT NOT NULL,
    branch_into         TEXT NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    resolution_strategy TEXT CHECK (resolution_strategy IN ('auto', 'manual', 'rejected')),
    status              TEXT NOT NULL CHECK (status IN ('SUCCESS', 'CONFLICT', 'FAILED')),
    duration_ms         NUMERIC(14, 3) CHECK (duration_ms >= 0 AND duration_ms <> 'NaN'),
    conflict_count      INTEGER CHECK (conflict_count >= 0),
    unresolved_count    INTEGER CHECK (unresolved_count >= 0)
);

CREATE INDEX IF NOT EXISTS merge_relationships_created_idx ON merge_relationships (created_at);
