-- alerts_allowed(as_of, notify): whether a run that analysed p_as_of may raise alerts.
-- TRUE when asked for (p_notify), else when p_as_of lies between an hour ago and five minutes ahead and no
-- successful run of the monitoring flow has a newer as_of. A run that lies further ahead than five minutes is a
-- mistake and holds nobody back. Never NULL; a NULL argument raises 22023.
CREATE OR REPLACE FUNCTION alerts_allowed(p_as_of TIMESTAMPTZ, p_notify BOOLEAN DEFAULT FALSE)
RETURNS BOOLEAN
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_as_of IS NULL OR p_notify IS NULL THEN
        RAISE EXCEPTION 'as_of % and notify % must not be NULL', quote_nullable(p_as_of), quote_nullable(p_notify)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN p_notify OR (
        p_as_of BETWEEN now() - INTERVAL '1 hour' AND now() + INTERVAL '5 minutes'
        AND NOT EXISTS (
            SELECT
            FROM analysis_runs
            WHERE flow = 'monitor_performance'
                AND status = 'SUCCESS'
                AND as_of > p_as_of
                AND as_of <= now() + INTERVAL '5 minutes'
        )
    );
END;
$$;

COMMENT ON FUNCTION alerts_allowed(TIMESTAMPTZ, BOOLEAN) IS
    'pggit_analytics: whether a run that analysed this moment may raise alerts';
REVOKE ALL ON FUNCTION alerts_allowed(TIMESTAMPTZ, BOOLEAN) FROM PUBLIC;
