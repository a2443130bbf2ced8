-- requires: pggit_reader, pggit_pipeline
-- follows: pggit_delivery
-- privileges: what pggit_reader, pggit_pipeline and pggit_delivery may do in the current schema. A role or table that
-- is not there is passed over, and so are functions of other owners. Functions and views are found by their comments: reading ones (STABLE, IMMUTABLE) go to both roles,
-- writing ones (VOLATILE) to the pipeline; trigger functions and SECURITY DEFINER functions to nobody.
DO $$
DECLARE
    v_schema    CONSTANT TEXT := current_schema();
    v_namespace CONSTANT OID := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = v_schema);
    -- pggit_reader sees findings and timings, but no address, routing, setting or message body.
    v_read      CONSTANT TEXT[] := ARRAY[
        'performance_operation_types', 'performance_metrics', 'performance_metrics_changes', 'merge_relationships',
        'performance_baselines',
        'performance_baseline_history', 'baseline_recalc_execution', 'performance_alerts', 'alert_snooze',
        'alert_blackouts', 'alert_notification_log', 'analysis_runs', 'performance_anomalies',
        'performance_degradations', 'performance_correlations', 'scheduled_jobs', 'job_runs', 'active_scheduler',
        'deployed_objects', 'operation_settings', 'performance_incident_operations', 'performance_incidents',
        'suppressed_findings', 'merge_sync_state', 'statement_sampling', 'statement_counters'];
    v_queue     CONSTANT TEXT :=
        'notification_queue_id, webhook_id, alert_id, dedup_key, status, retry_count, next_retry_at, created_at, '
        'delivered_at, leased_until, last_error';
    v_closed    CONSTANT TEXT[] := ARRAY[
        'alert_notification_queue', 'alert_notification_settings', 'alert_notification_webhooks', 'analytics_settings',
        'webhook_delivery_state'];
    -- pggit_pipeline reads everything; addresses are ciphertext without the master key.
    v_look      CONSTANT TEXT[] := v_read || v_closed;
    -- It writes no more than each table needs: timings and histories only grow, results of a run are replaced whole.
    v_append    CONSTANT TEXT[] := ARRAY[
        'performance_operation_types', 'performance_metrics', 'performance_baseline_history', 'alert_notification_log'];
    v_change    CONSTANT TEXT[] := ARRAY[
        'performance_baselines', 'baseline_recalc_execution', 'performance_alerts', 'alert_snooze',
        'alert_blackouts', 'alert_notification_queue', 'analysis_runs', 'job_runs', 'operation_settings',
        'webhook_delivery_state', 'merge_relationships', 'merge_sync_state', 'statement_sampling',
        'statement_counters'];
    v_replace   CONSTANT TEXT[] := ARRAY[
        'performance_anomalies', 'performance_degradations', 'performance_correlations', 'active_scheduler',
        'performance_incident_operations', 'performance_incidents', 'suppressed_findings',
        'statement_counters'];
    -- What touches the key of the webhooks or sends something is for pggit_delivery alone.
    v_delivery  CONSTANT TEXT[] := ARRAY[
        'complete_webhook_address', 'decrypt_webhook_address', 'deliver_claimed_message',
        'deliver_pending_notifications', 'deliver_webhook', 'encrypt_webhook_address', 'get_webhook_decrypted',
        'is_public_address', 'seconds_to_next_send', 'send_messages', 'send_to_address', 'send_to_webhook',
        'store_webhook_encrypted', 'webhook_decrypt', 'webhook_encrypt', 'webhook_hmac', 'webhook_key_id',
        'webhook_master_key', 'webhook_payload', 'webhook_random_bytes', 'webhook_text'];
    v_reader    CONSTANT BOOLEAN := EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pggit_reader');
    v_pipeline  CONSTANT BOOLEAN := EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pggit_pipeline');
    -- Another database of the server may have made the role; here it is of use only with the functions for it.
    v_deliverer CONSTANT BOOLEAN := EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'pggit_delivery')
        AND EXISTS (
            SELECT FROM pg_proc AS p WHERE p.pronamespace = v_namespace AND p.proname = 'store_webhook_encrypted');
    v_object    RECORD;
BEGIN
    IF v_reader THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pggit_reader', v_schema);
    END IF;
    IF v_pipeline THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pggit_pipeline', v_schema);
        -- A privilege of the whole database, which everybody has unless it was revoked: its owner's to give.
        IF NOT has_database_privilege('pggit_pipeline', current_database(), 'TEMPORARY') THEN
            RAISE NOTICE 'pggit_analytics: the role pggit_pipeline may not make temporary tables, which findings pass through; have the owner of the database run GRANT TEMPORARY ON DATABASE % TO pggit_pipeline',
                quote_ident(current_database());
        END IF;
    END IF;

    FOR v_object IN
        SELECT c.relname AS name, s.sequence
        FROM pg_class AS c
        LEFT JOIN LATERAL (
            SELECT q.relname AS sequence
            FROM pg_depend AS d
            JOIN pg_class AS q ON q.oid = d.objid AND q.relkind = 'S'
            WHERE d.classid = 'pg_class'::REGCLASS
              AND d.refclassid = 'pg_class'::REGCLASS AND d.refobjid = c.oid
              AND d.deptype IN ('a', 'i') AND q.relnamespace = c.relnamespace
        ) AS s ON TRUE
        WHERE c.relnamespace = v_namespace AND c.relkind IN ('r', 'p') AND c.relname = ANY (v_look)
        ORDER BY c.relname, s.sequence
    LOOP
        -- The default privileges of the installing role may have opened them.
        IF v_object.name = ANY (v_closed) THEN
            EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', v_object.name);
            IF v_reader THEN
                EXECUTE format('REVOKE ALL ON %I FROM pggit_reader', v_object.name);
            END IF;
        END IF;
        IF v_reader AND v_object.name = ANY (v_read) THEN
            EXECUTE format('GRANT SELECT ON %I TO pggit_reader', v_object.name);
        END IF;
        IF v_reader AND v_object.name = 'alert_notification_queue' THEN
            EXECUTE format('GRANT SELECT (%s) ON alert_notification_queue TO pggit_reader', v_queue);
        END IF;
        IF v_deliverer AND v_object.name = 'alert_notification_webhooks' THEN
            EXECUTE format('GRANT INSERT, UPDATE ON %I TO pggit_delivery', v_object.name);
            EXECUTE format('GRANT USAGE ON SEQUENCE %I TO pggit_delivery', v_object.sequence);
        END IF;
        CONTINUE WHEN NOT v_pipeline;
        EXECUTE format('GRANT SELECT ON %I TO pggit_pipeline', v_object.name);
        IF v_object.name = ANY (v_append || v_change || v_replace) THEN
            EXECUTE format('GRANT INSERT ON %I TO pggit_pipeline', v_object.name);
        END IF;
        IF v_object.name = ANY (v_change) THEN
            EXECUTE format('GRANT UPDATE ON %I TO pggit_pipeline', v_object.name);
        END IF;
        IF v_object.name = 'alert_notification_webhooks' THEN
            EXECUTE 'GRANT UPDATE (last_tested_at, test_status) ON alert_notification_webhooks TO pggit_pipeline';
        END IF;
        IF v_object.name = ANY (v_replace) THEN
            EXECUTE format('GRANT DELETE ON %I TO pggit_pipeline', v_object.name);
        END IF;
        IF v_object.sequence IS NOT NULL AND v_object.name = ANY (v_append || v_change || v_replace) THEN
            EXECUTE format('GRANT USAGE ON SEQUENCE %I TO pggit_pipeline', v_object.sequence);
        END IF;
    END LOOP;

    FOR v_object IN
        SELECT c.relname AS name
        FROM pg_class AS c
        WHERE c.relnamespace = v_namespace AND c.relkind = 'v'
          AND obj_description(c.oid, 'pg_class') LIKE 'pggit\_analytics%'
        ORDER BY c.relname
    LOOP
        IF v_reader THEN
            EXECUTE format('GRANT SELECT ON %I TO pggit_reader', v_object.name);
        END IF;
        IF v_pipeline THEN
            EXECUTE format('GRANT SELECT ON %I TO pggit_pipeline', v_object.name);
        END IF;
    END LOOP;

    FOR v_object IN
        SELECT p.oid::REGPROCEDURE::TEXT AS name,
               p.prosecdef OR p.prorettype IN ('trigger'::REGTYPE, 'event_trigger'::REGTYPE) AS is_closed,
               p.provolatile IN ('i', 's') AS is_reading,
               p.proname = ANY (v_delivery) AS is_delivering
        FROM pg_proc AS p
        WHERE p.pronamespace = v_namespace
          AND pg_has_role(p.proowner, 'USAGE')
          AND obj_description(p.oid, 'pg_proc') LIKE 'pggit\_analytics%'
        ORDER BY p.oid
    LOOP
        -- A function may have been another kind before.
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', v_object.name);
        IF v_reader THEN
            EXECUTE format('REVOKE ALL ON ROUTINE %s FROM pggit_reader', v_object.name);
        END IF;
        IF v_pipeline THEN
            EXECUTE format('REVOKE ALL ON ROUTINE %s FROM pggit_pipeline', v_object.name);
        END IF;
        IF v_deliverer THEN
            EXECUTE format('REVOKE ALL ON ROUTINE %s FROM pggit_delivery', v_object.name);
        END IF;
        IF v_object.is_delivering THEN
            IF v_deliverer THEN
                EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO pggit_delivery', v_object.name);
            END IF;
            CONTINUE;
        END IF;
        CONTINUE WHEN v_object.is_closed;
        IF v_reader AND v_object.is_reading THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO pggit_reader', v_object.name);
        END IF;
        IF v_pipeline THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO pggit_pipeline', v_object.name);
        END IF;
    END LOOP;
END;
$$;
