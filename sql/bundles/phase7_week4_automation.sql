-- phase7_week4_automation: baselines and alerts, and the dashboards of both; with psql alone:
--   psql -v schema=pggit -f phase7_week4_automation.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../tables/alert_blackouts.sql
\ir ../tables/webhook_delivery_state.sql
\ir ../functions/alert_headline.sql
\ir ../functions/alert_key.sql
\ir ../functions/alert_message.sql
\ir ../functions/alert_setting.sql
\ir ../functions/alerts_allowed.sql
\ir ../functions/check_alert_arguments.sql
\ir ../functions/default_threshold_multiplier.sql
\ir ../functions/enqueue_alert_messages.sql
\ir ../functions/evidence_number.sql
\ir ../functions/lock_alerts.sql
\ir ../functions/recalculate_baseline.sql
\ir ../functions/utc_text.sql
\ir ../functions/raise_alert.sql
\ir ../functions/recalculate_all_baselines_rolling.sql
\ir ../functions/resolve_missing_alerts.sql
\ir ../views/v_baseline_recalc_execution_summary.sql
\ir ../views/v_baseline_recalc_health.sql
\ir ../views/v_current_findings.sql
\ir ../views/v_notification_delivery_status.sql
\ir ../functions/retention_cutoff.sql
\ir ../functions/count_old_rows.sql
\ir ../functions/delete_old_alerts.sql
\ir ../functions/delete_old_baselines.sql
\ir ../functions/delete_old_logs.sql
\ir ../functions/delete_old_merges.sql
\ir ../functions/delete_old_metrics.sql
\ir ../functions/delete_old_notifications.sql
\ir ../functions/delete_old_results.sql
\ir ../functions/get_notification_delivery_stats.sql
\ir ../tables/active_scheduler.sql
\ir ../functions/paging_source.sql
\ir ../tables/scheduled_jobs.sql
\ir ../tables/job_runs.sql
\ir ../functions/activate_scheduler.sql
\ir ../functions/check_job.sql
\ir ../functions/check_performance_anomalies.sql
\ir ../functions/check_pg_cron.sql
\ir ../functions/check_scheduler.sql
\ir ../functions/claim_job_window.sql
\ir ../functions/collect_findings.sql
\ir ../functions/deactivate_scheduler.sql
\ir ../functions/deliver_pending_alerts_by_row.sql
\ir ../functions/finish_job_window.sql
\ir ../functions/job_lock_key.sql
\ir ../functions/lock_job.sql
\ir ../functions/missed_jobs.sql
\ir ../functions/missing_function_of_job.sql
\ir ../functions/raise_alerts_of_findings.sql
\ir ../functions/replace_findings.sql
\ir ../functions/run_claimed_job.sql
\ir ../functions/run_job.sql
\ir ../functions/run_scheduled_job.sql
\ir ../functions/schedule_install.sql
\ir ../functions/schedule_line.sql
\ir ../functions/schedule_pause.sql
\ir ../functions/schedule_remove.sql
\ir ../functions/schedule_resume.sql
\ir ../functions/pg_cron_jobs.sql
\ir ../functions/schedule_list.sql
\ir ../functions/unlock_job.sql
\ir ../functions/any_alert_open.sql
\ir ../functions/breaker_limits.sql
\ir ../functions/check_claim_arguments.sql
\ir ../functions/check_finish_arguments.sql
\ir ../functions/lock_outbox.sql
\ir ../functions/retry_delay.sql
\ir ../functions/silenced_until.sql
\ir ../functions/notification_silenced_until.sql
\ir ../functions/webhook_min_interval.sql
\ir ../functions/due_messages.sql
\ir ../functions/lease_messages.sql
\ir ../functions/pace_webhooks.sql
\ir ../functions/claim_notifications.sql
\ir ../functions/renew_notification_leases.sql
\ir ../functions/note_channel_outcome.sql
\ir ../functions/finish_notification.sql
\ir ../functions/redrive_notifications.sql
\ir ../functions/acknowledge_alert.sql
\ir ../functions/add_blackout.sql
\ir ../functions/alert_facts.sql
\ir ../functions/check_alert_id.sql
\ir ../functions/check_person.sql
\ir ../functions/check_silence.sql
\ir ../functions/group_alerts.sql
\ir ../functions/interval_setting.sql
\ir ../functions/alert_repeat_interval.sql
\ir ../functions/next_digest_at.sql
\ir ../functions/operation_facts.sql
\ir ../functions/operation_groups.sql
\ir ../functions/self_health_faults.sql
\ir ../functions/set_alert_verdict.sql
\ir ../functions/silent_detector_since.sql
\ir ../functions/silent_operations.sql
\ir ../functions/snooze_alerts.sql
\ir ../functions/resolve_alert.sql
\ir ../functions/check_self_health.sql
\ir ../tables/operation_settings.sql
\ir ../tables/performance_incident_operations.sql
\ir ../tables/performance_incidents.sql
\ir ../tables/suppressed_findings.sql
\ir ../functions/incidents_at.sql
\ir ../views/v_open_incidents.sql
\ir ../functions/raise_alerts_of_incidents.sql
\ir ../functions/replace_incidents.sql

-- Delivery inside the database: where its extensions are, and for a superuser.
SELECT count(*) FILTER (WHERE x.extname = 'pgcrypto') = 1 AND r.rolsuper AS can_encrypt,
       count(x.extname) = 2 AND r.rolsuper AS can_send
FROM pg_roles AS r
LEFT JOIN pg_extension AS x ON x.extname IN ('pgcrypto', 'plpython3u')
WHERE r.rolname = current_user
GROUP BY r.rolsuper \gset
\if :can_encrypt
\ir ../roles/pggit_delivery.sql
\ir ../functions/complete_webhook_address.sql
\ir ../functions/webhook_decrypt.sql
\ir ../functions/webhook_hmac.sql
\ir ../functions/webhook_master_key.sql
\ir ../functions/webhook_random_bytes.sql
\ir ../functions/webhook_encrypt.sql
\ir ../functions/webhook_key_id.sql
\ir ../functions/decrypt_webhook_address.sql
\ir ../functions/encrypt_webhook_address.sql
\ir ../functions/get_webhook_decrypted.sql
\ir ../functions/store_webhook_encrypted.sql
\endif
\if :can_send
\ir ../functions/seconds_to_next_send.sql
\ir ../functions/is_public_address.sql
\ir ../functions/webhook_text.sql
\ir ../functions/send_to_address.sql
\ir ../functions/webhook_payload.sql
\ir ../functions/send_messages.sql
\ir ../functions/deliver_webhook.sql
\ir ../functions/send_to_webhook.sql
\ir ../functions/deliver_claimed_message.sql
\ir ../functions/deliver_pending_notifications.sql
\else
    \warn 'delivery inside the database is left out: run CREATE EXTENSION pgcrypto and CREATE EXTENSION plpython3u as a superuser, then this file again as one'
\endif

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
