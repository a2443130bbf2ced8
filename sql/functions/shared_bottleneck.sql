-- shared_bottleneck: what two operations that slow down together most likely share. The order of the two does not
-- matter; the first rule that fits wins. NULL for a NULL operation.
CREATE OR REPLACE FUNCTION shared_bottleneck(p_operation_type_1 TEXT, p_operation_type_2 TEXT)
RETURNS TEXT
LANGUAGE sql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT CASE
        WHEN ARRAY[p_operation_type_1, p_operation_type_2]
             <@ ARRAY['merge_branches', 'merge_base_find', 'merge_conflict_detect']
            THEN 'MERGE_PIPELINE_SATURATION'
        WHEN ARRAY[p_operation_type_1, p_operation_type_2] <@ ARRAY['commit', 'branch_create']
            THEN 'OBJECT_STORAGE_IO'
        WHEN ARRAY[p_operation_type_1, p_operation_type_2] <@ ARRAY['get_history', 'get_object_timeline']
            THEN 'QUERY_CACHE_PRESSURE'
        WHEN ARRAY[p_operation_type_1, p_operation_type_2] && ARRAY['rollback_commit', 'rollback_cascade']
            THEN 'TRANSACTION_LOG_SATURATION'
        ELSE 'SHARED_RESOURCE_CONTENTION'
    END;
$$;

COMMENT ON FUNCTION shared_bottleneck(TEXT, TEXT) IS 'pggit_analytics: what two slow operations likely share';
REVOKE ALL ON FUNCTION shared_bottleneck(TEXT, TEXT) FROM PUBLIC;
