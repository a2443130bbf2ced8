-- requires: analysis_time, shared_bottleneck, bottleneck_recommendation
-- correlated_operation_pairs: the pairs of operations whose mean durations per UTC minute correlate (Pearson) by more
-- than p_correlation_threshold over the minutes in which both ran, with the number of those minutes.
-- detect_correlated_degradation is the same without that number.
--
-- Looked at are the tracked operations with rows in the last p_lookback_hours, at most the 50 with the most rows.
-- A pair needs 3 shared minutes and two different values on either side of them. r is rounded to 9 decimals first
-- and then compared; confidence is least(r, shared minutes / 60).
--
-- Every operation becomes one array over the same minutes, NULL where it did not run: walking two arrays in step costs
-- a fraction of joining their rows. A first pass gives the means over the shared minutes and an r that is off by
-- less than 0.01 where the spread is more than a thousandth of the mean. Pairs that can still exceed the threshold get
-- the second, centred pass.
CREATE OR REPLACE FUNCTION correlated_operation_pairs(
    p_lookback_hours        INTEGER DEFAULT 24,
    p_correlation_threshold NUMERIC DEFAULT 0.75,
    p_as_of                 TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    operation_type_1        TEXT,
    operation_type_2        TEXT,
    correlation_coefficient NUMERIC,
    shared_minutes          BIGINT,
    shared_bottleneck       TEXT,
    confidence              NUMERIC,
    recommendation          TEXT,
    detected_at             TIMESTAMPTZ
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_start TIMESTAMPTZ;
BEGIN
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_argument('p_correlation_threshold', p_correlation_threshold, 0, 1, TRUE);
    PERFORM check_as_of(p_as_of);
    v_start := p_as_of - make_interval(hours => p_lookback_hours);

    RETURN QUERY
    WITH minutes AS MATERIALIZED (
        SELECT generate_series(
            date_bin('1 minute', v_start, TIMESTAMPTZ '2000-01-01 00:00+00'), p_as_of, '1 minute'
        ) AS minute
    ),

    series AS MATERIALIZED (
        SELECT t.operation_type, s.means
        FROM performance_operation_types AS t
        CROSS JOIN LATERAL (
            SELECT array_agg(b.mean_us ORDER BY g.minute) AS means, sum(b.row_count) AS row_count
            FROM minutes AS g
            LEFT JOIN (
                SELECT
                    date_bin('1 minute', m.created_at, TIMESTAMPTZ '2000-01-01 00:00+00') AS minute,
                    (sum(m.duration_ms) * 1000)::BIGINT::FLOAT8 / count(*) AS mean_us,
                    count(*) AS row_count
                FROM performance_metrics AS m
                WHERE m.operation_type = t.operation_type
                  AND m.created_at BETWEEN v_start AND p_as_of
                GROUP BY 1
            ) AS b ON b.minute = g.minute
        ) AS s
        WHERE t.is_tracked AND s.row_count > 0
        ORDER BY s.row_count DESC, t.operation_type COLLATE "C"
        LIMIT 50
    ),

    candidates AS MATERIALIZED (
        SELECT
            s1.operation_type AS operation_type_1,
            s2.operation_type AS operation_type_2,
            s1.means AS means_1,
            s2.means AS means_2,
            p.*
        FROM series AS s1
        JOIN series AS s2 ON s1.operation_type < s2.operation_type COLLATE "C"
        CROSS JOIN LATERAL (
            SELECT
                regr_count(v.x, v.y) AS shared_minutes,
                regr_avgx(v.x, v.y) AS mean_y,
                regr_avgy(v.x, v.y) AS mean_x,
                regr_sxx(v.x, v.y) AS spread_y,
                regr_syy(v.x, v.y) AS spread_x,
                corr(v.x, v.y) AS r
            FROM (SELECT unnest(s1.means) AS x, unnest(s2.means) AS y) AS v
        ) AS p
        WHERE p.shared_minutes >= 3
          AND (
              p.r > p_correlation_threshold - 0.01
              OR p.r IS NULL
              OR p.spread_x < 1e-6 * p.shared_minutes * p.mean_x * p.mean_x
              OR p.spread_y < 1e-6 * p.shared_minutes * p.mean_y * p.mean_y
          )
    ),

    correlations AS (
        SELECT c.operation_type_1, c.operation_type_2, c.shared_minutes, round(p.r::NUMERIC, 9) AS r
        FROM candidates AS c
        CROSS JOIN LATERAL (
            SELECT
                corr(v.x - c.mean_x, v.y - c.mean_y) AS r,
                min(v.x) < max(v.x) AND min(v.y) < max(v.y) AS varies
            FROM (SELECT unnest(c.means_1) AS x, unnest(c.means_2) AS y) AS v
            WHERE v.x IS NOT NULL AND v.y IS NOT NULL
        ) AS p
        WHERE p.varies
    )

    SELECT
        c.operation_type_1,
        c.operation_type_2,
        c.r,
        c.shared_minutes,
        b.bottleneck,
        least(c.r, (c.shared_minutes / 60.0::FLOAT8)::NUMERIC),
        bottleneck_recommendation(b.bottleneck),
        p_as_of
    FROM correlations AS c
    CROSS JOIN LATERAL (SELECT shared_bottleneck(c.operation_type_1, c.operation_type_2) AS bottleneck) AS b
    WHERE c.r > p_correlation_threshold
    ORDER BY c.r DESC, c.operation_type_1 COLLATE "C", c.operation_type_2 COLLATE "C";
END;
$$;

COMMENT ON FUNCTION correlated_operation_pairs(INTEGER, NUMERIC, TIMESTAMPTZ)
    IS 'pggit_analytics: pairs of operations that slow down together, with their shared minutes';
REVOKE ALL ON FUNCTION correlated_operation_pairs(INTEGER, NUMERIC, TIMESTAMPTZ) FROM PUBLIC;
