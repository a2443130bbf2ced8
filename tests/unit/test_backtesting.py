"""History replayed: what would have been said, when, and what is proposed from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from pggit_analytics.analysis.incidents import Thresholds
from pggit_analytics.backtesting import EVENTS, replay, summary
from pggit_analytics.frames import METRICS, OPERATION_SETTINGS, SILENCES
from pggit_analytics.postgres.extract_wishes import Wishes
from pggit_analytics.tuning import LADDER, VERDICTS, pages_by_sensitivity, proposals
from tests.unit.changing_calls import calls, constant, hour, ratio_drift, step

STEP = timedelta(hours=6)
#: hours 132, 138, ..., 168 of the week
RUNS = tuple(hour(132) + run * STEP for run in range(7))

#: merge has been slow for half a day when the replay begins; commit gets slow in it, and gc stays as it is
WEEK = calls({"commit": step(147, 2.5), "gc": constant, "merge": step(120, 2)})


@cache
def week_replayed() -> pl.DataFrame:
    """What the runs say of `WEEK` when nobody has set anything."""
    return replay(WEEK, RUNS, Wishes())


def said(events: pl.DataFrame, operation: str, *columns: str) -> list[tuple[Any, ...]]:
    return events.filter(operation_type=operation).select(columns).rows()


def settings(operation: str, **values: float | str) -> pl.DataFrame:
    row: dict[str, object] = dict.fromkeys(OPERATION_SETTINGS.columns)
    return OPERATION_SETTINGS.frame([row | {"operation_type": operation, "direction": "slower"} | values])


def silence(start: datetime, end: datetime) -> pl.DataFrame:
    row: dict[str, object] = dict.fromkeys(SILENCES.columns)
    return SILENCES.frame([row | {"kind": "snoozed", "operation_type": "commit", "starts_at": start, "ends_at": end}])


def test_a_step_is_said_by_the_first_run_after_it_and_once() -> None:
    events = week_replayed()
    (first,) = said(events, "commit", "event", "said_at", "severity", "is_page", "operation_types")[:1]
    assert first == ("opened", hour(150), "WARNING", True, ["commit"])
    assert [event for (event,) in said(events, "commit", "event")].count("opened") == 1
    (facts,) = said(events, "commit", "onset", "delay_s", "size_ratio")[:1]
    assert abs(facts[0] - hour(147)) <= timedelta(minutes=15)
    assert facts[1] == (hour(150) - facts[0]).total_seconds()
    assert facts[2] == pytest.approx(2.5, rel=0.1)


def test_what_was_so_at_the_start_is_no_page() -> None:
    assert said(week_replayed(), "merge", "event", "said_at", "is_page") == [("standing", hour(132), False)]


def test_an_operation_that_stays_as_it_is_is_not_mentioned() -> None:
    events = week_replayed()
    assert said(events.filter(pl.col("severity") != "INFO"), "gc", "event") == []


def test_no_run_knows_what_comes_after_it() -> None:
    whole = week_replayed()
    known = WEEK.filter(pl.col("created_at") <= RUNS[3])
    assert replay(known, RUNS[:4], Wishes()).equals(whole.filter(pl.col("said_at") <= RUNS[3]))


def test_a_lazy_frame_is_told_alike() -> None:
    assert replay(WEEK.lazy(), RUNS[2:4], Wishes()).equals(replay(WEEK, RUNS[2:4], Wishes()))


def test_the_end_is_said_with_how_long_it_took_to_be_noticed() -> None:
    week = calls({"commit": step(147, 3, until=153), "gc": constant})
    opened, recovered = said(replay(week, RUNS[2:5], Wishes()), "commit", "event", "said_at", "ended_at", "delay_s")
    assert opened[:3] == ("opened", hour(150), None)
    assert recovered[:2] == ("recovered", hour(156))
    assert abs(recovered[2] - hour(153)) <= timedelta(minutes=15)
    assert recovered[3] == (hour(156) - recovered[2]).total_seconds()


def test_what_was_over_when_it_was_found_is_said_once_with_its_end() -> None:
    week = calls({"commit": step(139, 3, until=142), "gc": constant})
    (only,) = said(replay(week, RUNS[1:4], Wishes()), "commit", "event", "said_at", "ended_at", "is_page")
    assert (only[0], only[1], only[3]) == ("opened", hour(144), True)
    assert abs(only[2] - hour(142)) <= timedelta(minutes=15)


def test_a_drift_that_costs_ever_more_is_said_again_when_its_severity_rises() -> None:
    rest = dict.fromkeys(("branch", "gc", "merge", "push"), constant)
    events = replay(calls({"commit": ratio_drift(133, 165, 8), **rest}), RUNS, Wishes())
    order = ["INFO", "WARNING", "CRITICAL"]
    of_incident = events.filter(pl.col("event").is_in(["opened", "worse"])).group_by(
        "incident_key", maintain_order=True
    )
    rises = [[order.index(severity) for severity in rows["severity"]] for _, rows in of_incident]
    assert all(now < then for one in rises for now, then in pairwise(one))
    assert max(len(one) for one in rises) > 1
    assert "CRITICAL" in events["severity"]


def test_a_snooze_delays_what_is_said_until_it_ends() -> None:
    events = replay(WEEK, RUNS[2:5], Wishes(silences=silence(hour(140), hour(155))))
    assert said(events, "commit", "event", "said_at")[0] == ("opened", hour(156))


def test_a_snooze_that_was_made_later_delays_nothing() -> None:
    events = replay(WEEK, RUNS[2:5], Wishes(silences=silence(hour(151), hour(155))))
    assert said(events, "commit", "event", "said_at")[0] == ("opened", hour(150))


def test_only_faster_asked_for_and_untracked_say_nothing() -> None:
    only_faster = Wishes(settings=settings("commit", direction="faster"))
    assert said(replay(WEEK, RUNS[2:4], only_faster).filter("is_page"), "commit", "event") == []
    assert said(replay(WEEK, RUNS[2:4], Wishes(untracked=("commit",))), "commit", "event") == []


def test_thresholds_decide_what_pages() -> None:
    high = Thresholds(warning_times=100.0, warning_lost_share=1.0, critical_lost_share=1.0)
    events = replay(WEEK, RUNS[2:4], Wishes(thresholds=high))
    assert said(events, "commit", "severity", "is_page")[0] == ("INFO", False)


def test_without_timings_nothing_is_said_and_there_is_no_rate() -> None:
    nothing = METRICS.empty()
    events = replay(nothing, RUNS, Wishes())
    assert events.equals(EVENTS.empty())
    told = summary(events, nothing, RUNS, Wishes())
    assert (told.pages, told.operations, told.pages_per_operation_day, told.critical_a_day) == (0, 0, None, 0.0)


def test_pages_are_counted_per_operation_and_day() -> None:
    rows: list[dict[str, object]] = [
        dict.fromkeys(EVENTS.columns)
        | {
            "said_at": RUNS[1],
            "event": event,
            "severity": severity,
            "kind": "step",
            "operation_type": "commit",
            "operation_types": ["commit"],
            "onset": RUNS[0],
            "delay_s": 1.0,
            "lost_ms": 1.0,
            "is_page": is_page,
            "incident_key": "key",
        }
        for event, severity, is_page in (
            ("opened", "WARNING", True),
            ("worse", "CRITICAL", True),
            ("recovered", "CRITICAL", False),
        )
    ]
    told = summary(EVENTS.frame(rows), WEEK, RUNS, Wishes(untracked=("gc",)))
    # 36 hours, two operations that are watched
    assert (told.days, told.operations, told.pages, told.critical_pages) == (1.5, 2, 2, 1)
    assert told.pages_per_operation_day == pytest.approx(2 / 3)
    assert told.critical_a_day == pytest.approx(1 / 1.5)


# --- proposals ------------------------------------------------------------------------------------------------------


def verdicts(right: list[float], wrong: list[float]) -> pl.DataFrame:
    """Verdicts on alerts of commit of these ratios."""
    rows: list[dict[str, object]] = [
        {"operation_type": "commit", "verdict": verdict, "size_ratio": ratio}
        for verdict, ratios in (("true_positive", right), ("false_positive", wrong))
        for ratio in ratios
    ]
    return VERDICTS.frame(rows)


def proposed(
    judged: pl.DataFrame, wishes: Wishes | None = None, pages: dict[float | None, int] | None = None
) -> dict[str, Any]:
    counted = {tried: {"commit": count} for tried, count in (pages or {None: 2}).items()}
    (row,) = proposals(judged, counted, wishes or Wishes(), weeks=2.0).to_dicts()
    return row


@pytest.mark.parametrize(
    ("right", "wrong", "least"),
    [
        # above 24.5 %, and what was right at 80 % is told
        ([1.8], [1.15, 1.245], 25.0),
        # the false one of 90 % cannot go without the right one of 80 %
        ([1.8], [1.155, 1.9], 16.0),
        # nothing was right, but what doubles is told all the same
        ([], [1.2, 1.3, 2.0], 31.0),
        # improvements that nobody wants
        ([], [0.8, 0.75, 0.9], 26.0),
        ([1.12], [1.2, 1.3], None),
        ([], [1.2, 1.3], None),
        ([1.5, 1.6, 1.7], [], None),
    ],
)
def test_the_smallest_effect_spares_false_positives_and_nothing_that_was_right(
    right: list[float], wrong: list[float], least: float | None
) -> None:
    row = proposed(verdicts(right, wrong))
    assert row["proposed_minimum_effect_percent"] == least
    assert (row["judged"], row["false_positives"]) == (len(right) + len(wrong), len(wrong))
    assert row["false_share"] == pytest.approx(len(wrong) / (len(right) + len(wrong)))


def test_a_smallest_effect_that_is_set_is_never_lowered() -> None:
    row = proposed(verdicts([1.8], [1.15, 1.245]), Wishes(settings=settings("commit", minimum_effect_percent=40.0)))
    assert (row["minimum_effect_percent"], row["proposed_minimum_effect_percent"]) == (40.0, None)


@pytest.mark.parametrize(
    ("expected", "pages", "right", "sensitivity"),
    [
        # in two weeks
        (2.0, {None: 10, 0.25: 1, 0.5: 4, 0.7: 6, 1.0: 10, 2.0: 12}, [], 0.5),
        (2.0, {None: 10, 0.25: 8, 0.5: 8, 1.0: 10}, [], 0.25),
        (2.0, {None: 10, 0.25: 10, 0.5: 10, 1.0: 10}, [], None),
        (6.0, {None: 10, 0.5: 4, 1.0: 10, 1.5: 11, 2.0: 20}, [1.5], 1.5),
        (6.0, {None: 10, 0.5: 4, 1.0: 10, 1.5: 11, 2.0: 20}, [], None),
    ],
)
def test_the_sensitivity_keeps_to_the_pages_expected_and_rises_only_where_alerts_were_right(
    expected: float, pages: dict[float | None, int], right: list[float], sensitivity: float | None
) -> None:
    wishes = Wishes(settings=settings("commit", expected_pages_per_week=expected))
    row = proposed(verdicts(right, []), wishes, pages)
    assert row["proposed_sensitivity"] == sensitivity
    assert (row["pages_per_week"], row["expected_pages_per_week"]) == (5.0, expected)


def test_the_past_is_replayed_at_each_sensitivity_where_pages_are_expected() -> None:
    runs = RUNS[2:4]
    assert pages_by_sensitivity(WEEK, runs, Wishes()) == {None: {"commit": 1}}
    wishes = Wishes(settings=settings("commit", expected_pages_per_week=1.0))
    steps: list[tuple[int, int]] = []
    pages = pages_by_sensitivity(WEEK, runs, wishes, progress=lambda done, total: steps.append((done, total)))
    # a change so plain is told at any sensitivity
    assert pages == {tried: {"commit": 1} for tried in (None, *LADDER)}
    assert steps == [(done, 2 * (1 + len(LADDER))) for done in range(1, 1 + 2 * (1 + len(LADDER)))]
