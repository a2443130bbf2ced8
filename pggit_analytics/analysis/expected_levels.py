"""What an operation usually takes at an hour: the load all operations share, and a season of its own.

The logarithm of a duration is taken to be::

    level(operation, t) + loading(operation) x common(day kind, hour) + own(operation, hour) + noise

``common`` is the daily load: one value for each hour of UTC on working days and on weekends, a robust mean (Huber 1964)
over operations and days. ``loading`` says how much of it an operation shows. ``own`` is what remains of an operation's
day, such as a nightly job. The level may change; what changes it is `level_changes`'s business.

Everything is estimated from differences within a day (an hour against the median of the 25 hours around it, weekends
against the days beside them), so that neither lasting changes nor passing ones leave a trace. Estimates are shrunk by
how uncertain they are (empirical Bayes; James and Stein 1961, Efron and Morris 1975): a loading towards 1, ``common``
and ``own`` towards 0. With less than three days there is no ``own``, and ``common`` rests on what there is.

Assumptions and limits: the zone of the users is unknown, so the hours are those of UTC; in the week of a clock change
the profile is that of both. Holidays count as working days. A slow-down of all operations at the same hour of most
days is a season, one on a single day is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pggit_analytics.analysis.call_grid import DAY, HOUR, HUBER, CallGrid, CellMeans, Flags, Floats, Ints

#: hours on either side whose median an hour is compared with, and how many of all 25 must have calls
HALF_DAY, LEAST_HOURS = 12, 16
#: scatter of hourly levels that no number of calls removes
HOUR_SCATTER = 0.03
#: standard deviation of the loadings over operations, and the greatest one
LOADING_SPREAD, MOST_LOADING = 0.5, 3.0
#: values (of operations and days) without which an hour has no common load
LEAST_VALUES = 5
#: days without which an operation has no season of its own
LEAST_DAYS = 3
#: variance of a median over that of a mean, normal values
_MEDIAN_VARIANCE = np.pi / 2
_MAD = 0.6745
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Season:
    """What the hour does to log durations."""

    #: (working day or weekend, hour of UTC): the common load
    common: Floats
    #: of each operation: how much of the common load it shows
    loading: Floats
    #: (operation, hour of UTC): what it shows besides
    own: Floats

    def at_cells(self, grid: CallGrid) -> Floats:
        """The season of each (operation, cell)."""
        kind, hour = _calendar(grid.middles())
        return np.asarray(self.loading[:, None] * self.common[kind, hour] + self.own[:, hour], dtype=np.float64)


def season(
    grid: CallGrid, means: CellMeans, spread: Floats, path: Floats, trains: Flags, *, own: bool = True
) -> Season:
    """The season that is left when the level is taken away.

    Args:
        grid: the calls.
        means: `cell_means`.
        spread: of each operation, `spreads`.
        path: (operation, cell), the level; a constant will do at first, for only differences within days count.
        trains: (operation, cell), False for what must not be learnt from: known incidents, the tested window.
        own: whether operations may have a season of their own.
    """
    if not grid.operations:
        return Season(np.zeros((2, 24)), np.ones(0), np.zeros((0, 24)))
    hours = _hours(grid, means, spread, path, trains)
    common, loading = np.zeros((2, 24)), np.ones(len(grid.operations))
    within_day = _within_day(hours)
    for _ in range(_ROUNDS):
        common = _shape(hours, within_day, loading)
        loading = _loadings(hours, within_day, common)
    common = common + _weekend_offset(hours, common, loading)
    found = Season(common, loading, np.zeros((loading.size, 24)))
    return Season(common, loading, _own(hours, found)) if own else found


@dataclass(frozen=True, slots=True)
class _Hours:
    """Levels and precisions of (operation, hour of the window)."""

    level: Floats
    precision: Floats
    #: of each hour: weekend or not, hour of UTC
    kind: Ints
    hour: Ints


def _calendar(instants: Ints) -> tuple[Ints, Ints]:
    """Weekend (1) or not (0), and the hour of UTC; 1970-01-01 was a Thursday."""
    weekday = (instants // DAY + 3) % 7
    return (weekday >= 5).astype(np.int64), (instants // HOUR) % 24


def _hours(grid: CallGrid, means: CellMeans, spread: Floats, path: Floats, trains: Flags) -> _Hours:
    per = grid.cells_in(1.0)
    count = np.where(trains, means.count, 0.0)
    calls = grid.block_sums(count, per)
    total = grid.block_sums(count * (means.value - path), per)
    level = np.divide(total, calls, out=np.full_like(calls, np.nan), where=calls > 0)
    precision = np.where(calls > 0, 1 / (spread[:, None] ** 2 / np.maximum(calls, 1) + HOUR_SCATTER**2), 0.0)
    kind, hour = _calendar(grid.start + per * grid.width * np.arange(calls.shape[1]) + per * grid.width // 2)
    return _Hours(level, precision, kind, hour)


def running_median(values: Floats, half: int, least: int = 1) -> Floats:
    """The median of the ``half`` elements on either side and the element itself; NaN are left out.

    Args:
        values: (series, elements).
        half: elements on either side; fewer at the ends.
        least: elements without which it is NaN.
    """
    windows = sliding_window_view(np.pad(values, ((0, 0), (half, half)), constant_values=np.nan), 2 * half + 1, axis=1)
    return np.where(np.isfinite(windows).sum(axis=2) >= least, medians(windows), np.nan)


def medians(values: Floats) -> Floats:
    """The medians over the last axis; NaN are left out, and the median of nothing is NaN.

    Short rows are sorted many times faster than `numpy.nanmedian` masks them.
    """
    in_order, count = np.sort(values, axis=-1), np.isfinite(values).sum(axis=-1, keepdims=True)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, values.shape[-1] - 1)
    middle = (np.take_along_axis(in_order, low, -1) + np.take_along_axis(in_order, high, -1)) / 2
    return np.asarray(np.where(count > 0, middle, np.nan)[..., 0], dtype=np.float64)


def _within_day(hours: _Hours) -> Floats:
    """Each hour's level against the median of the hours around it that are of the same kind of day."""
    found = np.full_like(hours.level, np.nan)
    for kind in (0, 1):
        of_kind = np.where(hours.kind == kind, hours.level, np.nan)
        around = running_median(of_kind, HALF_DAY, LEAST_HOURS)
        found = np.where(hours.kind == kind, of_kind - around, found)
    return found


def _shape(hours: _Hours, within_day: Floats, loading: Floats) -> Floats:
    """The common course of a working day and of a weekend day, each with mean 0 over its hours."""
    common = np.zeros((2, 24))
    least = np.maximum(loading, 0.2)[:, None]
    for kind in (0, 1):
        variance = np.full(24, np.inf)
        for hour in range(24):
            is_meant = (hours.kind == kind) & (hours.hour == hour)
            values, weights = (within_day / least)[:, is_meant], (hours.precision * loading[:, None] ** 2)[:, is_meant]
            if np.isfinite(values).sum() >= LEAST_VALUES:
                common[kind, hour], variance[hour] = robust_mean(values.ravel(), weights.ravel())
        known = np.isfinite(variance)
        common[kind] = _shrunk(common[kind] - (common[kind][known].mean() if known.any() else 0.0), variance)
    return common


def robust_mean(values: Floats, weights: Floats) -> tuple[float, float]:
    """Huber's M-estimate with reciprocal variances as weights, and its variance; NaN are left out.

    Returns:
        0 and infinity without any weight.
    """
    is_used = np.isfinite(values) & (weights > 0)
    values, weights = values[is_used], weights[is_used]
    if not values.size:
        return 0.0, float("inf")
    order = np.argsort(values)
    mean = float(values[order][np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())])
    kept = weights
    for _ in range(10):
        kept = weights * np.minimum(1.0, HUBER / np.maximum(np.abs(values - mean) * np.sqrt(weights), 1e-12))
        mean = float((kept * values).sum() / kept.sum())
    return mean, float(1 / kept.sum())


def _shrunk(values: Floats, variance: Floats) -> Floats:
    """Values of mean 0 drawn to 0 by the share of their variance that is uncertainty."""
    known = np.isfinite(variance)
    if not known.any():
        return np.zeros_like(values)
    true = max(0.0, float((values[known] ** 2 - variance[known]).mean()))
    return np.where(known, values * true / (true + np.where(known, variance, 1.0) + 1e-18), 0.0)


def _loadings(hours: _Hours, within_day: Floats, common: Floats) -> Floats:
    """How much of the common day each operation shows: a robust regression, drawn to 1, of mean 1."""
    load = common[hours.kind, hours.hour]
    is_used = np.isfinite(within_day)
    values = np.where(is_used, within_day, 0.0)
    precision = np.where(is_used, hours.precision, 0.0)
    kept, slope = precision, np.ones(len(values))
    for _ in range(5):
        slope = (kept * values * load).sum(axis=1) / np.maximum((kept * load**2).sum(axis=1), 1e-12)
        strange = np.abs(values - slope[:, None] * load) * np.sqrt(precision)
        kept = precision * np.minimum(1.0, HUBER / np.maximum(strange, 1e-12))
    variance = 1 / np.maximum((kept * load**2).sum(axis=1), 1e-12)
    drawn = 1 + (slope - 1) * LOADING_SPREAD**2 / (LOADING_SPREAD**2 + variance)
    return np.asarray(np.clip(drawn / max(float(drawn.mean()), 0.2), 0.0, MOST_LOADING), dtype=np.float64)


def _weekend_offset(hours: _Hours, common: Floats, loading: Floats) -> Floats:
    """What a weekend adds to both kinds of day, (2, 1): its level against the days before and after it.

    A drift raises one of the two differences and lowers the other, so it does not count; a step counts in few
    operations, which the robust mean over all of them leaves out.
    """
    plain = hours.level - loading[:, None] * common[hours.kind, hours.hour]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hours.kind, [0]))))
    values, weights = [], []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        sides = [slice(max(0, first - 24), first), slice(last, last + 24)]
        inside = _levels(plain, hours.precision, slice(first, last))
        beside = [side for side in (_levels(plain, hours.precision, s) for s in sides) if np.isfinite(side[0]).any()]
        for level, variance in beside:
            values.append((inside[0] - level) / np.maximum(loading, 0.2))
            weights.append(loading**2 / (inside[1] + variance + HOUR_SCATTER**2))
    offset, variance_of_offset = robust_mean(np.array(values).ravel(), np.array(weights).ravel())
    if not np.isfinite(variance_of_offset):
        return np.zeros((2, 1))
    share = float((hours.kind == 1).mean())
    return np.array([[-share * offset], [(1 - share) * offset]])


def _levels(plain: Floats, precision: Floats, where: slice) -> tuple[Floats, Floats]:
    """The median level of each operation in some hours, and its variance; NaN and infinity without calls."""
    values, weights = plain[:, where], precision[:, where]
    level = medians(values) if values.shape[1] else np.full(len(values), np.nan)
    return level, _MEDIAN_VARIANCE / np.maximum(weights.sum(axis=1), 1e-12)


def _own(hours: _Hours, found: Season) -> Floats:
    """The season of each operation that the common one leaves: medians over days, drawn to 0."""
    load = found.loading[:, None] * found.common[hours.kind, hours.hour]
    rest = hours.level - load
    rest = rest - running_median(rest, HALF_DAY, LEAST_HOURS)
    own, variance = np.zeros_like(found.own), np.full(found.own.shape, np.inf)
    for hour in range(24):
        of_hour = rest[:, hours.hour == hour]
        days = np.isfinite(of_hour).sum(axis=1)
        if not (days >= LEAST_DAYS).any():
            continue
        known = days >= LEAST_DAYS
        middle = medians(of_hour[known])
        scatter = medians(np.abs(of_hour[known] - middle[:, None])) / _MAD
        own[known, hour], variance[known, hour] = middle, scatter**2
        variance[known, hour] *= _MEDIAN_VARIANCE / days[known]
    # the scatter of a single hour is uncertain itself: that of the operation's day is used for all its hours
    for place in range(len(own)):
        known = np.isfinite(variance[place])
        if known.any():
            variance[place, known] = variance[place, known].mean()
            own[place] = _shrunk(own[place] - own[place, known].mean() * known, variance[place])
    return own
