-- weekly_force_recalculate_baselines: baselines from the last 30 days, adopted in any case, on Sundays at 03:00 UTC.
-- Tells pg_cron of this one job, with psql alone; `pggit-analytics schedule install` and SELECT schedule_install() tell
-- it of all. Run it in the database that pg_cron lives in (cron.database_name):
--   psql -d postgres -v database=mine -v schema=pggit -f weekly_force_recalculate_baselines.sql
-- and once, in the database whose job it is: SELECT pggit.activate_scheduler('pg_cron');
-- pg_cron works in GMT unless cron.timezone says otherwise.
-- To take it back: SELECT cron.unschedule('weekly_force_recalculate_baselines');
\set ON_ERROR_STOP on
\if :{?schema} \else
    \set schema pggit
\endif
\if :{?database} \else
    SELECT current_database() AS database \gset
\endif

SELECT cron.schedule_in_database(
    CASE
        WHEN :'schema' = 'pggit' AND :'database' = current_database() THEN 'weekly_force_recalculate_baselines'
        ELSE format('weekly_force_recalculate_baselines (%s.%s)', :'database', :'schema')
    END,
    '0 3 * * 0',
    format('SELECT %I.run_scheduled_job(%L)', :'schema', 'weekly_force_recalculate_baselines'),
    :'database'
);
