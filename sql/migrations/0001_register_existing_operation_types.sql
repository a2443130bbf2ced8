-- phase: after tables
-- 0001_register_existing_operation_types: metrics that were written before this project came, with the tables of the
-- plan's earlier weeks, may name operations that nobody registered: the trigger only sees new rows. Each becomes a row
-- of performance_operation_types (category UNKNOWN, tracked), as if it had been seen just now.
-- One descent of the index for each operation, however many rows there are.
INSERT INTO performance_operation_types (operation_type, category, is_tracked)
WITH RECURSIVE seen (operation_type) AS (
    SELECT min(m.operation_type)
    FROM performance_metrics AS m
    UNION ALL
    SELECT (SELECT min(m.operation_type) FROM performance_metrics AS m WHERE m.operation_type > s.operation_type)
    FROM seen AS s
    WHERE s.operation_type IS NOT NULL
)
SELECT s.operation_type, 'UNKNOWN', TRUE
FROM seen AS s
WHERE s.operation_type <> ''
ON CONFLICT (operation_type) DO NOTHING;
