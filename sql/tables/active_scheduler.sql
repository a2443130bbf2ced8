-- active_scheduler: which of the schedulers may run jobs in this database, and since when; no row = none of them.
-- The key allows one row only. Windows that began before active_since do not count as missed.
CREATE TABLE IF NOT EXISTS active_scheduler (
    is_active    BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (is_active),
    scheduler    TEXT NOT NULL CHECK (scheduler IN ('pg_cron', 'prefect', 'crontab')),
    active_since TIMESTAMPTZ NOT NULL,
    activated_by TEXT NOT NULL DEFAULT CURRENT_USER
);
