-- analytics_settings: the few values that alerting reads; missing rows are filled at deployment, existing ones are kept.
CREATE TABLE IF NOT EXISTS analytics_settings (
    name        TEXT PRIMARY KEY,
    value       TEXT NOT NULL,
    description TEXT NOT NULL
);

INSERT INTO analytics_settings (name, value, description)
VALUES
    ('alert_source', 'incidents',
     'Which findings page: incidents (the engine of the pipeline) or plan (the detect_ functions, always under pg_cron)'),
    ('alert_resolve_after_runs', '3', 'Runs in a row that must not find an open alert before it is resolved'),
    ('repeat_interval_critical', '4 hours', 'An open CRITICAL alert is said again after this long; empty = never'),
    ('repeat_interval_warning', '24 hours', 'An open WARNING alert is said again after this long; empty = never'),
    ('repeat_interval_info', '', 'An open INFO alert is said again after this long; empty = never'),
    ('instance_name', '', 'What messages call this database; empty = its name'),
    ('report_url', '', 'Where the report is published, linked in messages; empty = no link'),
    ('digest_time', '08:00', 'When the digest of a day is sent (UTC)'),
    ('breaker_failures', '5', 'Failures in a row after which a channel is tried by single messages only'),
    ('breaker_max_pause', '15 minutes', 'The longest pause between two such tries'),
    ('detector_silence', '',
     'Without a successful run for this long the detector is silent; empty = twice the period of its job'),
    ('operation_silence', '6 hours', 'An operation that reported every hour counts as stopped after this long'),
    ('incident_minimum_effect_ms', '0', 'The median call must take this much longer for an incident'),
    ('incident_minimum_effect_percent', '10', 'The level must have changed by this much for an incident'),
    ('incident_warning_lost_seconds_per_hour', '60', 'An incident is WARNING when users lose this much time in an hour'),
    ('incident_critical_lost_seconds_per_hour', '600', 'The same for CRITICAL'),
    ('incident_warning_lost_percent', '5', 'The same for WARNING, in percent of the time that all operations take'),
    ('incident_critical_lost_percent', '50', 'The same for CRITICAL'),
    ('incident_warning_times', '1.5', 'An operation so many times as slow as before is WARNING whatever it costs')
ON CONFLICT (name) DO NOTHING;
