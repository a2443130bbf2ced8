-- requires: notification_silenced_until
-- lease_messages(first rows, at, until, look for silence): lease each message whole, until p_until; a row for each.
-- p_first_rows: a row of each message, from due_messages(). place is its position among them.
-- The rows of a message are the row itself, or every pending row of its bundle, in order of their ids, at most 1000,
-- without those that may not be sent yet (p_look_for_silence). A message of which another transaction holds a row is
-- left for later. Called with the lock of lock_outbox() held.
CREATE OR REPLACE FUNCTION lease_messages(
    p_first_rows       BIGINT[],
    p_at               TIMESTAMPTZ,
    p_until            TIMESTAMPTZ,
    p_look_for_silence BOOLEAN
)
RETURNS TABLE (place BIGINT, lease_token UUID)
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
-- as in due_messages(): the way there does not depend on statistics. Row by row, never by way of the whole queue
SET enable_sort TO off
SET enable_seqscan TO off
SET enable_hashjoin TO off
SET enable_mergejoin TO off
SET jit TO off
AS $$
    WITH member AS MATERIALIZED (
        SELECT f.place, r.notification_queue_id, count(*) OVER (PARTITION BY f.place) AS wanted
        FROM unnest(p_first_rows) WITH ORDINALITY AS f (notification_queue_id, place)
        JOIN alert_notification_queue AS first USING (notification_queue_id)
        CROSS JOIN LATERAL (
            SELECT first.notification_queue_id WHERE first.bundle_key IS NULL
            UNION ALL
            (
                SELECT q.notification_queue_id
                FROM alert_notification_queue AS q
                WHERE q.webhook_id = first.webhook_id
                  -- not said as =, so that no index has the order but that of the bundles
                  AND q.bundle_key BETWEEN first.bundle_key AND first.bundle_key
                  AND q.status = 'pending'
                ORDER BY q.bundle_key, q.notification_queue_id
                LIMIT 1000
            )
        ) AS r
        WHERE CASE WHEN p_look_for_silence THEN notification_silenced_until(r.notification_queue_id, p_at) END IS NULL
    ), held AS MATERIALIZED (
        SELECT m.place, q.notification_queue_id, m.wanted, gen_random_uuid() AS token
        FROM member AS m
        -- a lock within is a probe for each, in the order of the members
        CROSS JOIN LATERAL (
            SELECT r.notification_queue_id
            FROM alert_notification_queue AS r
            WHERE r.notification_queue_id = m.notification_queue_id
              -- still pending once it is locked; said so that only the primary key serves
              AND r.status NOT IN ('delivered', 'failed')
            FOR UPDATE SKIP LOCKED
        ) AS q
    ), message AS MATERIALIZED (
        -- counted with windows, not joined: a thousand messages are then not compared with each other
        SELECT
            h.place, h.notification_queue_id, first_value(h.token) OVER w AS lease_token,
            count(*) OVER w = h.wanted AS is_whole
        FROM held AS h
        WINDOW w AS (PARTITION BY h.place)
    ), leased AS (
        UPDATE alert_notification_queue AS q
        SET lease_token = s.lease_token, leased_until = p_until, next_retry_at = p_until
        FROM message AS s
        WHERE q.notification_queue_id = s.notification_queue_id AND s.is_whole
    )
    SELECT DISTINCT s.place, s.lease_token FROM message AS s WHERE s.is_whole;
$$;

COMMENT ON FUNCTION lease_messages(BIGINT[], TIMESTAMPTZ, TIMESTAMPTZ, BOOLEAN) IS
    'pggit_analytics: lease the messages that begin with these rows';
REVOKE ALL ON FUNCTION lease_messages(BIGINT[], TIMESTAMPTZ, TIMESTAMPTZ, BOOLEAN) FROM PUBLIC;
