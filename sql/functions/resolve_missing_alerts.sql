-- requires: analysis_time
-- resolve_missing_alerts(...): note that a run at p_as_of did not find the open alerts of its scope any more.
-- p_alert_types, p_operation_types, p_alert_source: the scope, what the run looked for; p_operation_types NULL means
--   all. A CORRELATION is in scope when both of its operations are.
-- p_seen_keys: the dedup keys the run did find; may be empty.
-- Each such alert has missed one more run, counted once per as_of and only for an as_of later than when it was last
-- seen or missed. After as many runs in a row as the setting alert_resolve_after_runs says it is resolved, and every
-- enabled webhook that was told of it hears so, whichever source pages by now. Returns how many were resolved.
-- Any argument but p_operation_types raises 22023 when NULL or out of range.
CREATE OR REPLACE FUNCTION resolve_missing_alerts(
    p_alert_types TEXT[],
    p_operation_types TEXT[],
    p_seen_keys TEXT[],
    p_alert_source TEXT,
    p_as_of TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_limit TEXT := alert_setting('alert_resolve_after_runs');
    v_alert_type TEXT;
    v_resolved BIGINT[];
    v_alert_id BIGINT;
BEGIN
    IF p_alert_types IS NULL OR p_seen_keys IS NULL THEN
        RAISE EXCEPTION 'alert types % and seen keys % must not be NULL',
            quote_nullable(p_alert_types::TEXT), CASE WHEN p_seen_keys IS NULL THEN 'NULL' ELSE '(given)' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH v_alert_type IN ARRAY p_alert_types LOOP
        PERFORM check_alert_arguments(v_alert_type, 'INFO', 'any', '{}', FALSE, p_alert_source, p_as_of);
    END LOOP;
    IF v_limit !~ '^[1-9][0-9]{0,5}$' THEN
        RAISE EXCEPTION 'the setting alert_resolve_after_runs is %, expected 1 to 999999', quote_literal(v_limit)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM lock_alerts();

    WITH missed AS (
        UPDATE performance_alerts AS a
        SET missed_runs = a.missed_runs + 1,
            last_missed_at = p_as_of,
            resolved_at = CASE WHEN a.missed_runs + 1 >= v_limit::INTEGER THEN p_as_of END
        WHERE a.resolved_at IS NULL
            AND a.alert_type = ANY (p_alert_types)
            AND a.alert_source = p_alert_source
            AND p_as_of > greatest(a.last_seen_at, a.last_missed_at)
            AND (
                p_operation_types IS NULL
                OR CASE a.alert_type
                    WHEN 'CORRELATION' THEN
                        a.evidence ->> 'operation_type_1' = ANY (p_operation_types)
                        AND a.evidence ->> 'operation_type_2' = ANY (p_operation_types)
                    ELSE a.operation_type = ANY (p_operation_types)
                END
            )
            AND NOT EXISTS (SELECT FROM unnest(p_seen_keys) AS seen (dedup_key) WHERE seen.dedup_key = a.dedup_key)
        RETURNING a.alert_id, a.resolved_at
    )
    SELECT array_agg(alert_id ORDER BY alert_id) INTO v_resolved FROM missed WHERE resolved_at IS NOT NULL;

    FOREACH v_alert_id IN ARRAY coalesce(v_resolved, '{}') LOOP
        PERFORM enqueue_alert_messages(v_alert_id, 'resolved', p_as_of);
    END LOOP;
    RETURN coalesce(cardinality(v_resolved), 0);
END;
$$;

COMMENT ON FUNCTION resolve_missing_alerts(TEXT[], TEXT[], TEXT[], TEXT, TIMESTAMPTZ) IS
    'pggit_analytics: note what a run did not find any more, and resolve what was missed often enough';
REVOKE ALL ON FUNCTION resolve_missing_alerts(TEXT[], TEXT[], TEXT[], TEXT, TIMESTAMPTZ) FROM PUBLIC;
