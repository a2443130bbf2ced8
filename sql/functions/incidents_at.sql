-- requires: performance_incidents
-- incidents_at(from, until): the latest state of each incident that a run with an as_of in [p_from, p_until] has seen,
-- whether it is open or over, in no particular order. NULL arguments give nothing.
CREATE OR REPLACE FUNCTION incidents_at(p_from TIMESTAMPTZ, p_until TIMESTAMPTZ)
RETURNS SETOF performance_incidents
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT DISTINCT ON (i.incident_key) i.*
    FROM performance_incidents AS i
    WHERE i.detected_at BETWEEN p_from AND p_until
    ORDER BY i.incident_key, i.detected_at DESC;
$$;

COMMENT ON FUNCTION incidents_at(TIMESTAMPTZ, TIMESTAMPTZ) IS
    'pggit_analytics: the latest state of each incident that runs of a span have seen';
REVOKE ALL ON FUNCTION incidents_at(TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
