-- group_alerts(as_of): give the alerts found at p_as_of that belong to no incident yet the one they are part of, and
-- bundle their messages by it; the number of alerts that got one. Called with the lock of lock_alerts() held, in the
-- transaction that raised them. NULL or infinite raises 22023.
-- Open CORRELATION alerts join operations into groups; an operation in no pair is a group of its own. A group that got
-- slow (DEGRADATION, CORRELATION or INCIDENT is open) is an incident: its alerts get the group_key of the earliest of
-- these that has one, else 'incident-<their smallest id>'. Slow calls and exceeded thresholds of other groups go to
-- 'calls-<as_of>', one for all of them: a dozen operations with a slow call each are one message.
-- Alerts about no operation, and those about the monitoring itself, are left alone.
-- The planner takes rows of this very transaction for few, and would join thousands of them each with each.
CREATE OR REPLACE FUNCTION group_alerts(p_as_of TIMESTAMPTZ)
RETURNS INTEGER
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET enable_nestloop TO off
AS $$
DECLARE
    c_findings CONSTANT TEXT[] := ARRAY['ANOMALY', 'DEGRADATION', 'CORRELATION', 'THRESHOLD_EXCEEDED', 'INCIDENT'];
    c_incident CONSTANT TEXT[] := ARRAY['DEGRADATION', 'CORRELATION', 'INCIDENT'];
    v_calls    CONSTANT TEXT := 'calls-' || to_char(p_as_of AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"');
    v_grouped  INTEGER;
BEGIN
    PERFORM check_as_of(p_as_of);

    WITH groups AS MATERIALIZED (
        SELECT g.operation_type, g.group_name FROM operation_groups() AS g
    ),

    incidents AS MATERIALIZED (
        SELECT
            coalesce(g.group_name, a.operation_type) AS group_name,
            coalesce(
                (array_agg(a.group_key ORDER BY a.opened_at, a.alert_id) FILTER (WHERE a.group_key IS NOT NULL))[1],
                'incident-' || min(a.alert_id)
            ) AS group_key
        FROM performance_alerts AS a
        LEFT JOIN groups AS g ON g.operation_type = a.operation_type
        WHERE a.resolved_at IS NULL AND a.alert_type = ANY (c_incident)
        GROUP BY coalesce(g.group_name, a.operation_type)
    ),

    grouped AS (
        UPDATE performance_alerts AS a
        SET group_key = coalesce(
            (
                SELECT i.group_key
                FROM incidents AS i
                WHERE i.group_name = coalesce(
                    (SELECT g.group_name FROM groups AS g WHERE g.operation_type = a.operation_type), a.operation_type)
            ),
            v_calls)
        WHERE a.group_key IS NULL
          AND a.operation_type IS NOT NULL
          AND a.alert_type = ANY (c_findings)
          AND (
              (a.resolved_at IS NULL AND a.last_seen_at = p_as_of)
              -- a point event: over when it was found
              OR (a.resolved_at = p_as_of AND a.opened_at = p_as_of)
          )
        RETURNING a.alert_id, a.group_key
    ),

    -- what this transaction queued: no earlier, and still nobody's to send
    bundled AS (
        UPDATE alert_notification_queue AS q
        SET bundle_key = 'group:' || g.group_key,
            message_body = (q.message_body::JSONB || jsonb_build_object('group_key', g.group_key))::TEXT
        FROM grouped AS g
        WHERE q.alert_id = g.alert_id
          AND q.status = 'pending'
          AND q.lease_token IS NULL
          AND q.created_at >= now()
          AND q.bundle_key LIKE 'group:%'
    )

    SELECT count(*) INTO v_grouped FROM grouped;
    RETURN v_grouped;
END;
$$;

COMMENT ON FUNCTION group_alerts(TIMESTAMPTZ) IS
    'pggit_analytics: give the alerts of a run the incident they are part of, and bundle their messages by it';
REVOKE ALL ON FUNCTION group_alerts(TIMESTAMPTZ) FROM PUBLIC;
