-- phase7_week4_merge_dashboards: the dashboards of merges; with psql alone:
--   psql -v schema=pggit -f phase7_week4_merge_dashboards.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../views/v_merge_bottleneck_analysis.sql
\ir ../views/v_merge_conflict_hotspots.sql
\ir ../views/v_merge_phase_timeline.sql
\ir ../views/v_merge_success_rate_analysis.sql
\ir ../functions/start_merge.sql
\ir ../functions/record_merge_phase.sql
\ir ../functions/finish_merge.sql

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
