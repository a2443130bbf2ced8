-- silent_detector_since(as_of): since when nobody has looked for what got slow, if that is too long; NULL if all is well.
-- It is the newest moment up to p_as_of that a successful monitoring run analysed, or the activation of a scheduler
-- where that came later; NULL when it lies within the setting detector_silence (empty = twice the period of the job
-- check_performance_anomalies), and where there is neither, as nobody expects a run then.
-- A NULL or infinite as_of raises 22023.
CREATE OR REPLACE FUNCTION silent_detector_since(p_as_of TIMESTAMPTZ)
RETURNS TIMESTAMPTZ
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_silence CONSTANT INTERVAL := coalesce(
        interval_setting('detector_silence'),
        (SELECT 2 * j.period FROM scheduled_jobs AS j WHERE j.job = 'check_performance_anomalies'));
    v_since   TIMESTAMPTZ;
BEGIN
    PERFORM check_as_of(p_as_of);
    SELECT greatest(
        (
            SELECT max(r.as_of)
            FROM analysis_runs AS r
            WHERE r.flow = 'monitor_performance' AND r.status = 'SUCCESS' AND r.as_of <= p_as_of
        ),
        (SELECT s.active_since FROM active_scheduler AS s)
    )
    INTO v_since;
    RETURN CASE WHEN v_since < p_as_of - v_silence THEN v_since END;
END;
$$;

COMMENT ON FUNCTION silent_detector_since(TIMESTAMPTZ) IS
    'pggit_analytics: since when no monitoring run succeeded, if that is too long';
REVOKE ALL ON FUNCTION silent_detector_since(TIMESTAMPTZ) FROM PUBLIC;
