-- check_silence(operation, type, by): raises 22023 unless alerts of this operation and type can be silenced by somebody.
-- NULL operation or type means all of them, and is accepted; no name is not.
CREATE OR REPLACE FUNCTION check_silence(p_operation_type TEXT, p_alert_type TEXT, p_by TEXT)
RETURNS VOID
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_operation_type IS NOT NULL THEN
        PERFORM check_operation_type(p_operation_type);
    END IF;
    IF p_alert_type IS NOT NULL THEN
        PERFORM check_alert_arguments(p_alert_type, 'INFO', 'any', '{}', FALSE, 'plan', now());
    END IF;
    PERFORM check_person(p_by);
END;
$$;

COMMENT ON FUNCTION check_silence(TEXT, TEXT, TEXT) IS
    'pggit_analytics: raises unless alerts of this operation and type can be silenced';
REVOKE ALL ON FUNCTION check_silence(TEXT, TEXT, TEXT) FROM PUBLIC;
