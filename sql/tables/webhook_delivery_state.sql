-- requires: alert_notification_webhooks
-- webhook_delivery_state: how each channel is doing, which all its messages share; one row a webhook, made when needed.
-- next_send_at: not before this, for the sake of the least interval between messages; NULL: at once.
-- blocked_until: not before this, because the channel asked for a pause (Retry-After); NULL: it did not.
-- consecutive_failures: attempts in a row that failed for the channel's sake; a delivery sets it to 0.
-- breaker_opened_at: since when the channel is tried by single messages only; NULL = closed, all is well.
-- breaker_probe_at: when the next such message may go; NULL while closed.
-- breaker_probe_token: the lease of the one that is under way.
CREATE TABLE IF NOT EXISTS webhook_delivery_state (
    webhook_id           BIGINT PRIMARY KEY REFERENCES alert_notification_webhooks (webhook_id) ON DELETE CASCADE,
    next_send_at         TIMESTAMPTZ,
    blocked_until        TIMESTAMPTZ,
    consecutive_failures INTEGER NOT NULL DEFAULT 0 CHECK (consecutive_failures >= 0),
    breaker_opened_at    TIMESTAMPTZ,
    breaker_probe_at     TIMESTAMPTZ,
    breaker_probe_token  UUID,
    updated_at           TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CHECK ((breaker_opened_at IS NULL) = (breaker_probe_at IS NULL))
);
