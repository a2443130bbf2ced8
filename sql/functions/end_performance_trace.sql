-- requires: record_performance_metric
-- end_performance_trace: writes the row of a trace that start_performance_trace started; returns its metric_id.
-- The duration is the time since the start; a clock set back meanwhile (by less than a day) gives 0.
--
-- Ending a trace again, as a client does that lost the answer, writes nothing and returns the same metric_id.
--
-- p_trace     the text start_performance_trace returned; NULL or any other text raises 22023
-- p_metadata  a JSON object, added to the metadata of the start and winning where both have a key; NULL = none
-- The caller needs INSERT and SELECT on performance_metrics.
CREATE OR REPLACE FUNCTION end_performance_trace(
    p_trace    TEXT,
    p_metadata JSONB DEFAULT NULL
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_ended          TIMESTAMPTZ := clock_timestamp();
    -- start, process, operation, metadata, parent: see start_performance_trace
    v_parts          TEXT[] := regexp_match(
        p_trace, '^(0[0-9a-f]{15})([0-9a-f]{8})[0-9a-f]{8}\.([^.]+)(?:\.([A-Za-z0-9+/]*={0,2})\.(.*))?$');
    v_started        TIMESTAMPTZ;
    v_operation_type TEXT;
    v_metadata       JSONB;
    v_metric_id      BIGINT;
BEGIN
    IF jsonb_typeof(p_metadata) <> 'object' THEN
        RAISE EXCEPTION 'p_metadata is of JSON type %, expected an object', jsonb_typeof(p_metadata)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    BEGIN
        v_started := 'epoch'::TIMESTAMPTZ + ('x' || v_parts[1])::BIT(64)::BIGINT * INTERVAL '1 microsecond';
        v_metadata := convert_from(decode(nullif(v_parts[4], ''), 'base64'), 'UTF8')::JSONB;
    EXCEPTION
        WHEN data_exception THEN
            v_started := NULL;
    END;
    IF v_started IS NULL OR v_started > v_ended + INTERVAL '1 day' THEN
        RAISE EXCEPTION 'p_trace is %, expected a text that start_performance_trace returned',
            coalesce(quote_literal(left(p_trace, 60)), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    v_ended := greatest(v_ended, v_started);
    v_operation_type := replace(replace(v_parts[3], '%2E', '.'), '%25', '%');

    -- One session at a time may end this trace. A trace that this very transaction started is known to no other
    -- session, and one transaction may end more of them than there is memory for locks.
    IF v_started < transaction_timestamp() OR v_parts[2] <> lpad(to_hex(pg_backend_pid()), 8, '0') THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(p_trace, 0));
    END IF;

    -- Other rows may share the trace id; only the one this function wrote began at the start of the trace.
    SELECT m.metric_id INTO v_metric_id
    FROM performance_metrics AS m
    WHERE m.distributed_trace_id = p_trace
      AND m.operation_type = v_operation_type
      AND extract(EPOCH FROM m.created_at) - m.duration_ms / 1000 = extract(EPOCH FROM v_started)
    ORDER BY m.metric_id
    LIMIT 1;
    IF v_metric_id IS NOT NULL THEN
        RETURN v_metric_id;
    END IF;

    RETURN record_performance_metric(
        p_operation_type  => v_operation_type,
        p_duration_ms     => (extract(EPOCH FROM v_ended) - extract(EPOCH FROM v_started)) * 1000,
        p_trace_id        => p_trace,
        p_trace_parent_id => nullif(v_parts[5], ''),
        -- NULL on one side leaves the other; both NULL is no metadata
        p_metadata        => coalesce(v_metadata || p_metadata, p_metadata, v_metadata),
        p_created_at      => v_ended
    );
END;
$$;

COMMENT ON FUNCTION end_performance_trace(TEXT, JSONB) IS 'pggit_analytics: writes the timing of a started trace';
REVOKE ALL ON FUNCTION end_performance_trace(TEXT, JSONB) FROM PUBLIC;
