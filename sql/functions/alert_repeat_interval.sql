-- requires: interval_setting
-- alert_repeat_interval(severity): after how long an open alert of this severity is said again.
-- p_severity: INFO, WARNING or CRITICAL. The value is the setting repeat_interval_<severity>.
-- NULL means never (an empty setting). A setting that is no positive interval raises 22023.
CREATE OR REPLACE FUNCTION alert_repeat_interval(p_severity TEXT)
RETURNS INTERVAL
LANGUAGE sql
STABLE
SET search_path FROM CURRENT
AS $$
    SELECT interval_setting('repeat_interval_' || lower(p_severity));
$$;

COMMENT ON FUNCTION alert_repeat_interval(TEXT) IS
    'pggit_analytics: after how long an open alert of a severity is said again, NULL = never';
REVOKE ALL ON FUNCTION alert_repeat_interval(TEXT) FROM PUBLIC;
