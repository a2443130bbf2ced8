"""The generated week: its shape, and that the faults written in its labels can be found in its numbers.

The statistics are computed here with numpy on their definitions, not with the package's analysis.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from pggit_analytics.demo.generator import LABELS, WEEK_MERGES, WEEK_METRICS, Week, generate_week
from pggit_analytics.errors import InvalidArgument

AS_OF = datetime(2026, 1, 30, 12, tzinfo=UTC)  # a Friday

#: the operations of pgGit whose typical duration in ms is stated, and the others
TYPICAL_MS = {
    "commit": 5.0,
    "merge": 50.0,
    "rollback": 10.0,
    "branch_create": 2.0,
    "branch_delete": 1.0,
    "conflict_detection": 20.0,
    "auto_resolution": 15.0,
    "get_objects": 1.0,
    "get_history": 5.0,
    "get_branches": 0.5,
    "get_commits": 2.0,
}
OPERATIONS = TYPICAL_MS.keys() | {
    "branch_checkout",
    "ensure_object",
    "merge_auto_resolve",
    "rollback_commit",
    "rollback_cascade",
    "rollback_recovery",
    "merge_branches",
    "merge_data_branches",
    "merge_execute",
    "merge_cleanup",
    "create_data_branch",
    "apply_data_merge",
    "get_object_timeline",
    "get_object_at_time",
    "query_temporal_snapshots",
    "merge_base_find",
    "merge_conflict_detect",
    "rollback_dry_run",
    "rollback_validate",
    "calculate_branch_size",
    "create_history_partition",
    "compress_branch",
}


@pytest.fixture(
    scope="module",
    params=[(AS_OF, 7), (datetime(2026, 2, 2, tzinfo=UTC), 7), (datetime(2026, 11, 25, 23, 7, 5, tzinfo=UTC), 4)],
    ids=["friday noon", "sunday midnight", "another seed"],
)
def week(request: pytest.FixtureRequest) -> Week:
    as_of, seed = request.param
    return generate_week(as_of, seed=seed)


def _since(week: Week, days: float) -> datetime:
    return week.as_of - timedelta(days=days)


def _p99_change_percent(week: Week, operation_type: str) -> float:
    """How much the 99th percentile of the last 3.5 days lies above that of the 3.5 days before."""
    of_type = week.metrics.filter(operation_type=operation_type)
    new = pl.col("created_at") >= _since(week, 3.5)
    p99_old = np.quantile(of_type.filter(~new)["duration_ms"].to_numpy(), 0.99)
    p99_new = np.quantile(of_type.filter(new)["duration_ms"].to_numpy(), 0.99)
    return float(100 * (p99_new - p99_old) / p99_old)


def _minute_means(week: Week) -> dict[str, dict[int, float]]:
    recent = week.metrics.filter(pl.col("created_at") >= _since(week, 1))
    minute = pl.col("created_at").dt.epoch("s") // 60
    means: dict[str, dict[int, float]] = {}
    grouped = recent.group_by("operation_type", minute.alias("minute")).agg(pl.col("duration_ms").mean())
    for operation_type, at, mean in grouped.iter_rows():
        means.setdefault(operation_type, {})[at] = mean
    return means


def _pearson(one: dict[int, float], other: dict[int, float]) -> float:
    shared = sorted(one.keys() & other.keys())
    return float(np.corrcoef([one[at] for at in shared], [other[at] for at in shared])[0, 1])


def test_every_frame_has_its_schema(week: Week) -> None:
    WEEK_METRICS.check(week.metrics)
    WEEK_MERGES.check(week.merges)
    LABELS.check(week.labels)


def test_every_operation_is_there_at_a_plausible_rate(week: Week) -> None:
    per_minute = {
        name: rows / (7 * 24 * 60) for name, rows in week.metrics["operation_type"].value_counts().iter_rows()
    }

    assert len(OPERATIONS) == 33
    assert per_minute.keys() == OPERATIONS
    assert min(per_minute.values()) > 0.27
    assert max(per_minute.values()) < 5
    assert 250_000 < week.metrics.height < 400_000


def test_the_rows_lie_in_the_week_in_order(week: Week) -> None:
    for frame in (week.metrics, week.merges):
        assert frame["created_at"].is_sorted()
        assert frame["created_at"][0] >= _since(week, 7)
        assert frame["created_at"][-1] <= week.as_of


def test_durations_are_positive_whole_microseconds_that_fit_the_column(week: Week) -> None:
    for durations in (week.metrics["duration_ms"].to_numpy(), week.merges["duration_ms"].to_numpy()):
        assert durations.min() >= 0.001
        assert durations.max() < 1e5
        assert np.array_equal(durations, np.round(durations, 3))


def test_typical_durations_are_the_stated_ones(week: Week) -> None:
    before_the_faults = week.metrics.filter(pl.col("created_at") < _since(week, 4))
    medians = dict(before_the_faults.group_by("operation_type").agg(pl.col("duration_ms").median()).iter_rows())

    for operation_type, typical_ms in TYPICAL_MS.items():
        assert medians[operation_type] == pytest.approx(typical_ms, rel=0.15), operation_type


def test_days_are_busier_and_slower_than_nights_and_weekends_quieter(week: Week) -> None:
    quiet = week.metrics.filter(operation_type="get_objects").with_columns(
        hour=pl.col("created_at").dt.hour(), weekend=pl.col("created_at").dt.weekday() >= 6
    )
    afternoon = quiet.filter(pl.col("hour").is_between(13, 16), ~pl.col("weekend"))
    night = quiet.filter(pl.col("hour").is_between(1, 4), ~pl.col("weekend"))
    weekend_afternoon = quiet.filter(pl.col("hour").is_between(13, 16), "weekend")

    assert afternoon.height > 2 * night.height
    assert afternoon["duration_ms"].median() > 1.05 * night["duration_ms"].median()  # type: ignore[operator]
    assert afternoon.height / 5 > 1.3 * weekend_afternoon.height / 2


def test_every_kind_of_fault_is_labelled(week: Week) -> None:
    assert set(week.labels["kind"]) == {"SPIKE", "STEP", "DRIFT", "BOTTLENECK"}
    assert week.labels.filter(pl.col("start") > pl.col("end")).is_empty()
    assert week.labels.filter(pl.col("start") < _since(week, 7)).is_empty()
    assert week.labels.filter(pl.col("end") > week.as_of).is_empty()


def test_a_spike_label_points_at_its_row_the_slowest_around(week: Week) -> None:
    spikes = week.labels.filter(kind="SPIKE")

    assert spikes["row"].n_unique() == spikes.height >= 8
    assert spikes["factor"].is_between(8, 30).all()
    for label in spikes.iter_rows(named=True):
        row = week.metrics.row(label["row"], named=True)
        around = week.metrics.filter(
            pl.col("operation_type") == label["operation_type"],
            pl.col("created_at").is_between(label["start"] - timedelta(hours=2), label["start"] + timedelta(hours=2)),
        )
        assert (row["operation_type"], row["created_at"]) == (label["operation_type"], label["start"])
        assert label["start"] == label["end"]
        assert row["duration_ms"] == around["duration_ms"].max()


def test_the_spikes_of_the_last_day_are_outliers_of_more_than_three_standard_deviations(week: Week) -> None:
    spikes = week.labels.filter(pl.col("kind") == "SPIKE", pl.col("start") >= _since(week, 1))

    assert spikes.height >= 5
    for operation_type, row in spikes.select("operation_type", "row").iter_rows():
        window = week.metrics.filter(
            pl.col("operation_type") == operation_type, pl.col("created_at") >= _since(week, 1)
        )["duration_ms"].to_numpy()
        assert (week.metrics["duration_ms"][row] - window.mean()) / window.std() > 3, operation_type


def test_the_step_and_the_drift_raise_the_p99_and_nothing_unlabelled_does(week: Week) -> None:
    lasting = week.labels.filter(pl.col("kind") != "SPIKE")
    labelled = dict(lasting.select("operation_type", "kind").iter_rows())
    changes = {name: _p99_change_percent(week, name) for name in OPERATIONS}

    assert all(changes[name] > 30 for name, kind in labelled.items() if kind == "STEP")
    assert all(changes[name] > 20 for name, kind in labelled.items() if kind == "DRIFT")
    assert {name for name, change in changes.items() if change > 20} == labelled.keys()


def test_the_step_begins_at_its_label_and_lasts_to_the_end(week: Week) -> None:
    (label,) = week.labels.filter(kind="STEP").iter_rows(named=True)
    of_type = week.metrics.filter(operation_type=label["operation_type"])
    hours = timedelta(hours=24)
    before = of_type.filter(pl.col("created_at").is_between(label["start"] - hours, label["start"]))["duration_ms"]
    after = of_type.filter(pl.col("created_at").is_between(label["start"], label["start"] + hours))["duration_ms"]

    assert np.median(after) / np.median(before) == pytest.approx(label["factor"], rel=0.1)
    assert label["end"] == week.as_of


def test_the_bottleneck_slows_its_group_together_and_nothing_else_correlates(week: Week) -> None:
    group = set(week.labels.filter(kind="BOTTLENECK")["operation_type"])
    means = _minute_means(week)
    correlated = {
        (one, other) for one, other in combinations(sorted(means), 2) if _pearson(means[one], means[other]) > 0.75
    }

    assert group == {"commit", "branch_create", "ensure_object"}
    assert correlated == set(combinations(sorted(group), 2))


def test_the_bursts_of_the_bottleneck_are_the_same_for_its_group_and_last_ten_to_forty_minutes(week: Week) -> None:
    bursts = week.labels.filter(kind="BOTTLENECK")
    length = bursts["end"] - bursts["start"]

    assert (bursts.group_by("start", "end", "factor", "group").len()["len"] == 3).all()
    assert bursts["start"].min() >= _since(week, 1)  # type: ignore[operator]
    assert length.is_between(timedelta(minutes=10), timedelta(minutes=40)).all()


def _spans(week: Week) -> pl.DataFrame:
    """One row a merge with the duration of its root and of each phase, joined by the trace ids."""
    merges = week.merges
    for name, key in (
        ("merge_branches", "distributed_trace_id"),
        ("merge_base_find", "distributed_trace_parent_id"),
        ("merge_conflict_detect", "distributed_trace_parent_id"),
        ("merge_auto_resolve", "distributed_trace_parent_id"),
    ):
        span = week.metrics.filter(operation_type=name).select(
            pl.col(key).alias("merge_id"),
            (pl.col("duration_ms") * 1000).round().cast(pl.Int64).alias(name),
            pl.col("created_at").alias(f"{name}_end"),
        )
        merges = merges.join(span, on="merge_id", how="left", validate="1:1")
    return merges


def test_every_merge_has_its_root_and_its_phases_fill_no_more_than_its_time(week: Week) -> None:
    spans = _spans(week)
    phases = pl.sum_horizontal("merge_base_find", "merge_conflict_detect", "merge_auto_resolve")

    assert spans["merge_branches"].null_count() == spans["merge_base_find"].null_count() == 0
    assert spans.filter(phases > pl.col("merge_branches")).is_empty()
    assert ((spans["duration_ms"] * 1000).round().cast(pl.Int64) == spans["merge_branches"]).all()


def test_the_phases_of_a_merge_follow_each_other_from_its_beginning_to_its_end(week: Week) -> None:
    spans = _spans(week)
    start, end = pl.col("created_at"), pl.col("merge_branches_end")

    def began(name: str) -> pl.Expr:
        return pl.col(f"{name}_end") - pl.duration(microseconds=name)

    assert spans.filter(began("merge_branches") != start).is_empty()
    assert spans.filter(began("merge_base_find") < start).is_empty()
    assert spans.filter(began("merge_conflict_detect") < pl.col("merge_base_find_end")).is_empty()
    assert spans.filter(began("merge_auto_resolve") < pl.col("merge_conflict_detect_end")).is_empty()
    assert spans.filter(pl.max_horizontal("^merge_(base|conflict|auto).*_end$") > end).is_empty()


def test_only_merges_with_conflicts_resolve_them_and_failed_ones_never_look_for_them(week: Week) -> None:
    spans = _spans(week)

    assert ((spans["status"] == "CONFLICT") == spans["merge_auto_resolve"].is_not_null()).all()
    assert ((spans["status"] != "FAILED") == spans["merge_conflict_detect"].is_not_null()).all()
    assert set(spans["status"]) == {"SUCCESS", "CONFLICT", "FAILED"}
    assert set(spans.filter(status="CONFLICT")["resolution_strategy"]) == {"auto", "manual", "rejected", None}
    assert set(spans.filter(status="FAILED")["resolution_strategy"]) == {None}


def test_one_pair_of_branches_is_the_hotspot_of_conflicts(week: Week) -> None:
    shares = (
        week.merges.group_by("branch_from", "branch_into")
        .agg((pl.col("status") == "CONFLICT").mean().alias("share"))
        .sort("share", descending=True)
    )

    assert shares.row(0)[:2] == ("feature/billing", "release/2.4")
    assert shares["share"][0] > 0.75 > 1.4 * shares["share"][1]


def test_only_the_spans_of_merges_belong_to_a_trace(week: Week) -> None:
    traced = week.metrics.filter(pl.col("distributed_trace_id").is_not_null())
    phases = traced.filter(pl.col("distributed_trace_parent_id").is_not_null())

    assert set(traced["operation_type"]) - set(phases["operation_type"]) == {"merge_branches"}
    assert set(phases["operation_type"]) == {"merge_base_find", "merge_conflict_detect", "merge_auto_resolve"}
    assert traced["distributed_trace_id"].n_unique() == traced.height


def test_the_same_arguments_give_the_same_week() -> None:
    one, again = generate_week(AS_OF), generate_week(AS_OF.astimezone(timezone(timedelta(hours=-5))))

    assert one.as_of == again.as_of
    assert one.metrics.equals(again.metrics)
    assert one.merges.equals(again.merges)
    assert one.labels.equals(again.labels)


def test_another_seed_gives_other_rows_and_other_bursts() -> None:
    one, other = generate_week(AS_OF, seed=1), generate_week(AS_OF, seed=2)

    assert not one.metrics.equals(other.metrics)
    assert not one.labels.filter(kind="BOTTLENECK").equals(other.labels.filter(kind="BOTTLENECK"))


def test_a_longer_period_has_more_quiet_days_before_the_same_faults() -> None:
    fortnight = generate_week(AS_OF, days=14)

    assert fortnight.metrics["created_at"][0] - (AS_OF - timedelta(days=14)) < timedelta(minutes=5)
    assert 500_000 < fortnight.metrics.height < 800_000
    assert fortnight.labels["start"].min() >= AS_OF - timedelta(days=7)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("as_of", "arguments", "message"),
    [
        (datetime(2026, 1, 30, 12), {}, "as_of is 2026-01-30T12:00:00 without a time zone"),
        (AS_OF, {"seed": -1}, "seed is -1; allowed is 0 or more"),
        (AS_OF, {"days": 6}, "days is 6; allowed is 7 to 60"),
        (AS_OF, {"days": 61}, "days is 61; allowed is 7 to 60"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(as_of: datetime, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        generate_week(as_of, **arguments)
