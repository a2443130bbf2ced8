-- requires: start_performance_trace
-- start_merge: starts timing a merge of p_branch_from into p_branch_into and returns its merge_id, to be given to
-- record_merge_phase, as p_trace_parent_id to start_performance_trace (for a phase timed here), and to finish_merge, in
-- this or any other transaction or session. Nothing is written yet: a merge that is never finished leaves nothing.
--
--     merge := start_merge('feature', 'main');
--     phase := start_performance_trace('merge_base_find', merge);  ...  PERFORM end_performance_trace(phase);
--     PERFORM finish_merge(merge, 'SUCCESS', 'auto');
--
-- What is recorded in a transaction that is rolled back goes with it: record a failed merge after the rollback.
--
-- p_branch_from, p_branch_into  the names; they travel in the merge_id, which has 2000 bytes for everything
-- p_metadata                    a JSON object for the merge_branches metric; NULL = none
-- A missing name, metadata that is no object, or too much of it raises 22023.
CREATE OR REPLACE FUNCTION start_merge(
    p_branch_from TEXT,
    p_branch_into TEXT,
    p_metadata    JSONB DEFAULT NULL
)
RETURNS TEXT
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF coalesce(p_branch_from, '') = '' OR coalesce(p_branch_into, '') = '' THEN
        RAISE EXCEPTION 'p_branch_from is % and p_branch_into is %, expected the names of two branches',
            coalesce(quote_literal(p_branch_from), 'NULL'), coalesce(quote_literal(p_branch_into), 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(p_metadata) <> 'object' THEN
        RAISE EXCEPTION 'p_metadata is of JSON type %, expected an object', jsonb_typeof(p_metadata)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN start_performance_trace(
        'merge_branches',
        NULL,
        coalesce(p_metadata, '{}') || jsonb_build_object('branch_from', p_branch_from, 'branch_into', p_branch_into)
    );
END;
$$;

COMMENT ON FUNCTION start_merge(TEXT, TEXT, JSONB) IS 'pggit_analytics: starts timing a merge, returns its merge_id';
REVOKE ALL ON FUNCTION start_merge(TEXT, TEXT, JSONB) FROM PUBLIC;
