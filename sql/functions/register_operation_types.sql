-- register_operation_types: the statement-level trigger function of performance_metrics. Operations that the inserted
-- rows (transition table new_metrics) name for the first time become rows of performance_operation_types: category
-- UNKNOWN, tracked. When all are known, nothing is written. The hours of timings that ended more than an hour ago are
-- noted in performance_metrics_changes; later ones are found by their created_at.
--
-- SECURITY DEFINER: whoever may insert timings needs no right on these tables.
-- The names are inserted in order, so that two statements that bring the same new operations wait for each other
-- instead of ending in a deadlock. Each name waits at most once in the life of an operation.
CREATE OR REPLACE FUNCTION register_operation_types()
RETURNS TRIGGER
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_late CONSTANT TIMESTAMPTZ := clock_timestamp() - INTERVAL '1 hour';
BEGIN
    INSERT INTO performance_operation_types (operation_type, category, is_tracked)
    SELECT n.operation_type, 'UNKNOWN', TRUE
    FROM (SELECT DISTINCT m.operation_type FROM new_metrics AS m) AS n
    WHERE NOT EXISTS (SELECT FROM performance_operation_types AS t WHERE t.operation_type = n.operation_type)
    ORDER BY n.operation_type
    ON CONFLICT (operation_type) DO NOTHING;

    IF EXISTS (SELECT FROM new_metrics AS m WHERE m.created_at < v_late) THEN
        INSERT INTO performance_metrics_changes (transaction_id, hour, change)
        SELECT DISTINCT pg_current_xact_id()::TEXT::BIGINT, date_trunc('hour', m.created_at, 'UTC'), 'added'
        FROM new_metrics AS m
        WHERE m.created_at < v_late
        ON CONFLICT DO NOTHING;
    END IF;

    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION register_operation_types() IS 'pggit_analytics: adds operations first seen in new metrics, and notes late ones';
REVOKE ALL ON FUNCTION register_operation_types() FROM PUBLIC;
