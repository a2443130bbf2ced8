-- operation_settings: what people want to hear about single operations; an operation without a row has the defaults.
-- direction: which changes of the level are incidents. minimum_effect_ms and minimum_effect_percent: the smallest effect
-- on the median call that is one; NULL = the settings incident_minimum_effect_*. sensitivity: 1 (NULL) is usual, more tells
-- less certain findings as well. expected_pages_per_week: how many a person accepts, read when thresholds are proposed.
-- sla_ms: limit of the 95th percentile; its breach is foretold and makes an incident CRITICAL; NULL = no limit.
CREATE TABLE IF NOT EXISTS operation_settings (
    operation_type          TEXT PRIMARY KEY,
    direction               TEXT NOT NULL DEFAULT 'slower' CHECK (direction IN ('slower', 'faster', 'both')),
    minimum_effect_ms       DOUBLE PRECISION CHECK (minimum_effect_ms >= 0 AND minimum_effect_ms < 'Infinity'),
    minimum_effect_percent  DOUBLE PRECISION CHECK (minimum_effect_percent >= 0 AND minimum_effect_percent < 'Infinity'),
    sensitivity             DOUBLE PRECISION CHECK (sensitivity >= 0.1 AND sensitivity <= 10),
    expected_pages_per_week DOUBLE PRECISION CHECK (expected_pages_per_week >= 0 AND expected_pages_per_week < 'Infinity'),
    sla_ms                  DOUBLE PRECISION CHECK (sla_ms > 0 AND sla_ms < 'Infinity'),
    updated_at              TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    updated_by              TEXT NOT NULL DEFAULT CURRENT_USER
);
