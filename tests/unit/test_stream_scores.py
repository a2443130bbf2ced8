"""The streaming detector: blind to the future, distances as SciPy's, p-values as counted by hand, planted anomalies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist

from pggit_analytics.analysis import stream_scores as detector
from pggit_analytics.analysis.stream_scores import ALARM, stream_scores
from pggit_analytics.errors import InvalidArgument

Floats = npt.NDArray[np.float64]
ROWS = 1500


def _daily(seed: int, rows: int = ROWS) -> Floats:
    """A day of 96 rows with noise."""
    noise = np.random.default_rng(seed).normal(0, 1.0, rows)
    return 50 + 20 * np.sin(2 * np.pi * np.arange(rows) / 96) + noise


def _instants(rows: int) -> npt.NDArray[np.datetime64]:
    return np.datetime64("2026-01-05T00:00:00", "us") + np.arange(rows) * np.timedelta64(15, "m")


def _scores(values: Floats) -> Floats:
    return stream_scores(values, _instants(len(values)))


def _alarms(values: Floats) -> npt.NDArray[np.int64]:
    return np.flatnonzero(_scores(values) >= ALARM)


@pytest.mark.parametrize("cut", [100, 700, 1033])
def test_shuffled_or_missing_future_leaves_the_past_scores_as_they_were(cut: int) -> None:
    values = _daily(1)
    values[900:950] += 40
    shuffled = values.copy()
    np.random.default_rng(2).shuffle(shuffled[cut:])
    whole = _scores(values)
    assert (_scores(shuffled)[:cut] == whole[:cut]).all()
    assert (_scores(values[:cut]) == whole[:cut]).all()


def test_unit_of_the_values_does_not_matter() -> None:
    values = _daily(3)
    assert (_scores(values) == _scores(values * 1024)).all()


def test_scores_lie_between_0_and_1() -> None:
    scores = _scores(np.random.default_rng(4).standard_cauchy(ROWS))
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("rows", [0, 1, 10, 60])
def test_short_series_yield_one_score_per_row(rows: int) -> None:
    assert _scores(np.arange(rows, dtype=float)).shape == (rows,)


def test_constant_series_is_never_strange() -> None:
    assert (_scores(np.full(ROWS, 0.1)) == 0).all()


def test_noise_far_below_the_past_spread_is_no_effect() -> None:
    values = np.tile([0.0, 100.0], ROWS // 2) + np.random.default_rng(5).normal(0, 0.1, ROWS)
    assert len(_alarms(values)) == 0


@pytest.mark.parametrize("seed", [6, 7, 8])
def test_white_noise_alarms_in_at_most_two_percent_of_its_rows(seed: int) -> None:
    assert len(_alarms(np.random.default_rng(seed).normal(size=ROWS))) <= 0.02 * ROWS


def _spike(values: Floats) -> None:
    values[1200] += 100


def _step(values: Floats) -> None:
    values[1200:] += 60


def _missing_peak(values: Floats) -> None:
    values[1200:1296] = 30


def _doubled_rhythm(values: Floats) -> None:
    values[1200:1296] = 50 + 20 * np.sin(2 * np.pi * np.arange(96) / 12)


@pytest.mark.parametrize("plant", [_spike, _step, _missing_peak, _doubled_rhythm])
@pytest.mark.parametrize("seed", [9, 10, 11])
def test_planted_anomaly_raises_an_alarm_within_its_day(plant: Callable[[Floats], None], seed: int) -> None:
    values = _daily(seed)
    plant(values)
    alarms = _alarms(values)
    assert ((alarms >= 1200) & (alarms < 1296)).any()


@pytest.mark.parametrize(("step", "doublings"), [(1, 0), (1, 2), (12, 2), (3, 1)])
def test_distances_equal_those_of_an_independent_library(step: int, doublings: int) -> None:
    values = np.random.default_rng(12).normal(size=400)
    size = 2**doublings
    distances = detector._distances(values, step, doublings)
    ends = np.arange(size * step - 1, 400)
    vectors = np.array([values[end - size * step + 1 : end + 1].reshape(size, step).mean(axis=1) for end in ends])
    first = int(np.flatnonzero(distances)[0])
    for row in range(first, 400, detector.BLOCK):
        earlier = vectors[ends <= row - size * step]
        nearest = np.sort(cdist(vectors[ends == row], earlier)[0])[: detector.NEIGHBOURS]
        assert distances[row] == pytest.approx(nearest.mean(), rel=1e-12)


def test_evidence_counts_the_earlier_measures_that_are_as_large() -> None:
    nothing = np.zeros(100)
    rising = detector._evidence(np.arange(100.0), nothing)
    assert (rising[:50] == 0).all()
    assert rising[99] == pytest.approx(2.0)  # the largest of 100: p = 1 / 100
    equal = detector._evidence(np.ones(100), nothing)
    assert (equal == 0).all()
    ninth = detector._evidence(np.append(np.arange(99.0), 90.0), nothing)
    assert ninth[99] == pytest.approx(1.0)  # 90 to 98 are nine: p = (1 + 9) / (1 + 99)


def test_rare_measure_below_the_floor_is_no_evidence() -> None:
    assert detector._evidence(np.arange(100.0), np.full(100, 99.5))[99] == 0


def test_first_rows_are_silent_and_repeated_alarms_are_held_back_longer_each_time() -> None:
    scores = detector._one_alarm_per_incident(np.full(500, 2.0))
    # quiet are 50 rows, then 62.5, 75, 87.5: each alarm is the first row after the quiet of the one before
    assert np.flatnonzero(scores).tolist() == [100, 163, 239, 327, 428]


def test_alarm_that_worsened_much_breaks_the_quiet() -> None:
    evidence = np.zeros(160)
    evidence[[110, 112, 114]] = [2.0, 2.4, 2.5]
    assert np.flatnonzero(detector._one_alarm_per_incident(evidence)).tolist() == [110, 114]


@pytest.mark.parametrize(
    ("values", "minutes", "message"),
    [
        ([1.0, 2.0], [0], r"values of shape \(2,\), timestamps of shape \(1,\)"),
        ([1.0, np.nan], [0, 1], "row 1 is not finite"),
        ([1.0, 2.0, 3.0], [0, 2, 1], "the timestamp of row 2 is before"),
        ([[1.0]], [[0]], "shape"),
    ],
)
def test_malformed_series_are_refused(values: list[float], minutes: list[int], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        stream_scores(values, np.array(minutes, dtype="datetime64[m]"))
