-- note_changed_metrics: the statement-level trigger function of performance_metrics for UPDATE and DELETE. The hours of
-- the rows that went (transition table old_metrics), and of those that an UPDATE wrote (new_metrics), are noted in
-- performance_metrics_changes.
--
-- SECURITY DEFINER: whoever may change timings needs no right on that table.
CREATE OR REPLACE FUNCTION note_changed_metrics()
RETURNS TRIGGER
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO performance_metrics_changes (transaction_id, hour, change)
    SELECT DISTINCT pg_current_xact_id()::TEXT::BIGINT, date_trunc('hour', m.created_at, 'UTC'), 'removed'
    FROM old_metrics AS m
    ON CONFLICT DO NOTHING;

    IF TG_OP = 'UPDATE' THEN
        INSERT INTO performance_metrics_changes (transaction_id, hour, change)
        SELECT DISTINCT pg_current_xact_id()::TEXT::BIGINT, date_trunc('hour', m.created_at, 'UTC'), 'added'
        FROM new_metrics AS m
        ON CONFLICT DO NOTHING;
    END IF;

    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION note_changed_metrics() IS 'pggit_analytics: notes the hours whose metrics were changed';
REVOKE ALL ON FUNCTION note_changed_metrics() FROM PUBLIC;
