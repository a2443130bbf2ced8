"""Which operations form a group: each goes with the mean of the others, so that one false pair joins no two groups.

Candidates are joined by average linkage (Sokal and Michener 1958) on the correlations without noise. A group then
stands by one of two proofs:

- pairs: every member has a partner in the group whose pair is significant (false discovery rate, `shared_pairs`);
- coincidence, for few but joint rises of at least three operations: the probability that each further member would go
  with the mean of the others as well as it does at another time. Other times are all rotations of its series against
  theirs, which keep autocorrelation, tails and gaps (torus translation; Harms et al. 2001, Journal of Ecology 89). The
  product of the probabilities is multiplied by the number of sets of that size that could have been picked
  (Bonferroni).

A member must correlate with the mean of the others (without noise, at least `LEAST_CORRELATION`); the worst is put out
until all do. An operation left out, such as one with few calls, joins when it correlates with the mean of a group.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from pggit_analytics.analysis.call_grid import Flags, Floats, Ints
from pggit_analytics.analysis.shared_levels import SharedLevels
from pggit_analytics.analysis.shared_pairs import (
    LAGS,
    WIDTHS,
    PairMatrices,
    Series,
    product_variance,
    series,
    suited_widths,
)

#: false discovery rate over the pairs, and the probability of a group by coincidence
DISCOVERY_RATE, COINCIDENCE_RATE = 0.01, 0.02
#: average correlation, without noise, down to which sets are joined; the same for a member with the mean of the others
LEAST_CORRELATION = 0.5
#: correlation with the mean of a group, and its z, from which on an operation left out joins it
JOINING_CORRELATION, JOINING_Z = 0.6, 2.5
#: square root of the covariance from which on a pair matters: both rise by 3 %
LEAST_SHARED_RISE = 0.03
#: z of a pair below which it joins nothing, and of a member with the mean of the others
LEAST_Z = 1.5
#: a group that rests on coincidence has at least this many members
LEAST_COINCIDING = 3
#: the mean of the others has at least this share of the signal it would have if all were alike
_LEAST_OF_SIGNAL = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that slow down together."""

    #: positions of the members, ascending
    members: tuple[int, ...]
    #: of each: correlation, without noise, with the mean of the others
    correlation: tuple[float, ...]
    #: of each: variance of the true rises
    signal: tuple[float, ...]
    #: pairs or coincidence
    proof: str
    #: of the proof: the greatest adjusted p of the members' best pairs, or the probability of the coincidence
    p: float


def shared_groups(levels: SharedLevels, pairs: PairMatrices) -> list[Group]:
    """The groups, by their first members; no operation is in two.

    Args:
        levels: `shared_levels`.
        pairs: `pair_matrices` of them.
    """
    widths = suited_widths(levels)
    at_width = pairs.at_width
    is_moving = np.array([at_width[int(place)].is_moving[row] for row, place in enumerate(widths)])
    matters = pairs.covariance > LEAST_SHARED_RISE**2
    significant = (pairs.q <= DISCOVERY_RATE) & matters & (pairs.correlation >= LEAST_CORRELATION)
    np.fill_diagonal(significant, val=False)
    similar = np.where((pairs.z >= LEAST_Z) & matters, np.clip(pairs.correlation, 0.0, 1.0), 0.0)
    candidates = np.flatnonzero(is_moving | significant.any(axis=1))
    found: list[Group] = []
    for joined in average_linkage(similar, candidates, LEAST_CORRELATION):
        of_group = at_width[int(widths[joined].max())]
        of_pairs = _by_pairs(of_group, joined, pairs.q, significant)
        coinciding = _by_coincidence(of_group, joined)
        if coinciding and (not of_pairs or len(coinciding.members) > len(of_pairs.members)):
            found.append(coinciding)
        elif of_pairs:
            found.append(of_pairs)
    return sorted(_joined_by_others(at_width, widths, found), key=lambda group: group.members)


def _by_coincidence(of_group: Series, joined: Ints) -> Group | None:
    kept = _consistent(of_group, joined)
    p = coincidence(of_group, kept, len(of_group.signal))
    if kept.size < LEAST_COINCIDING or p > COINCIDENCE_RATE:
        return None
    return _group(of_group, kept, "coincidence", p)


def _by_pairs(of_group: Series, joined: Ints, q: Floats, significant: Flags) -> Group | None:
    """The group of those that have a significant pair among themselves."""
    kept = _consistent(of_group, joined[significant[np.ix_(joined, joined)].any(axis=1)])
    if not kept.size:
        return None
    inside = np.ix_(kept, kept)
    best = np.where(significant[inside], q[inside], 1.0).min(axis=1)
    return _group(of_group, kept, "pairs", float(best.max()))


def regrouped(levels: SharedLevels, group: Group, without: Collection[int]) -> Group | None:
    """The group that is left without some members; None if fewer than two go together.

    Args:
        levels: `shared_levels`.
        group: one of theirs.
        without: positions of members.
    """
    left = np.array([member for member in group.members if member not in without], dtype=np.int64)
    if left.size < 2:
        return None
    of_group = series(levels, WIDTHS[suited_widths(levels)[left].max()])
    kept = _consistent(of_group, left)
    return _group(of_group, kept, group.proof, group.p) if kept.size else None


def _joined_by_others(at_width: Mapping[int, Series], widths: Ints, groups: list[Group]) -> list[Group]:
    """The groups with the operations left out that go with the mean of all their members, each with the nearest."""
    if not groups:
        return []
    taken = {member for group in groups for member in group.members}
    joining: list[list[int]] = [[] for _ in groups]
    for place in range(widths.size):
        if place in taken:
            continue
        nearest = [_goes_with(at_width, widths, place, group) for group in groups]
        if max(nearest) >= JOINING_CORRELATION:
            joining[int(np.argmax(nearest))].append(place)
    return [
        _group(at_width[int(widths[members].max())], members, group.proof, group.p)
        for group, more in zip(groups, joining, strict=True)
        for members in [np.array(sorted((*group.members, *more)))]
    ]


def _goes_with(at_width: Mapping[int, Series], widths: Ints, place: int, group: Group) -> float:
    """Correlation of an operation with the mean of a group's members; 0 if that is not significant."""
    members = np.array([place, *group.members])
    correlation, z = with_others(at_width[int(widths[members].max())], members, slice(1))
    return float(correlation[0]) if z[0] >= JOINING_Z else 0.0


def average_linkage(similar: Floats, candidates: Ints, least: float) -> list[Ints]:
    """Sets of two or more, joined while the mean similarity between two of them is at least this.

    Args:
        similar: (operation, operation), symmetric.
        candidates: positions of those that may be joined.
        least: lowest mean similarity.

    Returns:
        Positions, ascending within each set.
    """
    between = similar[np.ix_(candidates, candidates)].copy()
    np.fill_diagonal(between, -np.inf)
    sets: list[list[int]] = [[int(place)] for place in candidates]
    while len(sets) > 1:
        first, second = sorted(int(x) for x in np.unravel_index(between.argmax(), between.shape))
        if between[first, second] < least:
            break
        one, two = len(sets[first]), len(sets[second])
        mean = (one * between[first] + two * between[second]) / (one + two)
        mean[first] = -np.inf
        between[first], between[:, first] = mean, mean
        between = np.delete(np.delete(between, second, axis=0), second, axis=1)
        sets[first] += sets.pop(second)
    return [np.array(sorted(members)) for members in sets if len(members) > 1]


def _consistent(of_group: Series, members: Ints) -> Ints:
    """What is left when the member that goes least with the mean of the others is put out until all do."""
    while members.size > 1:
        correlation, z = with_others(of_group, members)
        worst = int(np.where(z < LEAST_Z, -1.0, correlation).argmin())
        if correlation[worst] >= LEAST_CORRELATION and z[worst] >= LEAST_Z:
            return members
        members = np.delete(members, worst)
    return members[:0]


def _group(of_group: Series, members: Ints, proof: str, p: float) -> Group:
    correlation, _ = with_others(of_group, members)
    signal = of_group.signal[members]
    return Group(
        tuple(members.tolist()), tuple(np.minimum(correlation, 1.0).tolist()), tuple(signal.tolist()), proof, p
    )


@dataclass(frozen=True, slots=True)
class _Others:
    """For each member the mean rise of the other members in each window, in units of each one's own signal."""

    value: Floats
    #: reciprocal of the variance it has as a whole, 0 where the others have no calls
    weight: Floats
    #: variance by the number of calls
    noise: Floats


def _others(of_group: Series, members: Ints, asked: slice = slice(None)) -> _Others:
    scale = np.sqrt(of_group.signal[members])[:, None]
    share = of_group.weight[members] * scale**2
    rise, noise = of_group.value[members] / scale, of_group.variance[members] / scale**2
    total, product, spread = (_of_others(share * by, asked) for by in (1.0, rise, share * noise))
    known = total > 0
    value = np.divide(product, total, out=np.zeros_like(total), where=known)
    noise = np.divide(spread, total**2, out=np.zeros_like(total), where=known)
    return _Others(value, np.where(known, 1 / (1 + noise), 0.0), noise)


def _of_others(values: Floats, asked: slice) -> Floats:
    rest = values.sum(axis=0) - values[asked]
    return np.asarray(np.maximum(rest, 0.0) if (values >= 0).all() else rest)


def with_others(of_group: Series, members: Ints, asked: slice = slice(None)) -> tuple[Floats, Floats]:
    """Each member's correlation, without noise, with the mean of the others, and its z.

    Args:
        of_group: the rises.
        members: positions, at least two.
        asked: which of them are asked about.
    """
    others = _others(of_group, members, asked)
    members = members[asked]
    u, v = of_group.weight[members] * of_group.value[members], others.weight * others.value
    product = (u * v).sum(axis=1)
    variance = np.diagonal(product_variance(u, v))
    square = others.weight**2
    signal = (square * (others.value**2 - others.noise)).sum(axis=1) / np.maximum(square.sum(axis=1), 1e-300)
    covariance = product / np.maximum((of_group.weight[members] * others.weight).sum(axis=1), 1e-300)
    correlation = covariance / np.sqrt(of_group.signal[members] * np.maximum(signal, _LEAST_OF_SIGNAL))
    return correlation, product / np.sqrt(np.maximum(variance, 1e-300))


def coincidence(of_group: Series, members: Ints, operations: int) -> float:
    """Probability that any set of this size would rise together as these do, were operations independent; at most 1.

    Args:
        of_group: the rises.
        members: positions; fewer than two coincide by themselves.
        operations: how many there are to pick from.
    """
    if members.size < 2:
        return 1.0
    others = _others(of_group, members)
    u, v = of_group.weighted[members], others.weight * others.value
    shifted = np.fft.irfft(np.fft.rfft(u, axis=1) * np.conj(np.fft.rfft(v, axis=1)), n=u.shape[1], axis=1)
    elsewhere = shifted[:, LAGS + 1 : u.shape[1] - LAGS]
    p = np.sort((1 + (elsewhere >= shifted[:, :1]).sum(axis=1)) / (1 + elsewhere.shape[1]))
    return float(min(1.0, math.comb(operations, members.size) * p[1:].prod()))
