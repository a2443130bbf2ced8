-- requires: check_argument
-- check_claim_arguments(...): raises 22023, with the value and what is allowed, unless messages can be claimed so.
-- NULL p_webhook_types means all of them.
CREATE OR REPLACE FUNCTION check_claim_arguments(
    p_limit         INTEGER,
    p_lease_seconds INTEGER,
    p_busy_webhooks BIGINT[],
    p_webhook_types TEXT[]
)
RETURNS VOID
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    c_types CONSTANT TEXT[] := '{slack,mattermost,pagerduty,email,webhook}';
BEGIN
    PERFORM check_argument('p_limit', p_limit, 1, 1000);
    PERFORM check_argument('p_lease_seconds', p_lease_seconds, 1, 3600);
    IF p_busy_webhooks IS NULL THEN
        RAISE EXCEPTION 'p_busy_webhooks is NULL, expected an array of ids, empty for none'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT p_webhook_types <@ c_types THEN
        RAISE EXCEPTION 'p_webhook_types is %, expected some of %, or NULL for all',
            quote_literal(p_webhook_types), array_to_string(c_types, ', ')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_claim_arguments(INTEGER, INTEGER, BIGINT[], TEXT[]) IS
    'pggit_analytics: raises unless messages can be claimed with these arguments';
REVOKE ALL ON FUNCTION check_claim_arguments(INTEGER, INTEGER, BIGINT[], TEXT[]) FROM PUBLIC;
