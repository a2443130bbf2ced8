-- replace_incidents(operations, run_id, as_of): make the incidents, their operations and the suppressed findings of
-- p_as_of those of the temporary tables pggit_new_incidents, pggit_new_incident_operations and pggit_new_suppressed,
-- which have the columns of the result tables but run_id; the numbers of rows inserted and deleted.
-- A row that is there already, equal in every value, is left alone; others of p_as_of are deleted.
-- p_operations: the operations looked at, what is about others is left alone; NULL = all.
CREATE OR REPLACE FUNCTION replace_incidents(p_operations TEXT[], p_run_id BIGINT, p_as_of TIMESTAMPTZ)
RETURNS TABLE (rows_written BIGINT, rows_deleted BIGINT)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_gone TEXT[];
    v_rows BIGINT;
BEGIN
    rows_written := 0;
    rows_deleted := 0;

    -- the incidents of this moment that are this run's to replace
    SELECT array_agg(i.incident_key) INTO v_gone
    FROM performance_incidents AS i
    WHERE i.detected_at = p_as_of
      AND (
          p_operations IS NULL
          OR i.operation_type = ANY (p_operations)
          OR i.incident_key IN (SELECT new.incident_key FROM pg_temp.pggit_new_incidents AS new)
      );

    DELETE FROM performance_incident_operations AS old
    WHERE old.detected_at = p_as_of
      AND old.incident_key = ANY (v_gone)
      AND NOT EXISTS (
          SELECT FROM pg_temp.pggit_new_incident_operations AS new WHERE to_jsonb(new) = to_jsonb(old) - 'run_id');
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;
    DELETE FROM performance_incidents AS old
    WHERE old.detected_at = p_as_of
      AND old.incident_key = ANY (v_gone)
      AND NOT EXISTS (SELECT FROM pg_temp.pggit_new_incidents AS new WHERE to_jsonb(new) = to_jsonb(old) - 'run_id');
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;
    DELETE FROM suppressed_findings AS old
    WHERE old.detected_at = p_as_of
      AND (p_operations IS NULL OR old.operation_type = ANY (p_operations))
      AND NOT EXISTS (SELECT FROM pg_temp.pggit_new_suppressed AS new WHERE to_jsonb(new) = to_jsonb(old) - 'run_id');
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_deleted := rows_deleted + v_rows;

    INSERT INTO performance_incidents (
        incident_key, kind, state, severity, operation_type, onset, onset_low, onset_high, ended_at, ended_because,
        opened_at, last_found_at, missed_runs, lost_ms, lost_ms_per_hour, first_mover, bottleneck, bottleneck_support,
        merged_into, expected_breach_at, evidence, detected_at, run_id
    )
    SELECT
        new.incident_key, new.kind, new.state, new.severity, new.operation_type, new.onset, new.onset_low,
        new.onset_high, new.ended_at, new.ended_because, new.opened_at, new.last_found_at, new.missed_runs, new.lost_ms,
        new.lost_ms_per_hour, new.first_mover, new.bottleneck, new.bottleneck_support, new.merged_into,
        new.expected_breach_at, new.evidence, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_incidents AS new
    ORDER BY new.incident_key
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;
    INSERT INTO performance_incident_operations (
        incident_key, operation_type, kind, onset, onset_low, onset_high, ended_at, size_ratio, opening_ratio, p,
        calls_before, calls, p50_before_ms, p99_before_ms, p50_now_ms, p95_now_ms, p99_now_ms, lost_ms,
        lost_ms_per_hour, detected_at, run_id
    )
    SELECT
        new.incident_key, new.operation_type, new.kind, new.onset, new.onset_low, new.onset_high, new.ended_at,
        new.size_ratio, new.opening_ratio, new.p, new.calls_before, new.calls, new.p50_before_ms, new.p99_before_ms,
        new.p50_now_ms, new.p95_now_ms, new.p99_now_ms, new.lost_ms, new.lost_ms_per_hour, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_incident_operations AS new
    ORDER BY new.incident_key, new.operation_type
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;
    INSERT INTO suppressed_findings (
        operation_type, kind, onset, reason, detail, incident_key, detected_at, run_id
    )
    SELECT
        new.operation_type, new.kind, new.onset, new.reason, new.detail, new.incident_key, new.detected_at, p_run_id
    FROM pg_temp.pggit_new_suppressed AS new
    ORDER BY new.operation_type, new.kind, new.onset, new.reason
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    rows_written := rows_written + v_rows;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION replace_incidents(TEXT[], BIGINT, TIMESTAMPTZ) IS
    'pggit_analytics: make the incidents of a moment those just found';
REVOKE ALL ON FUNCTION replace_incidents(TEXT[], BIGINT, TIMESTAMPTZ) FROM PUBLIC;
