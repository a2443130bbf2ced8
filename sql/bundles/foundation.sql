-- foundation: what every bundle of this directory needs; each includes it and then commits.
-- It opens the transaction, makes the schema (psql -v schema=name, default pggit) and runs the shared files.
-- Unlike `pggit-analytics db deploy` it does not look first whether other people's objects bear the same names.
\set ON_ERROR_STOP on
\if :{?schema} \else
    \set schema pggit
\endif

BEGIN;
SET LOCAL client_encoding TO 'UTF8';
SET LOCAL standard_conforming_strings TO on;
SET LOCAL check_function_bodies TO on;
SELECT pg_advisory_xact_lock(hashtextextended('pggit_analytics deploy ' || :'schema', 0)) \g /dev/null

-- IF NOT EXISTS would ask for the right to create schemas even where there is nothing to create.
SELECT NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = :'schema') AS schema_is_missing \gset
\if :schema_is_missing
    CREATE SCHEMA :"schema";
\endif
SET LOCAL search_path TO :"schema", pg_temp;

\ir ../tables/alert_notification_log.sql
\ir ../tables/alert_notification_webhooks.sql
\ir ../tables/performance_alerts.sql
\ir ../tables/alert_snooze.sql
\ir ../tables/analysis_runs.sql
\ir ../tables/analytics_settings.sql
\ir ../tables/baseline_recalc_execution.sql
\ir ../tables/deployed_objects.sql
\ir ../tables/merge_relationships.sql
\ir ../tables/performance_baseline_history.sql
\ir ../tables/performance_baselines.sql
\ir ../tables/performance_metrics.sql
\ir ../tables/performance_metrics_changes.sql
\ir ../tables/merge_sync_state.sql
\ir ../tables/statement_sampling.sql
\ir ../tables/statement_counters.sql
\ir ../tables/performance_operation_types.sql
\ir ../tables/alert_notification_settings.sql
\ir ../tables/alert_notification_queue.sql
\ir ../tables/performance_anomalies.sql
\ir ../tables/performance_correlations.sql
\ir ../tables/performance_degradations.sql
\ir ../functions/analysis_time.sql
\ir ../functions/baseline_at.sql
\ir ../functions/check_argument.sql
\ir ../functions/check_as_of.sql
\ir ../functions/check_operation_type.sql
\ir ../functions/record_performance_metric.sql
\ir ../functions/note_changed_metrics.sql
\ir ../functions/register_operation_types.sql
\ir ../functions/start_performance_trace.sql
\ir ../functions/end_performance_trace.sql
\ir ../triggers/performance_metrics_note_delete.sql
\ir ../triggers/performance_metrics_note_update.sql
\ir ../triggers/performance_metrics_register_operation_types.sql
\ir ../roles/pggit_pipeline.sql
\ir ../roles/pggit_reader.sql
