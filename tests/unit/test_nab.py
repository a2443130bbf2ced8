"""The benchmark's scoring against its published unit test values, hand arithmetic and a plain reading of its rules."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pggit_analytics.errors import InvalidArgument, InvalidData
from pggit_analytics.evaluation.nab import (
    PROFILES,
    STANDARD,
    LabelledSeries,
    Profile,
    best_threshold,
    read_folder,
    score,
    score_folder,
)

#: the weights of the benchmark's own tests/unit/scorer_test.py
PUBLISHED = Profile("published test", tp=1.1, fp=0.11, fn=1.2)
#: S(-1) and S(-1/2), as written in that file
FIRST_ROW, HALF_WAY = 0.9866142981514305, 0.8482836399575131


def _series(rows: int, *windows: tuple[int, int]) -> LabelledSeries:
    start = np.datetime64("2016-07-05T00:00:00", "us")
    return LabelledSeries("some/series.csv", start + np.arange(rows) * np.timedelta64(5, "m"), np.zeros(rows), windows)


def _detections(rows: int, *at: int) -> np.ndarray:
    scores = np.zeros(rows)
    scores[list(at)] = 1.0
    return scores


@pytest.mark.parametrize(
    ("rows", "windows", "at", "expected"),
    [
        (5, [], [], 0.0),
        (5, [], [1, 3], -2 * 0.11),
        (7, [(1, 2), (4, 5)], [], -2 * 1.2),
        (7, [(1, 2)], [2], HALF_WAY * 1.1 / FIRST_ROW),
        (7, [(1, 2), (4, 5)], [2], HALF_WAY * 1.1 / FIRST_ROW - 1.2),
        (7, [(4, 5)], [4], 1.1),
        (7, [(4, 5)], [4, 5], 1.1),
        (7, [(1, 2), (4, 5)], [2, 4], HALF_WAY * 1.1 / FIRST_ROW + 1.1),
    ],
)
def test_published_unit_test_values_are_met(
    rows: int, windows: list[tuple[int, int]], at: list[int], expected: float
) -> None:
    assert score(_series(rows, *windows), _detections(rows, *at), 0.5, PUBLISHED).raw == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "expected"), [(5, 0), (100, 15), (4032, 604), (5000, 750), (6000, 750), (22695, 750)])
def test_probation_is_15_percent_up_to_750_rows(rows: int, expected: int) -> None:
    assert _series(rows).probation == expected
    before = score(_series(rows), _detections(rows, *range(expected)), 0.5)
    after = score(_series(rows), _detections(rows, expected), 0.5)
    assert (before.raw, before.false_positives) == (0.0, 0)
    assert (after.raw, after.false_positives) == (-0.11, 1)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (31, -0.11 * 0.24491866240370913),  # tanh(0.25): one tenth of a width behind
        (40, -0.11 * 0.9866142981514305),  # tanh(2.5): one width behind
        (61, -0.11),  # more than three widths behind
        (19, -0.11),  # nothing before it
    ],
)
def test_false_positive_just_behind_a_window_costs_less(row: int, expected: float) -> None:
    raw = score(_series(100, (20, 30)), _detections(100, 20, row), 0.5).raw
    assert raw == pytest.approx(1.0 + expected, rel=1e-12)


def test_false_positive_is_measured_from_the_last_window_before_it() -> None:
    raw = score(_series(200, (40, 60), (80, 90)), _detections(200, 40, 80, 91), 0.5).raw
    assert raw == pytest.approx(2.0 - 0.11 * math.tanh(0.25), rel=1e-12)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        # one of two windows at its first row, one detection far from both: (tp - fn - fp + 2 fn) / (2 tp + 2 fn)
        ("standard", 100 * (1 - 1 - 0.11 + 2) / 4),
        ("reward_low_FP_rate", 100 * (1 - 1 - 0.22 + 2) / 4),
        ("reward_low_FN_rate", 100 * (1 - 2 - 0.11 + 4) / 6),
    ],
)
def test_folder_score_is_normalised_between_silence_and_perfection(profile: str, expected: float) -> None:
    series = [_series(100, (50, 59)), _series(100, (50, 59)), _series(100)]
    found = [_detections(100, 50), np.zeros(100), _detections(100, 20)]
    perfect = [_detections(100, 50), _detections(100, 50), np.zeros(100)]
    silent = [np.zeros(100)] * 3
    assert score_folder(series, found, 0.5, PROFILES[profile]).score == pytest.approx(expected)
    assert score_folder(series, perfect, 0.5, PROFILES[profile]).score == pytest.approx(100.0)
    assert score_folder(series, silent, 0.5, PROFILES[profile]).score == 0.0


def test_series_without_windows_have_no_score_of_their_own() -> None:
    result = score_folder([_series(100)], [_detections(100, 50)], 0.5)
    assert (result.score, result.series[0].normalised, result.series[0].raw) == (None, None, -0.11)


def test_window_inside_the_probation_counts_as_no_miss_but_as_possible_gain() -> None:
    part = score(_series(100, (2, 9)), np.zeros(100), 0.5)
    assert (part.raw, part.null, part.perfect) == (0.0, 0.0, 1.0)


def test_window_of_one_row_is_followed_by_full_costs() -> None:
    assert score(_series(100, (40, 40)), _detections(100, 40, 41), 0.5).raw == pytest.approx(1.0 - 0.11)


def _by_the_rules(series: LabelledSeries, scores: np.ndarray, threshold: float, profile: Profile) -> float:
    """The published rules, one row at a time."""
    sigmoid = lambda x: -1.0 if x > 3 else 2 / (1 + math.exp(5 * x)) - 1  # noqa: E731
    best = dict.fromkeys(series.windows, -profile.fn)
    behind: tuple[int, int] | None = None
    total = 0.0
    for row in range(len(scores)):
        window = next((w for w in series.windows if w[0] <= row <= w[1]), None)
        if scores[row] >= threshold and row >= min(math.floor(0.15 * len(scores)), 750):
            if window:
                worth = sigmoid(-(window[1] - row + 1) / (window[1] - window[0] + 1)) * profile.tp / sigmoid(-1)
                best[window] = max(best[window], worth)
            else:
                total += profile.fp * (sigmoid((row - behind[1]) / (behind[1] - behind[0])) if behind else -1.0)
        if window and row == window[1]:
            behind = window
    return total + sum(best.values())


@pytest.mark.parametrize("seed", range(8))
def test_random_scores_earn_what_the_rules_say_and_the_sweep_finds_the_best_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = [_series(150, (40, 60), (70, 75)), _series(120, (30, 45)), _series(90)]
    scores = [np.round(rng.random(len(s.values)) ** 0.25, 2) for s in series]
    profile = list(PROFILES.values())[seed % 3]
    for one, given in zip(series, scores, strict=True):
        expected = _by_the_rules(one, given, 0.9, profile)
        assert score(one, given, 0.9, profile).raw == pytest.approx(expected, rel=1e-12)

    levels = [1.1, *np.unique(np.concatenate(scores))[::-1]]
    sums = [sum(_by_the_rules(s, x, t, profile) for s, x in zip(series, scores, strict=True)) for t in levels]
    result = score_folder(series, scores, 0.123, profile, optimise=True)
    assert sum(part.raw for part in result.series) == pytest.approx(max(sums))
    assert result.optimised
    assert result.threshold == best_threshold(series, scores, profile) == pytest.approx(levels[int(np.argmax(sums))])


def test_fixed_threshold_is_kept_and_not_called_optimised() -> None:
    result = score_folder([_series(100, (50, 59))], [_detections(100, 50)], 0.75)
    assert (result.threshold, result.optimised, result.profile) == (0.75, False, STANDARD.name)


def _folder(path: Path, windows: object, csv: str | None = None) -> Path:
    rows = "".join(f"2014-04-01 00:{minute:02}:00,{minute}.5\n" for minute in range(0, 50, 5))
    (path / "group").mkdir()
    (path / "group" / "one.csv").write_text(csv if csv is not None else f"timestamp,value\n{rows}", encoding="utf-8")
    (path / "windows.json").write_text(json.dumps(windows), encoding="utf-8")
    return path


def test_folder_in_the_published_form_is_read(tmp_path: Path) -> None:
    windows = {"group/one.csv": [["2014-04-01 00:20:00.000000", "2014-04-01 00:35:00.000000"]]}
    (series,) = read_folder(_folder(tmp_path, windows))
    assert (series.name, series.windows) == ("group/one.csv", ((4, 7),))
    assert series.values.tolist() == [m + 0.5 for m in range(0, 50, 5)]
    assert series.timestamps[1] == np.datetime64("2014-04-01T00:05:00")


def test_folder_without_labels_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no windows\.json in the folder .*name a folder in the NAB form"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("windows", "csv", "message"),
    [
        ([], None, "holds a list"),
        ({"group/none.csv": []}, None, "cannot read the series"),
        ({"group/one.csv": 3}, None, "the windows are 3"),
        ({"group/one.csv": [["2014-04-01", "later"]]}, None, "the windows are"),
        ({"group/one.csv": [["2014-05-01 00:00:00", "2014-05-02 00:00:00"]]}, None, "holds no row"),
        ({"group/one.csv": [["2014-04-01 00:05:00", "2014-04-01 00:15:00"]] * 2}, None, "overlaps"),
        ({"group/one.csv": []}, "timestamp,value\n2014-04-01 00:05:00,1\n2014-04-01 00:00:00,1\n", "timestamps fall"),
        ({"group/one.csv": []}, "timestamp,value\n2014-04-01 00:05:00,\n", "missing or not finite"),
        ({"group/one.csv": []}, "timestamp,value\nyesterday,1\n", "cannot read the series"),
        ({"group/one.csv": []}, "time,value\n2014-04-01 00:05:00,1\n", "cannot read the series"),
    ],
)
def test_malformed_folder_is_refused_naming_the_fault(
    tmp_path: Path, windows: object, csv: str | None, message: str
) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        read_folder(_folder(tmp_path, windows, csv))
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_json_are_refused(tmp_path: Path) -> None:
    (_folder(tmp_path, {}) / "windows.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidData, match="is not JSON"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.5] * 9, "shape"), ([0.5] * 9 + [1.5], r"1\.5; allowed are 0 to 1"), ([0.5] * 9 + [math.nan], "nan")],
)
def test_scores_that_do_not_fit_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        score(_series(10), np.array(scores), 0.5)


def test_one_array_of_scores_per_series_is_demanded() -> None:
    with pytest.raises(InvalidArgument, match="1 arrays of scores for 2 series"):
        score_folder([_series(10), _series(10)], [np.zeros(10)], 0.5)
