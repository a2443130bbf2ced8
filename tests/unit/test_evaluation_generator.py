"""Labelled weeks: their shape, that the labels can be found in the numbers, and that features do not touch each other.

The statistics are computed here on their definitions, with numpy and Polars.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from pggit_analytics.demo.generator import PROFILES
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation import truth
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import FAULTS, PRESETS, WeekOptions, preset
from pggit_analytics.evaluation.profiles import OPERATIONS
from pggit_analytics.evaluation.truth import LabelledWeek
from pggit_analytics.frames import METRICS

SEED = 5
LABELS = {
    "spikes": truth.SPIKES,
    "changes": truth.CHANGES,
    "episodes": truth.EPISODES,
    "groups": truth.GROUPS,
    "surges": truth.SURGES,
    "breaches": truth.BREACHES,
    "rows": truth.ROWS,
}


@cache
def full(*off: str) -> LabelledWeek:
    """The week with everything but these."""
    return make_week(SEED, WeekOptions().without(*off))


def level(week: LabelledWeek, name: str, start: datetime, end: datetime) -> float:
    """Geometric median of an operation's durations in [start, end), microseconds."""
    is_within = (pl.col("operation_type") == name) & (pl.col("created_at") >= start) & (pl.col("created_at") < end)
    median = week.metrics.filter(is_within)["duration_us"].median()
    assert isinstance(median, float)
    return median


def calls(week: LabelledWeek) -> pl.DataFrame:
    """Metrics with their labels, without numbers that depend on how many rows there are."""
    return week.metrics.join(week.truth.rows, on="metric_id").drop("metric_id").sort("operation_type", "created_at")


@pytest.mark.parametrize("name", PRESETS)
def test_a_week_has_the_frames_of_its_form(name: str) -> None:
    week = make_week(1, preset(name))
    METRICS.check(week.metrics)
    truth.TRACES.check(week.traces)
    for label, schema in LABELS.items():
        schema.check(getattr(week.truth, label))
    assert set(week.metrics["operation_type"].unique()) == set(OPERATIONS)
    assert len(OPERATIONS) == 33
    assert week.metrics["metric_id"].to_list() == list(range(1, week.metrics.height + 1))
    assert 200_000 < week.metrics.height < 500_000
    is_inside = pl.col("created_at").is_between(week.as_of - timedelta(days=7, seconds=1), week.as_of)
    assert week.metrics.filter(~is_inside).is_empty()


def test_the_same_seed_gives_the_same_week_and_another_one_another() -> None:
    again = make_week(SEED)
    assert again.metrics.equals(full().metrics)
    assert again.truth.rows.equals(full().truth.rows)
    assert not make_week(SEED + 1).metrics.equals(again.metrics)


@pytest.mark.parametrize("feature", sorted(FAULTS))
def test_switching_a_fault_off_leaves_the_labels_of_all_others(feature: str) -> None:
    with_all, without = full().truth, full(feature).truth
    kinds = {
        "small_steps": pl.col("kind").eq("step") & pl.col("factor").lt(1.35) & pl.col("cause").eq("own"),
        "large_steps": pl.col("kind").eq("step") & pl.col("factor").ge(1.35) & pl.col("cause").eq("own"),
        "drifts": pl.col("kind").eq("drift"),
        "improvements": pl.col("kind").eq("improvement"),
        "variance_changes": pl.col("kind").eq("variance"),
        "releases": pl.col("cause").eq("release"),
        "cost_shift": pl.col("cause").eq("cost_shift"),
        "bottlenecks": pl.col("kind").eq("bottleneck"),
        "incidents": pl.col("kind").eq("incident"),
        "retry_storms": pl.col("kind").eq("retry_storm"),
    }
    for frame, names in (("changes", list(kinds)[:7]), ("episodes", list(kinds)[7:])):
        kept = getattr(with_all, frame)
        if feature in names:
            assert not kept.filter(kinds[feature]).is_empty()
            kept = kept.filter(~kinds[feature])
        assert getattr(without, frame).equals(kept)
    spikes = ["operation_type", "at", "factor", "spike_class"]
    assert without.spikes.height == (0 if feature == "spikes" else with_all.spikes.height)
    if feature != "spikes":
        order = spikes[:2]
        assert without.spikes.select(spikes).sort(order).equals(with_all.spikes.select(spikes).sort(order))
    assert without.surges.is_empty() if feature == "surges" else without.surges.equals(with_all.surges)


def test_switching_a_step_off_changes_the_durations_of_its_operation_alone() -> None:
    stepped = full().truth.changes.filter(pl.col("cause") == "release")["operation_type"].to_list()
    is_stepped = pl.col("operation_type").is_in(stepped)
    before, after = calls(full()), calls(full("releases"))
    assert before.filter(~is_stepped).equals(after.filter(~is_stepped))
    assert before.filter(is_stepped)["created_at"].equals(after.filter(is_stepped)["created_at"])
    assert not before.filter(is_stepped)["duration_us"].equals(after.filter(is_stepped)["duration_us"])


def test_switching_the_gaps_off_only_adds_rows() -> None:
    with_gaps, without = calls(full()), calls(full("gaps"))
    added = without.join(with_gaps, on=["operation_type", "created_at", "duration_us"], how="anti")
    assert without.height == with_gaps.height + added.height
    hours = added["created_at"].dt.truncate("10m").n_unique() / 6
    assert 4 <= hours <= 11


def test_spikes_last_their_factor_times_the_expected_duration() -> None:
    week = full()
    spikes = week.truth.spikes.join(week.metrics, on="metric_id").join(week.truth.rows, on="metric_id")
    # whole microseconds: half of one at most
    assert ((spikes["duration_us"] - spikes["factor"] * spikes["expected_us"]).abs() <= 0.5).all()
    for name, low, high in (("3-8x", 3, 8), ("8-30x", 8, 30)):
        factors = spikes.filter(spike_class=name)["factor"]
        assert factors.len() >= 25
        assert factors.is_between(low, high).all()


def test_the_noise_about_the_expected_duration_follows_the_laws() -> None:
    week = make_week(SEED, preset("clean"))
    both = week.metrics.join(week.truth.rows, on="metric_id")
    x = both.with_columns((pl.col("duration_us") / pl.col("expected_us")).log().alias("x"))
    for (name,), of_operation in x.partition_by("operation_type", as_dict=True).items():
        law, count = week.truth.laws[str(name)], of_operation.height
        for share in (0.05, 0.5, 0.95):
            below = (of_operation["x"] < law.quantile(share)).mean()
            assert isinstance(below, float)
            assert abs(below - share) < 4.5 * np.sqrt(share * (1 - share) / count) + 0.001, (name, share)


def test_steps_and_improvements_shift_the_median_by_their_factor() -> None:
    # without the load, so that before and after are alike
    week = make_week(SEED, WeekOptions().without("daily_load", "spikes", "surges", "bottlenecks", "retry_storms"))
    per_operation = dict(week.metrics["operation_type"].value_counts().iter_rows())
    for row in week.truth.changes.filter(pl.col("kind").is_in(["step", "improvement"])).iter_rows(named=True):
        if per_operation[row["operation_type"]] < 500:
            continue
        before = level(week, row["operation_type"], week.as_of - timedelta(days=8), row["onset"])
        after = level(week, row["operation_type"], row["onset"], week.as_of)
        assert after / before == pytest.approx(row["factor"], rel=0.08), row


def test_a_variance_change_leaves_the_median_and_widens_the_scatter() -> None:
    week = full()
    row = week.truth.changes.filter(kind="variance").row(0, named=True)
    x = week.metrics.join(week.truth.rows, on="metric_id").filter(operation_type=row["operation_type"])
    x = x.with_columns((pl.col("duration_us") / pl.col("expected_us")).log().alias("x"))
    after = pl.col("created_at") >= row["onset"]
    quartiles = [
        [part["x"].quantile(q, "linear") for q in (0.25, 0.5, 0.75)] for part in (x.filter(~after), x.filter(after))
    ]
    (low, middle, high), (low_after, middle_after, high_after) = quartiles
    assert (high_after - low_after) / (high - low) == pytest.approx(row["factor"], rel=0.1)
    assert middle_after == pytest.approx(middle, abs=0.03)


def test_a_release_shifts_several_operations_of_different_groups_at_one_instant() -> None:
    released = full().truth.changes.filter(cause="release")
    assert released.height == 3
    assert released["onset"].n_unique() == 1


def test_members_of_a_bottleneck_rise_together_and_are_three_to_five() -> None:
    week = full()
    groups = dict(week.truth.groups.iter_rows())
    assert len(groups) == 3
    assert all(3 <= len(members) <= 5 for members in groups.values())
    assert len({name for members in groups.values() for name in members}) == sum(map(len, groups.values()))
    episodes = week.truth.episodes.filter(kind="bottleneck")
    for group, members in groups.items():
        of_group = episodes.filter(group=group)
        assert set(of_group["operation_type"]) == set(members)
        per_member = of_group.group_by("operation_type").agg(pl.col("start").sort())
        starts = np.array([row.to_numpy() for row in per_member["start"]])
        assert starts.shape[1] >= 10
        assert (np.ptp(starts, axis=0) <= np.timedelta64(3, "m")).all()


def test_pairs_are_those_within_the_groups() -> None:
    week = full()
    sizes = [len(members) for members in week.truth.groups["members"].to_list()]
    assert len(week.truth.pairs) == sum(size * (size - 1) // 2 for size in sizes)
    assert all(one < two for one, two in week.truth.pairs)


def test_surges_are_dense_and_no_slower() -> None:
    with_surges, without = make_week(SEED, preset("surge")), make_week(SEED, preset("clean"))
    row = with_surges.truth.surges.sort("factor").row(-1, named=True)
    is_within = (pl.col("created_at") >= row["start"]) & (pl.col("created_at") < row["end"])
    names = with_surges.truth.surges.filter(start=row["start"])["operation_type"].to_list()
    inside = [w.metrics.filter(is_within, pl.col("operation_type").is_in(names)) for w in (with_surges, without)]
    expected = row["factor"] * inside[1].height
    assert inside[0].height == pytest.approx(expected, abs=5 * np.sqrt(expected * row["factor"]))
    surging = inside[0].join(with_surges.truth.rows, on="metric_id")
    median = (surging["duration_us"] / surging["expected_us"]).median()
    assert median == pytest.approx(1.0, abs=0.05)


def test_a_storm_of_retries_is_a_burst_of_fast_calls() -> None:
    week = full()
    for row in week.truth.episodes.filter(kind="retry_storm").iter_rows(named=True):
        before = level(week, row["operation_type"], row["start"] - timedelta(days=1), row["start"])
        assert level(week, row["operation_type"], row["start"], row["end"]) < 0.6 * before


def test_the_past_incident_is_over_before_the_last_day() -> None:
    incidents = full().truth.episodes.filter(kind="incident")
    assert not incidents.is_empty()
    assert (incidents["end"] < full().as_of - timedelta(days=1)).all()


def test_a_child_rises_while_its_parent_does_not() -> None:
    week = full()
    row = week.truth.changes.filter(cause="cost_shift").row(0, named=True)
    joined = week.metrics.join(week.traces, on="metric_id")
    children = joined.filter(operation_type=row["operation_type"]).select(
        "created_at", "duration_us", id="distributed_trace_parent_id"
    )
    parents = joined.filter(operation_type="merge_branches").select(id="distributed_trace_id", parent_us="duration_us")
    traced = children.join(parents, on="id")
    assert traced.height > 0.95 * children.height
    after = pl.col("created_at") >= row["onset"]
    rise = [
        float(np.exp(np.log(traced.filter(after)[c]).mean() - np.log(traced.filter(~after)[c]).mean()))
        for c in ("duration_us", "parent_us")
    ]
    assert rise[0] == pytest.approx(row["factor"], rel=0.1)
    assert rise[1] == pytest.approx(1.0, abs=0.1)


def test_drifts_that_go_on_break_their_sla_a_day_or_two_later_and_levelled_ones_never() -> None:
    week = make_week(SEED, preset("forecast"))
    breaches = week.truth.breaches.drop_nulls("breach_at")
    assert breaches.height == 8
    ahead = breaches["breach_at"] - week.as_of
    assert ahead.is_between(timedelta(hours=24), timedelta(hours=48)).all()
    drifts = week.truth.changes.filter(kind="drift").join(week.truth.breaches, on="operation_type")
    assert drifts.height == 14
    goes_on = drifts["settled_at"] == week.as_of
    assert (drifts["breach_at"].is_not_null() == goes_on).all()


def test_a_linear_or_exponential_drift_carried_on_meets_the_sla_at_the_breach() -> None:
    week = make_week(SEED, preset("forecast"))
    drifts = week.truth.changes.filter(kind="drift").join(
        week.truth.breaches.drop_nulls("breach_at"), on="operation_type"
    )
    for row in drifts.iter_rows(named=True):
        lasted = (row["breach_at"] - row["onset"]) / (week.as_of - row["onset"])
        steady = week.metrics.join(week.truth.rows, on="metric_id").filter(
            pl.col("operation_type") == row["operation_type"], pl.col("created_at") < row["onset"]
        )
        p95 = np.exp(week.truth.laws[row["operation_type"]].quantile(0.95))
        at_breach = [1 + (row["factor"] - 1) * lasted, row["factor"] ** lasted]
        base = float(steady["expected_us"].mean()) / 1000
        ratios = [row["sla_ms"] / (base * p95 * factor) for factor in at_breach]
        # the load of the time before the onset is not quite that of the whole week
        assert min(abs(ratio - 1) for ratio in ratios) < 0.1


def test_rows_arrive_late_only_when_asked_and_never_leave_their_time() -> None:
    is_younger = full().metrics["created_at"].diff() < timedelta(0)
    assert is_younger.sum() > 1000
    assert (full("late_rows").metrics["created_at"].diff().drop_nulls() >= timedelta(0)).all()
    on_time = calls(full("late_rows")).sort("operation_type", "created_at", "duration_us")
    assert calls(full()).sort("operation_type", "created_at", "duration_us").equals(on_time)


def test_rare_operations_run_five_times_a_day() -> None:
    counts = make_week(SEED, preset("clean")).metrics["operation_type"].value_counts()["count"]
    rare = counts.filter(counts < 100)
    assert rare.len() == 3
    # 35 a week, less what falls into the gaps
    assert rare.is_between(15, 60).all()


def test_the_local_clock_changes_within_the_week_unless_switched_off() -> None:
    zone = ZoneInfo("Europe/Berlin")
    for off, is_changed in ((), True), (("dst",), False):
        week = full(*off)
        start, end = week.as_of - timedelta(days=7), week.as_of
        assert (start.astimezone(zone).utcoffset() != end.astimezone(zone).utcoffset()) is is_changed


def test_office_hours_follow_the_local_clock() -> None:
    week = make_week(SEED, preset("clean").without("gaps", "weekly_cycle", "wander"))
    local = week.metrics.select(pl.col("created_at").dt.convert_time_zone("Europe/Berlin").alias("at"))
    offset = pl.col("at").dt.base_utc_offset() + pl.col("at").dt.dst_offset()
    per_hour = local.group_by(
        offset.alias("offset"), pl.col("at").dt.date().alias("day"), pl.col("at").dt.hour().alias("hour")
    ).len()
    by_offset = per_hour.group_by("offset", "hour").agg(pl.col("len").median()).filter(hour=7)
    busiest = per_hour.group_by("offset", "hour").agg(pl.col("len").median()).sort("len").group_by("offset").last()
    assert by_offset.height == 2
    # 7 o'clock is on the steep side of the morning: an hour off would show as a factor of about 1.6
    morning = by_offset["len"].to_list()
    assert max(morning) / min(morning) < 1.25
    assert busiest["hour"].is_between(9, 16).all()


def test_more_weeks_reach_further_back_and_keep_their_faults_in_the_last_one() -> None:
    week = make_week(SEED, WeekOptions(weeks=3))
    first = week.metrics["created_at"].min()
    assert isinstance(first, datetime)
    assert week.as_of - first > timedelta(days=20)
    assert (week.truth.changes["onset"] >= week.as_of - timedelta(days=7)).all()
    assert (week.truth.spikes["at"] >= week.as_of - timedelta(days=7)).all()


def test_the_operations_are_those_of_the_demo() -> None:
    assert set(OPERATIONS) == {profile.operation_type for profile in PROFILES}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weeks": 0}, "weeks is 0"),
        ({"small_steps": -1}, "small_steps is -1"),
        ({"small_steps": 12}, "the counts reserve up to"),
        ({"rare_steps": 4}, "rare_steps is 4"),
        ({"off": frozenset({"nothing"})}, "off names nothing"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        replace(WeekOptions(), **change)


def test_other_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="seed is -1"):
        make_week(-1)
    with pytest.raises(InvalidArgument, match="preset is best"):
        preset("best")
    with pytest.raises(InvalidArgument, match="zone is Mars/Olympus"):
        make_week(1, WeekOptions(zone="Mars/Olympus"))
    with pytest.raises(InvalidArgument, match="feature is rain"):
        WeekOptions().has("rain")
