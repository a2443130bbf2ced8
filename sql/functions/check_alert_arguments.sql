-- check_alert_arguments(...): raises 22023, with the value and what is allowed, unless an alert can be raised so.
-- p_operation_type is free to be NULL: not every alert is about one operation, so it is not asked for here.
CREATE OR REPLACE FUNCTION check_alert_arguments(
    p_alert_type TEXT,
    p_severity TEXT,
    p_dedup_key TEXT,
    p_evidence JSONB,
    p_point_event BOOLEAN,
    p_alert_source TEXT,
    p_as_of TIMESTAMPTZ
)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    c_types CONSTANT TEXT[] := ARRAY[
        'ANOMALY', 'DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED',
        'INCIDENT', 'FORECAST', 'SELF_HEALTH', 'BASELINE_RECALC_ERROR'];
    v_fault TEXT;
BEGIN
    -- the first fault is told; the types are those of performance_alerts
    v_fault := CASE
        WHEN p_alert_type IS NULL OR p_alert_type <> ALL (c_types) THEN
            format('alert type is %L, expected one of %s', p_alert_type, array_to_string(c_types, ', '))
        WHEN p_severity IS NULL OR p_severity NOT IN ('INFO', 'WARNING', 'CRITICAL') THEN
            format('severity is %L, expected INFO, WARNING or CRITICAL', p_severity)
        WHEN p_dedup_key IS NULL OR p_dedup_key = '' THEN
            format('dedup key is %L, expected the result of alert_key()', p_dedup_key)
        WHEN p_evidence IS NULL OR jsonb_typeof(p_evidence) <> 'object' THEN
            format('evidence is %L, expected a JSON object', left(p_evidence::TEXT, 60))
        WHEN p_point_event IS NULL THEN
            'point event is NULL, expected true or false'
        WHEN p_alert_source IS NULL OR p_alert_source NOT IN ('plan', 'incidents') THEN
            format('alert source is %L, expected plan or incidents', p_alert_source)
        WHEN p_as_of IS NULL OR NOT isfinite(p_as_of) THEN
            format('as_of is %L, expected an instant', p_as_of)
    END;
    IF v_fault IS NOT NULL THEN
        RAISE EXCEPTION '%', v_fault USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_alert_arguments(TEXT, TEXT, TEXT, JSONB, BOOLEAN, TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: raises unless an alert can be raised with these arguments';
REVOKE ALL ON FUNCTION check_alert_arguments(TEXT, TEXT, TEXT, JSONB, BOOLEAN, TEXT, TIMESTAMPTZ) FROM PUBLIC;
