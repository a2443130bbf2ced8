-- statement_sampling: the latest sample of pg_stat_statements, which the next one is compared with; at most one row.
-- stats_reset and dealloc as pg_stat_statements_info said then; hidden statements are those the role could not see;
-- sampled_at is by the clock of the server that was sampled.
CREATE TABLE IF NOT EXISTS statement_sampling (
    is_latest   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (is_latest),
    sampled_at  TIMESTAMPTZ NOT NULL,
    stats_reset TIMESTAMPTZ NOT NULL,
    dealloc     BIGINT NOT NULL,
    hidden      BIGINT NOT NULL
);
