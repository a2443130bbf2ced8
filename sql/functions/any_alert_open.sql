-- any_alert_open(alerts, webhook): whether one of these alerts is not resolved, or another one of their groups that
-- something was queued about for this webhook. FALSE without an alert; NULL elements are passed over.
CREATE OR REPLACE FUNCTION any_alert_open(p_alert_ids BIGINT[], p_webhook_id BIGINT)
RETURNS BOOLEAN
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT EXISTS (
        SELECT FROM performance_alerts AS a WHERE a.alert_id = ANY (p_alert_ids) AND a.resolved_at IS NULL
    ) OR EXISTS (
        SELECT
        FROM performance_alerts AS a
        JOIN performance_alerts AS o ON o.group_key = a.group_key AND o.resolved_at IS NULL
        WHERE a.alert_id = ANY (p_alert_ids)
          AND EXISTS (
              SELECT
              FROM alert_notification_queue AS q
              WHERE q.alert_id = o.alert_id AND q.webhook_id = p_webhook_id
          )
    );
$$;

COMMENT ON FUNCTION any_alert_open(BIGINT[], BIGINT) IS
    'pggit_analytics: whether alerts, or others of their groups that a webhook was told of, are open';
REVOKE ALL ON FUNCTION any_alert_open(BIGINT[], BIGINT) FROM PUBLIC;
