-- silent_operations(as_of): the tracked operations that always reported and have stopped: no timing for the setting
-- operation_silence before p_as_of, but at least one in each of the 24 full hours (UTC) before the hour of the last one.
-- One row each, by code points of the name; last_at is its last timing. None while the setting is empty.
-- A NULL or infinite as_of raises 22023.
CREATE OR REPLACE FUNCTION silent_operations(p_as_of TIMESTAMPTZ)
RETURNS TABLE (operation_type TEXT, last_at TIMESTAMPTZ)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_silence CONSTANT INTERVAL := interval_setting('operation_silence');
BEGIN
    PERFORM check_as_of(p_as_of);
    -- each LIMIT 1 is one descent of the index, however many timings there are
    RETURN QUERY
    SELECT t.operation_type, latest.last_at
    FROM performance_operation_types AS t
    CROSS JOIN LATERAL (
        SELECT m.created_at AS last_at
        FROM performance_metrics AS m
        WHERE m.operation_type = t.operation_type AND m.created_at <= p_as_of
        ORDER BY m.created_at DESC
        LIMIT 1
    ) AS latest
    CROSS JOIN LATERAL (
        SELECT count(*) AS hours
        FROM generate_series(1, 24) AS h (hours_before)
        CROSS JOIN LATERAL (
            SELECT
                date_bin('1 hour', latest.last_at, TIMESTAMPTZ '2000-01-01 00:00+00')
                - make_interval(hours => h.hours_before) AS hour
        ) AS began
        CROSS JOIN LATERAL (
            SELECT
            FROM performance_metrics AS m
            WHERE m.operation_type = t.operation_type
              AND m.created_at >= began.hour
              AND m.created_at < began.hour + INTERVAL '1 hour'
            LIMIT 1
        ) AS reported
    ) AS before
    WHERE t.is_tracked
      AND latest.last_at <= p_as_of - v_silence
      AND before.hours = 24
    ORDER BY t.operation_type COLLATE "C";
END;
$$;

COMMENT ON FUNCTION silent_operations(TIMESTAMPTZ) IS
    'pggit_analytics: operations that always reported and have stopped';
REVOKE ALL ON FUNCTION silent_operations(TIMESTAMPTZ) FROM PUBLIC;
