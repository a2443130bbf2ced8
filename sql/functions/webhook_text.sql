-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- webhook_text(message bodies, limit): what they say, one line an alert and the latest of it, in at most p_limit
-- characters; what does not fit is counted ('+3 more'). A body that is no JSON object, or says nothing, raises 22023.
-- p_limit is at least 100. NULL for no bodies.
CREATE OR REPLACE FUNCTION webhook_text(p_message_bodies TEXT[], p_limit INTEGER)
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_said RECORD;
    v_text TEXT;
BEGIN
    FOR v_said IN
        SELECT
            left(regexp_replace(
                coalesce(b.body ->> 'text', concat_ws(
                    ' ', b.body ->> 'severity', b.body ->> 'transition', b.body ->> 'alert_type',
                    b.body ->> 'operation_type')),
                '[[:cntrl:]\s]+', ' ', 'g'), p_limit - 20) AS line,
            count(*) OVER () - row_number() OVER (ORDER BY b.position) AS more
        FROM (
            SELECT m.body::JSON AS body, m.position,
                max(m.position) OVER (PARTITION BY coalesce(m.body::JSON ->> 'alert_id', 'row ' || m.position)) AS latest
            FROM unnest(p_message_bodies) WITH ORDINALITY AS m (body, position)
        ) AS b
        WHERE b.position = b.latest
        ORDER BY b.position
    LOOP
        IF v_said.line = '' THEN
            RAISE EXCEPTION 'a message body says nothing' USING ERRCODE = 'invalid_parameter_value';
        ELSIF v_text IS NOT NULL AND length(v_text) + length(v_said.line) > p_limit - 20 THEN
            RETURN format(E'%s\n+%s more', v_text, v_said.more + 1);
        END IF;
        v_text := concat_ws(E'\n', v_text, v_said.line);
    END LOOP;
    RETURN v_text;
EXCEPTION
    WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'a message body is no JSON' USING ERRCODE = 'invalid_parameter_value';
END;
$$;

COMMENT ON FUNCTION webhook_text(TEXT[], INTEGER) IS 'pggit_analytics: what message bodies say, as plain text';
REVOKE ALL ON FUNCTION webhook_text(TEXT[], INTEGER) FROM PUBLIC;
