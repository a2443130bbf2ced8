"""Which operations form a group, against SciPy's linkage and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pggit_analytics.analysis.shared_groups import (
    Group,
    average_linkage,
    coincidence,
    regrouped,
    shared_groups,
    with_others,
)
from pggit_analytics.analysis.shared_levels import SharedLevels
from pggit_analytics.analysis.shared_pairs import pair_matrices, series

Floats = NDArray[np.float64]
WINDOWS = 672


def levels_of(rises: Floats, *, noise: float = 0.07, seed: int = 5) -> SharedLevels:
    """A week of quarters of an hour with 9 calls each: the rises and sampling noise of this standard deviation."""
    random = np.random.default_rng(seed)
    value = np.repeat(rises + random.normal(0, noise, rises.shape), 3, axis=1)
    names = tuple(f"op{row:02d}" for row in range(len(value)))
    count = np.full(value.shape, 3.0)
    return SharedLevels(names, 0, count, value * count, np.full(len(value), 9 * noise**2), np.zeros(value.shape))


def pulses(starts: list[int], height: float, length: int = 4) -> Floats:
    """A rise of this height for some windows from each start."""
    rise = np.zeros(WINDOWS)
    for start in starts:
        rise[start : start + length] = height
    return rise


def members_of(groups: list[Group]) -> list[tuple[int, ...]]:
    return [group.members for group in groups]


def found_in(rises: Floats, **options: float) -> list[Group]:
    levels = levels_of(rises, **options)  # type: ignore[arg-type]
    return shared_groups(levels, pair_matrices(levels))


@pytest.mark.parametrize("seed", range(5))
def test_linkage_joins_what_scipy_joins(seed: int) -> None:
    random = np.random.default_rng(seed)
    drawn = random.uniform(0, 1, (14, 14))
    similar = (drawn + drawn.T) / 2
    distance = 1 - similar
    np.fill_diagonal(distance, 0.0)
    labels = fcluster(linkage(squareform(distance, checks=False), "average"), 0.45, "distance")
    expected = {tuple(np.flatnonzero(labels == label)) for label in set(labels) if (labels == label).sum() > 1}
    assert {tuple(members) for members in average_linkage(similar, np.arange(14), 0.55)} == expected


def test_linkage_leaves_out_what_is_no_candidate() -> None:
    similar = np.ones((4, 4))
    assert [m.tolist() for m in average_linkage(similar, np.array([0, 2]), 0.5)] == [[0, 2]]


def test_one_false_pair_does_not_join_two_groups() -> None:
    similar = np.zeros((6, 6))
    similar[:3, :3] = similar[3:, 3:] = 0.9
    similar[2, 3] = similar[3, 2] = 0.95
    joined = [members.tolist() for members in average_linkage(similar, np.arange(6), 0.5)]
    # the pair is joined first, and then no other member is near enough to both of its sides
    assert all(len(members) < 6 for members in joined)


def test_two_causes_make_two_groups_although_some_of_their_episodes_coincide() -> None:
    one = pulses([40, 100, 160, 220, 280, 340, 400, 460, 520, 580], 0.4)
    two = pulses([40, 130, 190, 250, 310, 370, 430, 490, 550, 610], 0.4)
    rises = np.stack([one, one * 0.8, one * 1.2, two, two * 1.2, two * 0.7, *np.zeros((10, WINDOWS))])
    assert members_of(found_in(rises)) == [(0, 1, 2), (3, 4, 5)]


def test_noise_and_lonely_incidents_make_no_group() -> None:
    rises = np.zeros((33, WINDOWS))
    for row in range(12):
        rises[row] = pulses([30 + 47 * row], 0.8, 12)
    assert found_in(rises) == []


def test_two_joint_rises_of_four_operations_are_proved_by_their_coincidence() -> None:
    rises = np.zeros((20, WINDOWS))
    rises[3:7] = pulses([200, 430], 0.4, 5)
    (group,) = found_in(rises)
    assert (group.members, group.proof) == ((3, 4, 5, 6), "coincidence")
    assert group.p <= 0.02


def test_one_joint_rise_of_two_operations_proves_nothing() -> None:
    rises = np.zeros((20, WINDOWS))
    rises[3:5] = pulses([200], 0.8, 5)
    assert found_in(rises) == []


def test_coincidence_counts_the_rotations_that_fit_as_well() -> None:
    rises = np.zeros((3, WINDOWS))
    rises[:3] = pulses([200], 0.3, 5)
    rises[2] += pulses([500], 0.5, 9)
    of_group = series(levels_of(rises), 3)
    members, p = np.arange(3), []
    for member in range(3):
        others = [m for m in range(3) if m != member]
        share = of_group.weight[others] * of_group.signal[others][:, None]
        rise = of_group.value[others] / np.sqrt(of_group.signal[others])[:, None]
        noise = of_group.variance[others] / of_group.signal[others][:, None]
        total = share.sum(axis=0)
        mean = (share * rise).sum(axis=0) / total
        v = mean / (1 + (share * share / total**2 * noise).sum(axis=0))
        u = of_group.weighted[member]
        here = (u * v).sum()
        elsewhere = [(np.roll(u, -by) * v).sum() for by in range(9, WINDOWS - 8)]
        p.append((1 + sum(there >= here for there in elsewhere)) / (1 + len(elsewhere)))
    expected = min(1.0, math.comb(33, 3) * math.prod(sorted(p)[1:]))
    # the noise of a mean of others is weighted by the square of their shares
    assert coincidence(of_group, members, 33) == pytest.approx(expected)


def test_a_member_goes_with_the_mean_of_the_others_and_a_stranger_does_not() -> None:
    rises = np.zeros((4, WINDOWS))
    rises[:3] = pulses([50, 150, 250, 350, 450, 550], 0.4)
    rises[3] = pulses([80, 180, 280, 380, 480, 580], 0.4)
    correlation, z = with_others(series(levels_of(rises), 3), np.arange(4))
    assert correlation[:3].min() > 0.6
    assert abs(correlation[3]) < 0.2
    assert z[:3].min() > 2


def test_a_group_without_a_member_is_what_still_goes_together() -> None:
    rises = np.zeros((4, WINDOWS))
    rises[:3] = pulses([50, 150, 250, 350, 450, 550], 0.4)
    levels = levels_of(rises)
    (group,) = shared_groups(levels, pair_matrices(levels))
    left = regrouped(levels, group, [0])
    assert left is not None
    assert left.members == (1, 2)
    assert regrouped(levels, group, [0, 1]) is None
