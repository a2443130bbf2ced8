-- requires: analysis_time, retention_cutoff
-- delete_old_metrics(...): deletes one batch of timings of operations that ended more than p_days days before p_as_of.
-- Repeat it, each call in a transaction of its own, while it deletes p_batch_size rows.
--
-- Writers are never held up: only old rows are locked, rows that others hold are passed over until the next time, and
-- a table that is locked as a whole fails the call after 2 seconds (55P03).
--
-- p_operation_type  only this operation; NULL = all, in the order of their names
-- p_from            only rows at or after it. Calls for one operation may hand on the last_created_at of the call
--                   before, which spares them the index entries of rows deleted already
-- Returns one row: how many were deleted, and the latest created_at among them (NULL for none).
-- Out of range or NULL (but p_operation_type) raises 22023. The caller needs DELETE on performance_metrics.
CREATE OR REPLACE FUNCTION delete_old_metrics(
    p_days           INTEGER,
    p_batch_size     INTEGER DEFAULT 10000,
    p_operation_type TEXT DEFAULT NULL,
    p_from           TIMESTAMPTZ DEFAULT '-infinity',
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (deleted_count BIGINT, last_created_at TIMESTAMPTZ)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET lock_timeout TO '2s'
AS $$
DECLARE
    v_before    CONSTANT TIMESTAMPTZ := retention_cutoff(p_days, p_batch_size, p_as_of);
    v_operation TEXT := p_operation_type;
    v_deleted   BIGINT;
    v_last      TIMESTAMPTZ;
BEGIN
    IF p_from IS NULL THEN
        RAISE EXCEPTION 'p_from is NULL, expected an instant' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    deleted_count := 0;
    IF p_operation_type IS NULL THEN
        SELECT min(m.operation_type) INTO v_operation FROM performance_metrics AS m;
    END IF;

    WHILE v_operation IS NOT NULL AND deleted_count < p_batch_size LOOP
        WITH deleted AS (
            DELETE FROM performance_metrics AS m
            WHERE m.ctid = ANY (ARRAY(
                SELECT o.ctid
                FROM performance_metrics AS o
                WHERE o.operation_type = v_operation AND o.created_at >= p_from AND o.created_at < v_before
                ORDER BY o.created_at
                LIMIT p_batch_size - deleted_count
                FOR UPDATE SKIP LOCKED
            ))
            RETURNING m.created_at
        )
        SELECT count(*), max(d.created_at) INTO v_deleted, v_last FROM deleted AS d;

        deleted_count := deleted_count + v_deleted;
        last_created_at := greatest(last_created_at, v_last);
        EXIT WHEN p_operation_type IS NOT NULL;
        SELECT min(m.operation_type) INTO v_operation FROM performance_metrics AS m WHERE m.operation_type > v_operation;
    END LOOP;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION delete_old_metrics(INTEGER, INTEGER, TEXT, TIMESTAMPTZ, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of old timings';
REVOKE ALL ON FUNCTION delete_old_metrics(INTEGER, INTEGER, TEXT, TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
