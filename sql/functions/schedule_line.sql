-- schedule_line(period, first window): the five fields of a cron line, in UTC, that fires when windows begin.
-- NULL where no cron line can say it: seconds, and periods that do not divide an hour or a day and are neither a day
-- nor a week. NULL arguments give NULL.
CREATE OR REPLACE FUNCTION schedule_line(p_period INTERVAL, p_first_window TIMESTAMPTZ)
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_first   CONSTANT TIMESTAMP := p_first_window AT TIME ZONE 'UTC';
    v_minute  CONSTANT INTEGER := extract(MINUTE FROM v_first);
    v_hour    CONSTANT INTEGER := extract(HOUR FROM v_first);
    v_seconds CONSTANT NUMERIC := extract(EPOCH FROM p_period);
    v_each    INTEGER;
    v_from    INTEGER;
BEGIN
    IF v_seconds % 60 <> 0 OR extract(SECOND FROM v_first) <> 0 THEN
        RETURN NULL;
    ELSIF v_seconds = 7 * 86400 THEN
        RETURN format('%s %s * * %s', v_minute, v_hour, extract(DOW FROM v_first));
    ELSIF v_seconds = 86400 THEN
        RETURN format('%s %s * * *', v_minute, v_hour);
    ELSIF v_seconds < 86400 AND v_seconds % 3600 = 0 AND 86400 % v_seconds = 0 THEN
        v_each := v_seconds / 3600;
        v_from := v_hour % v_each;
        RETURN format(
            '%s %s * * *', v_minute,
            CASE WHEN v_each = 1 THEN '*' WHEN v_from = 0 THEN format('*/%s', v_each)
                 ELSE format('%s-23/%s', v_from, v_each) END);
    ELSIF v_seconds < 3600 AND 3600 % v_seconds = 0 THEN
        v_each := v_seconds / 60;
        v_from := v_minute % v_each;
        RETURN format(
            '%s * * * *',
            CASE WHEN v_each = 1 THEN '*' WHEN v_from = 0 THEN format('*/%s', v_each)
                 ELSE format('%s-59/%s', v_from, v_each) END);
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION schedule_line(INTERVAL, TIMESTAMPTZ) IS
    'pggit_analytics: the cron line, in UTC, of windows of this period';
REVOKE ALL ON FUNCTION schedule_line(INTERVAL, TIMESTAMPTZ) FROM PUBLIC;
