-- Every bad argument of the detectors and of the recalculation raises 22023 with the argument, its value and what is
-- allowed. Needs pgTAP in the schema public.
BEGIN;
SET LOCAL search_path TO pggit, public, pg_temp;
SELECT plan(96);

CREATE TEMPORARY TABLE bad (call, message) ON COMMIT DROP AS
VALUES
    ('detect_anomalies_statistical(NULL)',               'p_operation_type is NULL, expected one of %'),
    ('detect_anomalies_statistical('''')',               'p_operation_type is '''', expected one of %'),
    ('detect_anomalies_statistical(''no such'')',        'p_operation_type is ''no such'', expected one of %'),
    ('detect_anomalies_statistical(''Commit'')',         'p_operation_type is ''Commit'', expected one of %'),
    ('detect_anomalies_statistical(''commit'', NULL)',   'p_lookback_hours is NULL, expected at least 1 %'),
    ('detect_anomalies_statistical(''commit'', 0)',      'p_lookback_hours is 0, expected at least 1 %'),
    ('detect_anomalies_statistical(''commit'', -24)',    'p_lookback_hours is -24, expected at least 1 %'),
    ('detect_anomalies_statistical(''commit'', 87601)',  'p_lookback_hours is 87601, %at most 87600'),
    ('detect_anomalies_statistical(''commit'', 24, NULL)',  'p_z_score_threshold is NULL, expected more than 0 %'),
    ('detect_anomalies_statistical(''commit'', 24, 0)',     'p_z_score_threshold is 0, expected more than 0 %'),
    ('detect_anomalies_statistical(''commit'', 24, -3)',    'p_z_score_threshold is -3, expected more than 0 %'),
    ('detect_anomalies_statistical(''commit'', 24, ''NaN'')', 'p_z_score_threshold is NaN, expected more than 0 %'),
    ('detect_anomalies_statistical(''commit'', 24, ''Infinity'')', 'p_z_score_threshold is Infinity, expected %'),
    ('detect_anomalies_statistical(''commit'', p_as_of => NULL)',  'p_as_of is NULL, expected a finite instant'),
    ('detect_anomalies_statistical(''commit'', p_as_of => ''infinity'')', 'p_as_of is infinity, expected a finite %'),

    ('detect_performance_degradation(NULL)',             'p_operation_type is NULL, expected one of %'),
    ('detect_performance_degradation(''no such'')',      'p_operation_type is ''no such'', expected one of %'),
    ('detect_performance_degradation(''commit'', NULL)', 'p_lookback_days is NULL, expected at least 1 %'),
    ('detect_performance_degradation(''commit'', 0)',    'p_lookback_days is 0, expected at least 1 %'),
    ('detect_performance_degradation(''commit'', 3651)', 'p_lookback_days is 3651, %at most 3650'),
    ('detect_performance_degradation(''commit'', 7, NULL)', 'p_threshold_percent is NULL, expected more than 0 %'),
    ('detect_performance_degradation(''commit'', 7, 0)',    'p_threshold_percent is 0, expected more than 0 %'),
    ('detect_performance_degradation(''commit'', 7, -20)',  'p_threshold_percent is -20, expected more than 0 %'),
    ('detect_performance_degradation(''commit'', 7, ''NaN'')', 'p_threshold_percent is NaN, expected more than 0 %'),
    ('detect_performance_degradation(''commit'', p_as_of => NULL)', 'p_as_of is NULL, expected a finite instant'),

    ('detect_combined_anomalies(NULL)',                  'p_operation_type is NULL, expected one of %'),
    ('detect_combined_anomalies(''no such'')',           'p_operation_type is ''no such'', expected one of %'),
    ('detect_combined_anomalies(''commit'', NULL)',      'p_lookback_hours is NULL, expected at least 1 %'),
    ('detect_combined_anomalies(''commit'', 0)',         'p_lookback_hours is 0, expected at least 1 %'),
    ('detect_combined_anomalies(''commit'', 24, NULL)',  'p_as_of is NULL, expected a finite instant'),

    ('detect_threshold_exceeded(NULL)',                  'p_operation_type is NULL, expected one of %'),
    ('detect_threshold_exceeded(''commit'', 0)',         'p_lookback_hours is 0, expected at least 1 %'),
    ('detect_threshold_exceeded(''commit'', 24, NULL)',  'p_as_of is NULL, expected a finite instant'),

    ('detect_correlated_degradation(NULL)',              'p_lookback_hours is NULL, expected at least 1 %'),
    ('detect_correlated_degradation(0)',                 'p_lookback_hours is 0, expected at least 1 %'),
    ('detect_correlated_degradation(24, NULL)',          'p_correlation_threshold is NULL, expected more than 0 %'),
    ('detect_correlated_degradation(24, 0)',             'p_correlation_threshold is 0, expected more than 0 %'),
    ('detect_correlated_degradation(24, 1.01)',          'p_correlation_threshold is 1.01, %at most 1'),
    ('detect_correlated_degradation(24, ''NaN'')',       'p_correlation_threshold is NaN, expected more than 0 %'),
    ('detect_correlated_degradation(24, 0.75, NULL)',    'p_as_of is NULL, expected a finite instant'),

    ('recalculate_all_baselines_rolling(NULL)',          'p_lookback_days is NULL, expected at least 1 %'),
    ('recalculate_all_baselines_rolling(0)',             'p_lookback_days is 0, expected at least 1 and at most 365'),
    ('recalculate_all_baselines_rolling(366)',           'p_lookback_days is 366, expected at least 1 and at most 365'),
    ('recalculate_all_baselines_rolling(7, 0)',          'p_min_samples is 0, expected at least 1 and at most 1000'),
    ('recalculate_all_baselines_rolling(7, 1001)',       'p_min_samples is 1001, %at most 1000'),
    ('recalculate_all_baselines_rolling(7, 10, NULL)',   'p_force_recalc is NULL, expected true or false'),
    ('recalculate_all_baselines_rolling(7, 10, FALSE, -1)',
        'p_max_execution_time_seconds is -1, expected at least 0 %'),
    ('recalculate_all_baselines_rolling(p_as_of => NULL)', 'p_as_of is NULL, expected a finite instant');

SELECT throws_ok('SELECT * FROM ' || b.call, '22023', NULL, b.call || ' raises 22023') FROM bad AS b ORDER BY b.call;
SELECT throws_like('SELECT * FROM ' || b.call, b.message, b.call || ' says why') FROM bad AS b ORDER BY b.call;

SELECT * FROM finish();
ROLLBACK;
