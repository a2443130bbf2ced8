-- requires: missing_function_of_job, schedule_line
-- schedule_list: every job with its schedule (a cron line in UTC, or the period where no line can say it), the active
-- scheduler (NULL = none), its state, its last run (NULL = never ran) and when its next window begins.
-- state: active; paused; waiting for <function>; inactive while no scheduler is. next_window is NULL unless active.
CREATE OR REPLACE FUNCTION schedule_list(p_at TIMESTAMPTZ DEFAULT clock_timestamp())
RETURNS TABLE (
    job              TEXT,
    description      TEXT,
    schedule         TEXT,
    scheduler        TEXT,
    state            TEXT,
    last_window      TIMESTAMPTZ,
    last_status      TEXT,
    last_finished_at TIMESTAMPTZ,
    last_message     TEXT,
    next_window      TIMESTAMPTZ
)
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT
        j.job, j.description, coalesce(schedule_line(j.period, j.first_window), 'every ' || j.period), a.scheduler,
        s.state, r.window_start, r.status, r.finished_at, r.message,
        CASE WHEN s.state = 'active' THEN date_bin(j.period, p_at, j.first_window) + j.period END
    FROM scheduled_jobs AS j
    LEFT JOIN active_scheduler AS a ON TRUE
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN j.is_paused THEN 'paused'
            WHEN missing_function_of_job(j.job, a.scheduler) IS NOT NULL THEN 'waiting for ' || missing_function_of_job(j.job, a.scheduler)
            WHEN a.scheduler IS NULL THEN 'inactive'
            ELSE 'active'
        END AS state
    ) AS s
    LEFT JOIN LATERAL (
        SELECT * FROM job_runs AS r WHERE r.job = j.job ORDER BY r.window_start DESC LIMIT 1
    ) AS r ON TRUE
    ORDER BY j.period DESC, j.job COLLATE "C";
$$;

COMMENT ON FUNCTION schedule_list(TIMESTAMPTZ) IS 'pggit_analytics: the scheduled jobs, their state and last run';
REVOKE ALL ON FUNCTION schedule_list(TIMESTAMPTZ) FROM PUBLIC;
