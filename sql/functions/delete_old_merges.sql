-- requires: analysis_time, retention_cutoff, merge_relationships
-- delete_old_merges(...): deletes one batch of merges that began more than p_days days before p_as_of, and returns how
-- many rows that were. Repeat it, each call in a transaction of its own, while it deletes p_batch_size rows.
-- Their metrics are delete_old_metrics' to delete. Rows that others hold are passed over; a table that is locked as a
-- whole fails the call after 2 seconds. Out of range or NULL raises 22023. The caller needs DELETE on the table.
CREATE OR REPLACE FUNCTION delete_old_merges(
    p_days       INTEGER,
    p_batch_size INTEGER DEFAULT 10000,
    p_as_of      TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET lock_timeout TO '2s'
AS $$
DECLARE
    v_before  CONSTANT TIMESTAMPTZ := retention_cutoff(p_days, p_batch_size, p_as_of);
    v_deleted BIGINT;
BEGIN
    DELETE FROM merge_relationships AS m
    WHERE m.ctid = ANY (ARRAY(
        SELECT o.ctid
        FROM merge_relationships AS o
        WHERE o.created_at < v_before
        ORDER BY o.created_at
        LIMIT p_batch_size
        FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END;
$$;

COMMENT ON FUNCTION delete_old_merges(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of old merges';
REVOKE ALL ON FUNCTION delete_old_merges(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
