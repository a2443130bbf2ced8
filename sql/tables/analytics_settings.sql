-- analytics_settings: the few values that alerting reads; missing rows are filled at deployment, existing ones are kept.
CREATE TABLE IF NOT EXISTS analytics_settings (
    name        TEXT PRIMARY KEY,
    value       TEXT NOT NULL,
    description TEXT NOT NULL
);

INSERT INTO analytics_settings (name, value, description)
VALUES
    ('alert_source', 'plan', 'Which findings page: plan (the detect_ functions) or incidents (the engine of the pipeline)'),
    ('alert_resolve_after_runs', '3', 'Runs in a row that must not find an open alert before it is resolved'),
    ('repeat_interval_critical', '4 hours', 'An open CRITICAL alert is said again after this long; empty = never'),
    ('repeat_interval_warning', '24 hours', 'An open WARNING alert is said again after this long; empty = never'),
    ('repeat_interval_info', '', 'An open INFO alert is said again after this long; empty = never')
ON CONFLICT (name) DO NOTHING;
