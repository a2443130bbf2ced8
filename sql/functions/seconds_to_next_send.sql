-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: alert_notification_queue, alert_notification_webhooks, webhook_delivery_state
-- seconds_to_next_send(key): how long until a webhook whose messages are due, and which waits for nothing but the least
-- interval between two of them, may send again; NULL when that is none, or over 2 s. p_key_id as in
-- claim_notifications().
CREATE OR REPLACE FUNCTION seconds_to_next_send(p_key_id TEXT)
RETURNS DOUBLE PRECISION
LANGUAGE sql
VOLATILE -- the clock goes on within a transaction
SET search_path FROM CURRENT
AS $$
    SELECT extract(EPOCH FROM min(s.next_send_at) - clock_timestamp())::DOUBLE PRECISION
    FROM webhook_delivery_state AS s
    JOIN alert_notification_webhooks AS w ON w.webhook_id = s.webhook_id AND w.enabled
    WHERE s.next_send_at BETWEEN clock_timestamp() AND clock_timestamp() + INTERVAL '2 seconds'
      AND (s.blocked_until IS NULL OR s.blocked_until <= s.next_send_at)
      AND (s.breaker_probe_at IS NULL OR s.breaker_probe_at <= s.next_send_at)
      AND (w.encryption_key_id = p_key_id OR w.encryption_key_id IS NULL)
      AND EXISTS (
          SELECT
          FROM alert_notification_queue AS q
          WHERE q.webhook_id = s.webhook_id AND q.status = 'pending'
            AND coalesce(q.next_retry_at, q.created_at) <= s.next_send_at
      );
$$;

COMMENT ON FUNCTION seconds_to_next_send(TEXT) IS 'pggit_analytics: how long a channel waits for its least interval';
REVOKE ALL ON FUNCTION seconds_to_next_send(TEXT) FROM PUBLIC;
