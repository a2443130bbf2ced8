-- deliver_pending_alerts_by_row(batch size, max retries): the job deliver_pending_alerts as pg_cron runs it: ask for its
-- window and, unless refused, send what is due; then make up at most one other job that was missed. The arguments are
-- those of deliver_pending_notifications().
-- It commits each message by itself, before and after sending: at least once, and if it dies the one message under way
-- is sent again. So it may not be called within a transaction, and it has no settings of its own: what it calls is
-- named by its schema. Refusals and failures are a notice or a warning; failures are recorded in job_runs.
DO $do$
DECLARE
    v_body CONSTANT TEXT := replace(
        $body$
        DECLARE
            c_job     CONSTANT TEXT := 'deliver_pending_alerts';
            v_claim   RECORD;
            v_key_id  TEXT;
            v_failure TEXT;
            v_message RECORD;
            v_found   BOOLEAN;
            v_pause   DOUBLE PRECISION;
            v_rows    INTEGER := 0;
            v_status  TEXT;
            v_counts  JSONB := '{"delivered": 0, "failed": 0, "pending": 0}';
            v_missed  TEXT;
        BEGIN
            SELECT * INTO v_claim FROM schema.claim_job_window(c_job, 'pg_cron', clock_timestamp(), TRUE);
            IF v_claim.refusal IS NOT NULL THEN
                RAISE NOTICE 'pggit_analytics: not run: %', v_claim.refusal;
                RETURN;
            END IF;
            COMMIT;

            BEGIN
                PERFORM schema.check_argument('batch_size', p_batch_size, 1, 1000);
                PERFORM schema.check_argument('max_retries', p_max_retries, 1, 20);
                v_key_id := schema.webhook_key_id();
            EXCEPTION
                WHEN OTHERS THEN
                    v_failure := SQLERRM;
            END;

            WHILE v_failure IS NULL AND v_rows < p_batch_size LOOP
                v_found := FALSE;
                FOR v_message IN SELECT * FROM schema.claim_notifications(1, 60, v_key_id) LOOP
                    COMMIT;  -- the claim
                    v_found := TRUE;
                    IF v_rows >= p_batch_size THEN
                        PERFORM schema.finish_notification(v_message.lease_token, v_message.queue_ids, 'released', 0);
                        CONTINUE;
                    END IF;
                    -- those before it may have taken long
                    CONTINUE WHEN NOT EXISTS (
                        SELECT FROM schema.renew_notification_leases(ARRAY[v_message.lease_token], 60));
                    COMMIT;
                    v_status := schema.deliver_claimed_message(
                        v_message.lease_token, v_message.webhook_id, v_message.queue_ids, v_message.message_bodies,
                        v_message.is_still_open, p_max_retries);
                    COMMIT;
                    v_rows := v_rows + cardinality(v_message.queue_ids);
                    v_counts := jsonb_set(
                        v_counts, ARRAY[v_status],
                        to_jsonb(coalesce((v_counts ->> v_status)::INTEGER, 0) + cardinality(v_message.queue_ids)));
                END LOOP;
                COMMIT;
                CONTINUE WHEN v_found;
                v_pause := schema.seconds_to_next_send(v_key_id);
                EXIT WHEN v_pause IS NULL;
                COMMIT;
                PERFORM pg_sleep(v_pause);
            END LOOP;

            IF v_failure IS NOT NULL THEN
                RAISE WARNING 'pggit_analytics: % failed: %', c_job, v_failure;
            END IF;
            PERFORM schema.finish_job_window(
                v_claim.job_run_id, v_failure IS NULL,
                coalesce(v_failure, format('%s delivered, %s failed, %s put off', v_counts ->> 'delivered',
                                           v_counts ->> 'failed', v_counts ->> 'pending')));
            PERFORM schema.unlock_job(c_job);
            COMMIT;

            SELECT m.job INTO v_missed FROM schema.missed_jobs(clock_timestamp()) AS m WHERE m.job <> c_job LIMIT 1;
            IF v_missed IS NOT NULL THEN
                RAISE NOTICE 'pggit_analytics: missed, made up: %',
                    schema.run_claimed_job(v_missed, 'pg_cron', clock_timestamp());
                COMMIT;
            END IF;
        END;
        $body$,
        'schema.', quote_ident(current_schema()) || '.');
BEGIN
    EXECUTE
        'CREATE OR REPLACE PROCEDURE deliver_pending_alerts_by_row('
        'p_batch_size INTEGER DEFAULT 50, p_max_retries INTEGER DEFAULT 3) LANGUAGE plpgsql AS ' || quote_literal(v_body);
END;
$do$;

COMMENT ON PROCEDURE deliver_pending_alerts_by_row(INTEGER, INTEGER) IS
    'pggit_analytics: send what is due as pg_cron does, a message a transaction';
REVOKE ALL ON PROCEDURE deliver_pending_alerts_by_row(INTEGER, INTEGER) FROM PUBLIC;
