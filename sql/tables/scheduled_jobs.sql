-- scheduled_jobs: what runs by itself and when. Missing rows are filled at deployment, existing ones are kept.
-- A job's windows begin every period, counted from first_window; instants, so no daylight saving. schedule_line() says
-- the same as a cron line. needs_function is called by the job and comes with another part; NULL = nothing is needed.
-- A paused job has no windows; resumed_at is when it was last resumed, and what was missed before that stays missed.
CREATE TABLE IF NOT EXISTS scheduled_jobs (
    job            TEXT PRIMARY KEY,
    description    TEXT NOT NULL,
    period         INTERVAL NOT NULL
        CHECK (period >= '1 second' AND extract(MONTH FROM period) = 0 AND extract(YEAR FROM period) = 0),
    first_window   TIMESTAMPTZ NOT NULL,
    needs_function TEXT,
    is_paused      BOOLEAN NOT NULL DEFAULT FALSE,
    resumed_at     TIMESTAMPTZ
);

-- 2000-01-02 is a Sunday.
INSERT INTO scheduled_jobs (job, description, period, first_window, needs_function)
VALUES
    ('recalculate_performance_baselines', 'Baselines from the last 7 days', '1 day', '2000-01-01 02:00+00', NULL),
    ('weekly_force_recalculate_baselines', 'Baselines from the last 30 days, adopted in any case', '7 days',
     '2000-01-02 03:00+00', NULL),
    ('check_performance_anomalies', 'Look for what got slow in the last 24 hours', '6 hours', '2000-01-01 00:00+00',
     NULL),
    ('deliver_pending_alerts', 'Send the messages that wait', '5 minutes', '2000-01-01 00:00+00',
     'deliver_pending_notifications')
ON CONFLICT (job) DO NOTHING;
