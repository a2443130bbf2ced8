-- requires: analysis_time, retention_cutoff
-- delete_old_results(...): deletes one batch of findings about moments (detected_at, as_of) more than p_days days before
-- p_as_of, and returns how many rows that were. Repeat it, each call in a transaction of its own, while it deletes
-- p_batch_size rows.
--
-- First anomalies, then degradations, correlations, and the runs that no finding refers to any more. A flow's latest
-- successful run stays however old: whether a run may raise alerts is decided by it.
-- Rows that others hold are passed over; a table that is locked as a whole fails the call after 2 seconds.
-- Out of range or NULL raises 22023. The caller needs DELETE on the tables.
CREATE OR REPLACE FUNCTION delete_old_results(
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
    v_before CONSTANT TIMESTAMPTZ := retention_cutoff(p_days, p_batch_size, p_as_of);
    v_rows   BIGINT;
    v_total  BIGINT := 0;
BEGIN
    DELETE FROM performance_anomalies AS a
    WHERE a.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_anomalies AS o
        WHERE o.detected_at < v_before
        ORDER BY o.detected_at LIMIT p_batch_size FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM performance_degradations AS d
    WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_degradations AS o
        WHERE o.detected_at < v_before
        ORDER BY o.detected_at LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM performance_correlations AS c
    WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM performance_correlations AS o
        WHERE o.detected_at < v_before
        ORDER BY o.detected_at LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_total := v_total + v_rows;

    DELETE FROM analysis_runs AS r
    WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM analysis_runs AS o
        WHERE o.as_of < v_before
          AND EXISTS (
              SELECT FROM analysis_runs AS n
              WHERE n.flow = o.flow AND n.status = 'SUCCESS' AND (n.as_of, n.run_id) > (o.as_of, o.run_id))
          AND NOT EXISTS (SELECT FROM performance_anomalies AS a WHERE a.run_id = o.run_id)
          AND NOT EXISTS (SELECT FROM performance_degradations AS d WHERE d.run_id = o.run_id)
          AND NOT EXISTS (SELECT FROM performance_correlations AS c WHERE c.run_id = o.run_id)
        ORDER BY o.as_of LIMIT p_batch_size - v_total FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_total + v_rows;
END;
$$;

COMMENT ON FUNCTION delete_old_results(INTEGER, INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: deletes one batch of old findings and of runs without findings';
REVOKE ALL ON FUNCTION delete_old_results(INTEGER, INTEGER, TIMESTAMPTZ) FROM PUBLIC;
