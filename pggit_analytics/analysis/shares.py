"""Work divided into shares of whole operations, and what the shares yield put together again.

Percentiles, z-scores and levels of an operation need all its rows of a window, so an operation is never divided.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from pggit_analytics.analysis.ordered_calls import Calls, firsts


def balanced_shares(rows: Mapping[str, int], count: int) -> tuple[tuple[str, ...], ...]:
    """The operations in at most ``count`` shares of about as many rows: the largest first, each to the smallest share.

    No share is larger than 4/3 of the largest that the best division has (Graham 1969).

    Args:
        rows: of each operation.
        count: at least 1.

    Returns:
        The shares, the largest first; in each the names, ascending. Fewer than ``count`` where there are not so many.
    """
    shares: list[tuple[int, int, list[str]]] = [(0, number, []) for number in range(min(count, len(rows)))]
    for name in sorted(rows, key=lambda name: (-rows[name], name)):
        size, number, names = shares[0]
        heapq.heapreplace(shares, (size + rows[name], number, [*names, name]))
    return tuple(tuple(sorted(names)) for _, _, names in sorted(shares, key=lambda share: (-share[0], share[1])))


def joined_by_operation(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames in the order of operations, one below the other in that order.

    Args:
        frames: of one schema, each sorted by ``operation_type`` first; no operation is in two of them. At least one.
    """
    return pl.concat(frames).sort("operation_type", maintain_order=True)


def joined_calls(parts: Sequence[Calls]) -> Calls:
    """The calls of all parts in order.

    Args:
        parts: no operation is in two of them.
    """
    blocks = [(name, part, part.calls_of(place)) for part in parts for place, name in enumerate(part.operations)]
    blocks.sort(key=lambda block: block[0])
    sizes = [of.stop - of.start for _, _, of in blocks]
    none = np.zeros(0, dtype=np.int64)
    return Calls(
        operations=tuple(name for name, _, _ in blocks),
        first=firsts(sizes),
        at=np.concatenate([none, *(part.at[of] for _, part, of in blocks)]),
        duration_us=np.concatenate([none, *(part.duration_us[of] for _, part, of in blocks)]),
        metric_id=np.concatenate([none, *(part.metric_id[of] for _, part, of in blocks)]),
        room=None,
    )
