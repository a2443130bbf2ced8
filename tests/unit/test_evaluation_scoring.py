"""What counts as right, wrong and missed, on weeks of a few rows counted by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from pggit_analytics.errors import InvalidData
from pggit_analytics.evaluation import verdicts
from pggit_analytics.evaluation.pooling import Counts
from pggit_analytics.evaluation.scoring import LARGE, SMALL, score
from pggit_analytics.evaluation.verdicts import Verdict
from tests.unit.labelled_weeks import AS_OF, START, ago, change, episode, spike, week

#: one ordinary call of each operation at the beginning of the week, so that it is 7 days long
ONE_EACH = [(name, 100, 100, START, False) for name in "abcde"]


def claim(name: str, onset: datetime, size: float, kind: str = "step") -> dict[str, Any]:
    """A row of `verdicts.CHANGES`."""
    return {"operation_type": name, "kind": kind, "onset": onset, "size_ratio": size}


def changes(*claims: dict[str, Any]) -> Verdict:
    """A verdict of nothing but changes."""
    return Verdict(changes=verdicts.CHANGES.frame(list(claims)))


def pages(*said: tuple[list[str], datetime, str]) -> Verdict:
    """A verdict of nothing but pages."""
    rows = [{"operation_types": names, "at": at, "severity": severity} for names, at, severity in said]
    return Verdict(pages=verdicts.PAGES.frame(rows))


def forecasts(*said: tuple[str, datetime, datetime | None, datetime | None]) -> Verdict:
    """A verdict of nothing but forecasts."""
    rows = [{"operation_type": name, "breach_at": at, "low": low, "high": high} for name, at, low, high in said]
    return Verdict(forecasts=verdicts.FORECASTS.frame(rows))


def test_spikes_count_in_the_class_of_their_label_and_false_ones_in_that_of_their_own_size() -> None:
    at = ago(days=1)
    durations = [400, 500, 1000, 2000, 900, 700, 90, 5000, 1500]
    neutral = [False, False, False, False, False, False, False, True, True]
    labelled = week(
        [("a", us, 100, at, is_neutral) for us, is_neutral in zip(durations, neutral, strict=True)],
        spikes=[
            spike(1, "a", at, 4.0),
            spike(2, "a", at, 5.0),
            spike(3, "a", at, 10.0),
            spike(4, "a", at, 20.0),
            spike(9, "a", at, 15.0, is_neutral=True),
        ],
    )
    # found: 1 and 3; missed: 2 and 4; wrong: 5 (9 times), 6 (7 times), 7 (a fast one); neutral: 8 and 9
    said = pl.DataFrame(
        {"operation_type": ["a"] * 8, "metric_id": [1, 3, 5, 6, 7, 8, 9, 9], "score": [1.0] * 8},
        schema=verdicts.SPIKES.columns,
    )
    counts = score(labelled, Verdict(spikes=said)).counts
    assert counts["spikes 3-8x"] == Counts(1, 2, 1)
    assert counts["spikes 8-30x"] == Counts(1, 1, 1)
    assert counts["spikes all"] == Counts(2, 3, 2)


def test_operations_with_a_step_or_drift_are_found_by_either_and_others_are_wrong() -> None:
    labelled = week(
        ONE_EACH,
        changes=[
            change("a", "step", ago(days=3), 2.0),
            change("b", "drift", ago(days=4), 1.6),
            change("c", "step", ago(days=2), 1.2),
        ],
    )
    said = changes(
        claim("a", ago(days=3), 2.0, "drift"),
        claim("d", ago(days=1), 1.5),
        claim("d", ago(days=2), 1.1),
        claim("e", ago(days=2), 1.3),
    )
    counts = score(labelled, said).counts
    assert counts[LARGE] == Counts(right=1, wrong=1, missed=1)
    assert counts[SMALL] == Counts(right=0, wrong=1, missed=1)


def test_a_report_from_long_before_the_onset_is_wrong_and_the_change_missed() -> None:
    labelled = week(ONE_EACH, changes=[change("a", "step", ago(days=3), 2.0)])
    assert score(labelled, changes(claim("a", ago(days=3, hours=13), 2.0))).counts[LARGE] == Counts(0, 1, 1)
    assert score(labelled, changes(claim("a", ago(days=3, hours=11), 2.0))).counts[LARGE] == Counts(1, 0, 0)


def test_a_report_about_an_episode_or_a_child_alone_counts_for_neither() -> None:
    labelled = week(
        ONE_EACH,
        changes=[change("b", "step", ago(days=2), 1.5, "cost_shift")],
        episodes=[episode("a", "incident", ago(days=4), ago(days=4, hours=-5))],
    )
    neither = changes(claim("a", ago(days=4, minutes=20), 2.0), claim("b", ago(days=2), 1.5))
    assert score(labelled, neither).counts[LARGE] == Counts(0, 0, 0)
    elsewhere = changes(claim("a", ago(days=4, minutes=40), 2.0))
    assert score(labelled, elsewhere).counts[LARGE] == Counts(0, 1, 0)


def test_a_step_is_found_even_where_an_episode_lies_about_its_onset() -> None:
    labelled = week(
        ONE_EACH,
        changes=[change("a", "step", ago(days=2), 1.5)],
        episodes=[episode("a", "retry_storm", ago(days=2, minutes=10), ago(days=2))],
    )
    assert score(labelled, changes(claim("a", ago(days=2), 1.5))).counts[LARGE] == Counts(1, 0, 0)


def test_the_onset_error_is_that_of_the_nearest_report_in_minutes() -> None:
    labelled = week(ONE_EACH, changes=[change("a", "step", ago(days=2), 1.5), change("b", "drift", ago(days=2), 1.5)])
    said = changes(claim("a", ago(days=1), 1.5), claim("a", ago(days=2, minutes=7), 1.5), claim("b", ago(days=1), 2.0))
    amounts = score(labelled, said).amounts
    assert amounts["onset error of large steps, min"] == (7.0,)
    assert amounts["onset error of small steps, min"] == ()


def test_improvements_and_variance_changes_need_a_report_of_their_own_kind() -> None:
    labelled = week(
        ONE_EACH,
        changes=[change("a", "improvement", ago(days=2), 0.6), change("b", "variance", ago(days=2), 1.8)],
        episodes=[episode("e", "bottleneck", ago(days=2), ago(days=1), "group_1")],
    )
    said = changes(
        claim("a", ago(days=2), 0.6, "improvement"),
        claim("b", ago(days=2), 1.1),
        claim("c", ago(days=2), 1.0, "variance"),
        claim("e", ago(days=1), 0.5, "improvement"),
    )
    counts = score(labelled, said).counts
    assert counts["improvement changes"] == Counts(1, 0, 0)
    assert counts["variance changes"] == Counts(0, 1, 1)
    assert counts[SMALL] == Counts(0, 1, 0)


def test_pairs_follow_from_the_groups_and_a_group_counts_only_when_exact() -> None:
    labelled = week(ONE_EACH, groups=[{"group": "g", "members": ["c", "a", "b"]}])
    pairs = verdicts.PAIRS.frame(
        [{"operation_type_1": x, "operation_type_2": y, "score": 1.0} for x, y in [("a", "b"), ("c", "a"), ("d", "e")]]
    )
    one_too_few = score(labelled, Verdict(pairs=pairs, groups=(frozenset("ab"), frozenset("de")))).counts
    assert one_too_few["pairs"] == Counts(2, 1, 1)
    assert one_too_few["groups"] == Counts(0, 2, 1)
    assert score(labelled, Verdict(groups=(frozenset("abc"),))).counts["groups"] == Counts(1, 0, 0)


def test_pages_are_counted_per_operation_day_and_without_a_cause_apart() -> None:
    labelled = week(
        ONE_EACH,
        spikes=[spike(1, "a", ago(days=3), 9.0)],
        changes=[change("b", "step", ago(days=2), 1.5), change("c", "step", ago(days=2), 1.5, "cost_shift")],
        episodes=[
            episode("d", "retry_storm", ago(days=5), ago(days=4)),
            episode("e", "bottleneck", ago(days=5), ago(days=4), "g"),
        ],
    )
    founded = [
        (["a"], ago(days=2.5), "WARNING"),
        (["b"], ago(hours=1), "CRITICAL"),
        (["d", "e"], ago(days=3.5), "WARNING"),
    ]
    unfounded = [
        (["a"], ago(days=1.9), "WARNING"),
        (["b"], ago(days=2.1), "CRITICAL"),
        (["c"], ago(days=1), "WARNING"),
        (["d"], ago(days=4.5), "WARNING"),
    ]
    ratios = score(labelled, pages(*founded, *unfounded)).ratios
    assert ratios["pages per operation-day"] == (7, pytest.approx(35.0))
    assert ratios["pages without a cause per operation-day"] == (4, pytest.approx(35.0))
    assert ratios["CRITICAL pages a day"] == (2, pytest.approx(7.0))


def test_a_breach_is_foretold_when_said_within_a_day_and_24_to_48_hours_ahead() -> None:
    breaches = {"a": ago(hours=-30), "b": ago(hours=-47), "c": ago(hours=-60), "d": None}
    labelled = week(
        ONE_EACH,
        breaches=[{"operation_type": name, "sla_ms": 1.0, "breach_at": at} for name, at in breaches.items()],
    )
    said = forecasts(
        ("a", ago(hours=-40), ago(hours=-20), ago(hours=-50)),
        ("b", ago(hours=-72), ago(hours=-48), ago(hours=-90)),
        ("c", ago(hours=-60), None, None),
        ("d", ago(hours=-30), ago(hours=-20), ago(hours=-40)),
    )
    tally = score(labelled, said)
    # a and c are right; b is off by 25 h; d has no breach
    assert tally.ratios["breaches foretold 24-48 h ahead"] == (1, 2)
    assert tally.ratios["false forecasts"] == (2, 4)
    assert tally.ratios["forecast intervals that hold the breach"] == (1, 2)
    assert tally.amounts["lead of right forecasts, h"] == (30.0, 60.0)


def test_a_silent_engine_misses_everything_and_is_wrong_about_nothing() -> None:
    labelled = week(ONE_EACH, spikes=[spike(1, "a", START, 9.0)], changes=[change("b", "step", ago(days=2), 1.5)])
    tally = score(labelled, Verdict())
    assert tally.counts["spikes 8-30x"] == Counts(0, 0, 1)
    assert tally.counts[LARGE] == Counts(0, 0, 1)
    assert tally.ratios["pages per operation-day"] == (0, pytest.approx(35.0))


def test_a_verdict_of_another_form_is_refused() -> None:
    with pytest.raises(InvalidData, match="spike verdicts: column operation_type is missing"):
        Verdict(spikes=pl.DataFrame({"metric_id": [1]}))


def test_weeks_are_measured_to_their_end() -> None:
    labelled = week([("a", 100, 100, AS_OF - timedelta(days=2), False)])
    assert score(labelled, Verdict()).ratios["CRITICAL pages a day"] == (0, pytest.approx(2.0))
