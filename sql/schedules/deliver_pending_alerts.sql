-- deliver_pending_alerts: send the messages that wait, every five minutes.
-- Tells pg_cron of this one job, with psql alone; `pggit-analytics schedule install` and SELECT schedule_install() tell
-- it of all. Run it in the database that pg_cron lives in (cron.database_name):
--   psql -d postgres -v database=mine -v schema=pggit -f deliver_pending_alerts.sql
-- and once, in the database whose job it is: SELECT pggit.activate_scheduler('pg_cron');
-- pg_cron works in GMT unless cron.timezone says otherwise.
-- To take it back: SELECT cron.unschedule('deliver_pending_alerts');
\set ON_ERROR_STOP on
\if :{?schema} \else
    \set schema pggit
\endif
\if :{?database} \else
    SELECT current_database() AS database \gset
\endif

SELECT cron.schedule_in_database(
    CASE
        WHEN :'schema' = 'pggit' AND :'database' = current_database() THEN 'deliver_pending_alerts'
        ELSE format('deliver_pending_alerts (%s.%s)', :'database', :'schema')
    END,
    '*/5 * * * *',
    format('CALL %I.deliver_pending_alerts_by_row()', :'schema'),
    :'database'
);
