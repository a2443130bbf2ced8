-- phase7_week4_automation: baselines and alerts, and the dashboards of both; with psql alone:
--   psql -v schema=pggit -f phase7_week4_automation.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../functions/alert_headline.sql
\ir ../functions/alert_key.sql
\ir ../functions/alert_message.sql
\ir ../functions/alert_repeat_interval.sql
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

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
