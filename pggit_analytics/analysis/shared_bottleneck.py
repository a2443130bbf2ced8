"""What a group of operations most likely shares, by what kind of operations they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

#: the class of groups of no one kind
CONTENTION = "SHARED_RESOURCE_CONTENTION"

#: class -> operations that show it; the names are those of the SQL function ``shared_bottleneck``
KINDS: dict[str, frozenset[str]] = {
    "MERGE_PIPELINE_SATURATION": frozenset(
        {
            "apply_data_merge",
            "auto_resolution",
            "conflict_detection",
            "merge",
            "merge_auto_resolve",
            "merge_base_find",
            "merge_branches",
            "merge_cleanup",
            "merge_conflict_detect",
            "merge_data_branches",
            "merge_execute",
        }
    ),
    "OBJECT_STORAGE_IO": frozenset(
        {
            "branch_checkout",
            "branch_create",
            "branch_delete",
            "commit",
            "compress_branch",
            "create_data_branch",
            "create_history_partition",
            "ensure_object",
        }
    ),
    "QUERY_CACHE_PRESSURE": frozenset(
        {
            "calculate_branch_size",
            "get_branches",
            "get_commits",
            "get_history",
            "get_object_at_time",
            "get_object_timeline",
            "get_objects",
            "query_temporal_snapshots",
        }
    ),
    "TRANSACTION_LOG_SATURATION": frozenset(
        {
            "rollback",
            "rollback_cascade",
            "rollback_commit",
            "rollback_dry_run",
            "rollback_recovery",
            "rollback_validate",
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A class and its evidence."""

    name: str
    #: share of the members that show it
    share: float
    #: those members, by name
    members: tuple[str, ...]


def group_bottleneck(members: Collection[str]) -> Bottleneck:
    """The class that more than half of the members show; the one of several kinds if there is none.

    The evidence of the latter is the share of members that are not of the commonest kind; 1 if none has a known kind.

    Args:
        members: names of operations, at least one.
    """
    shown = {name: sorted(kind.intersection(members)) for name, kind in KINDS.items()}
    name = max(shown, key=lambda kind: len(shown[kind]))
    if 2 * len(shown[name]) <= len(members):
        others = tuple(sorted(set(members) - set(shown[name])))
        return Bottleneck(CONTENTION, len(others) / len(members), others)
    return Bottleneck(name, len(shown[name]) / len(members), tuple(shown[name]))
