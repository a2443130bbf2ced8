-- phase7_week4_automation: baselines and alerts; with psql alone:
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

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
