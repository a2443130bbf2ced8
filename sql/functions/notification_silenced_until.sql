-- requires: silenced_until
-- notification_silenced_until(row of the queue, at): until when the row may not be sent, as seen at p_at.
-- That is silenced_until() of its alert. A 'resolved' row may be sent all the same, to those who were told of the
-- alert; while the opening itself still waits in silence, both wait and then go as one.
-- NULL when it may be sent, there is no such row, or it is about no alert.
CREATE OR REPLACE FUNCTION notification_silenced_until(p_notification_queue_id BIGINT, p_at TIMESTAMPTZ)
RETURNS TIMESTAMPTZ
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT silenced_until(q.alert_id, q.webhook_id, p_at)
    FROM alert_notification_queue AS q
    WHERE q.notification_queue_id = p_notification_queue_id
      AND (
          split_part(q.dedup_key, '/', 3) <> 'resolved'
          OR (
              SELECT o.status
              FROM alert_notification_queue AS o
              WHERE o.dedup_key = format('%s/%s/opened', q.alert_id, q.webhook_id)
          ) = 'pending'
      );
$$;

COMMENT ON FUNCTION notification_silenced_until(BIGINT, TIMESTAMPTZ) IS
    'pggit_analytics: until when a row of the queue may not be sent, NULL = it may';
REVOKE ALL ON FUNCTION notification_silenced_until(BIGINT, TIMESTAMPTZ) FROM PUBLIC;
