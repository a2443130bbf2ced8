-- phase7_week4_merge_dashboards: what the dashboards of merges rest on; with psql alone:
--   psql -v schema=pggit -f phase7_week4_merge_dashboards.sql
-- One transaction; it needs none of the other bundles and may follow any of them.
\ir foundation.sql

\ir ../tables/merge_relationships.sql

-- Last: the privileges reach every object above.
\ir ../roles/privileges.sql
COMMIT;
