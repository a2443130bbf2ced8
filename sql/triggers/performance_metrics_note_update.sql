-- performance_metrics_note_update: after each UPDATE of performance_metrics, once a statement, the hours it changed are
-- noted. ALWAYS: also in a session that replicates or restores.
CREATE OR REPLACE TRIGGER performance_metrics_note_update
AFTER UPDATE ON performance_metrics
REFERENCING OLD TABLE AS old_metrics NEW TABLE AS new_metrics
FOR EACH STATEMENT
EXECUTE FUNCTION note_changed_metrics();

COMMENT ON TRIGGER performance_metrics_note_update ON performance_metrics
    IS 'pggit_analytics: notes the hours whose metrics were updated';

ALTER TABLE performance_metrics ENABLE ALWAYS TRIGGER performance_metrics_note_update;
