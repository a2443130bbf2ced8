-- webhook_min_interval(type, milliseconds): the least time between two messages of a webhook.
-- p_min_interval_ms: the column of the webhook; NULL: by type, a second for slack, else none. NULL type counts as else.
CREATE OR REPLACE FUNCTION webhook_min_interval(p_webhook_type TEXT, p_min_interval_ms INTEGER)
RETURNS INTERVAL
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(p_min_interval_ms, CASE p_webhook_type WHEN 'slack' THEN 1000 ELSE 0 END)
        * INTERVAL '1 millisecond';
$$;

COMMENT ON FUNCTION webhook_min_interval(TEXT, INTEGER) IS
    'pggit_analytics: the least time between two messages of a webhook';
REVOKE ALL ON FUNCTION webhook_min_interval(TEXT, INTEGER) FROM PUBLIC;
