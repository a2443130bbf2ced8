-- alert_headline(type, operation, evidence): what happened and how much, in one line for people to read.
-- p_operation_type may be NULL (an alert about no operation). What the evidence does not say reads '?'.
-- SELF_HEALTH says evidence ->> 'summary', a sentence that needs no name before it.
-- A type without words of its own here says evidence ->> 'summary'. Never NULL.
CREATE OR REPLACE FUNCTION alert_headline(p_alert_type TEXT, p_operation_type TEXT, p_evidence JSONB)
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN CASE p_alert_type
        WHEN 'ANOMALY' THEN format(
            '%s took %s ms, %s %% off its mean (z-score %s, metric %s)',
            p_operation_type,
            evidence_number(p_evidence, 'duration_ms', 3),
            evidence_number(p_evidence, 'deviation_percent', 1),
            evidence_number(p_evidence, 'z_score', 1),
            evidence_number(p_evidence, 'metric_id', 0))
        WHEN 'DEGRADATION' THEN format(
            '%s is %s %% slower: p99 went from %s to %s ms',
            p_operation_type,
            evidence_number(p_evidence, 'degradation_percent', 1),
            evidence_number(p_evidence, 'p99_old_ms', 3),
            evidence_number(p_evidence, 'p99_new_ms', 3))
        WHEN 'CORRELATION' THEN format(
            '%s and %s get slow together: correlation %s over %s minutes, shared bottleneck %s',
            p_evidence ->> 'operation_type_1',
            p_evidence ->> 'operation_type_2',
            evidence_number(p_evidence, 'correlation_coefficient', 2),
            evidence_number(p_evidence, 'shared_minutes', 0),
            coalesce(p_evidence ->> 'shared_bottleneck', '?'))
        WHEN 'THRESHOLD_EXCEEDED' THEN format(
            '%s took up to %s ms, its threshold is %s ms (exceeded %s times)',
            p_operation_type,
            evidence_number(p_evidence, 'duration_ms', 3),
            evidence_number(p_evidence, 'threshold_ms', 3),
            evidence_number(p_evidence, 'exceeded_count', 0))
        WHEN 'INCIDENT' THEN format(
            CASE p_evidence ->> 'kind'
                WHEN 'calls' THEN '%1$s had %6$s single slow calls, up to %2$s times as slow as usual'
                WHEN 'improvement' THEN '%1$s became faster: p50 went from %3$s to %4$s ms'
                ELSE '%1$s%5$s is %2$s times as slow: p50 went from %3$s to %4$s ms'
            END,
            p_operation_type,
            evidence_number(p_evidence, 'size_ratio', 2),
            evidence_number(p_evidence -> 'before', 'p50_ms', 3),
            evidence_number(p_evidence -> 'now', 'p50_ms', 3),
            CASE
                WHEN jsonb_typeof(p_evidence -> 'operation_types') = 'array'
                    AND jsonb_array_length(p_evidence -> 'operation_types') > 1
                    THEN format(' (with %s more)', jsonb_array_length(p_evidence -> 'operation_types') - 1)
                ELSE ''
            END,
            evidence_number(p_evidence, 'calls', 0))
        WHEN 'FORECAST' THEN coalesce(
            format(
                '%s will exceed its limit of %s ms about ', p_operation_type, evidence_number(p_evidence, 'sla_ms', 3))
            || replace(left(p_evidence ->> 'expected_breach_at', 16), 'T', ' ') || ' UTC',
            concat_ws(' ', p_alert_type, p_operation_type, p_evidence ->> 'summary'))
        WHEN 'SELF_HEALTH' THEN coalesce(p_evidence ->> 'summary', concat_ws(' ', p_alert_type, p_operation_type))
        ELSE concat_ws(' ', p_alert_type, p_operation_type, p_evidence ->> 'summary')
    END;
END;
$$;

COMMENT ON FUNCTION alert_headline(TEXT, TEXT, JSONB) IS
    'pggit_analytics: what an alert is about and how much, in one line';
REVOKE ALL ON FUNCTION alert_headline(TEXT, TEXT, JSONB) FROM PUBLIC;
