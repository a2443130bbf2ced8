-- start_performance_trace: starts timing an operation and returns its trace id, to be given to
-- end_performance_trace in this or any other transaction or session.
--
-- The text returned is the distributed_trace_id of the row that end_performance_trace writes, so it can be used at once
-- wherever a trace id is wanted: as p_trace_parent_id of other traces or metrics, or as merge_id.
-- Nothing is written yet: the text itself carries what the row needs, and a trace that is never ended leaves nothing.
--
--     <start in microseconds since 1970, 16 hex digits><process, 8><random, 8>.<operation>[.<metadata>.<parent>]
--
-- with % and . of the operation written %25 and %2E, and the metadata in base64 (readable by anyone who sees the id).
--
-- p_operation_type   1 to 2000 bytes, an operation not known yet is registered when the trace ends
-- p_trace_parent_id  the trace that starts this one; NULL = none
-- p_metadata         a JSON object; NULL = none. Large ones are better given to end_performance_trace
-- Raises 22023 for a missing operation, metadata that is no object, or a trace id longer than 2000 bytes.
CREATE OR REPLACE FUNCTION start_performance_trace(
    p_operation_type  TEXT,
    p_trace_parent_id TEXT DEFAULT NULL,
    p_metadata        JSONB DEFAULT NULL
)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_rest  TEXT;
    v_start BIGINT;
BEGIN
    IF coalesce(p_operation_type, '') = '' THEN
        RAISE EXCEPTION 'p_operation_type is %, expected a name of 1 to 2000 bytes',
            coalesce(quote_literal(p_operation_type), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(p_metadata) <> 'object' THEN
        RAISE EXCEPTION 'p_metadata is of JSON type %, expected an object', jsonb_typeof(p_metadata)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    v_rest := '.' || replace(replace(p_operation_type, '%', '%25'), '.', '%2E');
    IF p_metadata IS NOT NULL OR p_trace_parent_id IS NOT NULL THEN
        v_rest := v_rest || '.'
            || translate(coalesce(encode(convert_to(p_metadata::TEXT, 'UTF8'), 'base64'), ''), E'\n', '')
            || '.' || coalesce(p_trace_parent_id, '');
    END IF;
    IF octet_length(v_rest) > 1968 THEN
        RAISE EXCEPTION
            'operation, parent id and metadata make a trace id of % bytes, expected at most 2000; give the metadata to end_performance_trace',
            octet_length(v_rest) + 32
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    v_rest := lpad(to_hex(pg_backend_pid()), 8, '0') || left(gen_random_uuid()::TEXT, 8) || v_rest;
    v_start := extract(EPOCH FROM clock_timestamp()) * 1000000;
    RETURN lpad(to_hex(v_start), 16, '0') || v_rest;
END;
$$;

COMMENT ON FUNCTION start_performance_trace(TEXT, TEXT, JSONB)
    IS 'pggit_analytics: starts timing an operation, returns its trace id';
REVOKE ALL ON FUNCTION start_performance_trace(TEXT, TEXT, JSONB) FROM PUBLIC;
