-- lock_alerts(): wait until no other transaction writes results or alerts in this schema; held until the end of
-- this one. It is one and the same lock each time: ten thousand alerts in one transaction take one entry of the
-- lock table, and there is no order of locks to get wrong.
CREATE OR REPLACE FUNCTION lock_alerts()
RETURNS VOID
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('pggit_analytics alerts ' || current_schema(), 0));
$$;

COMMENT ON FUNCTION lock_alerts() IS
    'pggit_analytics: one writer of results and alerts at a time, until the end of the transaction';
REVOKE ALL ON FUNCTION lock_alerts() FROM PUBLIC;
