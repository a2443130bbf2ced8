-- phase7_week4_anomaly_detection: the detectors of anomalies, degradations and thresholds; with psql alone:
--   psql -v schema=pggit -f phase7_week4_anomaly_detection.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../functions/integer_sqrt.sql
\ir ../functions/p99_between.sql
\ir ../functions/detect_anomalies_statistical.sql
\ir ../functions/detect_combined_anomalies.sql
\ir ../functions/detect_performance_degradation.sql
\ir ../functions/detect_threshold_exceeded.sql

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
