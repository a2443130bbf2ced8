-- requires: analysis_time, check_argument, check_as_of
-- get_notification_delivery_stats(lookback_hours, as_of): what became of the messages that were queued in
-- [p_as_of - p_lookback_hours, p_as_of]; always one row.
--
-- A message delivered after p_as_of was still pending then. delivery_rate_percent is of the messages that were either
-- delivered or given up, to one decimal, NULL where there is none. Delivery times are from queueing to delivery, p95 by
-- linear interpolation; NULL where nothing was delivered. oldest_pending_seconds is the age at p_as_of of the oldest
-- message that was pending then, NULL where none was. total_retries and max_retries count failed attempts and are the
-- current ones (0 without a message).
-- Hours outside 1 to 87600, a p_as_of that is not finite, or NULL raises 22023.
CREATE OR REPLACE FUNCTION get_notification_delivery_stats(
    p_lookback_hours INTEGER DEFAULT 24,
    p_as_of          TIMESTAMPTZ DEFAULT analysis_time()
)
RETURNS TABLE (
    total_count            BIGINT,
    pending_count          BIGINT,
    delivered_count        BIGINT,
    failed_count           BIGINT,
    delivery_rate_percent  NUMERIC,
    avg_delivery_seconds   NUMERIC,
    p95_delivery_seconds   DOUBLE PRECISION,
    oldest_pending_seconds NUMERIC,
    total_retries          BIGINT,
    max_retries            INTEGER
)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM check_argument('p_lookback_hours', p_lookback_hours, 1, 87600);
    PERFORM check_as_of(p_as_of);

    RETURN QUERY
    SELECT
        count(*),
        count(*) FILTER (WHERE w.status = 'pending'),
        count(*) FILTER (WHERE w.status = 'delivered'),
        count(*) FILTER (WHERE w.status = 'failed'),
        round(
            100.0 * count(*) FILTER (WHERE w.status = 'delivered')
            / nullif(count(*) FILTER (WHERE w.status <> 'pending'), 0),
            1
        ),
        avg(w.seconds) FILTER (WHERE w.status = 'delivered'),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY w.seconds::FLOAT8) FILTER (WHERE w.status = 'delivered'),
        extract(EPOCH FROM p_as_of - min(w.created_at) FILTER (WHERE w.status = 'pending')),
        coalesce(sum(w.retry_count), 0)::BIGINT,
        coalesce(max(w.retry_count), 0)
    FROM (
        SELECT
            q.created_at,
            q.retry_count,
            CASE WHEN q.delivered_at > p_as_of THEN 'pending' ELSE q.status END AS status,
            extract(EPOCH FROM q.delivered_at - q.created_at) AS seconds
        FROM alert_notification_queue AS q
        WHERE q.created_at >= p_as_of - p_lookback_hours * INTERVAL '1 hour'
          AND q.created_at <= p_as_of
    ) AS w;
END;
$$;

COMMENT ON FUNCTION get_notification_delivery_stats(INTEGER, TIMESTAMPTZ)
    IS 'pggit_analytics: what became of the messages queued lately';
REVOKE ALL ON FUNCTION get_notification_delivery_stats(INTEGER, TIMESTAMPTZ) FROM PUBLIC;
