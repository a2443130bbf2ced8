"""When a group was slow, when each episode began, and which member was first.

Episodes: the group's factor, the precision-weighted mean of its members' rises, is either at rest or raised by about
half its usual rise; the most probable course of the two states (Viterbi 1967) has a raised stretch where the evidence
exceeds `SWITCH` twice. Most members must show an episode, or it is one member's own.

Onset: least squares of ``height x clip((t - onset) / ramp, 0, 1)`` on minutes around the beginning, so that a slow rise
does not make the onset late.

Lags: each member's minutes against those of the others, moved by -`MOST_LAG` to +`MOST_LAG` minutes; the best fit with
a parabola through its neighbours. The standard error comes from leaving out one episode at a time (jackknife;
Quenouille 1956, Tukey 1958).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pggit_analytics.analysis.call_grid import MINUTE, CallGrid, Floats, Ints
from pggit_analytics.analysis.shared_levels import CELL, CLIP, SharedLevels, distances, windows

#: evidence, in units of the log likelihood, for a change of state: twice it for an episode
SWITCH = 7.5
#: a rise below this (5 %) is no episode
LEAST_RISE = 0.05
#: members whose rise is this share of what the episode and their usual part in it suggest show it
LEAST_PART = 1 / 3
#: minutes by which members are moved against each other
MOST_LAG = 8
#: minutes around the beginning of an episode that onset and lags are taken from
_BEFORE, _AFTER = 40, 60
#: lengths of ramps tried, minutes
_RAMPS = (1, 5, 10, 15, 20, 30, 45)
#: how the minutes of the others are smoothed, and how often lags are improved
_KERNEL, _ROUNDS = np.ones(7), 3


@dataclass(frozen=True, slots=True)
class SharedEpisode:
    """One time in which a group was slow; instants in microseconds since 1970-01-01 UTC."""

    #: when the rise began, and the first instant after it, which is the end of the window if it was still on
    onset: int
    end: int
    is_open: bool
    #: middle of the highest quarter of an hour
    peak_at: int
    #: share of the members that show it
    support: float


@dataclass(frozen=True, slots=True)
class Lags:
    """How much later than the first each member rises, minutes, and the standard error (NaN with one episode)."""

    minutes: Floats
    error: Floats


@dataclass(frozen=True, slots=True)
class _Factor:
    """The group's rise in each cell, and the reciprocal of its variance; the members' own."""

    value: Floats
    weight: Floats
    of_member: Floats
    calls: Floats


def group_episodes(
    levels: SharedLevels, grid: CallGrid, members: Ints, signal: Floats
) -> tuple[list[SharedEpisode], Lags | None]:
    """The episodes of a group, by onset, and the members' lags in them (None without an episode).

    Args:
        levels: `shared_levels` of the grid.
        grid: the calls.
        members: positions of the members.
        signal: of each member, the variance of its true rises.
    """
    part = np.sqrt(signal / signal.mean())
    minutes = _minutes(levels, grid, members)
    found = _episodes(grid, _factor(levels, members, part), minutes, part)
    return found, _member_lags(minutes, part, [_span(episode, grid) for episode in found]) if found else None


def _episodes(grid: CallGrid, factor: _Factor, minutes: _Minutes, part: Floats) -> list[SharedEpisode]:
    of_group, found = minutes.group(part), []
    for first, last in _stretches(factor):
        rise = _mean(factor.value, factor.weight, first, last)
        support = _support(factor, part, first, last, rise)
        if rise >= LEAST_RISE and support > 0.5:
            onset = _onset(*of_group, first * CELL // MINUTE, last * CELL // MINUTE)
            found.append(_episode(grid, factor, onset, (first, last), support))
    return found


def _factor(levels: SharedLevels, members: Ints, part: Floats) -> _Factor:
    found = windows(levels, 1)
    value, count = found.value[members], levels.count[members]
    precision = count / levels.variance[members][:, None] * part[:, None] ** 2
    weight = precision.sum(axis=0)
    total = (precision * value / part[:, None]).sum(axis=0)
    return _Factor(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), weight, value, count)


def _mean(values: Floats, weights: Floats, first: int, last: int) -> float:
    inside = weights[first:last]
    return float((inside * values[first:last]).sum() / max(float(inside.sum()), 1e-12))


def _stretches(factor: _Factor) -> list[tuple[int, int]]:
    """[first, last) of the raised stretches; a second pass knows how high the group usually rises."""
    stretches = raised_stretches(factor.value, factor.weight, 2 * LEAST_RISE)
    if not stretches:
        return []
    usual = float(np.median([_mean(factor.value, factor.weight, *stretch) for stretch in stretches]))
    return raised_stretches(factor.value, factor.weight, max(2 * LEAST_RISE, usual / 2))


def raised_stretches(value: Floats, weight: Floats, height: float, switch: float = SWITCH) -> list[tuple[int, int]]:
    """[first, last) of the stretches in which the mean is rather ``height`` than 0, at the best course of both states.

    Args:
        value: (cells,).
        weight: reciprocal variances, 0 for cells without a value.
        height: mean when raised.
        switch: log likelihood that a change of state must bring.
    """
    gains = (weight * (value * height - height * height / 2)).tolist()
    rest, raised = 0.0, -switch
    came_to_rest, came_to_raised = [False] * len(gains), [False] * len(gains)
    for place, gain in enumerate(gains):
        from_raised, from_rest = raised - switch, rest - switch
        if from_raised > rest:
            rest, came_to_rest[place] = from_raised, True
        if from_rest > raised:
            raised, came_to_raised[place] = from_rest, True
        raised += gain
    is_raised = np.zeros(len(gains), dtype=np.bool_)
    state = raised > rest
    for place in range(len(gains) - 1, -1, -1):
        is_raised[place] = state
        state ^= came_to_raised[place] if state else came_to_rest[place]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_raised, [False])).astype(np.int64)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _support(factor: _Factor, part: Floats, first: int, last: int, rise: float) -> float:
    """Share of the members with calls in these cells that rose by at least `LEAST_PART` of their usual part."""
    calls = factor.calls[:, first:last]
    of_member = (calls * factor.of_member[:, first:last]).sum(axis=1) / np.maximum(calls.sum(axis=1), 1)
    ran = calls.sum(axis=1) > 0
    return float((of_member >= LEAST_PART * rise * part)[ran].mean()) if ran.sum() > 1 else 0.0


@dataclass(frozen=True, slots=True)
class _Minutes:
    """Calls and rises of each member in each minute since the first cell."""

    count: Floats
    total: Floats
    variance: Floats

    def group(self, part: Floats) -> tuple[Floats, Floats]:
        """The factor of each minute and the reciprocal of its variance."""
        scale = (part / self.variance)[:, None]
        weight = (self.count * scale * part[:, None]).sum(axis=0)
        total = (self.total * scale).sum(axis=0)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), weight


def _minutes(levels: SharedLevels, grid: CallGrid, members: Ints) -> _Minutes:
    cells = int((grid.end - grid.start) // MINUTE) + 1
    count, total = np.zeros((members.size, cells)), np.zeros((members.size, cells))
    for row, member in enumerate(members):
        bound = CLIP * float(np.sqrt(levels.variance[member]))
        distance = np.clip(distances(grid, levels.path, int(member)), -bound, bound)
        place = (grid.at[grid.calls_of(int(member))] - grid.start) // MINUTE
        count[row] = np.bincount(place, minlength=cells)
        total[row] = np.bincount(place, distance, minlength=cells)
    return _Minutes(count, total, levels.variance[members])


def _episode(grid: CallGrid, factor: _Factor, onset: int, stretch: tuple[int, int], support: float) -> SharedEpisode:
    first, last = stretch
    weight = np.convolve(factor.weight[first:last], np.ones(3), mode="same")
    total = np.convolve((factor.weight * factor.value)[first:last], np.ones(3), mode="same")
    peak = int(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0).argmax())
    return SharedEpisode(
        onset=grid.start + onset * MINUTE,
        end=min(grid.start + last * CELL, grid.end),
        is_open=last >= factor.value.size,
        peak_at=min(grid.start + (first + peak) * CELL + CELL // 2, grid.end),
        support=support,
    )


def _onset(value: Floats, weight: Floats, first: int, last: int) -> int:
    """The minute at which the rise began that leads into [first, last)."""
    begin, stop = max(first - _BEFORE, 0), min(max(last, first + 5), first + _AFTER, value.size)
    at = np.arange(begin, stop)
    onsets = np.arange(max(first - _BEFORE // 2, 0), min(first + _BEFORE // 2, stop - 1))
    if not onsets.size:
        return first
    best, chosen = -np.inf, first
    of_window, weights = value[begin:stop], weight[begin:stop]
    for ramp in _RAMPS:
        shape = np.clip((at[None, :] + 0.5 - onsets[:, None]) / ramp, 0.0, 1.0)
        product, square = shape @ (weights * of_window), shape**2 @ weights
        gain = np.where((product > 0) & (square > 0), product**2 / np.maximum(square, 1e-12), -np.inf)
        if gain.max() > best:
            best, chosen = float(gain.max()), int(onsets[gain.argmax()])
    return chosen


def _member_lags(minutes: _Minutes, part: Floats, spans: list[tuple[int, int]]) -> Lags:
    lags, evidence = np.zeros(part.size), np.zeros((len(spans), part.size, 2 * MOST_LAG + 1))
    for _ in range(_ROUNDS):
        evidence = _evidence(minutes, part, lags, spans)
        lags = lags + _best_lag(evidence.sum(axis=0))
        lags -= lags.mean()
    count, total = len(spans), evidence.sum(axis=0)
    left = np.array([_best_lag(total - one) for one in evidence])
    error = np.sqrt((count - 1) / count * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    return Lags(lags - lags.min(), error if count > 1 else np.full(part.size, np.nan))


def _span(episode: SharedEpisode, grid: CallGrid) -> tuple[int, int]:
    """The minutes of an episode with its surroundings."""
    first = (episode.onset - grid.start) // MINUTE - _BEFORE // 2
    last = (episode.end - grid.start) // MINUTE + _BEFORE // 2
    return max(int(first), 0), min(int(last), int((grid.end - grid.start) // MINUTE) + 1)


def _evidence(minutes: _Minutes, part: Floats, lags: Floats, spans: list[tuple[int, int]]) -> Floats:
    """(episode, member, lag): how well each member moved by a lag fits the others, moved by the lags known so far.

    It is the log likelihood of ``rise = part x mean of the others`` up to a constant.
    """
    count, total = _moved(minutes.count, lags), _moved(minutes.total, lags)
    scale = (part / minutes.variance)[:, None]
    weight, product = count * scale * part[:, None], total * scale
    at = np.concatenate([np.arange(first, last) for first, last in spans])
    borders = np.cumsum([0, *(last - first for first, last in spans[:-1])])
    moved = np.clip(at + np.arange(-MOST_LAG, MOST_LAG + 1)[:, None], 0, count.shape[1] - 1)
    weights, products = weight.sum(axis=0), product.sum(axis=0)
    found = np.zeros((len(spans), part.size, len(moved)))
    for member in range(part.size):
        others = np.convolve(weights - weight[member], _KERNEL, mode="same")[at]
        # drawn to 0 where the others have few calls: the mean of the rises is taken to be 1 to start with
        mean = np.convolve(products - product[member], _KERNEL, mode="same")[at] / (others + 1.0)
        model = part[member] * mean
        fits = model * total[member, moved] - model**2 / 2 * count[member, moved]
        found[:, member] = np.add.reduceat(fits, borders, axis=1).T / minutes.variance[member]
    return found


def _moved(values: Floats, lags: Floats) -> Floats:
    """Each row moved earlier by its lag in whole minutes."""
    return np.stack([np.roll(row, -round(float(lag))) for row, lag in zip(values, lags, strict=True)])


def _best_lag(evidence: Floats) -> Floats:
    """For each row the lag of its maximum, with a parabola through the neighbours."""
    smooth = sliding_window_view(np.pad(evidence, ((0, 0), (1, 1)), mode="edge"), 3, axis=1).mean(axis=2)
    best = np.clip(smooth.argmax(axis=1), 1, evidence.shape[1] - 2)
    row = np.arange(len(best))
    before, at, after = (smooth[row, best + step] for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    shift = np.divide(before - after, 2 * curvature, out=np.zeros_like(at), where=curvature < 0)
    return np.asarray(best - MOST_LAG + np.clip(shift, -1.0, 1.0), dtype=np.float64)
