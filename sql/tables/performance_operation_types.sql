-- performance_operation_types: the operations being timed.
-- category UNKNOWN marks a type first seen in the data; typical_duration_ms is NULL where nobody has stated one.
-- Correlation looks at the rows with is_tracked; baselines are recalculated for them.
CREATE TABLE IF NOT EXISTS performance_operation_types (
    operation_type      TEXT PRIMARY KEY CHECK (operation_type <> ''),
    description         TEXT,
    category            TEXT NOT NULL DEFAULT 'UNKNOWN'
        CHECK (category IN ('READ', 'WRITE', 'ADMIN', 'UNKNOWN')),
    typical_duration_ms NUMERIC(14, 3) CHECK (typical_duration_ms >= 0),
    is_tracked          BOOLEAN NOT NULL DEFAULT TRUE
);

-- The operations of pgGit. Rows that exist already are left as they are.
INSERT INTO performance_operation_types (operation_type, description, category, typical_duration_ms)
VALUES
    ('commit',                   'Record a commit',                                 'WRITE', 5.0),
    ('merge',                    'Merge two branches',                              'WRITE', 50.0),
    ('rollback',                 'Roll the schema back',                            'WRITE', 10.0),
    ('branch_create',            'Create a branch',                                 'WRITE', 2.0),
    ('branch_delete',            'Delete a branch',                                 'WRITE', 1.0),
    ('conflict_detection',       'Find conflicting changes',                        'WRITE', 20.0),
    ('auto_resolution',          'Resolve conflicts automatically',                 'WRITE', 15.0),
    ('branch_checkout',          'Switch to a branch',                              'WRITE', NULL),
    ('ensure_object',            'Register an object, if it is new',                'WRITE', NULL),
    ('merge_auto_resolve',       'Merge phase: resolve conflicts automatically',    'WRITE', NULL),
    ('rollback_commit',          'Roll one commit back',                            'WRITE', NULL),
    ('rollback_cascade',         'Roll a commit and its dependants back',           'WRITE', NULL),
    ('rollback_recovery',        'Recover after a failed rollback',                 'WRITE', NULL),
    ('merge_branches',           'A whole merge, all phases',                       'WRITE', NULL),
    ('merge_data_branches',      'Merge the data of two branches',                  'WRITE', NULL),
    ('merge_execute',            'Apply a merge plan',                              'WRITE', NULL),
    ('merge_cleanup',            'Remove what a merge left behind',                 'WRITE', NULL),
    ('create_data_branch',       'Branch the data of a table',                      'WRITE', NULL),
    ('apply_data_merge',         'Apply the data changes of a merge',               'WRITE', NULL),
    ('get_objects',              'List the objects of a branch',                    'READ',  1.0),
    ('get_history',              'Read the history of an object',                   'READ',  5.0),
    ('get_branches',             'List the branches',                               'READ',  0.5),
    ('get_commits',              'List the commits of a branch',                    'READ',  2.0),
    ('get_object_timeline',      'Read every version of an object',                 'READ',  NULL),
    ('get_object_at_time',       'Read an object as it was at an instant',          'READ',  NULL),
    ('query_temporal_snapshots', 'Query snapshots by time',                         'READ',  NULL),
    ('merge_base_find',          'Merge phase: find the lowest common ancestor',    'READ',  NULL),
    ('merge_conflict_detect',    'Merge phase: find conflicts',                     'READ',  NULL),
    ('rollback_dry_run',         'Show what a rollback would do',                   'READ',  NULL),
    ('rollback_validate',        'Check that a rollback is possible',               'READ',  NULL),
    ('calculate_branch_size',    'Measure a branch',                                'READ',  NULL),
    ('create_history_partition', 'Create a partition of the history',               'ADMIN', NULL),
    ('compress_branch',          'Compress the history of a branch',                'ADMIN', NULL)
ON CONFLICT (operation_type) DO NOTHING;
