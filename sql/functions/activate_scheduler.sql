-- activate_scheduler(scheduler): make it the one that may run jobs in this database.
-- TRUE when it was not yet, FALSE when it was already. Raises 55000, naming the remedy, while another one is active;
-- of two callers at once one waits for the other. p_scheduler NULL or unknown raises 22023.
CREATE OR REPLACE FUNCTION activate_scheduler(p_scheduler TEXT)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_active active_scheduler%ROWTYPE;
BEGIN
    PERFORM check_scheduler(p_scheduler);
    SELECT * INTO v_active FROM active_scheduler;
    IF v_active.scheduler IS NULL THEN
        INSERT INTO active_scheduler (scheduler, active_since)
        VALUES (p_scheduler, clock_timestamp())
        ON CONFLICT (is_active) DO NOTHING;
        IF FOUND THEN
            RETURN TRUE;
        END IF;
        SELECT * INTO v_active FROM active_scheduler;
    END IF;
    IF v_active.scheduler <> p_scheduler THEN
        RAISE EXCEPTION '% is the active scheduler since %, and only one may be; stop it and run: pggit-analytics schedule remove',
            v_active.scheduler, utc_text(v_active.active_since)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN FALSE;
END;
$$;

COMMENT ON FUNCTION activate_scheduler(TEXT) IS 'pggit_analytics: make a scheduler the one that may run jobs';
REVOKE ALL ON FUNCTION activate_scheduler(TEXT) FROM PUBLIC;
