-- recalculate_baseline: one operation of recalculate_all_baselines_rolling, which describes the rules.
-- Returns one row; the caller has checked the arguments and holds the lock against a second recalculation.
CREATE OR REPLACE FUNCTION recalculate_baseline(
    p_operation_type TEXT,
    p_lookback_days  INTEGER,
    p_min_samples    INTEGER,
    p_force_recalc   BOOLEAN,
    p_as_of          TIMESTAMPTZ
)
RETURNS TABLE (
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
    v_old         performance_baselines%ROWTYPE;
    v_sum         NUMERIC;
    v_sum_squares NUMERIC;
    v_min         BIGINT;
    v_max         BIGINT;
    v_percentiles FLOAT8[];
    v_p99         BIGINT;
BEGIN
    SELECT b.* INTO v_old
    FROM performance_baselines AS b
    WHERE b.operation_type = p_operation_type AND b.is_active;

    baseline_id := v_old.baseline_id;
    p99_old_ms := v_old.p99_microseconds * 0.001;

    SELECT
        count(*),
        sum(x.us),
        sum(x.us::NUMERIC * x.us),
        min(x.us),
        max(x.us),
        percentile_cont(ARRAY[0.5, 0.75, 0.9, 0.95, 0.99]::FLOAT8[]) WITHIN GROUP (ORDER BY x.us::FLOAT8)
    INTO sample_count, v_sum, v_sum_squares, v_min, v_max, v_percentiles
    FROM (
        SELECT (m.duration_ms * 1000)::BIGINT AS us
        FROM performance_metrics AS m
        WHERE m.operation_type = p_operation_type
          AND m.created_at BETWEEN p_as_of - make_interval(hours => 24 * p_lookback_days) AND p_as_of
    ) AS x;

    IF sample_count < p_min_samples THEN
        status := 'INSUFFICIENT_DATA';
        message := format('%s samples, at least %s needed', sample_count, p_min_samples);
        RETURN NEXT;
        RETURN;
    END IF;

    -- halves up, as every stored percentile
    v_p99 := floor(v_percentiles[5] + 0.5);
    p99_new_ms := v_p99 * 0.001;
    percent_change := (100 * (v_p99 - v_old.p99_microseconds)::FLOAT8
                       / nullif(v_old.p99_microseconds, 0)::FLOAT8)::NUMERIC;

    -- Without an old baseline the comparisons are NULL, and the last branch adopts the first one.
    IF v_old.valid_from > p_as_of THEN
        status := 'UNCHANGED';
        message := 'the active baseline is newer than this moment';
    ELSIF NOT p_force_recalc AND 100 * abs(v_p99 - v_old.p99_microseconds) < 5 * v_old.p99_microseconds THEN
        status := 'UNCHANGED';
        message := 'the p99 changed by less than 5 %';
        UPDATE performance_baselines AS b
        SET last_updated = greatest(b.last_updated, p_as_of)
        WHERE b.baseline_id = v_old.baseline_id;
    ELSIF NOT p_force_recalc AND v_p99 > v_old.p99_microseconds AND EXISTS (
        SELECT
        FROM performance_alerts AS a
        WHERE a.operation_type = p_operation_type
          AND a.alert_type IN ('DEGRADATION', 'INCIDENT', 'THRESHOLD_EXCEEDED')
          AND a.resolved_at IS NULL
    ) THEN
        status := 'HELD';
        message := 'a higher p99 is not adopted while an alert of this operation is open';
    ELSE
        status := 'UPDATED';
        message := CASE WHEN v_old.baseline_id IS NULL THEN 'first baseline' ELSE 'baseline replaced' END;

        UPDATE performance_baselines AS b
        SET is_active = FALSE, valid_to = p_as_of
        WHERE b.baseline_id = v_old.baseline_id;

        INSERT INTO performance_baselines AS b (
            operation_type, valid_from, sample_count, min_microseconds, max_microseconds,
            p50_microseconds, p75_microseconds, p90_microseconds, p95_microseconds, p99_microseconds,
            mean_microseconds, stddev_microseconds, lookback_days, alert_threshold_multiplier, last_updated
        )
        SELECT
            p_operation_type, p_as_of, sample_count, v_min, v_max,
            floor(v_percentiles[1] + 0.5), floor(v_percentiles[2] + 0.5), floor(v_percentiles[3] + 0.5),
            floor(v_percentiles[4] + 0.5), v_p99,
            v_sum / sample_count,
            (sqrt((sample_count * v_sum_squares - v_sum * v_sum)::FLOAT8) / sample_count)::NUMERIC,
            p_lookback_days,
            coalesce(v_old.alert_threshold_multiplier, default_threshold_multiplier(p_operation_type)),
            p_as_of
        RETURNING b.baseline_id INTO baseline_id;

        INSERT INTO performance_baseline_history (
            operation_type, old_baseline_id, new_baseline_id, old_p99_microseconds, new_p99_microseconds,
            percent_change, sample_count, lookback_days, calculated_at, reason
        )
        VALUES (
            p_operation_type, v_old.baseline_id, baseline_id, v_old.p99_microseconds, v_p99,
            percent_change, sample_count, p_lookback_days, p_as_of,
            CASE WHEN p_force_recalc THEN 'force' ELSE 'scheduled' END
        );
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION recalculate_baseline(TEXT, INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ)
    IS 'pggit_analytics: recalculates the baseline of one operation';
REVOKE ALL ON FUNCTION recalculate_baseline(TEXT, INTEGER, INTEGER, BOOLEAN, TIMESTAMPTZ) FROM PUBLIC;
