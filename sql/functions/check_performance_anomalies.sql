-- requires: analysis_time
-- check_performance_anomalies: look at every tracked operation, write what was found to the result tables, and raise,
-- repeat and resolve alerts: a monitoring run of the pipeline, inside the database. The run_id in analysis_runs, where
-- it counts as a run of the same flow; one transaction, and a second writer waits for it.
-- The rows of p_as_of become exactly the findings, so running it again on the same data changes nothing.
-- p_notify: raise alerts even for a p_as_of that is old or not the newest one analysed (see alerts_allowed).
-- Out of range or NULL raises 22023.
CREATE OR REPLACE FUNCTION check_performance_anomalies(
    p_lookback_hours INTEGER DEFAULT 24,
    p_notify         BOOLEAN DEFAULT FALSE,
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS BIGINT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_started_at TIMESTAMPTZ := clock_timestamp();
    v_start      TIMESTAMPTZ;
    v_allowed    BOOLEAN;
    v_rows_read  BIGINT;
    v_written    BIGINT;
    v_run_id     BIGINT;
BEGIN
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_as_of(p_as_of);
    PERFORM lock_alerts();
    v_allowed := alerts_allowed(p_as_of, p_notify);
    v_start := p_as_of - make_interval(hours => 24 * greatest(7, (p_lookback_hours + 23) / 24));

    SELECT count(*) INTO v_rows_read FROM performance_metrics AS m WHERE m.created_at BETWEEN v_start AND p_as_of;

    INSERT INTO analysis_runs (
        flow, as_of, "window", started_at, status, rows_read, rows_written, package_version
    )
    VALUES (
        'monitor_performance', p_as_of, tstzrange(v_start, p_as_of, '[]'), v_started_at, 'SUCCESS', v_rows_read, 0,
        coalesce((SELECT d.package_version FROM deployed_objects AS d WHERE d.kind = 'package'), 'installed by psql')
    )
    RETURNING run_id INTO v_run_id;

    PERFORM collect_findings(p_lookback_hours, p_as_of);
    SELECT r.rows_written INTO v_written FROM replace_findings(NULL, v_run_id, p_as_of) AS r;
    IF v_allowed THEN
        PERFORM raise_alerts_of_findings(NULL, p_as_of);
    END IF;
    DROP TABLE
        pg_temp.pggit_new_anomalies, pg_temp.pggit_new_degradations, pg_temp.pggit_new_correlations,
        pg_temp.pggit_new_thresholds;

    UPDATE analysis_runs SET rows_written = v_written, finished_at = clock_timestamp() WHERE run_id = v_run_id;
    RETURN v_run_id;
END;
$$;

COMMENT ON FUNCTION check_performance_anomalies(INTEGER, BOOLEAN, TIMESTAMPTZ) IS
    'pggit_analytics: a monitoring run inside the database: finds, records and raises alerts';
REVOKE ALL ON FUNCTION check_performance_anomalies(INTEGER, BOOLEAN, TIMESTAMPTZ) FROM PUBLIC;
