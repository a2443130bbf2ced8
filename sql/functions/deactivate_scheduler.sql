-- deactivate_scheduler(): from now on no scheduler may run jobs in this database, until one is activated.
-- The scheduler that was active; NULL when none was. What it is running is finished.
CREATE OR REPLACE FUNCTION deactivate_scheduler()
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_scheduler TEXT;
BEGIN
    DELETE FROM active_scheduler RETURNING scheduler INTO v_scheduler;
    RETURN v_scheduler;
END;
$$;

COMMENT ON FUNCTION deactivate_scheduler() IS 'pggit_analytics: let no scheduler run jobs';
REVOKE ALL ON FUNCTION deactivate_scheduler() FROM PUBLIC;
