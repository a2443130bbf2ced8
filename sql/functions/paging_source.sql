-- requires: active_scheduler
-- paging_source(): whose findings page, 'plan' or 'incidents'; those of the other are only recorded.
-- It is the setting alert_source, except where pg_cron runs the jobs: the engine of the pipeline does not run there, and
-- so the plan's functions page.
CREATE OR REPLACE FUNCTION paging_source()
RETURNS TEXT
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM active_scheduler AS s WHERE s.scheduler = 'pg_cron') THEN 'plan'
        ELSE alert_setting('alert_source')
    END;
$$;

COMMENT ON FUNCTION paging_source() IS 'pggit_analytics: whose findings page, plan or incidents';
REVOKE ALL ON FUNCTION paging_source() FROM PUBLIC;
