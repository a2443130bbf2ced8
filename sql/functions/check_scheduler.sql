-- check_scheduler(scheduler): raises 22023 unless p_scheduler is pg_cron, prefect or crontab. NULL raises.
-- crontab stands for whatever calls the command line: cron, systemd, another scheduler.
CREATE OR REPLACE FUNCTION check_scheduler(p_scheduler TEXT)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_scheduler IS NULL OR p_scheduler NOT IN ('pg_cron', 'prefect', 'crontab') THEN
        RAISE EXCEPTION 'scheduler is %, expected pg_cron, prefect or crontab', quote_nullable(p_scheduler)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_scheduler(TEXT) IS 'pggit_analytics: raises unless a scheduler is known';
REVOKE ALL ON FUNCTION check_scheduler(TEXT) FROM PUBLIC;
