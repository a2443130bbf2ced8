-- requires: webhook_min_interval
-- pace_webhooks(leases, at, until): note on the webhooks of messages just leased when the next one may go: after the
-- least interval, and for one that is tried by single messages not before this one is finished or its lease ends.
CREATE OR REPLACE FUNCTION pace_webhooks(p_lease_tokens UUID[], p_at TIMESTAMPTZ, p_until TIMESTAMPTZ)
RETURNS VOID
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
AS $$
    -- the few webhooks that it is about come first: what was leased is looked at for none of the others
    INSERT INTO webhook_delivery_state (webhook_id, next_send_at, updated_at)
    SELECT w.webhook_id, p_at + i.min_interval, p_at
    FROM alert_notification_webhooks AS w
    CROSS JOIN LATERAL webhook_min_interval(w.webhook_type, w.min_interval_ms) AS i (min_interval)
    CROSS JOIN LATERAL (
        SELECT
        FROM alert_notification_queue AS q
        WHERE q.lease_token = ANY (p_lease_tokens) AND q.webhook_id = w.webhook_id
        LIMIT 1
    ) AS l
    WHERE i.min_interval > INTERVAL '0'
    ON CONFLICT (webhook_id) DO UPDATE SET next_send_at = excluded.next_send_at, updated_at = excluded.updated_at;

    WITH probe AS MATERIALIZED (
        SELECT s.webhook_id, l.lease_token
        FROM webhook_delivery_state AS s
        CROSS JOIN LATERAL (
            SELECT q.lease_token
            FROM alert_notification_queue AS q
            WHERE q.lease_token = ANY (p_lease_tokens) AND q.webhook_id = s.webhook_id
            LIMIT 1
        ) AS l
        WHERE s.breaker_opened_at IS NOT NULL
    )
    UPDATE webhook_delivery_state AS s
    SET breaker_probe_at = p_until, breaker_probe_token = p.lease_token, updated_at = p_at
    FROM probe AS p
    WHERE s.webhook_id = p.webhook_id;
$$;

COMMENT ON FUNCTION pace_webhooks(UUID[], TIMESTAMPTZ, TIMESTAMPTZ) IS
    'pggit_analytics: note when the next message of a webhook may go';
REVOKE ALL ON FUNCTION pace_webhooks(UUID[], TIMESTAMPTZ, TIMESTAMPTZ) FROM PUBLIC;
