-- lock_outbox(): wait until no other transaction claims messages in this schema; held until the end of this one.
-- Who claims sees everything that was claimed before, so that no bundle is split and the limits of a channel hold
-- over all workers.
CREATE OR REPLACE FUNCTION lock_outbox()
RETURNS VOID
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('pggit_analytics outbox ' || current_schema(), 0));
$$;

COMMENT ON FUNCTION lock_outbox() IS
    'pggit_analytics: one claim of messages at a time, until the end of the transaction';
REVOKE ALL ON FUNCTION lock_outbox() FROM PUBLIC;
