-- bottleneck_recommendation: what to do about a bottleneck named by shared_bottleneck. NULL gives NULL.
CREATE OR REPLACE FUNCTION bottleneck_recommendation(p_shared_bottleneck TEXT)
RETURNS TEXT
LANGUAGE sql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT CASE p_shared_bottleneck
        WHEN 'MERGE_PIPELINE_SATURATION'
            THEN 'Increase merge worker threads or optimize conflict detection algorithm'
        WHEN 'OBJECT_STORAGE_IO'
            THEN 'Check disk I/O capacity; consider SSD upgrade or caching layer'
        WHEN 'QUERY_CACHE_PRESSURE'
            THEN 'Increase shared_buffers or enable query result caching'
        WHEN 'TRANSACTION_LOG_SATURATION'
            THEN 'Optimize transaction log flushing or enable async commit for non-critical operations'
        ELSE 'Investigate process lock contention with pg_locks'
    END;
$$;

COMMENT ON FUNCTION bottleneck_recommendation(TEXT) IS 'pggit_analytics: what to do about a bottleneck';
REVOKE ALL ON FUNCTION bottleneck_recommendation(TEXT) FROM PUBLIC;
