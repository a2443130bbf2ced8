-- phase7_week4_correlation_analysis: operations that get slow together; with psql alone:
--   psql -v schema=pggit -f phase7_week4_correlation_analysis.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../functions/bottleneck_recommendation.sql
\ir ../functions/shared_bottleneck.sql
\ir ../functions/correlated_operation_pairs.sql
\ir ../functions/detect_correlated_degradation.sql

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
