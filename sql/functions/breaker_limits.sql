-- requires: alert_setting, interval_setting
-- breaker_limits(): the settings breaker_failures and breaker_max_pause; always one row.
-- failures: attempts in a row that must fail before a channel is tried by single messages only.
-- max_pause: the longest pause between two of these. A setting that is no such value raises 22023 and is named.
CREATE OR REPLACE FUNCTION breaker_limits(OUT failures INTEGER, OUT max_pause INTERVAL)
LANGUAGE plpgsql
STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_failures CONSTANT TEXT := alert_setting('breaker_failures');
BEGIN
    IF v_failures !~ '^[1-9][0-9]{0,5}$' THEN
        RAISE EXCEPTION 'the setting breaker_failures is %, expected a whole number from 1 to 999999',
            quote_literal(v_failures)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    failures := v_failures::INTEGER;

    max_pause := interval_setting('breaker_max_pause');
    IF max_pause IS NULL THEN
        RAISE EXCEPTION 'the setting breaker_max_pause is empty, expected a positive interval such as 15 minutes'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION breaker_limits() IS
    'pggit_analytics: when a channel counts as down and how long the longest pause then is';
REVOKE ALL ON FUNCTION breaker_limits() FROM PUBLIC;
