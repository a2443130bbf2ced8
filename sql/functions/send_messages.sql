-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: send_to_address, webhook_hmac, webhook_payload
-- send_messages(type, address, recipient, allow_private, message bodies, still open): say them all in one message, as a
-- channel of this type wants it; how that went, as send_to_address() says it. The fragment of the address is its
-- secret: of PagerDuty the integration key, of a webhook the key that the request is signed with:
--   X-Pggit-Timestamp: seconds since 1970; X-Pggit-Signature: sha256=<HMAC-SHA256 over timestamp, '.' and body, in hex>
-- A message body that cannot be read raises 22023.
CREATE OR REPLACE FUNCTION send_messages(
    p_webhook_type         TEXT,
    p_address              TEXT,
    p_channel_or_recipient TEXT,
    p_allow_private        BOOLEAN,
    p_message_bodies       TEXT[],
    p_is_still_open        BOOLEAN,
    OUT outcome             TEXT,
    OUT http_status         INTEGER,
    OUT retry_after_seconds NUMERIC,
    OUT error               TEXT,
    OUT duration_ms         NUMERIC
)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_url     CONSTANT TEXT := split_part(p_address, '#', 1);
    v_secret  CONSTANT TEXT := substr(p_address, length(v_url) + 2);
    v_payload CONSTANT TEXT := webhook_payload(p_webhook_type, p_message_bodies, v_secret, p_is_still_open);
    v_now     CONSTANT TEXT := floor(extract(EPOCH FROM clock_timestamp()))::BIGINT;
    v_headers JSONB := '{}';
BEGIN
    IF p_webhook_type = 'email' THEN
        v_headers := jsonb_build_object(
            'To', p_channel_or_recipient,
            'Subject', '[pggit_analytics] ' || left(split_part(v_payload, E'\n', 1), 150));
    ELSIF p_webhook_type = 'webhook' THEN
        v_headers := jsonb_build_object(
            'X-Pggit-Timestamp', v_now,
            'X-Pggit-Signature', 'sha256=' || encode(
                webhook_hmac(convert_to(v_now || '.' || v_payload, 'UTF8'), convert_to(v_secret, 'UTF8')), 'hex'));
    END IF;
    SELECT s.* INTO outcome, http_status, retry_after_seconds, error, duration_ms
    FROM send_to_address(v_url, v_headers, v_payload, p_allow_private) AS s;
END;
$$;

COMMENT ON FUNCTION send_messages(TEXT, TEXT, TEXT, BOOLEAN, TEXT[], BOOLEAN) IS
    'pggit_analytics: say what message bodies hold on a channel';
REVOKE ALL ON FUNCTION send_messages(TEXT, TEXT, TEXT, BOOLEAN, TEXT[], BOOLEAN) FROM PUBLIC;
