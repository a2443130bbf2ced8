-- requires: analysis_time, alert_notification_queue
-- v_notification_delivery_status: what became of the messages queued in the last 7 days (of 24 hours); one row a UTC
-- hour of queueing and status, the latest hour first, then by status.
--
-- A message delivered only after analysis_time() was still pending then. avg_delivery_time_seconds is of messages
-- whose delivery is known, NULL where there is none. Retries are the current counts.
CREATE OR REPLACE VIEW v_notification_delivery_status AS
SELECT
    h.hour,
    h.status,
    h.notification_count,
    extract(EPOCH FROM h.delivery_time) / nullif(h.delivered, 0) AS avg_delivery_time_seconds,
    h.min_retries,
    h.max_retries
FROM (
    SELECT
        date_bin('1 hour', q.created_at, TIMESTAMPTZ '2000-01-01 00:00+00') AS hour,
        CASE WHEN q.delivered_at > (SELECT analysis_time()) THEN 'pending' ELSE q.status END AS status,
        count(*) AS notification_count,
        count(q.delivered_at) FILTER (WHERE q.delivered_at <= (SELECT analysis_time())) AS delivered,
        sum(q.delivered_at - q.created_at) FILTER (WHERE q.delivered_at <= (SELECT analysis_time())) AS delivery_time,
        min(q.retry_count) AS min_retries,
        max(q.retry_count) AS max_retries
    FROM alert_notification_queue AS q
    -- first and once, so that a moment without a zone is refused by an empty table as well
    WHERE (SELECT analysis_time()) IS NOT NULL
      AND q.created_at >= (SELECT analysis_time()) - INTERVAL '168 hours'
      AND q.created_at <= (SELECT analysis_time())
    GROUP BY 1, 2
) AS h
ORDER BY h.hour DESC, h.status COLLATE "C";

COMMENT ON VIEW v_notification_delivery_status IS
    'pggit_analytics: what became of the messages of the last 7 days, by hour and status';
