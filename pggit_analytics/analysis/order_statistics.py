"""Quantiles of many values, exact, without putting them in order.

A sorted sample tells between which two values the one sought almost surely lies (Floyd and Rivest 1975, "Expected time
bounds for selection"); only what is between them is partitioned. Where the sample is wrong, all values are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: fewer values are partitioned at once
_MANY, _SAMPLE = 8192, 1024
#: standard deviations of the place in the sample on either side, which is at most half the root of its size
_SURE = 4.0


def quantile(values: NDArray[np.float64] | NDArray[np.int64], position: float) -> float:
    """Linear between the two nearest values.

    Args:
        values: at least one, none of them NaN.
        position: 0 to 1.
    """
    at = (values.size - 1) * position
    rank = math.floor(at)
    low, high = neighbours(values, rank)
    return low + (high - low) * (at - rank)


def neighbours(values: NDArray[np.float64] | NDArray[np.int64], rank: int) -> tuple[float, float]:
    """The value of this rank, counted from 0, and the next one; the last is its own next one."""
    following = min(rank + 1, values.size - 1)
    if values.size >= _MANY:
        sample = np.sort(values[:: values.size // _SAMPLE])
        place, reach = rank / values.size * sample.size, _SURE * math.sqrt(sample.size) / 2
        low = sample[max(0, math.floor(place - reach))]
        high = sample[min(sample.size - 1, math.ceil(place + reach))]
        inside, below = values[(values >= low) & (values <= high)], int(np.count_nonzero(values < low))
        if below <= rank and following < below + inside.size:
            values, rank, following = inside, rank - below, following - below
    parted = np.partition(values, (rank, following))
    return float(parted[rank]), float(parted[following])
