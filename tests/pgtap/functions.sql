-- Every function: how volatile it is, with whose rights it runs, where it looks names up, and that it says what it is.
-- A new function is added to the list below. Needs pgTAP in the schema public.
BEGIN;
SET LOCAL search_path TO public, pg_temp;
SELECT plan(14);

CREATE TEMPORARY TABLE expected (name, volatility) ON COMMIT DROP AS
VALUES
    ('acknowledge_alert',                  'volatile'),
    ('activate_scheduler',                 'volatile'),
    ('add_blackout',                       'volatile'),
    ('alert_facts',                        'volatile'),
    ('alert_headline',                     'immutable'),
    ('alert_key',                          'immutable'),
    ('alert_message',                      'stable'),
    ('alert_repeat_interval',              'stable'),
    ('alert_setting',                      'stable'),
    ('alerts_allowed',                     'stable'),
    ('analysis_time',                      'stable'),
    ('any_alert_open',                     'stable'),
    ('baseline_at',                        'stable'),
    ('bottleneck_recommendation',          'immutable'),
    ('breaker_limits',                     'stable'),
    ('check_alert_arguments',              'immutable'),
    ('check_alert_id',                     'stable'),
    ('check_argument',                     'immutable'),
    ('check_as_of',                        'immutable'),
    ('check_claim_arguments',              'immutable'),
    ('check_finish_arguments',             'immutable'),
    ('check_job',                          'stable'),
    ('check_operation_type',               'stable'),
    ('check_performance_anomalies',        'volatile'),
    ('check_person',                       'immutable'),
    ('check_pg_cron',                      'stable'),
    ('check_scheduler',                    'immutable'),
    ('check_self_health',                  'volatile'),
    ('check_silence',                      'stable'),
    ('claim_job_window',                   'volatile'),
    ('claim_notifications',                'volatile'),
    ('collect_findings',                   'volatile'),
    ('complete_webhook_address',           'immutable'),
    ('correlated_operation_pairs',         'stable'),
    ('count_old_rows',                     'stable'),
    ('deactivate_scheduler',               'volatile'),
    ('decrypt_webhook_address',            'volatile'),
    ('default_threshold_multiplier',       'stable'),
    ('delete_old_alerts',                  'volatile'),
    ('delete_old_baselines',               'volatile'),
    ('delete_old_logs',                    'volatile'),
    ('delete_old_merges',                  'volatile'),
    ('delete_old_metrics',                 'volatile'),
    ('delete_old_notifications',           'volatile'),
    ('delete_old_results',                 'volatile'),
    ('deliver_claimed_message',            'volatile'),
    ('deliver_pending_alerts_by_row',      'volatile'),
    ('deliver_pending_notifications',      'volatile'),
    ('deliver_webhook',                    'volatile'),
    ('detect_anomalies_statistical',       'stable'),
    ('detect_combined_anomalies',          'stable'),
    ('detect_correlated_degradation',      'stable'),
    ('detect_performance_degradation',     'stable'),
    ('detect_threshold_exceeded',          'stable'),
    ('due_messages',                       'volatile'),
    ('encrypt_webhook_address',            'volatile'),
    ('end_performance_trace',              'volatile'),
    ('enqueue_alert_messages',             'volatile'),
    ('evidence_number',                    'immutable'),
    ('finish_job_window',                  'volatile'),
    ('finish_merge',                       'volatile'),
    ('finish_notification',                'volatile'),
    ('get_notification_delivery_stats',    'stable'),
    ('get_webhook_decrypted',              'volatile'),
    ('group_alerts',                       'volatile'),
    ('incidents_at',                       'stable'),
    ('integer_sqrt',                       'immutable'),
    ('interval_setting',                   'stable'),
    ('is_public_address',                  'immutable'),
    ('job_lock_key',                       'stable'),
    ('lease_messages',                     'volatile'),
    ('lock_alerts',                        'volatile'),
    ('lock_job',                           'volatile'),
    ('lock_outbox',                        'volatile'),
    ('missed_jobs',                        'stable'),
    ('missing_function_of_job',            'stable'),
    ('next_digest_at',                     'stable'),
    ('note_changed_metrics',               'volatile'),
    ('note_channel_outcome',               'volatile'),
    ('notification_silenced_until',        'stable'),
    ('operation_facts',                    'stable'),
    ('operation_groups',                   'stable'),
    ('p99_between',                        'stable'),
    ('pace_webhooks',                      'volatile'),
    ('paging_source',                      'stable'),
    ('pg_cron_jobs',                       'stable'),
    ('raise_alert',                        'volatile'),
    ('raise_alerts_of_findings',           'volatile'),
    ('raise_alerts_of_incidents',          'volatile'),
    ('recalculate_all_baselines_rolling',  'volatile'),
    ('recalculate_baseline',               'volatile'),
    ('record_merge_phase',                 'volatile'),
    ('record_performance_metric',          'volatile'),
    ('redrive_notifications',              'volatile'),
    ('register_operation_types',           'volatile'),
    ('renew_notification_leases',          'volatile'),
    ('replace_findings',                   'volatile'),
    ('replace_incidents',                  'volatile'),
    ('resolve_alert',                      'volatile'),
    ('resolve_missing_alerts',             'volatile'),
    ('retention_cutoff',                   'stable'),
    ('retry_delay',                        'immutable'),
    ('run_claimed_job',                    'volatile'),
    ('run_job',                            'volatile'),
    ('run_scheduled_job',                  'volatile'),
    ('schedule_install',                   'volatile'),
    ('schedule_line',                      'immutable'),
    ('schedule_list',                      'stable'),
    ('schedule_pause',                     'volatile'),
    ('schedule_remove',                    'volatile'),
    ('schedule_resume',                    'volatile'),
    ('seconds_to_next_send',               'volatile'),
    ('self_health_faults',                 'stable'),
    ('send_messages',                      'volatile'),
    ('send_to_address',                    'volatile'),
    ('send_to_webhook',                    'volatile'),
    ('set_alert_verdict',                  'volatile'),
    ('shared_bottleneck',                  'immutable'),
    ('silenced_until',                     'stable'),
    ('silent_detector_since',              'stable'),
    ('silent_operations',                  'stable'),
    ('snooze_alerts',                      'volatile'),
    ('start_merge',                        'volatile'),
    ('start_performance_trace',            'volatile'),
    ('store_webhook_encrypted',            'volatile'),
    ('unlock_job',                         'volatile'),
    ('utc_text',                           'immutable'),
    ('webhook_decrypt',                    'immutable'),
    ('webhook_encrypt',                    'immutable'),
    ('webhook_hmac',                       'immutable'),
    ('webhook_key_id',                     'stable'),
    ('webhook_master_key',                 'stable'),
    ('webhook_min_interval',               'immutable'),
    ('webhook_payload',                    'immutable'),
    ('webhook_random_bytes',               'volatile'),
    ('webhook_text',                       'immutable');

SELECT has_function('pggit'::NAME, p.name::NAME, p.name || ' is there')
FROM (
    VALUES
        ('analysis_time'), ('detect_anomalies_statistical'), ('detect_combined_anomalies'),
        ('detect_correlated_degradation'), ('detect_performance_degradation'), ('raise_alert'),
        ('recalculate_all_baselines_rolling'), ('record_performance_metric')
) AS p (name);

SELECT is_empty(
    $$
        SELECT p.proname
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE
          AND p.proname::TEXT NOT IN (SELECT e.name FROM expected AS e)
    $$,
    'every function is listed here'
);

SELECT is_empty(
    $$
        SELECT p.proname, p.provolatile, e.volatility AS expected
        FROM pg_proc AS p
        JOIN expected AS e ON e.name = p.proname
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE AND p.provolatile::TEXT <> left(e.volatility, 1)
    $$,
    'every function is as volatile as listed here'
);

SELECT set_eq(
    'SELECT p.proname::TEXT FROM pg_proc AS p WHERE p.pronamespace = ''pggit''::REGNAMESPACE AND p.prosecdef',
    ARRAY['note_changed_metrics', 'register_operation_types', 'webhook_master_key'],
    'only the trigger functions and the one that reads the key run with the rights of their owner'
);

SELECT is_empty(
    $$
        SELECT p.oid::REGPROCEDURE, p.proconfig
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE
          AND p.prokind <> 'p' -- one that commits may not set anything
          AND NOT coalesce('search_path=pggit, pg_temp' = ANY (p.proconfig), FALSE)
    $$,
    'every function looks names up in its own schema, whatever the session has set'
);

SELECT is_empty(
    $$
        SELECT p.oid::REGPROCEDURE
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE
          AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE 'pggit\_analytics: _%'
    $$,
    'every function has a comment'
);

SELECT is_empty(
    $$
        SELECT p.proname
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE
        GROUP BY p.proname
        HAVING count(*) > 1
    $$,
    'no function is overloaded'
);

SELECT * FROM finish();
ROLLBACK;
