-- performance_metrics_changes: the hours of performance_metrics that a transaction changed otherwise than by adding
-- timings of its own time, one row for each. A run that keeps timings between runs looks there for what else is new.
-- TRUNCATE and what rewrites the table are seen by its files.
CREATE TABLE IF NOT EXISTS performance_metrics_changes (
    -- pg_current_xact_id(), the outermost
    transaction_id BIGINT NOT NULL,
    -- of created_at, at full hours of UTC
    hour           TIMESTAMPTZ NOT NULL,
    -- added: timings that had ended more than an hour before. removed: also by an UPDATE, whose new version is added
    change         TEXT NOT NULL CHECK (change IN ('added', 'removed')),
    noted_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transaction_id, hour, change)
);

-- Retention looks for the oldest; rows come in the order of time.
CREATE INDEX IF NOT EXISTS performance_metrics_changes_noted_brin_idx
    ON performance_metrics_changes USING brin (noted_at);
