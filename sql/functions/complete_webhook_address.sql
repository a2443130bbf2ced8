-- needs extension: pgcrypto
-- needs superuser: it is a part of what reads the key
-- complete_webhook_address(type, address, allow_private): the address as it is stored: of PagerDuty a bare integration
-- key is made one. What an address of each type looks like:
--   slack, mattermost  https://...
--   pagerduty          https://events.pagerduty.com/v2/enqueue#INTEGRATION_KEY (32 letters and digits)
--   webhook            https://...#SECRET, at least 16 characters, which the requests are signed with
--   email              smtps://user:password@host:465?from=a@b, smtp://...:587?from=a@b (STARTTLS), or, where private
--                      targets are allowed, smtp://host:25?from=a@b&tls=none
-- http:// is accepted only where private targets are allowed. Anything else raises 22023, which says what is wrong and
-- never repeats the address, because it is a secret.
CREATE OR REPLACE FUNCTION complete_webhook_address(p_webhook_type TEXT, p_address TEXT, p_allow_private BOOLEAN)
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_address CONSTANT TEXT := CASE
        WHEN p_webhook_type = 'pagerduty' AND p_address ~ '^[A-Za-z0-9]{32}$'
            THEN 'https://events.pagerduty.com/v2/enqueue#' || p_address
        ELSE p_address
    END;
    v_scheme  CONSTANT TEXT := substring(v_address FROM '^([a-z]+)://');
    v_secret  CONSTANT TEXT := coalesce(substring(v_address FROM '#(.*)$'), '');
    v_fault   TEXT;
BEGIN
    IF p_webhook_type IS NULL OR p_webhook_type NOT IN ('slack', 'mattermost', 'pagerduty', 'email', 'webhook')
        OR p_allow_private IS NULL
    THEN
        RAISE EXCEPTION 'webhook_type and allow_private are % and %, expected slack, mattermost, pagerduty, email or webhook, and true or false',
            quote_nullable(p_webhook_type), quote_nullable(p_allow_private)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_fault := CASE
        WHEN v_address IS NULL THEN 'is NULL'
        WHEN length(v_address) > 2048 THEN 'has more than 2048 characters'
        WHEN v_address !~ '^[\x21-\x7e]+$' THEN 'holds a blank or a character that is not ASCII'
        WHEN v_scheme IS NULL OR v_address !~ '^[a-z]+://([^/?#@]*@)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?([/?#]|$)'
            THEN 'is no URL'
        WHEN p_webhook_type = 'email' AND v_scheme NOT IN ('smtp', 'smtps')
            THEN 'does not begin with smtps:// or smtp://'
        WHEN p_webhook_type = 'email' AND v_address !~ '[?&]from=[^&#]+@[^&#]+' THEN 'does not say who sends (?from=...)'
        WHEN p_webhook_type = 'email' AND v_address ~ '[?&]tls=none' AND NOT p_allow_private
            THEN 'has tls=none, which only a webhook with allow_private may'
        WHEN p_webhook_type = 'email' AND v_address ~ '[?&]tls=none' AND v_address ~ '^[a-z]+://[^/?#]*@'
            THEN 'has a password and tls=none: a password is never sent unencrypted'
        WHEN p_webhook_type IN ('slack', 'mattermost', 'email') AND v_address LIKE '%#%'
            THEN 'has a part after #, which only types pagerduty and webhook have'
        WHEN p_webhook_type <> 'email' AND v_scheme <> 'https' AND NOT (v_scheme = 'http' AND p_allow_private)
            THEN 'does not begin with https://'
        WHEN p_webhook_type = 'pagerduty' AND v_secret !~ '^[A-Za-z0-9]{32}$'
            THEN 'does not end in # and an integration key of 32 letters and digits'
        WHEN p_webhook_type = 'webhook' AND length(v_secret) < 16
            THEN 'does not end in # and a secret of at least 16 characters'
    END;
    IF v_fault IS NOT NULL THEN
        RAISE EXCEPTION 'the address of a webhook of type % %', p_webhook_type, v_fault
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_address;
END;
$$;

COMMENT ON FUNCTION complete_webhook_address(TEXT, TEXT, BOOLEAN) IS
    'pggit_analytics: raises unless an address fits its type';
REVOKE ALL ON FUNCTION complete_webhook_address(TEXT, TEXT, BOOLEAN) FROM PUBLIC;
