"""Times a merge and its phases from Python and writes them to ``merge_relationships`` and ``performance_metrics``.

::

    with recorder.merge("feature", "main") as merge:
        with merge.phase("merge_base_find"):
            ...
        with merge.phase("merge_conflict_detect"):
            conflicts = ...
        if conflicts:
            merge.conflict()
            with merge.phase("merge_auto_resolve"):
                ...
        merge.resolved("auto")

The merge's row is written once, in the transaction that writes its ``merge_branches`` metric. As with `Recorder.time`
nothing here raises into the merge: what cannot be written is said by the recorder's logger and `Recorder.last_error`.
An exception that leaves the block makes the merge FAILED and goes on. The role needs INSERT on both tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.recorder import MergeRow, Recorder, Span, SpanLabels, checked_text

#: what `Merge.resolved` takes
RESOLUTION_STRATEGIES = ("auto", "manual", "rejected")

_OPERATION = "merge_branches"


class Merge(Span):
    """One timed merge; made by `Recorder.merge`. As a decorator it records a merge for every call.

    Attributes:
        trace_id: the merge's id, known from the beginning of the block.
        metadata: of the ``merge_branches`` metric; may be added to inside the block.
    """

    def __init__(self, recorder: Recorder, branch_from: str, branch_into: str, labels: SpanLabels) -> None:
        super().__init__(recorder, _OPERATION, labels, new_trace=True)
        self._branches = (branch_from, branch_into)
        self._strategy: str | None = None
        self._has_conflict = False
        self._started_at: datetime | None = None

    @property
    def merge_id(self) -> str | None:
        """The id of ``merge_relationships``; None before the block has begun."""
        return self.trace_id

    def phase(self, operation_type: str, *, metadata: Mapping[str, Any] | None = None) -> Span:
        """Time a phase as a ``with`` block. The dashboards know ``merge_base_find``, ``merge_conflict_detect`` and
        ``merge_auto_resolve``. The phase belongs to this merge in whatever thread it runs."""
        return self._recorder.time(operation_type, parent_id=self.trace_id, metadata=metadata)

    def conflict(self) -> None:
        """The two branches contradict each other, whoever resolves that: the merge's status is CONFLICT."""
        self._has_conflict = True

    def resolved(self, strategy: str) -> None:
        """How the merge was decided: ``auto``, ``manual`` or ``rejected``; any other word leaves it undecided."""
        if strategy in RESOLUTION_STRATEGIES:
            self._strategy = strategy
            return
        expected = ", ".join(RESOLUTION_STRATEGIES)
        self._recorder.note_merge_fault(InvalidArgument(f"strategy is {strategy!r}, expected one of {expected}"))

    def __enter__(self) -> Merge:
        super().__enter__()
        self._strategy = None
        self._has_conflict = False
        self._started_at = datetime.now(UTC)
        return self

    def _again(self) -> Merge:
        return Merge(self._recorder, *self._branches, self._labels)

    def _merge_row(self, duration: str, *, has_failed: bool) -> MergeRow | None:
        conflict = "CONFLICT" if self._has_conflict else "SUCCESS"
        started_at = self._started_at or datetime.now(UTC)
        try:
            return MergeRow(
                merge_id=checked_text("merge_id", self.trace_id),
                branch_from=checked_text("branch_from", self._branches[0]),
                branch_into=checked_text("branch_into", self._branches[1]),
                created_at=started_at.isoformat(),
                resolution_strategy=self._strategy,
                status="FAILED" if has_failed else conflict,
                duration_ms=duration,
            )
        except Exception as exc:
            self._recorder.note_merge_fault(exc)
            return None
