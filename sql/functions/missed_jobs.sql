-- missed_jobs(at): the jobs whose present window at p_at nobody has run although it began over 2 minutes before, one
-- row each, longest period first. Earlier windows are not in it: what was missed is made up once.
-- A window counts from when the scheduler was activated and the job resumed. One whose session died is in it as well
-- (its lock tells claim_job_window whether it did). No row while no scheduler is active. NULL raises 22023.
CREATE OR REPLACE FUNCTION missed_jobs(p_at TIMESTAMPTZ DEFAULT clock_timestamp())
RETURNS TABLE (job TEXT, window_start TIMESTAMPTZ)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM check_as_of(p_at);
    RETURN QUERY
    SELECT j.job, w.window_start
    FROM scheduled_jobs AS j
    CROSS JOIN active_scheduler AS s
    CROSS JOIN LATERAL (SELECT date_bin(j.period, p_at, j.first_window) AS window_start) AS w
    WHERE NOT j.is_paused
      AND missing_function_of_job(j.job, s.scheduler) IS NULL
      AND w.window_start >= greatest(s.active_since, j.resumed_at)
      AND w.window_start < p_at - INTERVAL '2 minutes'
      AND NOT EXISTS (
          SELECT
          FROM job_runs AS r
          WHERE r.job = j.job AND r.window_start = w.window_start AND (r.status <> 'RUNNING' OR r.attempt >= 3)
      )
    ORDER BY j.period DESC, j.job COLLATE "C";
END;
$$;

COMMENT ON FUNCTION missed_jobs(TIMESTAMPTZ) IS 'pggit_analytics: jobs whose present window nobody has run';
REVOKE ALL ON FUNCTION missed_jobs(TIMESTAMPTZ) FROM PUBLIC;
