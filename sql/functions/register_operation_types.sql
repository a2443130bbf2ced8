-- register_operation_types: the statement-level trigger function of performance_metrics. Operations that the inserted
-- rows (transition table new_metrics) name for the first time become rows of performance_operation_types: category
-- UNKNOWN, tracked. When all are known, nothing is written.
--
-- SECURITY DEFINER: whoever may insert timings needs no right on performance_operation_types.
-- The names are inserted in order, so that two statements that bring the same new operations wait for each other
-- instead of ending in a deadlock. Each name waits at most once in the life of an operation.
CREATE OR REPLACE FUNCTION register_operation_types()
RETURNS TRIGGER
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO performance_operation_types (operation_type, category, is_tracked)
    SELECT n.operation_type, 'UNKNOWN', TRUE
    FROM (SELECT DISTINCT m.operation_type FROM new_metrics AS m) AS n
    WHERE NOT EXISTS (SELECT FROM performance_operation_types AS t WHERE t.operation_type = n.operation_type)
    ORDER BY n.operation_type
    ON CONFLICT (operation_type) DO NOTHING;

    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION register_operation_types() IS 'pggit_analytics: adds operations first seen in new metrics';
REVOKE ALL ON FUNCTION register_operation_types() FROM PUBLIC;
