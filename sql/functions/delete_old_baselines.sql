-- requires: analysis_time, retention_cutoff
-- delete_old_baselines(...): deletes one batch of the history of baselines that was written more than p_days days before
-- p_as_of, then of the baselines that were replaced before that and that no history names any more; returns how many rows
-- that were. Repeat it, each call in a transaction of its own, while it deletes p_batch_size rows.
--
-- A baseline in force stays however old. A moment before the cutoff can no longer be compared with its baseline.
-- Rows that others hold are passed over; a table that is locked as a whole fails the call after 2 seconds.
-- Out of range or NULL raises 22023. The caller needs DELETE on the tables.
CREATE OR REPLACE FUNCTION delete_old_baselines(
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
    v_history BIGINT;
    v_deleted BIGINT;
BEGIN
    DELETE FROM performance_baseline_history AS h
    WHERE h.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_baseline_history AS o
        WHERE o.calculated_at < v_before
        ORDER BY o.calculated_at LIMIT p_batch_size FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_history = ROW_COUNT;

    DELETE FROM performance_baselines AS b
    WHERE b.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_baselines AS o
        WHERE NOT o.is_active
          AND o.valid_to < v_before
          AND NOT EXISTS (SELECT FROM performance_baseline_history AS h WHERE h.old_baseline_id = o.baseline_id)
          AND NOT EXISTS (SELECT FROM performance_baseline_history AS h WHERE h.new_baseline_id = o.baseline_id)
        ORDER BY o.valid_to LIMIT p_batch_size - v_history FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_history + v_deleted;
END;
$$;

COMMENT ON FUNCTION delete_old_baselines(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of baselines replaced long ago and of their history';
REVOKE ALL ON FUNCTION delete_old_baselines(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
