-- performance_metrics_note_delete: after each DELETE of performance_metrics, once a statement, the hours it changed are
-- noted. ALWAYS: also in a session that replicates or restores.
CREATE OR REPLACE TRIGGER performance_metrics_note_delete
AFTER DELETE ON performance_metrics
REFERENCING OLD TABLE AS old_metrics
FOR EACH STATEMENT
EXECUTE FUNCTION note_changed_metrics();

COMMENT ON TRIGGER performance_metrics_note_delete ON performance_metrics
    IS 'pggit_analytics: notes the hours whose metrics were deleted';

ALTER TABLE performance_metrics ENABLE ALWAYS TRIGGER performance_metrics_note_delete;
