-- performance_metrics_register_operation_types: after each INSERT or COPY into performance_metrics, once a statement,
-- the operations it named for the first time are registered, and the hours of late timings noted. ALWAYS: also in a
-- session that replicates or restores, whose timings are as new to the next run as any.
CREATE OR REPLACE TRIGGER performance_metrics_register_operation_types
AFTER INSERT ON performance_metrics
REFERENCING NEW TABLE AS new_metrics
FOR EACH STATEMENT
EXECUTE FUNCTION register_operation_types();

COMMENT ON TRIGGER performance_metrics_register_operation_types ON performance_metrics
    IS 'pggit_analytics: adds operations first seen in new metrics';

ALTER TABLE performance_metrics ENABLE ALWAYS TRIGGER performance_metrics_register_operation_types;
