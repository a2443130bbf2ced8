-- check_operation_type: raises 22023 unless the operation is known (a row of performance_operation_types).
-- NULL raises as well.
CREATE OR REPLACE FUNCTION check_operation_type(p_operation_type TEXT)
RETURNS VOID
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM performance_operation_types AS t WHERE t.operation_type = p_operation_type) THEN
        RAISE EXCEPTION 'p_operation_type is %, expected one of performance_operation_types',
            coalesce(quote_literal(p_operation_type), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_operation_type(TEXT) IS 'pggit_analytics: raises unless the operation is known';
REVOKE ALL ON FUNCTION check_operation_type(TEXT) FROM PUBLIC;
