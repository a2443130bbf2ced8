-- The columns, keys and seeds that users of the tables rely on. Needs pgTAP in the schema public.
BEGIN;
SET LOCAL search_path TO pggit, public, pg_temp;
SELECT plan(178);

CREATE TEMPORARY TABLE expected (table_name, column_name, type) ON COMMIT DROP AS
VALUES
    ('performance_operation_types', 'operation_type',      'text'),
    ('performance_operation_types', 'description',         'text'),
    ('performance_operation_types', 'category',            'text'),
    ('performance_operation_types', 'typical_duration_ms', 'numeric(14,3)'),
    ('performance_operation_types', 'is_tracked',          'boolean'),

    ('performance_metrics', 'metric_id',                   'bigint'),
    ('performance_metrics', 'operation_type',              'text'),
    ('performance_metrics', 'duration_ms',                 'numeric(14,3)'),
    ('performance_metrics', 'created_at',                  'timestamp with time zone'),
    ('performance_metrics', 'distributed_trace_id',        'text'),
    ('performance_metrics', 'distributed_trace_parent_id', 'text'),
    ('performance_metrics', 'user_name',                   'text'),
    ('performance_metrics', 'metadata',                    'jsonb'),

    ('merge_relationships', 'merge_id',            'text'),
    ('merge_relationships', 'branch_from',         'text'),
    ('merge_relationships', 'branch_into',         'text'),
    ('merge_relationships', 'created_at',          'timestamp with time zone'),
    ('merge_relationships', 'resolution_strategy', 'text'),
    ('merge_relationships', 'status',              'text'),
    ('merge_relationships', 'duration_ms',         'numeric(14,3)'),
    ('merge_relationships', 'conflict_count',      'integer'),
    ('merge_relationships', 'unresolved_count',    'integer'),

    ('performance_baselines', 'baseline_id',                'bigint'),
    ('performance_baselines', 'operation_type',             'text'),
    ('performance_baselines', 'is_active',                  'boolean'),
    ('performance_baselines', 'valid_from',                 'timestamp with time zone'),
    ('performance_baselines', 'valid_to',                   'timestamp with time zone'),
    ('performance_baselines', 'sample_count',               'bigint'),
    ('performance_baselines', 'min_microseconds',           'bigint'),
    ('performance_baselines', 'max_microseconds',           'bigint'),
    ('performance_baselines', 'p50_microseconds',           'bigint'),
    ('performance_baselines', 'p75_microseconds',           'bigint'),
    ('performance_baselines', 'p90_microseconds',           'bigint'),
    ('performance_baselines', 'p95_microseconds',           'bigint'),
    ('performance_baselines', 'p99_microseconds',           'bigint'),
    ('performance_baselines', 'mean_microseconds',          'numeric'),
    ('performance_baselines', 'stddev_microseconds',        'numeric'),
    ('performance_baselines', 'lookback_days',              'integer'),
    ('performance_baselines', 'alert_threshold_multiplier', 'numeric(8,3)'),
    ('performance_baselines', 'created_at',                 'timestamp with time zone'),
    ('performance_baselines', 'last_updated',               'timestamp with time zone'),

    ('performance_baseline_history', 'operation_type',       'text'),
    ('performance_baseline_history', 'old_baseline_id',      'bigint'),
    ('performance_baseline_history', 'new_baseline_id',      'bigint'),
    ('performance_baseline_history', 'old_p99_microseconds', 'bigint'),
    ('performance_baseline_history', 'new_p99_microseconds', 'bigint'),
    ('performance_baseline_history', 'percent_change',       'numeric'),
    ('performance_baseline_history', 'sample_count',         'bigint'),
    ('performance_baseline_history', 'lookback_days',        'integer'),
    ('performance_baseline_history', 'calculated_at',        'timestamp with time zone'),
    ('performance_baseline_history', 'reason',               'text'),

    ('baseline_recalc_execution', 'execution_id',    'bigint'),
    ('baseline_recalc_execution', 'operation_type',  'text'),
    ('baseline_recalc_execution', 'execution_start', 'timestamp with time zone'),
    ('baseline_recalc_execution', 'execution_end',   'timestamp with time zone'),
    ('baseline_recalc_execution', 'status',          'text'),
    ('baseline_recalc_execution', 'error_message',   'text'),

    ('performance_alerts', 'alert_id',        'bigint'),
    ('performance_alerts', 'operation_type',  'text'),
    ('performance_alerts', 'alert_type',      'text'),
    ('performance_alerts', 'severity',        'text'),
    ('performance_alerts', 'dedup_key',       'text'),
    ('performance_alerts', 'episode',         'integer'),
    ('performance_alerts', 'evidence',        'jsonb'),
    ('performance_alerts', 'opened_at',       'timestamp with time zone'),
    ('performance_alerts', 'last_seen_at',    'timestamp with time zone'),
    ('performance_alerts', 'resolved_at',     'timestamp with time zone'),
    ('performance_alerts', 'acknowledged_by', 'text'),
    ('performance_alerts', 'acknowledged_at', 'timestamp with time zone'),
    ('performance_alerts', 'verdict',         'text'),

    ('alert_notification_webhooks', 'webhook_id',            'bigint'),
    ('alert_notification_webhooks', 'webhook_type',          'text'),
    ('alert_notification_webhooks', 'name',                  'text'),
    ('alert_notification_webhooks', 'channel_or_recipient',  'text'),
    ('alert_notification_webhooks', 'webhook_url_encrypted', 'bytea'),
    ('alert_notification_webhooks', 'webhook_url_iv',        'bytea'),
    ('alert_notification_webhooks', 'encryption_key_id',     'text'),
    ('alert_notification_webhooks', 'enabled',               'boolean'),
    ('alert_notification_webhooks', 'created_at',            'timestamp with time zone'),
    ('alert_notification_webhooks', 'last_tested_at',        'timestamp with time zone'),
    ('alert_notification_webhooks', 'test_status',           'text'),

    ('alert_notification_settings', 'alert_type', 'text'),
    ('alert_notification_settings', 'severity',   'text'),
    ('alert_notification_settings', 'webhook_id', 'bigint'),
    ('alert_notification_settings', 'enabled',    'boolean'),

    ('alert_snooze', 'operation_type', 'text'),
    ('alert_snooze', 'alert_type',     'text'),
    ('alert_snooze', 'snooze_until',   'timestamp with time zone'),
    ('alert_snooze', 'reason',         'text'),
    ('alert_snooze', 'created_by',     'text'),

    ('alert_notification_queue', 'notification_queue_id', 'bigint'),
    ('alert_notification_queue', 'webhook_id',            'bigint'),
    ('alert_notification_queue', 'alert_id',              'bigint'),
    ('alert_notification_queue', 'message_body',          'text'),
    ('alert_notification_queue', 'dedup_key',             'text'),
    ('alert_notification_queue', 'status',                'text'),
    ('alert_notification_queue', 'retry_count',           'integer'),
    ('alert_notification_queue', 'next_retry_at',         'timestamp with time zone'),
    ('alert_notification_queue', 'created_at',            'timestamp with time zone'),
    ('alert_notification_queue', 'delivered_at',          'timestamp with time zone'),
    ('alert_notification_queue', 'lease_token',           'uuid'),
    ('alert_notification_queue', 'leased_until',          'timestamp with time zone'),
    ('alert_notification_queue', 'last_error',            'text'),

    ('alert_notification_log', 'notification_queue_id', 'bigint'),
    ('alert_notification_log', 'started_at',            'timestamp with time zone'),
    ('alert_notification_log', 'duration_ms',           'numeric(14,3)'),
    ('alert_notification_log', 'http_status',           'integer'),
    ('alert_notification_log', 'outcome',               'text'),
    ('alert_notification_log', 'error',                 'text'),

    ('analysis_runs', 'run_id',              'bigint'),
    ('analysis_runs', 'flow',                'text'),
    ('analysis_runs', 'as_of',               'timestamp with time zone'),
    ('analysis_runs', 'window',              'tstzrange'),
    ('analysis_runs', 'started_at',          'timestamp with time zone'),
    ('analysis_runs', 'finished_at',         'timestamp with time zone'),
    ('analysis_runs', 'status',              'text'),
    ('analysis_runs', 'rows_read',           'bigint'),
    ('analysis_runs', 'rows_written',        'bigint'),
    ('analysis_runs', 'package_version',     'text'),
    ('analysis_runs', 'prefect_flow_run_id', 'text'),

    ('performance_anomalies', 'operation_type',      'text'),
    ('performance_anomalies', 'metric_id',           'bigint'),
    ('performance_anomalies', 'anomaly_type',        'text'),
    ('performance_anomalies', 'severity',            'text'),
    ('performance_anomalies', 'duration_ms',         'double precision'),
    ('performance_anomalies', 'baseline_p99_ms',     'double precision'),
    ('performance_anomalies', 'z_score',             'double precision'),
    ('performance_anomalies', 'deviation_percent',   'double precision'),
    ('performance_anomalies', 'degradation_percent', 'double precision'),
    ('performance_anomalies', 'alert_required',      'boolean'),
    ('performance_anomalies', 'detected_at',         'timestamp with time zone'),
    ('performance_anomalies', 'run_id',              'bigint'),

    ('performance_degradations', 'operation_type',      'text'),
    ('performance_degradations', 'period_start',        'date'),
    ('performance_degradations', 'period_end',          'date'),
    ('performance_degradations', 'p99_old_ms',          'double precision'),
    ('performance_degradations', 'p99_new_ms',          'double precision'),
    ('performance_degradations', 'degradation_percent', 'double precision'),
    ('performance_degradations', 'trend',               'text'),
    ('performance_degradations', 'confidence',          'double precision'),
    ('performance_degradations', 'severity',            'text'),
    ('performance_degradations', 'detected_at',         'timestamp with time zone'),
    ('performance_degradations', 'run_id',              'bigint'),

    ('performance_correlations', 'operation_type_1',        'text'),
    ('performance_correlations', 'operation_type_2',        'text'),
    ('performance_correlations', 'correlation_coefficient', 'double precision'),
    ('performance_correlations', 'shared_minutes',          'bigint'),
    ('performance_correlations', 'shared_bottleneck',       'text'),
    ('performance_correlations', 'confidence',              'double precision'),
    ('performance_correlations', 'recommendation',          'text'),
    ('performance_correlations', 'detected_at',             'timestamp with time zone'),
    ('performance_correlations', 'run_id',                  'bigint');

-- Fails as well where the column does not exist.
SELECT col_type_is(
    'pggit'::NAME, e.table_name::NAME, e.column_name::NAME, e.type, e.table_name || '.' || e.column_name
)
FROM expected AS e
ORDER BY e.table_name, e.column_name;

SELECT is_empty(
    $$
        SELECT c.table_name, c.column_name
        FROM information_schema.columns AS c
        WHERE c.table_schema = 'pggit'
          AND c.data_type IN ('timestamp without time zone', 'time without time zone', 'real', 'character')
          -- a time of day, said to be UTC
          AND (c.table_name, c.column_name) <> ('alert_blackouts', 'start_time')
    $$,
    'no column depends on the time zone of a session, and none is less exact than it looks'
);

-- Primary and unique keys.
SELECT col_is_pk('pggit', k.table_name, k.column_name, k.table_name || ' is keyed by ' || k.column_name)
FROM (
    VALUES
        ('performance_operation_types', 'operation_type'), ('performance_metrics', 'metric_id'),
        ('merge_relationships', 'merge_id'), ('performance_baselines', 'baseline_id'),
        ('baseline_recalc_execution', 'execution_id'), ('performance_alerts', 'alert_id'),
        ('alert_notification_webhooks', 'webhook_id'), ('alert_notification_queue', 'notification_queue_id'),
        ('analysis_runs', 'run_id')
) AS k (table_name, column_name);

SELECT col_is_unique('pggit', 'performance_alerts', ARRAY['dedup_key', 'episode']);
SELECT col_is_unique('pggit', 'alert_notification_queue', ARRAY['dedup_key']);
SELECT col_is_unique('pggit', 'performance_degradations', ARRAY['detected_at', 'operation_type']);
SELECT col_is_unique(
    'pggit', 'performance_correlations', ARRAY['detected_at', 'operation_type_1', 'operation_type_2']
);

INSERT INTO analysis_runs (run_id, flow, as_of, "window", started_at, status, rows_read, rows_written, package_version)
VALUES (-1, 'test', '2026-03-02+00', '[2026-03-01 00:00+00,2026-03-02 00:00+00]', '2026-03-02+00', 'SUCCESS', 0, 0, '0');

PREPARE whole_operation AS
INSERT INTO performance_anomalies (operation_type, metric_id, anomaly_type, severity, alert_required, detected_at, run_id)
VALUES ('commit', NULL, 'DEGRADATION', 'CRITICAL', TRUE, '2026-03-02+00', -1);
SELECT lives_ok('whole_operation', 'an anomaly of a whole operation has no metric');
SELECT throws_ok('whole_operation', '23505', NULL, 'two anomalies without a metric are the same one');

PREPARE active_baseline AS
INSERT INTO performance_baselines (operation_type, sample_count, p99_microseconds) VALUES ('commit', 10, 5000);
SELECT lives_ok('active_baseline', 'a baseline is active unless said otherwise');
SELECT throws_ok('active_baseline', '23505', NULL, 'an operation has at most one active baseline');
SELECT lives_ok(
    $$
        INSERT INTO performance_baselines (operation_type, is_active, sample_count, p99_microseconds)
        VALUES ('commit', FALSE, 10, 5000), ('commit', FALSE, 10, 5000)
    $$,
    'an operation has any number of earlier baselines'
);

-- What a timing may be.
SELECT throws_ok(
    format('INSERT INTO performance_metrics (operation_type, duration_ms) VALUES (%L, %L)', v.operation, v.duration),
    v.sqlstate, NULL, v.title
)
FROM (
    VALUES
        ('commit', '-0.001', '23514', 'a timing is not negative'),
        ('commit', 'NaN', '23514', 'a timing is a number'),
        ('commit', NULL, '23502', 'a timing is known'),
        (NULL, '1', '23502', 'a timing has an operation'),
        ('', '1', '23514', 'an operation has a name')
) AS v (operation, duration, sqlstate, title);

-- The operations of pgGit.
SELECT set_eq(
    'SELECT t.operation_type, t.category, t.typical_duration_ms, t.is_tracked FROM performance_operation_types AS t',
    $$
        VALUES
            ('commit', 'WRITE', 5.0, TRUE), ('merge', 'WRITE', 50.0, TRUE), ('rollback', 'WRITE', 10.0, TRUE),
            ('branch_create', 'WRITE', 2.0, TRUE), ('branch_delete', 'WRITE', 1.0, TRUE),
            ('conflict_detection', 'WRITE', 20.0, TRUE), ('auto_resolution', 'WRITE', 15.0, TRUE),
            ('branch_checkout', 'WRITE', NULL, TRUE), ('ensure_object', 'WRITE', NULL, TRUE),
            ('merge_auto_resolve', 'WRITE', NULL, TRUE), ('rollback_commit', 'WRITE', NULL, TRUE),
            ('rollback_cascade', 'WRITE', NULL, TRUE), ('rollback_recovery', 'WRITE', NULL, TRUE),
            ('merge_branches', 'WRITE', NULL, TRUE), ('merge_data_branches', 'WRITE', NULL, TRUE),
            ('merge_execute', 'WRITE', NULL, TRUE), ('merge_cleanup', 'WRITE', NULL, TRUE),
            ('create_data_branch', 'WRITE', NULL, TRUE), ('apply_data_merge', 'WRITE', NULL, TRUE),
            ('get_objects', 'READ', 1.0, TRUE), ('get_history', 'READ', 5.0, TRUE),
            ('get_branches', 'READ', 0.5, TRUE), ('get_commits', 'READ', 2.0, TRUE),
            ('get_object_timeline', 'READ', NULL, TRUE), ('get_object_at_time', 'READ', NULL, TRUE),
            ('query_temporal_snapshots', 'READ', NULL, TRUE), ('merge_base_find', 'READ', NULL, TRUE),
            ('merge_conflict_detect', 'READ', NULL, TRUE), ('rollback_dry_run', 'READ', NULL, TRUE),
            ('rollback_validate', 'READ', NULL, TRUE), ('calculate_branch_size', 'READ', NULL, TRUE),
            ('create_history_partition', 'ADMIN', NULL, TRUE), ('compress_branch', 'ADMIN', NULL, TRUE)
    $$,
    'the operations are the 33 of pgGit, all of them tracked'
);
SELECT is((SELECT count(*)::INTEGER FROM performance_operation_types), 33, 'no operation is there twice');

SELECT * FROM finish();
ROLLBACK;
