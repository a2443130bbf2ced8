-- alert_key(type, subject...): the dedup key of what an alert is about, without the episode.
-- p_alert_type and p_subject: the type and the names or ids of the subject, in an order that every writer keeps.
-- The result is a JSON array as text, such as ["CORRELATION", "commit", "merge"], and so unambiguous for any name.
-- Never NULL; a NULL argument raises 22023.
CREATE OR REPLACE FUNCTION alert_key(p_alert_type TEXT, VARIADIC p_subject TEXT[])
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_alert_type IS NULL OR p_subject IS NULL OR array_position(p_subject, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'alert type % and subject % must not be or hold NULL',
            quote_nullable(p_alert_type), quote_nullable(p_subject::TEXT)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN to_jsonb(array_prepend(p_alert_type, p_subject))::TEXT;
END;
$$;

COMMENT ON FUNCTION alert_key(TEXT, TEXT[]) IS 'pggit_analytics: the dedup key of what an alert is about';
REVOKE ALL ON FUNCTION alert_key(TEXT, TEXT[]) FROM PUBLIC;
