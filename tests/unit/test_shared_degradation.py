"""What slowed down together, from calls to frames."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from pggit_analytics.analysis.shared_degradation import SharedDegradation, shared_degradation
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import preset
from pggit_analytics.evaluation.truth import LabelledWeek
from tests.unit.joint_calls import AS_OF, Rise, every_day, instant, joint_calls

QUIET: dict[str, list[Rise]] = {f"quiet_{letter}": [] for letter in "abcdefghij"}


def members(found: SharedDegradation) -> list[list[str]]:
    names: list[list[str]] = found.groups["members"].to_list()
    return names


def in_week(week: LabelledWeek) -> SharedDegradation:
    return shared_degradation(week.metrics, week.as_of, traces=week.traces)


def test_a_shared_bottleneck_is_told_with_members_episodes_and_excess() -> None:
    rises = every_day(300, 60, 1.5)
    calls = joint_calls({**QUIET, "commit": rises, "ensure_object": rises, "branch_create": rises}, per_minute=2.0)
    found = shared_degradation(calls, AS_OF)
    (group,) = found.groups.rows(named=True)
    assert group["members"] == ["branch_create", "commit", "ensure_object"]
    assert (group["kind"], group["episodes"]) == ("shared bottleneck", 7)
    assert (group["bottleneck"], group["bottleneck_share"]) == ("OBJECT_STORAGE_IO", 1.0)
    assert abs(group["first_onset"] - instant(rises[0][0])) < timedelta(minutes=6)
    assert abs(group["onset"] - instant(rises[-1][0])) < timedelta(minutes=6)
    assert abs(group["end"] - instant(rises[-1][1])) < timedelta(minutes=6)
    assert found.episodes["rise_ratio"].to_list() == [pytest.approx(1.5, rel=0.08)] * 7
    assert found.members["rise_ratio"].to_list() == [pytest.approx(1.5, rel=0.05)] * 3
    # 7 hours of 2 calls a minute, each 2.5 ms above 5 ms (times the mean of the lognormal noise)
    assert found.members["excess_ms"].to_list() == [pytest.approx(7 * 120 * 2.5 * 1.02, rel=0.15)] * 3


def test_pairs_are_those_of_the_groups_with_the_plan_s_bottleneck() -> None:
    rises = every_day(300, 60, 1.5)
    found = shared_degradation(
        joint_calls({**QUIET, "commit": rises, "merge": rises, "branch_create": rises}, per_minute=2.0), AS_OF
    )
    assert found.pairs.select("operation_type_1", "operation_type_2", "shared_bottleneck").rows() == [
        ("branch_create", "commit", "OBJECT_STORAGE_IO"),
        ("branch_create", "merge", "SHARED_RESOURCE_CONTENTION"),
        ("commit", "merge", "SHARED_RESOURCE_CONTENTION"),
    ]
    assert found.pairs["correlation"].min() > 0.85
    assert found.pairs["q"].max() < 0.01


def test_a_release_that_slows_several_operations_for_good_is_no_bottleneck() -> None:
    step: list[Rise] = [(3 * 1440, 7 * 1440, 1.8)]
    found = shared_degradation(joint_calls({**QUIET, "a": step, "b": step, "c": step, "d": step}), AS_OF)
    assert members(found) == []


def test_a_common_rise_that_is_still_on_is_told_as_such() -> None:
    recent: list[Rise] = [(7 * 1440 - 100, 7 * 1440, 2.0)]
    found = shared_degradation(joint_calls({**QUIET, **dict.fromkeys("abcde", recent)}, per_minute=2.0), AS_OF)
    assert members(found) == [list("abcde")]
    assert found.groups["kind"].to_list() == ["common rise"]
    assert found.groups["end"].to_list() == [None]


def test_joint_falls_are_suppressed_with_the_reason() -> None:
    falls = every_day(300, 60, 0.6)
    found = shared_degradation(joint_calls({**QUIET, **dict.fromkeys("abc", falls)}, per_minute=2.0), AS_OF)
    assert members(found) == []
    assert found.suppressed.rows() == [(["a", "b", "c"], "they vary together but are at no time slow together")]


def test_a_child_that_rose_without_its_parent_leaves_the_group() -> None:
    rises = every_day(300, 60, 1.5)
    calls = joint_calls({**QUIET, "child": rises, "x": rises, "y": rises, "parent": []}, per_minute=2.0)
    row = pl.int_range(pl.len()).over("operation_type")
    of = [("child", "distributed_trace_parent_id"), ("parent", "distributed_trace_id")]
    traces = calls.select(
        "metric_id",
        *(
            pl.when(pl.col("operation_type") == name).then(pl.format("t{}", row)).otherwise(None).alias(column)
            for name, column in of
        ),
    )
    assert members(shared_degradation(calls, AS_OF)) == [["child", "x", "y"]]
    found = shared_degradation(calls, AS_OF, traces=traces)
    assert members(found) == [["x", "y"]]
    assert found.suppressed["operation_types"].to_list() == [["child"]]


@pytest.mark.parametrize("name", ["orientation", "full"])
def test_the_groups_of_a_labelled_week_are_found_exactly(name: str) -> None:
    week = make_week(1002, preset(name))
    labelled = {frozenset(group) for group in week.truth.groups["members"].to_list()}
    assert {frozenset(group) for group in members(in_week(week))} == labelled


@pytest.mark.parametrize("name", ["clean", "surge"])
@pytest.mark.parametrize("seed", range(1000, 1004))
def test_a_week_without_a_bottleneck_has_no_group(name: str, seed: int) -> None:
    found = in_week(make_week(seed, preset(name)))
    assert members(found) == []
    assert found.suppressed.is_empty()


def test_a_storm_of_retries_and_a_release_are_no_group() -> None:
    week = make_week(1001, preset("full").only_faults("retry_storms", "releases", "cost_shift"))
    assert members(in_week(week)) == []


def test_half_a_week_later_the_same_groups_are_known_without_what_comes_after() -> None:
    week = make_week(1003, preset("full"))
    middle = week.as_of - timedelta(days=2)
    until = week.metrics.filter(pl.col("created_at") <= middle)
    live, replayed = shared_degradation(until, middle), shared_degradation(week.metrics, middle)
    assert live.groups.equals(replayed.groups)
    labelled = {frozenset(group) for group in week.truth.groups["members"].to_list()}
    assert {frozenset(group) for group in members(live)} <= labelled


def test_the_order_of_the_rows_does_not_matter() -> None:
    rises = every_day(300, 60, 1.5)
    calls = joint_calls({**QUIET, **dict.fromkeys("abc", rises)})
    found, shuffled = (shared_degradation(c, AS_OF) for c in (calls, calls.sample(fraction=1.0, shuffle=True, seed=1)))
    assert found.groups.equals(shuffled.groups)
    assert found.members.equals(shuffled.members)


@pytest.mark.parametrize("rows", [0, 1, 5, 40])
def test_a_handful_of_calls_has_no_group(rows: int) -> None:
    calls = joint_calls({"a": [], "b": [], "c": []}).head(rows)
    assert members(shared_degradation(calls, AS_OF)) == []


def test_an_hour_is_enough_to_run_and_too_short_to_find_anything() -> None:
    recent: list[Rise] = [(7 * 1440 - 30, 7 * 1440, 3.0)]
    calls = joint_calls({**QUIET, **dict.fromkeys("abc", recent)})
    assert members(shared_degradation(calls, AS_OF, lookback=timedelta(hours=1))) == []


def test_equal_durations_and_zeros_are_no_fault() -> None:
    calls = joint_calls({"a": [], "b": [], "c": []}).with_columns(pl.lit(0, dtype=pl.Int64).alias("duration_us"))
    assert members(shared_degradation(calls, AS_OF)) == []


def test_an_as_of_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        shared_degradation(joint_calls({"a": []}), datetime(2026, 3, 11))
