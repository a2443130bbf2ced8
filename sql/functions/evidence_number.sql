-- evidence_number(evidence, name, digits): a number of the evidence as text for people to read.
-- Rounded to p_digits decimals, without trailing zeros; '?' where the evidence holds no such number. Never NULL.
CREATE OR REPLACE FUNCTION evidence_number(p_evidence JSONB, p_name TEXT, p_digits INTEGER)
RETURNS TEXT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT CASE jsonb_typeof(p_evidence -> p_name)
        WHEN 'number' THEN trim_scale(round((p_evidence -> p_name)::NUMERIC, p_digits))::TEXT
        ELSE '?'
    END;
$$;

COMMENT ON FUNCTION evidence_number(JSONB, TEXT, INTEGER) IS
    'pggit_analytics: a number of the evidence as text for people to read';
REVOKE ALL ON FUNCTION evidence_number(JSONB, TEXT, INTEGER) FROM PUBLIC;
