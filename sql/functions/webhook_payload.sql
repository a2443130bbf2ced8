-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: webhook_text
-- webhook_payload(type, message bodies, secret, still open): what is sent to a channel of this type: JSON, or for
-- e-mail the plain text. Names in it neither format nor notify anybody (<!channel>, @here).
-- p_secret: of PagerDuty the integration key; p_is_still_open: FALSE when all that the bodies speak of is over.
-- PagerDuty is told to resolve when it is over and the last body says so; its dedup_key is the instance, the schema and
-- the incident, as the pipeline has it, so that whatever sends the end of an incident ends the same one. Of the generic
-- webhook's fields (docs/messages.md) those are sent that the bodies hold, and the bodies themselves as "messages".
CREATE OR REPLACE FUNCTION webhook_payload(
    p_webhook_type   TEXT,
    p_message_bodies TEXT[],
    p_secret         TEXT,
    p_is_still_open  BOOLEAN
)
RETURNS TEXT
LANGUAGE plpgsql
IMMUTABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_text CONSTANT TEXT := webhook_text(p_message_bodies, CASE p_webhook_type WHEN 'pagerduty' THEN 1024 ELSE 3000 END);
    v_last CONSTANT JSON := p_message_bodies[cardinality(p_message_bodies)];
    v_over CONSTANT BOOLEAN := coalesce(NOT p_is_still_open AND v_last ->> 'transition' IN ('resolved', 'test'), FALSE);
    v_source CONSTANT TEXT := coalesce(
        nullif(concat_ws('.', v_last ->> 'instance', v_last ->> 'schema'), ''), 'pggit_analytics');
    v_alert_ids JSON;
    v_group TEXT;
    v_messages JSON;
BEGIN
    SELECT
        coalesce(json_agg(DISTINCT (m.body::JSON ->> 'alert_id')::BIGINT)
                 FILTER (WHERE m.body::JSON ->> 'alert_id' IS NOT NULL), '[]'),
        coalesce(
            (array_agg(m.body::JSON ->> 'group_key' ORDER BY m.position)
             FILTER (WHERE m.body::JSON ->> 'group_key' IS NOT NULL))[1],
            'alert-' || min((m.body::JSON ->> 'alert_id')::BIGINT),
            v_last ->> 'transition'),
        json_agg(m.body::JSON ORDER BY m.position)
    INTO v_alert_ids, v_group, v_messages
    FROM unnest(p_message_bodies) WITH ORDINALITY AS m (body, position);
    RETURN CASE p_webhook_type
        WHEN 'slack' THEN json_build_object(
            'text', replace(replace(replace(v_text, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'))::TEXT
        WHEN 'mattermost' THEN json_build_object(
            'text', replace(regexp_replace(v_text, '([\\`*_~\[\]<>#|])', '\\\1', 'g'), '@', '@' || U&'\200B'))::TEXT
        WHEN 'pagerduty' THEN json_strip_nulls(json_build_object(
            'routing_key', p_secret,
            'event_action', CASE WHEN v_over THEN 'resolve' ELSE 'trigger' END,
            'dedup_key', left(v_source || ':' || v_group, 255),
            'payload', CASE WHEN NOT v_over THEN json_build_object(
                'summary', v_text,
                'source', left(v_source, 255),
                'severity', CASE v_last ->> 'severity'
                    WHEN 'CRITICAL' THEN 'critical' WHEN 'INFO' THEN 'info' ELSE 'warning' END) END))::TEXT
        WHEN 'webhook' THEN json_build_object(
            'version', 1,
            'severity', v_last ->> 'severity',
            'is_resolved', v_over,
            'title', split_part(v_text, E'\n', 1),
            'text', v_text,
            'instance', v_last ->> 'instance',
            'schema', v_last ->> 'schema',
            'group_key', v_group,
            'dedup_key', v_last ->> 'dedup_key',
            'alert_ids', v_alert_ids,
            'messages', v_messages)::TEXT
        ELSE v_text
    END;
END;
$$;

COMMENT ON FUNCTION webhook_payload(TEXT, TEXT[], TEXT, BOOLEAN) IS 'pggit_analytics: what is sent to a channel';
REVOKE ALL ON FUNCTION webhook_payload(TEXT, TEXT[], TEXT, BOOLEAN) FROM PUBLIC;
