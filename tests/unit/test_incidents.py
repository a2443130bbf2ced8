"""Incidents: one record per cause, what it costs, how it goes on from run to run, and why something is not told.

Every operation of these weeks has a call every five minutes that takes as long as the last one, so that medians, losses
and rates can be told by hand.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from pggit_analytics.analysis.incident_inputs import CHANGES, EPISODES, FORECASTS, GROUPS, PARENTS, SLOW_CALLS
from pggit_analytics.analysis.incidents import Incidents, Thresholds, find_incidents
from pggit_analytics.errors import InvalidArgument, InvalidData
from pggit_analytics.frames import METRICS, OPERATION_SETTINGS, SILENCES

AS_OF = datetime(2026, 3, 8, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
#: six hours before the as_of
ONSET = AS_OF - 6 * HOUR

Row = dict[str, Any]


def calls(*slow: tuple[str, float, datetime, datetime], usual_ms: float = 10.0, end: datetime = AS_OF) -> pl.DataFrame:
    """A week of calls, one every five minutes and operation; ``slow``: operation, times, from, until."""
    rows: list[Row] = []
    for place, operation in enumerate(("branch_create", "commit", "get_history", "merge")):
        for number in range(7 * 24 * 12):
            at = end - WEEK + (number + 1) * 5 * MINUTE
            times = [times for name, times, start, until in slow if name == operation and start <= at < until]
            duration = round(1000 * usual_ms * max([1.0, *times]))
            rows.append(
                {
                    "metric_id": place * 10_000 + number,
                    "operation_type": operation,
                    "duration_us": duration,
                    "created_at": at,
                }
            )
    return METRICS.frame(rows)


def change(operation: str = "commit", kind: str = "step", onset: datetime = ONSET, **values: Any) -> Row:
    return {
        "operation_type": operation,
        "kind": kind,
        "onset": onset,
        "onset_low": onset - 5 * MINUTE,
        "onset_high": onset + 5 * MINUTE,
        "settled_at": onset,
        "size_ratio": 2.0,
        "p": 1e-9,
    } | values


def episode(operation: str, start: datetime, end: datetime, **values: Any) -> Row:
    return {"operation_type": operation, "start": start, "end": end, "size_ratio": 2.0, "is_open": False} | values


def group(members: list[str], onset: datetime, end: datetime | None = None, **values: Any) -> Row:
    return {
        "members": members,
        "kind": "shared bottleneck",
        "onset": onset,
        "end": end,
        "first_mover": members[0],
        "bottleneck": "OBJECT_STORAGE_IO",
        "bottleneck_share": 1.0,
        "p": 1e-6,
    } | values


def setting(operation: str = "commit", **values: Any) -> Row:
    nothing: Row = dict.fromkeys(OPERATION_SETTINGS.columns)
    return nothing | {"operation_type": operation, "direction": "slower"} | values


def find(
    *,
    changes: list[Row] | None = None,
    episodes: list[Row] | None = None,
    slow: list[Row] | None = None,
    groups: list[Row] | None = None,
    forecasts: list[Row] | None = None,
    settings: list[Row] | None = None,
    silences: list[Row] | None = None,
    parents: list[Row] | None = None,
    previous: Incidents | None = None,
    metrics: pl.DataFrame | None = None,
    as_of: datetime = AS_OF,
    **more: Any,
) -> Incidents:
    return find_incidents(
        CHANGES.frame(changes or []),
        EPISODES.frame(episodes or []),
        SLOW_CALLS.frame(slow or []),
        GROUPS.frame(groups or []),
        FORECASTS.frame(forecasts or []),
        OPERATION_SETTINGS.frame(settings or []),
        previous or Incidents(),
        as_of=as_of,
        metrics=calls(("commit", 2.0, ONSET, AS_OF + HOUR)) if metrics is None else metrics,
        silences=SILENCES.frame(silences or []),
        parents=PARENTS.frame(parents or []),
        **more,
    )


def only(found: Incidents) -> Row:
    """The one incident there is."""
    assert found.incidents.height == 1, found.incidents
    return found.incidents.row(0, named=True)


def reasons(found: Incidents) -> list[tuple[str, str, str]]:
    return found.suppressed.select("operation_type", "kind", "reason").rows()


# --- what it is and what it costs -----------------------------------------------------------------------------------


def test_a_step_is_an_incident_that_tells_what_users_lost() -> None:
    found = find(changes=[change()])
    row = only(found)
    # 73 calls from 06:00 to 12:00 (both included) at 20 ms, half of it in vain; 37 of them in the last three hours
    assert (row["lost_ms"], row["lost_ms_per_hour"]) == (pytest.approx(730.0), pytest.approx(370.0 / 3))
    assert (row["kind"], row["state"], row["operation_type"], row["onset"]) == ("step", "open", "commit", ONSET)
    assert (row["opened_at"], row["last_found_at"], row["missed_runs"], row["ended_at"]) == (AS_OF, AS_OF, 0, None)
    assert row["first_mover"] is None
    operation = found.operations.row(0, named=True)
    # the week before ends with the onset's interval, five minutes earlier: 2016 calls less those of 5:55 to 12:00
    assert {name: operation[name] for name in ("calls_before", "calls", "p50_before_ms", "p99_before_ms")} == {
        "calls_before": 1942,
        "calls": 73,
        "p50_before_ms": 10.0,
        "p99_before_ms": 10.0,
    }
    assert (operation["p50_now_ms"], operation["size_ratio"], operation["opening_ratio"]) == (20.0, 2.0, 2.0)


def test_the_evidence_says_before_and_now_since_when_and_how_sure() -> None:
    said = json.loads(only(find(changes=[change()]))["evidence"])
    assert said["before"] == {"p50_ms": 10.0, "p99_ms": 10.0, "n": 1942}
    assert said["now"] == {"p50_ms": 20.0, "p99_ms": 20.0, "n": 73}
    assert (said["slow_since"], said["onset"], said["size_ratio"], said["p"]) == (
        "2026-03-08T06:00:00.000000Z",
        "2026-03-08T06:00:00.000000Z",
        2.0,
        1e-9,
    )
    assert (said["operation_types"], said["as_of"]) == (["commit"], "2026-03-08T12:00:00.000000Z")


def test_of_a_drift_the_loss_grows_from_nothing_and_it_is_worsening_until_it_settles() -> None:
    drift = change(kind="drift", settled_at=AS_OF)
    row = only(find(changes=[drift]))
    # call k of 0..72 took 20 ms at 2^(k/72) times the old level, and at most that times 10 ms counts
    lost = sum(10 * 2 ** (k / 72) * (1 - 2 ** (-k / 72)) for k in range(73))
    assert row["lost_ms"] == pytest.approx(lost)
    assert (row["kind"], row["state"]) == ("drift", "worsening")
    settled = only(find(changes=[drift | {"settled_at": AS_OF - 2 * HOUR}]))
    assert settled["state"] == "open"


def test_one_time_out_is_not_taken_for_the_loss_of_thousands_of_calls() -> None:
    metrics = calls(("commit", 2.0, ONSET, AS_OF + HOUR), ("commit", 60_000.0, AS_OF - HOUR, AS_OF - 56 * MINUTE))
    assert only(find(changes=[change()], metrics=metrics))["lost_ms"] == pytest.approx(730.0)


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        # 123.3 ms are lost in an hour; 48 calls in it, all operations, take 480 ms and a little more
        (Thresholds(warning_times=3, warning_lost_share=0.5, critical_lost_share=0.9), "INFO"),
        (Thresholds(warning_times=3, warning_lost_share=0.2, critical_lost_share=0.9), "WARNING"),
        (Thresholds(critical_lost_share=0.2), "CRITICAL"),
        (Thresholds(warning_times=2, warning_lost_share=0.5), "WARNING"),
        (Thresholds(warning_times=3, warning_lost_share=0.5, warning_lost_ms_per_hour=123.0), "WARNING"),
        (Thresholds(warning_times=3, warning_lost_share=0.5, critical_lost_ms_per_hour=123.0), "CRITICAL"),
    ],
)
def test_severity_is_by_what_users_lose(thresholds: Thresholds, expected: str) -> None:
    assert only(find(changes=[change()], thresholds=thresholds))["severity"] == expected


def test_an_operation_over_its_sla_makes_the_incident_critical() -> None:
    assert only(find(changes=[change()], settings=[setting(sla_ms=19.0)]))["severity"] == "CRITICAL"
    assert only(find(changes=[change()], settings=[setting(sla_ms=21.0)]))["severity"] == "WARNING"


# --- one record per cause -------------------------------------------------------------------------------------------


def test_operations_of_one_group_are_one_incident_about_its_first_mover() -> None:
    metrics = calls(*((name, 2.0, ONSET, AS_OF + HOUR) for name in ("branch_create", "commit")))
    found = find(
        changes=[change(), change("branch_create", onset=ONSET + 20 * MINUTE)],
        groups=[group(["branch_create", "commit"], ONSET + 10 * MINUTE)],
        metrics=metrics,
    )
    row = only(found)
    assert (row["operation_type"], row["first_mover"]) == ("branch_create", "branch_create")
    assert (row["bottleneck"], row["bottleneck_support"]) == ("OBJECT_STORAGE_IO", 1.0)
    assert found.operations["operation_type"].to_list() == ["branch_create", "commit"]
    assert "Check disk I/O" in json.loads(row["evidence"])["recommendation"]


def test_a_member_that_only_its_group_shows_is_measured_by_its_medians() -> None:
    metrics = calls(("commit", 2.0, ONSET, AS_OF + HOUR), ("merge", 1.5, ONSET, AS_OF + HOUR))
    found = find(changes=[change()], groups=[group(["commit", "merge"], ONSET)], metrics=metrics)
    assert dict(found.operations.select("operation_type", "size_ratio").rows()) == {"commit": 2.0, "merge": 1.5}


def test_operations_that_change_within_minutes_have_one_cause_and_later_ones_another() -> None:
    metrics = calls(*((name, 2.0, ONSET, AS_OF + HOUR) for name in ("commit", "merge", "get_history")))
    together = [change(), change("merge", onset=ONSET + 9 * MINUTE), change("get_history", onset=ONSET + HOUR)]
    found = find(changes=together, metrics=metrics)
    assert found.incidents["operation_type"].to_list() == ["commit", "get_history"]
    assert only(find(changes=together[:2], metrics=metrics))["first_mover"] == "commit"


@pytest.mark.parametrize(("minutes", "expected"), [(15, 1), (30, 2)])
def test_episodes_that_begin_in_neighbouring_quarters_have_one_cause(minutes: int, expected: int) -> None:
    second = ONSET + minutes * MINUTE
    metrics = calls(("commit", 2.0, ONSET, AS_OF + HOUR), ("merge", 2.0, second, AS_OF + HOUR))
    episodes = [episode("commit", ONSET, AS_OF, is_open=True), episode("merge", second, AS_OF, is_open=True)]
    assert find(episodes=episodes, metrics=metrics).incidents.height == expected


def test_a_change_of_days_ago_is_not_part_of_todays_episode_of_its_group() -> None:
    long_ago = AS_OF - 72 * HOUR
    metrics = calls(("commit", 2.0, long_ago, AS_OF + HOUR), ("merge", 2.0, ONSET, AS_OF + HOUR))
    found = find(
        changes=[change(onset=long_ago), change("merge")], groups=[group(["merge", "commit"], ONSET)], metrics=metrics
    )
    assert found.incidents["operation_type"].to_list() == ["commit", "merge"]


def slow_call(metric_id: int, operation: str = "commit", times: float = 20.0, score: float = 4.0) -> Row:
    return {"operation_type": operation, "metric_id": metric_id, "score": score, "times_expected": times}


def test_slow_calls_within_an_hour_are_one_incident_that_is_over_an_hour_later() -> None:
    at = AS_OF - 10 * HOUR
    metrics = calls(("commit", 20.0, at, at + 15 * MINUTE), ("commit", 20.0, AS_OF - 3 * HOUR, AS_OF - 175 * MINUTE))
    ids = metrics.filter((pl.col("operation_type") == "commit") & (pl.col("duration_us") > 10_000))["metric_id"]
    found = find(slow=[slow_call(metric_id) for metric_id in ids], metrics=metrics)
    rows = found.incidents.sort("onset").select("kind", "state", "onset", "ended_at", "lost_ms").rows()
    # each took 200 ms, 190 in vain; the onset is when the first began
    assert rows == [
        ("calls", "recovered", at - timedelta(milliseconds=200), at + 10 * MINUTE, pytest.approx(570.0)),
        ("calls", "recovered", AS_OF - 3 * HOUR - timedelta(milliseconds=200), AS_OF - 3 * HOUR, pytest.approx(190.0)),
    ]


@pytest.mark.parametrize(
    ("operation", "times", "expected"),
    [
        ("rollback_cascade", 1.9, "INFO"),
        ("rollback_cascade", 2.0, "WARNING"),
        ("rollback_cascade", 4.0, "CRITICAL"),
        ("commit", 4.0, "INFO"),
    ],
)
def test_a_rollback_that_times_out_is_heard_whatever_it_costs(operation: str, times: float, expected: str) -> None:
    # every call took 10 ms before, and so the 99th percentile is 10 ms; nothing costs enough to be heard for that
    at = AS_OF - 5 * MINUTE
    metrics = calls(("commit", times, at, AS_OF)).with_columns(pl.col("operation_type").replace("commit", operation))
    slow = metrics.filter((pl.col("operation_type") == operation) & (pl.col("created_at") == at))["metric_id"][0]
    heard = Thresholds(warning_lost_ms_per_hour=1e9, critical_lost_ms_per_hour=1e9, warning_lost_share=1.0)
    found = find(slow=[slow_call(slow, operation, times)], metrics=metrics, thresholds=heard)
    assert only(found)["severity"] == expected


def test_slow_calls_of_an_operation_that_is_slow_as_a_whole_are_part_of_that() -> None:
    metrics = calls(("commit", 2.0, ONSET, AS_OF + HOUR))
    inside = metrics.filter((pl.col("operation_type") == "commit") & (pl.col("duration_us") > 10_000))["metric_id"][3]
    found = find(changes=[change()], slow=[slow_call(inside)], metrics=metrics)
    assert only(found)["kind"] == "step"
    assert reasons(found) == [("commit", "calls", "part_of_incident")]


# --- why something is not told --------------------------------------------------------------------------------------


def silence(kind: str, start: datetime, end: datetime, operation: str | None = None) -> Row:
    return {
        "kind": kind,
        "operation_type": operation,
        "alert_type": None,
        "starts_at": start,
        "ends_at": end,
        "reason": None,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"changes": [change(kind="improvement", size_ratio=0.5)]}, ("commit", "improvement", "direction")),
        ({"changes": [change()], "settings": [setting(direction="faster")]}, ("commit", "step", "direction")),
        ({"changes": [change(kind="variance")]}, ("commit", "variance", "scatter_only")),
        ({"changes": [change(size_ratio=1.09)]}, ("commit", "step", "below_minimum")),
        (
            {"changes": [change()], "settings": [setting(minimum_effect_percent=120.0)]},
            ("commit", "step", "below_minimum"),
        ),
        # the median call takes 10 ms longer
        ({"changes": [change()], "settings": [setting(minimum_effect_ms=10.1)]}, ("commit", "step", "below_minimum")),
        ({"changes": [change(p=0.06)]}, ("commit", "step", "uncertain")),
        ({"changes": [change(p=0.01)], "settings": [setting(sensitivity=0.5)]}, ("commit", "step", "uncertain")),
        ({"changes": [change(onset=AS_OF - 11 * MINUTE)]}, ("commit", "step", "too_few_calls")),
        (
            {
                "episodes": [episode("commit", ONSET, ONSET + HOUR)],
                "silences": [silence("maintenance", ONSET - MINUTE, ONSET + 2 * HOUR)],
            },
            ("commit", "episode", "maintenance"),
        ),
        (
            {"changes": [change()], "parents": [{"operation_type": "commit", "parent_type": "merge"}]},
            ("commit", "step", "cost_shift"),
        ),
    ],
)
def test_what_makes_no_incident_is_recorded_with_its_reason(arguments: dict[str, Any], expected: tuple) -> None:
    found = find(**arguments)
    assert found.incidents.is_empty()
    assert reasons(found) == [expected]


@pytest.mark.parametrize(
    "arguments",
    [
        {"changes": [change(size_ratio=1.11)]},
        {"changes": [change(p=0.06)], "settings": [setting(sensitivity=2.0)]},
        {"changes": [change()], "settings": [setting(minimum_effect_ms=9.9, minimum_effect_percent=99.0)]},
        # longer than the maintenance
        {
            "episodes": [episode("commit", ONSET, ONSET + HOUR)],
            "silences": [silence("maintenance", ONSET, ONSET + 59 * MINUTE)],
        },
        # of another operation
        {
            "episodes": [episode("commit", ONSET, ONSET + HOUR)],
            "silences": [silence("maintenance", ONSET, AS_OF, "merge")],
        },
        {"changes": [change(kind="improvement", size_ratio=0.5)], "settings": [setting(direction="both")]},
    ],
)
def test_what_just_passes_is_an_incident(arguments: dict[str, Any]) -> None:
    assert only(find(**arguments))["operation_type"] == "commit"


def test_a_child_that_takes_its_parent_along_is_an_incident() -> None:
    metrics = calls(*((name, 2.0, ONSET, AS_OF + HOUR) for name in ("commit", "merge")))
    found = find(changes=[change()], parents=[{"operation_type": "commit", "parent_type": "merge"}], metrics=metrics)
    assert only(found)["operation_type"] == "commit"


def test_a_snoozed_incident_is_kept_and_it_is_said_until_when_nobody_hears() -> None:
    found = find(changes=[change()], silences=[silence("snoozed", ONSET, AS_OF + HOUR)])
    (row,) = found.suppressed.rows(named=True)
    assert (row["reason"], row["incident_key"]) == ("snoozed", only(found)["incident_key"])
    assert row["detail"] == "nothing is said until 2026-03-08 13:00 UTC"


def test_what_was_over_more_than_a_day_before_it_was_found_is_recorded_and_not_told() -> None:
    start = AS_OF - 30 * HOUR
    metrics = calls(("commit", 2.0, start, start + HOUR))
    found = find(episodes=[episode("commit", start, start + HOUR)], metrics=metrics)
    row = only(found)
    assert (row["state"], row["ended_at"], row["lost_ms_per_hour"]) == ("recovered", start + HOUR, 0.0)
    assert reasons(found) == [("commit", "episode", "long_over")]


# --- from run to run ------------------------------------------------------------------------------------------------

LATER = AS_OF + 15 * MINUTE


def test_an_incident_keeps_its_key_opening_and_evidence_while_its_onset_is_estimated_anew() -> None:
    first = find(changes=[change()])
    again = find(changes=[change(onset=ONSET + 8 * MINUTE)], previous=first, as_of=LATER)
    one, two = only(first), only(again)
    assert [two[name] for name in ("incident_key", "opened_at", "evidence", "operation_type")] == [
        one[name] for name in ("incident_key", "opened_at", "evidence", "operation_type")
    ]
    assert (two["onset"], two["last_found_at"], two["detected_at"]) == (ONSET + 8 * MINUTE, LATER, LATER)


def test_an_episode_that_lasts_becomes_a_step_of_the_same_incident() -> None:
    first = find(episodes=[episode("commit", ONSET, AS_OF, is_open=True)])
    again = find(changes=[change()], previous=first, as_of=LATER)
    assert (only(first)["kind"], only(again)["kind"]) == ("episode", "step")
    assert only(first)["incident_key"] == only(again)["incident_key"]


def test_another_onset_of_the_same_operation_is_another_incident() -> None:
    first = find(changes=[change()])
    again = find(changes=[change(), change(onset=ONSET + 3 * HOUR)], previous=first, as_of=LATER)
    assert again.incidents.height == 2
    assert only(first)["incident_key"] in again.incidents["incident_key"].to_list()


def test_a_step_that_turns_out_to_be_a_drift_with_an_earlier_onset_is_the_same_incident() -> None:
    first = find(changes=[change()])
    drift = change(kind="drift", onset=ONSET - 8 * HOUR, settled_at=LATER)
    again = find(changes=[drift], previous=first, as_of=LATER)
    assert (only(again)["incident_key"], only(again)["kind"]) == (only(first)["incident_key"], "drift")


def test_an_episode_that_turns_out_to_be_a_step_within_it_is_the_same_incident() -> None:
    first = find(episodes=[episode("commit", ONSET, AS_OF, is_open=True)])
    again = find(changes=[change(onset=ONSET + 3 * HOUR)], previous=first, as_of=LATER)
    assert (only(again)["incident_key"], only(again)["kind"]) == (only(first)["incident_key"], "step")


def test_what_began_after_a_missed_incident_was_told_is_another_one() -> None:
    first = find(changes=[change()], as_of=AS_OF - 3 * HOUR)
    again = find(changes=[change(onset=AS_OF - 2 * HOUR)], previous=first, as_of=AS_OF)
    assert again.incidents.sort("opened_at")["missed_runs"].to_list() == [1, 0]


def test_an_episode_hardly_above_a_change_that_goes_on_is_part_of_it_and_one_far_above_is_not() -> None:
    first = find(changes=[change()])

    def with_episode(size_ratio: float) -> Incidents:
        above = episode("commit", AS_OF - 2 * HOUR, AS_OF, is_open=True, size_ratio=size_ratio)
        return find(changes=[change()], episodes=[above], previous=first, as_of=LATER)

    assert only(with_episode(1.15))["incident_key"] == only(first)["incident_key"]
    assert with_episode(3.0).incidents.height == 2


def test_a_passing_episode_is_no_part_of_what_another_operation_keeps_since_then() -> None:
    metrics = calls(("commit", 2.0, ONSET, LATER), ("merge", 2.0, ONSET, ONSET + HOUR))
    passing = episode("merge", ONSET, ONSET + HOUR)
    over = find(episodes=[passing], metrics=metrics)
    assert only(over)["state"] == "recovered"
    # found late
    later = find(changes=[change()], episodes=[passing], previous=over, metrics=metrics, as_of=LATER)
    assert (only(later)["operation_type"], only(later)["opened_at"]) == ("commit", LATER)


def test_a_recovered_incident_is_not_met_again_while_an_open_one_is() -> None:
    over = find(episodes=[episode("commit", ONSET, AS_OF - HOUR)])
    both = find(changes=[change(onset=ONSET - 10 * HOUR)], previous=over, as_of=LATER)
    known = Incidents(pl.concat([over.incidents, both.incidents]), pl.concat([over.operations, both.operations]))
    # whose interval holds the onsets of both
    wide = change(onset_low=ONSET - 10 * HOUR, onset_high=ONSET)
    again = find(changes=[wide], previous=known, as_of=LATER + MINUTE)
    assert only(again)["incident_key"] == only(both)["incident_key"]


def test_it_worsens_when_it_grows_by_a_fifth_or_another_operation_joins() -> None:
    metrics = calls(*((name, 2.0, ONSET, LATER + HOUR) for name in ("commit", "merge")))
    first = find(changes=[change()], metrics=metrics)

    def state(*changes: Row) -> str:
        return str(only(find(changes=list(changes), previous=first, metrics=metrics, as_of=LATER))["state"])

    assert state(change(size_ratio=2.3)) == "open"
    assert state(change(size_ratio=2.5)) == "worsening"
    assert state(change(), change("merge")) == "worsening"


def test_an_incident_that_is_missed_three_times_in_a_row_has_recovered_when_it_was_last_found() -> None:
    found = find(changes=[change()])
    states = []
    for run in range(1, 4):
        found = find(previous=found, as_of=AS_OF + run * 15 * MINUTE)
        row = only(found)
        states.append((row["state"], row["missed_runs"], row["ended_at"], row["ended_because"]))
    assert states == [("open", 1, None, None), ("open", 2, None, None), ("recovered", 3, AS_OF, "recovered")]
    assert find(previous=found, as_of=AS_OF + HOUR).incidents.is_empty()


def test_being_found_again_in_between_starts_the_count_anew() -> None:
    missed = find(previous=find(changes=[change()]), as_of=LATER)
    again = find(changes=[change()], previous=missed, as_of=LATER + 15 * MINUTE)
    assert (only(missed)["missed_runs"], only(again)["missed_runs"]) == (1, 0)


def test_a_level_whose_onset_leaves_the_window_is_the_usual_one() -> None:
    found = find(changes=[change()])
    later = AS_OF + timedelta(days=6, hours=14)
    row = only(find(previous=found, as_of=later, metrics=calls(end=later)))
    assert (row["state"], row["ended_because"], row["ended_at"]) == ("recovered", "new_level", later)


def test_an_episode_is_over_when_it_has_not_come_back_for_an_hour_and_the_same_end_again_says_nothing() -> None:
    first = find(episodes=[episode("commit", ONSET, AS_OF, is_open=True)])
    ended = [episode("commit", ONSET, AS_OF)]
    quiet = find(episodes=ended, previous=first, as_of=AS_OF + HOUR - MINUTE)
    row = only(quiet)
    assert (row["state"], row["ended_at"], row["lost_ms_per_hour"], row["missed_runs"]) == ("open", None, 0.0, 0)
    over = find(episodes=ended, previous=quiet, as_of=AS_OF + HOUR)
    row = only(over)
    assert (row["state"], row["ended_at"], row["incident_key"]) == ("recovered", AS_OF, only(first)["incident_key"])
    assert find(episodes=ended, previous=over, as_of=AS_OF + HOUR + MINUTE).incidents.is_empty()


def test_an_episode_that_comes_back_within_six_hours_is_the_same_incident_and_its_losses_add_up() -> None:
    again = ONSET + 4 * HOUR
    metrics = calls(("commit", 2.0, ONSET, ONSET + HOUR), ("commit", 3.0, again, again + HOUR))
    episodes = [episode("commit", ONSET, ONSET + HOUR), episode("commit", again, again + HOUR, size_ratio=3.0)]
    found = find(episodes=episodes, metrics=metrics)
    row = only(found)
    assert (row["onset"], row["ended_at"], row["state"]) == (ONSET, again + HOUR, "recovered")
    # 12 calls of 20 ms, half of which is lost, and 12 of 30 ms, two thirds of which are: but one counts for no more
    # than the old 99th percentile times the ratio
    assert row["lost_ms"] == pytest.approx(12 * 10 + 12 * 20)
    member = found.operations.row(0, named=True)
    assert (member["calls"], member["size_ratio"]) == (24, 3.0)
    back, now = AS_OF + 2 * HOUR, AS_OF + 3 * HOUR
    later = find(
        episodes=[*episodes, episode("commit", back, now, is_open=True)],
        previous=found,
        metrics=calls(("commit", 2.0, back, now + HOUR), end=now),
        as_of=now,
    )
    assert (only(later)["incident_key"], only(later)["state"]) == (row["incident_key"], "open")


def test_an_episode_of_the_same_operation_half_a_day_later_is_another_incident() -> None:
    early = ONSET - 12 * HOUR
    metrics = calls(("commit", 2.0, early, early + HOUR), ("commit", 2.0, ONSET, ONSET + HOUR))
    found = find(
        episodes=[episode("commit", early, early + HOUR), episode("commit", ONSET, ONSET + HOUR)], metrics=metrics
    )
    assert found.incidents.height == 2


def test_a_known_episode_is_met_by_its_return_when_its_first_time_has_left_the_window() -> None:
    first = find(episodes=[episode("commit", ONSET, AS_OF, is_open=True)])
    back = [episode("commit", AS_OF + 2 * HOUR, AS_OF + 4 * HOUR, is_open=True)]
    row = only(find(episodes=back, previous=first, as_of=AS_OF + 4 * HOUR))
    assert (row["incident_key"], row["state"]) == (only(first)["incident_key"], "open")


def test_two_incidents_that_turn_out_to_be_one_go_on_as_the_older() -> None:
    metrics = calls(*((name, 2.0, ONSET, LATER + HOUR) for name in ("commit", "merge")))
    changes = [change("merge"), change(onset=ONSET + 30 * MINUTE)]
    older = find(changes=changes[:1], metrics=metrics, as_of=AS_OF - MINUTE)
    both = find(changes=changes, previous=older, metrics=metrics)
    assert both.incidents.height == 2
    joined = find(
        changes=changes,
        groups=[group(["commit", "merge"], ONSET + 15 * MINUTE)],
        previous=both,
        metrics=metrics,
        as_of=LATER,
    )
    rows = {row["operation_type"]: row for row in joined.incidents.rows(named=True)}
    assert rows["merge"]["incident_key"] == only(older)["incident_key"]
    assert (rows["commit"]["ended_because"], rows["commit"]["merged_into"]) == ("merged", rows["merge"]["incident_key"])
    assert rows["merge"]["state"] == "worsening"
    assert reasons(joined) == [("commit", "step", "part_of_incident")]
    # and do not fall apart when the group is no longer seen
    apart = find(changes=changes, previous=joined, metrics=metrics, as_of=LATER + MINUTE)
    assert only(apart)["incident_key"] == rows["merge"]["incident_key"]


def test_a_run_of_some_operations_leaves_the_incidents_of_the_others_alone() -> None:
    metrics = calls(*((name, 2.0, ONSET, LATER + HOUR) for name in ("commit", "merge")))
    first = find(changes=[change(), change("merge", onset=ONSET - 3 * HOUR)], metrics=metrics)
    scoped = find(previous=first, metrics=metrics, as_of=LATER, scope=("commit",))
    assert only(scoped)["operation_type"] == "commit"
    assert only(scoped)["missed_runs"] == 1


def test_a_forecast_is_one_incident_however_its_date_moves() -> None:
    breach = {"operation_type": "merge", "breach_at": AS_OF + 30 * HOUR, "low": AS_OF + 20 * HOUR, "high": None}
    first = find(forecasts=[breach], settings=[setting("merge", sla_ms=25.0)])
    row = only(first)
    assert (row["kind"], row["severity"], row["expected_breach_at"]) == ("forecast", "WARNING", AS_OF + 30 * HOUR)
    said = json.loads(row["evidence"])
    assert (said["sla_ms"], said["breach_low"]) == (25.0, "2026-03-09T08:00:00.000000Z")
    moved = breach | {"breach_at": AS_OF + 60 * HOUR}
    again = only(find(forecasts=[moved], previous=first, as_of=LATER))
    assert (again["incident_key"], again["onset"]) == (row["incident_key"], AS_OF)
    assert (again["severity"], again["expected_breach_at"]) == ("INFO", AS_OF + 60 * HOUR)


def test_the_order_of_the_rows_does_not_matter() -> None:
    metrics = calls(*((name, 2.0, ONSET, AS_OF + HOUR) for name in ("commit", "merge")))
    changes = [change(), change("merge", onset=ONSET - 3 * HOUR)]
    one = find(changes=changes, metrics=metrics)
    two = find(changes=changes[::-1], metrics=metrics.sample(fraction=1.0, shuffle=True, seed=1))
    for name in ("incidents", "operations", "suppressed"):
        assert getattr(one, name).rows() == getattr(two, name).rows()


def test_nothing_found_gives_empty_frames_and_bad_input_an_error() -> None:
    found = find(metrics=METRICS.empty())
    assert (found.incidents.height, found.operations.height, found.suppressed.height) == (0, 0, 0)
    with pytest.raises(InvalidArgument, match="time zone"):
        find(as_of=AS_OF.replace(tzinfo=None))
    with pytest.raises(InvalidData, match="changes found: column p is missing"):
        find_incidents(
            CHANGES.empty().drop("p"),
            *(schema.empty() for schema in (EPISODES, SLOW_CALLS, GROUPS, FORECASTS, OPERATION_SETTINGS)),
            Incidents(),
            as_of=AS_OF,
            metrics=METRICS.empty(),
        )
