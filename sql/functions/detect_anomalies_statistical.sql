-- requires: analysis_time
-- detect_anomalies_statistical: the operations of the last p_lookback_hours whose duration lies more than
-- p_z_score_threshold population standard deviations from the mean of those hours, slow (z > 0) and fast (z < 0).
--
-- Nothing is returned for fewer than 5 rows, without spread, or with a mean of 0. In n <= 10 values no z-score can
-- exceed 3: |z| is at most sqrt(n - 1).
-- severity: |z| >= 4 CRITICAL, >= 3 WARNING, else INFO. baseline_p99_ms is NULL without a baseline valid at p_as_of.
--
-- With x in whole microseconds, n rows, S = sum(x), Q = sum(x^2): z = (n x - S) / sqrt(D), D = n Q - S^2.
-- Whether |z| exceeds a threshold is decided on these whole numbers, never on a rounded z.
CREATE OR REPLACE FUNCTION detect_anomalies_statistical(
    p_operation_type    TEXT,
    p_lookback_hours    INTEGER DEFAULT 24,
    p_z_score_threshold NUMERIC DEFAULT 3.0,
    p_as_of             TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    metric_id         BIGINT,
    operation_type    TEXT,
    duration_ms       NUMERIC,
    baseline_p99_ms   NUMERIC,
    z_score           NUMERIC,
    deviation_percent NUMERIC,
    severity          TEXT,
    detected_at       TIMESTAMPTZ
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_start        TIMESTAMPTZ;
    v_count        BIGINT;
    v_sum          NUMERIC;
    v_sum_squares  NUMERIC;
    v_dispersion   NUMERIC;
    v_margin       NUMERIC;
    v_slow_ms      NUMERIC;
    v_fast_ms      NUMERIC;
    v_baseline_p99 NUMERIC;
BEGIN
    PERFORM check_operation_type(p_operation_type);
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_argument('p_z_score_threshold', p_z_score_threshold, 0, 1000000, TRUE);
    PERFORM check_as_of(p_as_of);
    v_start := p_as_of - make_interval(hours => p_lookback_hours);

    SELECT count(*), sum(m.duration_ms) * 1000, sum(m.duration_ms * m.duration_ms) * 1000000
    INTO v_count, v_sum, v_sum_squares
    FROM performance_metrics AS m
    WHERE m.operation_type = p_operation_type
      AND m.created_at BETWEEN v_start AND p_as_of;

    v_dispersion := v_count * v_sum_squares - v_sum * v_sum;
    IF v_count < 5 OR v_sum = 0 OR v_dispersion = 0 THEN
        RETURN;
    END IF;

    -- |n x - S| > sqrt(t^2 D) holds for whole numbers exactly when |n x - S| > v_margin, so two durations
    -- enclose the rows that are not reported and no row needs arithmetic of its own.
    v_margin := integer_sqrt(trunc(p_z_score_threshold * p_z_score_threshold * v_dispersion));
    v_slow_ms := div(v_sum + v_margin, v_count) * 0.001;
    v_fast_ms := greatest(div(v_sum - v_margin + v_count - 1, v_count), 0) * 0.001;

    SELECT b.p99_microseconds * 0.001 INTO v_baseline_p99 FROM baseline_at(p_operation_type, p_as_of) AS b;

    RETURN QUERY
    WITH outliers AS (
        SELECT
            m.metric_id,
            m.duration_ms,
            v_count * 1000 * m.duration_ms - v_sum AS excess
        FROM performance_metrics AS m
        WHERE m.operation_type = p_operation_type
          AND m.created_at BETWEEN v_start AND p_as_of
          AND (m.duration_ms > v_slow_ms OR m.duration_ms < v_fast_ms)
    ),

    scored AS (
        SELECT o.*, o.excess::FLOAT8 / sqrt(v_dispersion::FLOAT8) AS z
        FROM outliers AS o
    )

    SELECT
        s.metric_id,
        p_operation_type,
        s.duration_ms,
        v_baseline_p99,
        s.z::NUMERIC,
        (100 * s.excess::FLOAT8 / v_sum::FLOAT8)::NUMERIC,
        CASE
            WHEN s.excess * s.excess >= 16 * v_dispersion THEN 'CRITICAL'
            WHEN s.excess * s.excess >= 9 * v_dispersion THEN 'WARNING'
            ELSE 'INFO'
        END,
        p_as_of
    FROM scored AS s
    ORDER BY abs(s.z) DESC, s.metric_id;
END;
$$;

COMMENT ON FUNCTION detect_anomalies_statistical(TEXT, INTEGER, NUMERIC, TIMESTAMPTZ)
    IS 'pggit_analytics: durations far from the mean of the last hours, by z-score';
REVOKE ALL ON FUNCTION detect_anomalies_statistical(TEXT, INTEGER, NUMERIC, TIMESTAMPTZ) FROM PUBLIC;
