"""Scoring of labelled series in the form and by the rules of the Numenta Anomaly Benchmark (NAB).

A folder holds ``windows.json`` (series name -> list of [first instant, last instant]) and one CSV with the columns
``timestamp`` and ``value`` per series, named by its path below the folder. A detector gives each row a score in
[0, 1]; rows whose score reaches the threshold are detections.

Rules (Lavin and Ahmad 2015, "Evaluating real-time anomaly detection algorithms", section III, as computed by the
benchmark's own sweeper): the first 15 % of a series, at most 750 rows, count for nothing. With
S(x) = 2 / (1 + exp(5 x)) - 1 and a window of w rows whose last row is r,

- a window with a detection earns ``tp * S(-(r - i + 1) / w) / S(-1)``, i its first detected row: 1 at the first row;
- a window without one costs ``fn``, however often its rows were missed;
- every detected row outside all windows costs ``fp * |S((i - r) / (w - 1))|``, (r, w) of the last window before it, and
  ``fp`` in full when there is none or it lies more than three window widths back.

The score of a folder is 100 * (sum - null) / (perfect - null): null is the sum of a detector that says nothing
(minus fn for each window), perfect finds each window at its first row (tp for each window).

One deviation: after a window of a single row the published formula divides by zero; here such a row costs ``fp``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pggit_analytics.errors import InvalidArgument, InvalidData

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.datetime64]

#: share of a series that is not scored, and the row count up to which that share grows
PROBATION_SHARE = 0.15
PROBATION_ROWS = 5000
#: a false positive further behind a window than this many widths costs in full
FAR_BEHIND = 3.0
LABELS = "windows.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user gains and loses by one event; true negatives weigh nothing in the published score."""

    name: str
    #: gain of a window detected at its first row
    tp: float
    #: cost of a detected row far from any window
    fp: float
    #: cost of a window without a detection
    fn: float


#: the profiles of the benchmark
PROFILES: Mapping[str, Profile] = {
    p.name: p
    for p in (
        Profile("standard", tp=1.0, fp=0.11, fn=1.0),
        Profile("reward_low_FP_rate", tp=1.0, fp=0.22, fn=1.0),
        Profile("reward_low_FN_rate", tp=1.0, fp=0.11, fn=2.0),
    )
}
STANDARD = PROFILES["standard"]


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """One series and its labelled windows, as row numbers."""

    #: path below the folder, with forward slashes
    name: str
    #: datetime64[us], rising or equal
    timestamps: Instants
    #: one per timestamp, finite
    values: Floats
    #: (first row, last row) of each window, both within; in order, not overlapping
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Number of leading rows that are not scored."""
        return int(min(PROBATION_SHARE * len(self.values), PROBATION_SHARE * PROBATION_ROWS))

    @property
    def scored_windows(self) -> int:
        """Number of windows with a row after the probation; the published score knows no miss of the others."""
        return sum(last >= self.probation for _, last in self.windows)


@dataclass(frozen=True, slots=True)
class SeriesScore:
    """What a detector earned on one series under one profile."""

    name: str
    #: sum of gains and costs
    raw: float
    #: the same for a detector that says nothing, and for one that finds each window at its first row
    null: float
    perfect: float
    #: windows with at least one detected row after the probation, and windows in all
    windows_found: int
    windows: int
    #: detected rows outside all windows
    false_positives: int

    @property
    def normalised(self) -> float | None:
        """On the scale where silence is 0 and perfection 100; None for a series without windows."""
        return _normalised(self.raw, self.null, self.perfect) if self.windows else None


@dataclass(frozen=True, slots=True)
class FolderScore:
    """What a detector earned on a folder, with one threshold for all its series."""

    profile: str
    threshold: float
    #: True: the threshold was chosen on these very labels, the figure is the upper end of what can be hoped for
    optimised: bool
    #: silence is 0, perfection 100, there is no lower end; None without any window
    score: float | None
    series: tuple[SeriesScore, ...]


def read_folder(path: str | Path) -> tuple[LabelledSeries, ...]:
    """The labelled series of a folder, by name.

    Raises:
        InvalidArgument: the folder or its windows.json is not there or not readable.
        InvalidData: a series is missing or malformed, or a window does not lie on its rows.
    """
    folder = Path(path)
    try:
        labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidArgument(
            f"no {LABELS} in the folder {folder}: {exc.strerror}; name a folder in the NAB form"
        ) from exc
    except ValueError as exc:
        raise InvalidData(f"{folder / LABELS} is not JSON: {exc}; write series name -> list of [first, last]") from exc
    if not isinstance(labels, dict):
        raise InvalidData(
            f"{folder / LABELS} holds a {type(labels).__name__}; write series name -> list of [first, last]"
        )
    return tuple(_read_series(folder, name, labels[name]) for name in sorted(labels))


def score(series: LabelledSeries, scores: Floats, threshold: float, profile: Profile = STANDARD) -> SeriesScore:
    """What the rows of one series whose score reaches ``threshold`` earn.

    Args:
        series: rows and windows.
        scores: one per row, in [0, 1], no NaN.
        threshold: rows with a score of at least this are detections; more than 1 means none.
        profile: gains and costs.

    Raises:
        InvalidArgument: not one score per row, or a score outside [0, 1].
    """
    detected = np.flatnonzero(_checked(series, scores) >= threshold)
    detected = detected[detected >= series.probation]
    worth, window = row_worths(series, profile)
    found = {int(w): float(worth[i]) for i, w in reversed([(i, window[i]) for i in detected]) if w >= 0}
    outside = detected[window[detected] < 0]
    missed = series.scored_windows - len(found)
    return SeriesScore(
        name=series.name,
        raw=sum(found.values()) - profile.fn * missed + float(worth[outside].sum()),
        null=-profile.fn * series.scored_windows,
        perfect=profile.tp * len(series.windows),
        windows_found=len(found),
        windows=len(series.windows),
        false_positives=len(outside),
    )


def row_worths(series: LabelledSeries, profile: Profile = STANDARD) -> tuple[Floats, npt.NDArray[np.int64]]:
    """What a detection at each row earns (negative outside windows), and the window of each row, -1 outside.

    Within a window only the first detection counts; it earns the most, for the worth falls along the window.
    """
    rows = np.arange(len(series.values), dtype=np.float64)
    worth = np.full(len(rows), -profile.fp)
    window = np.full(len(rows), -1, dtype=np.int64)
    for first, last in series.windows:
        width = last - first + 1
        if width > 1:
            worth[last + 1 :] = profile.fp * scaled_sigmoid((rows[last + 1 :] - last) / (width - 1))
        else:
            worth[last + 1 :] = -profile.fp
    for number, (first, last) in enumerate(series.windows):
        inside = slice(first, last + 1)
        width = last - first + 1
        worth[inside] = profile.tp * scaled_sigmoid(-(last - rows[inside] + 1) / width) / scaled_sigmoid(-1.0)
        window[inside] = number
    return worth, window


def scaled_sigmoid(position: npt.ArrayLike) -> Floats:
    """S(x) = 2 / (1 + exp(5 x)) - 1: near 1 at a window's first row (x = -1), 0 at its end, -1 for x > 3."""
    x = np.asarray(position, dtype=np.float64)
    s = 2.0 / (1.0 + np.exp(5.0 * np.minimum(x, FAR_BEHIND))) - 1.0
    return np.where(x > FAR_BEHIND, -1.0, s)


def score_folder(
    series: Sequence[LabelledSeries],
    scores: Sequence[Floats],
    threshold: float,
    profile: Profile = STANDARD,
    *,
    optimise: bool = False,
) -> FolderScore:
    """What a detector earns on all series with one threshold for all of them.

    Args:
        series: as `read_folder` gives them.
        scores: one array per series, as in `score`.
        threshold: the fixed threshold; ignored with ``optimise``.
        profile: gains and costs.
        optimise: take the one threshold that earns the most on these labels under ``profile`` instead, and say so in
            the result. It flatters the detector; report it only beside a fixed threshold.

    Raises:
        InvalidArgument: as in `score`, or not one array per series.
    """
    if len(series) != len(scores):
        raise InvalidArgument(f"{len(scores)} arrays of scores for {len(series)} series; give one per series")
    if optimise:
        threshold = best_threshold(series, scores, profile)
    parts = tuple(score(s, x, threshold, profile) for s, x in zip(series, scores, strict=True))
    null, perfect = sum(p.null for p in parts), sum(p.perfect for p in parts)
    total = _normalised(sum(p.raw for p in parts), null, perfect) if any(p.windows for p in parts) else None
    return FolderScore(profile.name, threshold, optimise, total, parts)


def best_threshold(series: Sequence[LabelledSeries], scores: Sequence[Floats], profile: Profile = STANDARD) -> float:
    """The one threshold that earns the most over all series: one of the scores, or 1.1 (no detection at all).

    Rows are activated from the highest score down, as in the published sweep; of equal sums the highest threshold wins.
    """
    gains, levels = [np.zeros(1)], [np.full(1, 1.1)]
    for one, given in zip(series, scores, strict=True):
        gain, level = _activations(one, _checked(one, given), profile)
        gains.append(gain)
        levels.append(level)
    gain, level = np.concatenate(gains), np.concatenate(levels)
    order = np.argsort(-level, kind="stable")
    total, sorted_level = np.cumsum(gain[order]), level[order]
    last = np.append(sorted_level[1:] != sorted_level[:-1], True)
    return float(sorted_level[last][np.argmax(np.round(total[last], 9))])


def _activations(series: LabelledSeries, scores: Floats, profile: Profile) -> tuple[Floats, Floats]:
    """For each scored row by falling score: what its becoming a detection adds, and its score."""
    worth, window = row_worths(series, profile)
    rows = np.arange(series.probation, len(scores))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    gain = worth[rows].copy()
    for number in range(len(series.windows)):
        at = np.flatnonzero(window[rows] == number)
        if len(at):
            reached = np.maximum.accumulate(worth[rows[at]])
            gain[at] = np.diff(reached, prepend=-profile.fn)
    return gain, scores[rows]


def _normalised(raw: float, null: float, perfect: float) -> float:
    return 100.0 * (raw - null) / (perfect - null)


def _checked(series: LabelledSeries, scores: Floats) -> Floats:
    given = np.asarray(scores, dtype=np.float64)
    if given.shape != series.values.shape:
        raise InvalidArgument(
            f"{series.name}: scores of shape {given.shape} for {len(series.values)} rows; give one per row"
        )
    wrong = given[~((given >= 0.0) & (given <= 1.0))]
    if len(wrong):
        raise InvalidArgument(f"{series.name}: a score is {wrong[0]}; allowed are 0 to 1")
    return given


def _read_series(folder: Path, name: str, limits: object) -> LabelledSeries:
    where = folder / name
    try:
        frame = pl.read_csv(where, columns=["timestamp", "value"], schema_overrides={"value": pl.Float64})
        frame = frame.with_columns(pl.col("timestamp").str.to_datetime(time_unit="us"))
    except (OSError, pl.exceptions.PolarsError) as exc:
        cause = str(exc).splitlines()[0]
        raise InvalidData(f"cannot read the series {where}: {cause}; give a CSV with timestamp and value") from exc
    timestamps, values = frame["timestamp"].to_numpy(), frame["value"].to_numpy()
    if frame.null_count().sum_horizontal().item() or not np.isfinite(values).all():
        raise InvalidData(f"{where}: a timestamp or value is missing or not finite; leave such rows out")
    if (np.diff(timestamps) < np.timedelta64(0)).any():
        raise InvalidData(f"{where}: the timestamps fall at some row; sort the rows by time")
    return LabelledSeries(name, timestamps, values, _rows_of(where, timestamps, limits))


def _rows_of(where: Path, timestamps: Instants, limits: object) -> tuple[tuple[int, int], ...]:
    """Windows given by instants as row numbers: from the first row of either instant, as in the published sweep."""
    windows: list[tuple[int, int]] = []
    try:
        pairs = [(np.datetime64(first, "us"), np.datetime64(last, "us")) for first, last in limits]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as exc:
        raise InvalidData(
            f"{where}: the windows are {limits!r}; write a list of [first instant, last instant]"
        ) from exc
    for first, last in sorted(pairs):
        low = int(np.searchsorted(timestamps, first, side="left"))
        high = int(np.searchsorted(timestamps, last, side="left"))
        high -= high == len(timestamps) or timestamps[high] > last
        if low > high or (windows and low <= windows[-1][1]):
            raise InvalidData(f"{where}: the window {first} to {last} holds no row or overlaps the one before it")
        windows.append((low, high))
    return tuple(windows)
