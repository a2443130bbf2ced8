"""The 33 operations and how each behaves on an ordinary day of one labelled week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pggit_analytics.evaluation.noise import NoiseLaw
from pggit_analytics.evaluation.options import WeekOptions
from pggit_analytics.evaluation.streams import Streams

#: a whole merge, and its phases with the share of merges that have each
MERGE = "merge_branches"
PHASES = {"merge_base_find": 1.0, "merge_conflict_detect": 0.95, "merge_auto_resolve": 0.35}

#: operation -> typical duration in ms
TYPICAL_MS = {
    "apply_data_merge": 70.0,
    "auto_resolution": 15.0,
    "branch_checkout": 6.0,
    "branch_create": 2.0,
    "branch_delete": 1.0,
    "calculate_branch_size": 18.0,
    "commit": 5.0,
    "compress_branch": 220.0,
    "conflict_detection": 20.0,
    "create_data_branch": 60.0,
    "create_history_partition": 35.0,
    "ensure_object": 0.8,
    "get_branches": 0.5,
    "get_commits": 2.0,
    "get_history": 5.0,
    "get_object_at_time": 4.0,
    "get_object_timeline": 14.0,
    "get_objects": 1.0,
    "merge": 50.0,
    "merge_auto_resolve": 17.0,
    "merge_base_find": 13.0,
    "merge_branches": 85.0,
    "merge_cleanup": 3.0,
    "merge_conflict_detect": 20.0,
    "merge_data_branches": 85.0,
    "merge_execute": 28.0,
    "query_temporal_snapshots": 22.0,
    "rollback": 10.0,
    "rollback_cascade": 45.0,
    "rollback_commit": 12.0,
    "rollback_dry_run": 8.0,
    "rollback_recovery": 30.0,
    "rollback_validate": 3.5,
}
OPERATIONS = tuple(TYPICAL_MS)
FREE = tuple(name for name in OPERATIONS if name != MERGE and name not in PHASES)

#: calls a day of a sparse operation
SPARSE_A_DAY = 5.0
#: calls a minute: the least, how many times as many the most, and the power that makes few of them busy
_RATE, _RATE_SPAN, _RATE_POWER = 0.3, 5.0 / 0.3, 2.4


@dataclass(frozen=True, slots=True)
class Profile:
    """One operation of one week."""

    #: median duration at no load
    typical_us: float
    #: mean calls a minute; of a merge's phase, that of the merges
    per_minute: float
    #: how much slower at a load of 1: 0.1 is 10 %
    load_slowdown: float
    law: NoiseLaw


def draw_profiles(options: WeekOptions, streams: Streams, sparse: frozenset[str]) -> dict[str, Profile]:
    """A profile for each operation, in the order of `OPERATIONS`."""
    return {
        name: _draw_profile(name, streams.of("profiles", place), is_sparse=name in sparse and options.has("sparse"))
        for place, name in enumerate(OPERATIONS)
    }


def _draw_profile(name: str, random: np.random.Generator, *, is_sparse: bool) -> Profile:
    share, per_minute = random.random(), SPARSE_A_DAY / (24 * 60)
    sigma, tail_share = _log_uniform(0.14, 0.31, random), _log_uniform(0.0005, 0.02, random)
    # frequent tails are shorter: calls of 3 times the typical duration stay rarer than the spikes labelled so
    law = NoiseLaw(sigma, tail_share, random.uniform(0.12, 0.26) * (tail_share / 0.0005) ** -0.16)
    slowdown = random.uniform(0.04, 0.2)
    if not is_sparse:
        per_minute = float(_RATE * _RATE_SPAN ** (share**_RATE_POWER))
    return Profile(1000.0 * TYPICAL_MS[name] * random.uniform(0.8, 1.25), per_minute, slowdown, law)


def _log_uniform(low: float, high: float, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
