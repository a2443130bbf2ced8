-- operation_groups(): which operations are in trouble together: those that the open CORRELATION alerts join, directly
-- or by way of others. One row per such operation; group_name is the first operation of its group, by code points.
-- An operation in no open pair has no row.
CREATE OR REPLACE FUNCTION operation_groups()
RETURNS TABLE (operation_type TEXT, group_name TEXT)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE pairs AS (
        SELECT a.evidence ->> 'operation_type_1' AS one, a.evidence ->> 'operation_type_2' AS other
        FROM performance_alerts AS a
        WHERE a.resolved_at IS NULL AND a.alert_type = 'CORRELATION'
    ),

    steps AS (
        SELECT one, other FROM pairs
        UNION
        SELECT other, one FROM pairs
    ),

    reached (origin, operation) AS (
        SELECT s.one, s.one FROM steps AS s
        UNION
        SELECT r.origin, s.other FROM reached AS r JOIN steps AS s ON s.one = r.operation
    )

    SELECT r.origin, min(r.operation COLLATE "C") FROM reached AS r WHERE r.origin IS NOT NULL GROUP BY r.origin;
END;
$$;

COMMENT ON FUNCTION operation_groups() IS 'pggit_analytics: which operations open alerts say are in trouble together';
REVOKE ALL ON FUNCTION operation_groups() FROM PUBLIC;
