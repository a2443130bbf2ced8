-- requires: analysis_time
-- recalculate_all_baselines_rolling: gives every tracked operation a baseline from its last p_lookback_days (of 24 h).
--
-- status, one row per operation:
--   UPDATED            the new baseline replaced the old one, or is the first
--   UNCHANGED          the p99 changed by less than 5 % (not when forced); last_updated moves.
--                      Also when the active baseline is newer than p_as_of
--   HELD               the p99 rose while a DEGRADATION, INCIDENT or THRESHOLD_EXCEEDED alert of the operation is
--                      open: a baseline must not learn an incident (not when forced)
--   INSUFFICIENT_DATA  fewer than p_min_samples rows; the old baseline stays
--   TIMEOUT            p_max_execution_time_seconds were over before its turn
--   ERROR              it failed; message says why. The other operations are not affected
-- Columns that were not computed are NULL; p99_old_ms and percent_change are NULL without an old baseline,
-- percent_change also after an old p99 of 0. Percentiles interpolate linearly and are rounded half up to whole
-- microseconds; the standard deviation is that of the population.
-- Every operation leaves one row in baseline_recalc_execution; an ERROR raises an alert.
CREATE OR REPLACE FUNCTION recalculate_all_baselines_rolling(
    p_lookback_days              INTEGER DEFAULT 7,
    p_min_samples                INTEGER DEFAULT 10,
    p_force_recalc               BOOLEAN DEFAULT FALSE,
    p_max_execution_time_seconds INTEGER DEFAULT 60,
    p_as_of                      TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    operation_type TEXT,
    baseline_id    BIGINT,
    sample_count   BIGINT,
    p99_old_ms     NUMERIC,
    p99_new_ms     NUMERIC,
    percent_change NUMERIC,
    status         TEXT,
    message        TEXT
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_deadline TIMESTAMPTZ := clock_timestamp() + make_interval(secs => p_max_execution_time_seconds);
    v_start    TIMESTAMPTZ;
    v_healthy  TEXT[] := '{}';
BEGIN
    PERFORM check_argument('p_lookback_days', p_lookback_days, 1, 365);
    PERFORM check_argument('p_min_samples', p_min_samples, 1, 1000);
    PERFORM check_argument('p_max_execution_time_seconds', p_max_execution_time_seconds, 0, 86400);
    PERFORM check_as_of(p_as_of);
    IF p_force_recalc IS NULL THEN
        RAISE EXCEPTION 'p_force_recalc is NULL, expected true or false' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('pggit_analytics baselines ' || current_schema(), 0));

    FOR operation_type IN
        SELECT t.operation_type
        FROM performance_operation_types AS t
        WHERE t.is_tracked
        ORDER BY t.operation_type COLLATE "C"
    LOOP
        v_start := clock_timestamp();
        SELECT NULL, NULL, NULL, NULL, NULL INTO baseline_id, sample_count, p99_old_ms, p99_new_ms, percent_change;
        IF v_start >= v_deadline THEN
            status := 'TIMEOUT';
            message := format('not reached within %s seconds', p_max_execution_time_seconds);
        ELSE
            BEGIN
                SELECT r.*
                INTO baseline_id, sample_count, p99_old_ms, p99_new_ms, percent_change, status, message
                FROM recalculate_baseline(
                    operation_type, p_lookback_days, p_min_samples, p_force_recalc, p_as_of
                ) AS r;
                v_healthy := v_healthy || operation_type;
            EXCEPTION WHEN OTHERS THEN
                status := 'ERROR';
                message := SQLERRM;
            END;
        END IF;

        INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status, error_message)
        VALUES (
            operation_type, v_start, clock_timestamp(),
            CASE WHEN status IN ('TIMEOUT', 'ERROR') THEN status ELSE 'SUCCESS' END,
            CASE WHEN status IN ('TIMEOUT', 'ERROR') THEN message END
        );
        IF status = 'ERROR' AND alerts_allowed(p_as_of) THEN
            PERFORM raise_alert(
                'BASELINE_RECALC_ERROR', 'WARNING', operation_type,
                alert_key('BASELINE_RECALC_ERROR', operation_type),
                jsonb_build_object('operation_type', operation_type, 'error', message),
                p_alert_source => paging_source(),
                p_as_of => p_as_of
            );
        END IF;
        RETURN NEXT;
    END LOOP;

    IF alerts_allowed(p_as_of) THEN
        PERFORM resolve_missing_alerts(ARRAY['BASELINE_RECALC_ERROR'], v_healthy, '{}', s.alert_source, p_as_of)
        FROM unnest(ARRAY['plan', 'incidents']) AS s (alert_source);
    END IF;
END;
$$;

COMMENT ON FUNCTION recalculate_all_baselines_rolling(INTEGER, INTEGER, BOOLEAN, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: gives every tracked operation a baseline from its last days';
REVOKE ALL ON FUNCTION recalculate_all_baselines_rolling(INTEGER, INTEGER, BOOLEAN, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
