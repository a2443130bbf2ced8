-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: send_messages, send_to_address
-- deliver_webhook(address, message body): send one message now and once; whether the other side took it.
-- What is sent depends on the address, an http(s) URL: Slack (hooks.slack.com) and PagerDuty (events.pagerduty.com) get
-- what they understand, an address with a secret behind # a signed request, any other the message body as it is.
-- Only to the public Internet, as send_to_address() says. Whatever goes wrong is FALSE and a warning, which names
-- neither path nor secret. NULL gives FALSE.
CREATE OR REPLACE FUNCTION deliver_webhook(p_webhook_url TEXT, p_message_body TEXT)
RETURNS BOOLEAN
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_type CONSTANT TEXT := CASE
        WHEN p_webhook_url LIKE 'https://hooks.slack.com/%' THEN 'slack'
        WHEN p_webhook_url LIKE 'https://events.pagerduty.com/%' THEN 'pagerduty'
        WHEN p_webhook_url LIKE '%#%' THEN 'webhook'
    END;
    v_sent RECORD;
BEGIN
    IF p_webhook_url !~ '^https?://[^/?#@]+([/?#]|$)' IS NOT FALSE OR p_message_body::JSON IS NULL THEN
        RAISE WARNING 'pggit_analytics: webhook delivery failed: the address is no http(s) URL or the message is NULL';
        RETURN FALSE;
    ELSIF v_type IS NOT NULL THEN
        SELECT * INTO v_sent FROM send_messages(v_type, p_webhook_url, NULL, FALSE, ARRAY[p_message_body], TRUE);
    ELSE
        SELECT * INTO v_sent FROM send_to_address(p_webhook_url, '{}', p_message_body, FALSE);
    END IF;
    IF v_sent.outcome <> 'delivered' THEN
        RAISE WARNING 'pggit_analytics: webhook delivery failed: %', v_sent.error;
    END IF;
    RETURN v_sent.outcome = 'delivered';
EXCEPTION
    WHEN invalid_text_representation OR invalid_parameter_value THEN
        RAISE WARNING 'pggit_analytics: webhook delivery failed: the message body cannot be read';
        RETURN FALSE;
END;
$$;

COMMENT ON FUNCTION deliver_webhook(TEXT, TEXT) IS 'pggit_analytics: send one message now';
REVOKE ALL ON FUNCTION deliver_webhook(TEXT, TEXT) FROM PUBLIC;
