-- retention_cutoff(days, batch_size, as_of): the instant p_days days of 24 hours before p_as_of; what is older may go.
-- Raises 22023 unless p_days is 1 to 36500, p_batch_size 1 to 1000000 and p_as_of a finite instant that has come:
-- a mistaken instant in the future would take rows that are not old. NULL raises.
CREATE OR REPLACE FUNCTION retention_cutoff(p_days INTEGER, p_batch_size INTEGER, p_as_of TIMESTAMPTZ)
RETURNS TIMESTAMPTZ
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM check_argument('p_days', p_days, 1, 36500);
    PERFORM check_argument('p_batch_size', p_batch_size, 1, 1000000);
    PERFORM check_as_of(p_as_of);
    IF p_as_of > clock_timestamp() THEN
        RAISE EXCEPTION 'p_as_of is %, expected an instant that is not in the future', p_as_of
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN p_as_of - p_days * INTERVAL '24 hours';
END;
$$;

COMMENT ON FUNCTION retention_cutoff(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: the instant before which rows are old, arguments checked';
REVOKE ALL ON FUNCTION retention_cutoff(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
