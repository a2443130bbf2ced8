-- statement_counters: the counters of every statement in the latest sample (see statement_sampling).
-- stats_since is NULL where the server does not know it (before PostgreSQL 17).
CREATE TABLE IF NOT EXISTS statement_counters (
    userid        BIGINT NOT NULL,
    toplevel      BOOLEAN NOT NULL,
    queryid       BIGINT NOT NULL,
    calls         BIGINT NOT NULL,
    total_exec_ms DOUBLE PRECISION NOT NULL,
    stats_since   TIMESTAMPTZ,
    PRIMARY KEY (userid, toplevel, queryid)
);
