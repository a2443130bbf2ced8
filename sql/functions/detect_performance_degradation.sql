-- requires: analysis_time
-- detect_performance_degradation: whether the p99 of an operation rose by more than p_threshold_percent from the
-- first half of the last p_lookback_days to the second; no row where it did not.
--
-- A day of the lookback is 24 hours; the halves are [start, middle) and [middle, p_as_of], at least 5 rows in each.
-- severity: >= 50 % CRITICAL, >= 30 % WARNING, else INFO.
-- trend and confidence: least squares of the p99 of each UTC date (dates with rows only) on the day number. DEGRADING
-- or IMPROVING when the line moves by more than 5 % of the old p99 over the lookback, else STABLE; confidence is the
-- r squared of the fit. Fewer than 3 dates, or all with the same p99, give STABLE with confidence 0.
-- Sums are taken in date order, so that every engine that follows the order gets the same last digit.
CREATE OR REPLACE FUNCTION detect_performance_degradation(
    p_operation_type    TEXT,
    p_lookback_days     INTEGER DEFAULT 7,
    p_threshold_percent NUMERIC DEFAULT 20.0,
    p_as_of             TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    period_start        DATE,
    period_end          DATE,
    p99_old_ms          NUMERIC,
    p99_new_ms          NUMERIC,
    degradation_percent NUMERIC,
    trend               TEXT,
    confidence          NUMERIC,
    severity            TEXT
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_start       TIMESTAMPTZ;
    v_middle      TIMESTAMPTZ;
    v_old_count   BIGINT;
    v_new_count   BIGINT;
    v_old         FLOAT8;
    v_new         FLOAT8;
    v_degradation FLOAT8;
    v_slope       FLOAT8;
    v_r_squared   FLOAT8;
    v_change      FLOAT8;
BEGIN
    PERFORM check_operation_type(p_operation_type);
    PERFORM check_argument('p_lookback_days', p_lookback_days, 1, 3650);
    PERFORM check_argument('p_threshold_percent', p_threshold_percent, 0, 1000000, TRUE);
    PERFORM check_as_of(p_as_of);
    v_start := p_as_of - make_interval(hours => 24 * p_lookback_days);
    v_middle := p_as_of - make_interval(hours => 12 * p_lookback_days);

    SELECT h.row_count, h.p99 INTO v_old_count, v_old
    FROM p99_between(p_operation_type, v_start, v_middle - INTERVAL '1 microsecond') AS h;

    IF v_old_count < 5 OR v_old = 0 THEN
        RETURN;
    END IF;

    SELECT h.row_count, h.p99 INTO v_new_count, v_new
    FROM p99_between(p_operation_type, v_middle, p_as_of) AS h;

    v_degradation := 100 * (v_new - v_old) / v_old;
    IF v_new_count < 5 OR v_degradation <= p_threshold_percent::FLOAT8 THEN
        RETURN;
    END IF;

    WITH dates AS (
        SELECT d.utc_start, (d.utc_start AT TIME ZONE 'UTC')::DATE AS utc_date
        FROM generate_series(
            date_bin('24 hours', v_start, TIMESTAMPTZ '2000-01-01 00:00+00'), p_as_of, '24 hours'
        ) AS d (utc_start)
    ),

    daily AS MATERIALIZED (
        SELECT d.utc_date, h.p99
        FROM dates AS d
        CROSS JOIN LATERAL p99_between(
            p_operation_type,
            greatest(d.utc_start, v_start),
            least(d.utc_start + INTERVAL '24 hours' - INTERVAL '1 microsecond', p_as_of)
        ) AS h
        WHERE h.row_count > 0
    ),

    means AS (
        SELECT
            count(*) AS dates,
            avg((d.utc_date - DATE '2000-01-01')::FLOAT8) AS mean_day,
            sum(d.p99 ORDER BY d.utc_date) / count(*) AS mean_p99,
            min(d.p99) < max(d.p99) AS varies
        FROM daily AS d
    ),

    moments AS (
        SELECT
            sum(((d.utc_date - DATE '2000-01-01') - s.mean_day) * (d.p99 - s.mean_p99) ORDER BY d.utc_date) AS sxy,
            sum(((d.utc_date - DATE '2000-01-01') - s.mean_day) * ((d.utc_date - DATE '2000-01-01') - s.mean_day)
                ORDER BY d.utc_date) AS sxx,
            sum((d.p99 - s.mean_p99) * (d.p99 - s.mean_p99) ORDER BY d.utc_date) AS syy
        FROM daily AS d
        CROSS JOIN means AS s
        WHERE s.dates >= 3 AND s.varies
    )

    SELECT coalesce(m.sxy / m.sxx, 0), least(coalesce(m.sxy * m.sxy / (m.sxx * m.syy), 0), 1)
    INTO v_slope, v_r_squared
    FROM moments AS m;

    v_change := v_slope * p_lookback_days;
    RETURN QUERY
    SELECT
        (v_start AT TIME ZONE 'UTC')::DATE,
        (p_as_of AT TIME ZONE 'UTC')::DATE,
        (v_old / 1000)::NUMERIC,
        (v_new / 1000)::NUMERIC,
        v_degradation::NUMERIC,
        CASE
            WHEN v_change > 0.05::FLOAT8 * v_old THEN 'DEGRADING'
            WHEN v_change < -0.05::FLOAT8 * v_old THEN 'IMPROVING'
            ELSE 'STABLE'
        END,
        v_r_squared::NUMERIC,
        CASE
            WHEN v_degradation >= 50 THEN 'CRITICAL'
            WHEN v_degradation >= 30 THEN 'WARNING'
            ELSE 'INFO'
        END;
END;
$$;

COMMENT ON FUNCTION detect_performance_degradation(TEXT, INTEGER, NUMERIC, TIMESTAMPTZ)
    IS 'pggit_analytics: a p99 that rose from the first half of the last days to the second';
REVOKE ALL ON FUNCTION detect_performance_degradation(TEXT, INTEGER, NUMERIC, TIMESTAMPTZ) FROM PUBLIC;
