-- utc_text(instant): the instant as ISO 8601 in UTC with microseconds, the same in every session.
-- NULL gives NULL.
CREATE OR REPLACE FUNCTION utc_text(p_instant TIMESTAMPTZ)
RETURNS TEXT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT to_char(p_instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
$$;

COMMENT ON FUNCTION utc_text(TIMESTAMPTZ) IS 'pggit_analytics: an instant as ISO 8601 text in UTC';
REVOKE ALL ON FUNCTION utc_text(TIMESTAMPTZ) FROM PUBLIC;
