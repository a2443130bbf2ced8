"""How strange each row of one series is, judged by the rows before it alone.

The method is a conformal nearest-neighbour detector (Burnaev and Ishimtsev 2016, "Conformalized density- and
distance-based anomaly detection in time-series data", arXiv:1608.04585; conformal p-values after Laxhammar and Falkman
2015) at several time scales at once:

1. At each row and for each scale of `SCALES`, the last rows form a vector. Its measure is the mean Euclidean distance
   to its `NEIGHBOURS` nearest among all earlier vectors that share no row with it.
2. A distance below `FLOOR` standard deviations of the past values is no effect and yields no evidence, however rare.
3. The evidence of a scale is -log10 p, p = (1 + number of earlier distances at least as large) / (1 + their number):
   no scale, unit or shape of the values matters, and one threshold suits every series.
4. The mean over the scales (Fisher's combination, up to a factor) is made a p-value against its own past once more,
   for the scales are not independent. The score is 1 - p.
   While the past is short, distances are large for want of neighbours; they stay in the calibration sets, which makes
   the detector reluctant at first, and the first `SILENT` rows are never an alarm.
5. One incident is one alarm: see `_one_alarm_per_incident`.

Deviations from the cited method: plain Euclidean distance instead of Mahalanobis, the whole past as reference and
calibration set instead of sliding halves, several scales instead of one of 19 rows, the floor.

Limits: gaps in time are not seen, for scores depend on the order of rows only; a season is learnt as soon as one has
passed, so the first one is strange; time and memory grow with the rows of the past up to `REACH`.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

from pggit_analytics.errors import InvalidArgument

Floats = npt.NDArray[np.float64]

#: (rows averaged into one element, doublings of the vector's length): one row, four rows, four means of twelve rows
SCALES = ((1, 0), (1, 2), (12, 2))
NEIGHBOURS = 3
#: smallest distance that counts, in standard deviations of the past values
FLOOR = 0.3
#: earlier rows that are compared, at most
REACH = 20_000
#: earlier measures without which there is no p-value
WARM_UP = 50
#: first rows that are never an alarm
SILENT = 100
#: a score of at least this is an alarm: at most one in sixty rows of the past looked as strange
ALARM = 0.983
#: rows without a further alarm after the first alarm; each earlier alarm of the series adds QUIET_GROWTH of it
QUIET_ROWS = 50
QUIET_GROWTH = 0.25
#: powers of ten by which the evidence must exceed that of the alarm to break the quiet
WORSENED = 0.5
#: rows whose distances are computed together; they share their reference, which ends before the first of them
BLOCK = 64


def stream_scores(values: npt.ArrayLike, timestamps: npt.ArrayLike) -> Floats:
    """A score in [0, 1] per row; `ALARM` and more is an alarm. Row t depends on the rows up to t only.

    Args:
        values: one finite number per row, in any unit; no NULL.
        timestamps: the instant of each row, never falling; anything NumPy can order.

    Returns:
        One score per value, 0 for the first rows and for rows that belong to an alarm already given.

    Raises:
        InvalidArgument: values are not finite, instants fall, or their numbers differ.
    """
    x = _checked(values, timestamps)
    smallest = FLOOR * _past_deviation(x)
    scales = [_evidence(distance, smallest) for distance in (_distances(x, *scale) for scale in SCALES)]
    return _one_alarm_per_incident(_evidence(np.mean(scales, axis=0), np.zeros(len(x))))


def _checked(values: npt.ArrayLike, timestamps: npt.ArrayLike) -> Floats:
    x, t = np.asarray(values, dtype=np.float64), np.asarray(timestamps)
    if x.ndim != 1 or x.shape != t.shape:
        raise InvalidArgument(f"values of shape {x.shape}, timestamps of shape {t.shape}; give one instant per value")
    if not np.isfinite(x).all():
        raise InvalidArgument(f"row {int(np.argmin(np.isfinite(x)))} is not finite; leave rows without a value out")
    falls = np.flatnonzero(t[1:] < t[:-1])
    if len(falls):
        raise InvalidArgument(f"the timestamp of row {int(falls[0]) + 1} is before its predecessor's; sort by time")
    return x


def _past_deviation(x: Floats) -> Floats:
    """The standard deviation of all values before each row; 0 at the first."""
    deviations = np.zeros(len(x))
    if len(x) > 1:
        count = np.arange(1, len(x))
        centred = x[:-1] - x[0]
        mean = np.cumsum(centred) / count
        deviations[1:] = np.sqrt(np.maximum(np.cumsum(centred**2) / count - mean**2, 0.0))
    return deviations


def _distances(x: Floats, step: int, doublings: int) -> Floats:
    """The mean distance of the vector that ends at each row to its nearest earlier ones; 0 before there are any.

    The vector holds 2**doublings means of ``step`` rows each. Squared distances of longer vectors are sums of shorter
    ones' at shifted rows, which is exact: no difference of large squares, the same digits whatever follows.
    """
    means = _running_mean(x, step)
    before = (2**doublings - 1) * step
    apart = before + step
    distances = np.zeros(len(x))
    for start in range(before + apart + NEIGHBOURS, len(means), BLOCK):
        end, stop = min(start + BLOCK, len(means)), start - apart + 1
        begin = max(before, stop - REACH)
        squares = (means[start - before : end, None] - means[None, begin - before : stop]) ** 2
        for shift in (step * 2**level for level in range(doublings)):
            squares = squares[shift:, shift:] + squares[:-shift, :-shift]
        nearest = np.partition(squares, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        distances[start + step - 1 : end + step - 1] = np.sqrt(nearest).mean(axis=1)
    return distances


def _running_mean(x: Floats, step: int) -> Floats:
    """Means of ``step`` rows; element i is that of the rows i to i + step - 1."""
    count = max(len(x) - step + 1, 0)
    total = np.zeros(count)
    for offset in range(step):
        total += x[offset : offset + count]
    return total / step


def _evidence(measure: Floats, smallest: Floats) -> Floats:
    """-log10 of the conformal p-value of each measure among those before it; 0 if below ``smallest`` or too early."""
    seen: list[float] = []
    evidence = np.zeros(len(measure))
    for row, value in enumerate(measure.tolist()):
        if row >= WARM_UP and value >= smallest[row]:
            as_large = row - bisect_left(seen, value)
            evidence[row] = np.log10((1 + row) / (1 + as_large))
        insort(seen, value)
    return evidence


def _one_alarm_per_incident(evidence: Floats) -> Floats:
    """Scores 1 - p, where alarms that repeat an earlier one are 0.

    After an alarm further ones are held back for `QUIET_ROWS` rows, and for a quarter of that more for each alarm the
    series has had, so a series that is strange all the time is heard ever less. One whose evidence is `WORSENED`
    powers of ten above that of the last alarm is an alarm at once.
    """
    scores = 1.0 - 10.0**-evidence
    scores[:SILENT] = 0.0
    alarms, last, strength = 0, -np.inf, 0.0
    for row in np.flatnonzero(scores >= ALARM).tolist():
        quiet = QUIET_ROWS * (1 + QUIET_GROWTH * alarms)
        if row - last > quiet or evidence[row] >= strength + WORSENED:
            alarms, last, strength = alarms + 1, row, evidence[row]
        else:
            scores[row] = 0.0
    return scores
