"""Parents by traces, costs that only moved, the first mover, and the class of a bottleneck."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import call_grid, spreads
from pggit_analytics.analysis.detect_correlated_degradation import RECOMMENDATIONS
from pggit_analytics.analysis.ordered_calls import Calls, ordered_calls
from pggit_analytics.analysis.shared_bottleneck import CONTENTION, KINDS, group_bottleneck
from pggit_analytics.analysis.shared_causes import cost_shifted, first_mover, trace_parents
from pggit_analytics.analysis.shared_episodes import Lags, group_episodes
from pggit_analytics.analysis.shared_levels import shared_levels
from pggit_analytics.evaluation.profiles import OPERATIONS
from pggit_analytics.frames import METRICS
from tests.unit.joint_calls import AS_OF, every_day, joint_calls

TRACE_COLUMNS = {"metric_id": pl.Int64, "distributed_trace_id": pl.String, "distributed_trace_parent_id": pl.String}


def traced(rows: list[tuple[str, str | None, str | None]]) -> tuple[Calls, pl.DataFrame]:
    """Calls and traces of (operation, trace id, parent id)."""
    ids = list(range(1, len(rows) + 1))
    columns = {"metric_id": ids, "operation_type": [row[0] for row in rows], "duration_us": [100] * len(rows)}
    metrics = pl.DataFrame({**columns, "created_at": [AS_OF] * len(rows)}, schema=METRICS.columns)
    traces = pl.DataFrame([(n, *row[1:]) for n, row in zip(ids, rows, strict=True)], TRACE_COLUMNS, orient="row")
    return ordered_calls(metrics), traces


def lags(minutes: list[float], error: float = 0.2) -> Lags:
    return Lags(np.array(minutes), np.full(len(minutes), error))


def test_an_operation_belongs_to_the_one_that_most_of_its_calls_are_part_of() -> None:
    parents = trace_parents(
        *traced(
            [
                ("merge", "t1", None),
                ("merge", "t2", None),
                ("sync", "t3", None),
                ("find", None, "t1"),
                ("find", None, "t2"),
                ("find", None, "t3"),
                ("lock", None, "t1"),
                ("lock", None, None),
                ("lock", None, None),
                ("lost", None, "t9"),
            ]
        )
    )
    # find: two of three calls are parts of merge; lock: one of three; lost: of nothing that is known
    assert parents.rows() == [("find", "merge", 2 / 3)]


def test_without_traces_there_are_no_parents() -> None:
    assert trace_parents(*traced([("merge", None, None)])).is_empty()


def test_a_child_that_rose_without_its_parent_took_over_costs_and_one_with_it_did_not() -> None:
    rises = every_day(300, 60, 1.5)
    # a call of the parent lasts as long as one of its child and four times that on top: 1.5 times of a fifth is 1.1
    child = joint_calls({"child": rises, "other": rises}, per_minute=4.0)
    for parent_rise, shifted in ((1.1, []), (1.0, ["child"])):
        parent = joint_calls({"parent": every_day(300, 60, parent_rise)}, per_minute=4.0, usual_us=25000.0, seed=2)
        grid = call_grid(pl.concat([child, parent]), AS_OF, timedelta(days=7))
        levels = shared_levels(grid, spreads(grid))
        members = np.array([grid.operations.index(name) for name in ("child", "other")])
        episodes, _ = group_episodes(levels, grid, members, np.full(2, 0.01))
        found = cost_shifted(levels, grid, members, episodes, {"child": "parent", "other": "unseen"})
        assert [grid.operations[place] for place in found] == shifted


def test_a_parent_in_the_group_is_no_reason_to_leave_its_child_out() -> None:
    rises = every_day(300, 60, 1.5)
    grid = call_grid(joint_calls({"child": rises, "parent": rises}, per_minute=4.0), AS_OF, timedelta(days=7))
    levels, members = shared_levels(grid, spreads(grid)), np.arange(2)
    episodes, _ = group_episodes(levels, grid, members, np.full(2, 0.01))
    assert cost_shifted(levels, grid, members, episodes, {"child": "parent"}) == []


def test_the_first_to_rise_is_suspected_with_its_lead() -> None:
    mover = first_mover(["a", "b", "c"], lags([2.0, 0.0, 1.5], 0.3), {})
    assert (mover.member, mover.reason, mover.lead_minutes) == (1, "onset", 1.5)
    assert mover.lead_error == np.hypot(0.3, 0.3)


def test_what_the_first_consists_of_is_suspected_instead() -> None:
    mover = first_mover(["part", "whole", "other"], lags([0.4, 0.0, 3.0]), {"part": "whole"})
    assert (mover.member, mover.reason) == (0, "trace")


def test_a_part_that_rose_much_later_is_not_suspected() -> None:
    assert first_mover(["part", "whole"], lags([2.5, 0.0]), {"part": "whole"}).member == 1


def test_parents_in_a_circle_do_not_go_on_for_ever() -> None:
    assert first_mover(["a", "b"], lags([0.0, 0.1]), {"a": "b", "b": "a"}).member == 1


def test_every_operation_is_of_one_kind() -> None:
    kinds = [name for members in KINDS.values() for name in members]
    assert sorted(kinds) == sorted(OPERATIONS)
    assert {*KINDS, CONTENTION} == set(RECOMMENDATIONS)


def test_the_class_is_that_of_more_than_half_of_the_members() -> None:
    found = group_bottleneck(["rollback_commit", "rollback_cascade", "commit"])
    assert (found.name, found.share) == ("TRANSACTION_LOG_SATURATION", 2 / 3)
    assert found.members == ("rollback_cascade", "rollback_commit")


def test_members_of_several_kinds_share_some_resource() -> None:
    found = group_bottleneck(["commit", "get_history"])
    assert (found.name, found.share) == (CONTENTION, 0.5)
    assert group_bottleneck(["own_job", "own_import"]).share == 1.0
