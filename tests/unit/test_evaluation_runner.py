"""Engines over several weeks: one that knows the truth, one that says nothing, and the plan's."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation import verdicts
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import preset
from pggit_analytics.evaluation.plan import connected, plan_engine
from pggit_analytics.evaluation.runner import RESULTS, context_of, evaluate, markdown
from pggit_analytics.evaluation.truth import LabelledWeek
from pggit_analytics.evaluation.verdicts import Context, Engine, Verdict

SEEDS = (1, 2)


def knowing(name: str) -> Engine:
    """An engine that answers with the labels of the preset's week, told by its first row and its size."""
    weeks = {week.metrics.row(0) + week.metrics.shape: week for week in (make_week(s, preset(name)) for s in SEEDS)}
    return lambda metrics, context: _truth_told(weeks[metrics.row(0) + metrics.shape])


def _truth_told(week: LabelledWeek) -> Verdict:
    spikes = week.truth.spikes.select("operation_type", "metric_id", score=pl.lit(1.0))
    changes = [
        {"operation_type": name, "kind": kind, "onset": onset, "size_ratio": factor}
        for name, kind, onset, _, factor, _ in week.truth.changes.iter_rows()
    ]
    breaches = week.truth.breaches.drop_nulls("breach_at").select("operation_type", "breach_at")
    return Verdict(
        spikes=spikes,
        changes=verdicts.CHANGES.frame(changes),
        pairs=verdicts.PAIRS.frame(
            [{"operation_type_1": one, "operation_type_2": two, "score": 1.0} for one, two in week.truth.pairs]
        ),
        groups=tuple(frozenset(members) for members in week.truth.groups["members"].to_list()),
        forecasts=breaches.with_columns(low="breach_at", high="breach_at"),
    )


def silent(metrics: pl.DataFrame, context: Context) -> Verdict:
    """An engine that finds nothing."""
    return Verdict()


def values(results: pl.DataFrame, name: str) -> dict[str, float | None]:
    """Measure -> value of one preset."""
    return dict(results.filter(preset=name).select("measure", "value").iter_rows())


def test_an_engine_that_tells_the_truth_reaches_one_everywhere_and_beats_the_ideal_observer() -> None:
    found = values(evaluate(knowing("full"), ["full"], SEEDS), "full")
    shares = {name: value for name, value in found.items() if name.split()[-1] in {"precision", "recall", "F1"}}
    ideal = {name for name in shares if name.endswith("ideal recall")}
    assert len(ideal) >= 3
    assert all(value == 1.0 for name, value in shares.items() if name not in ideal and "share" not in name)
    assert all(value is not None and value >= 1.0 for name, value in found.items() if "share of ideal" in name)
    assert found["onset error of large steps, min p90"] == 0.0
    assert found["breaches foretold 24-48 h ahead"] == 1.0
    assert found["false forecasts"] == 0.0


def test_a_silent_engine_finds_nothing_and_raises_no_page() -> None:
    found = values(evaluate(silent, ["full"], SEEDS), "full")
    assert found["spikes all recall"] == 0.0
    assert found["pages per operation-day"] == 0.0
    assert "spikes all precision" not in found


def test_the_plans_detectors_find_large_spikes_among_many_false_alarms() -> None:
    found = values(evaluate(plan_engine, ["orientation"], SEEDS), "orientation")
    recall, precision = found["spikes 8-30x recall"], found["spikes all precision"]
    assert recall is not None
    assert precision is not None
    assert recall > 0.95
    # with skewed durations the upper 3 sigma hold about 1 % of the calls; the spikes are 0.02 %
    assert precision < 0.25


def test_the_plans_detectors_are_asked_once_for_each_day_and_page_once_for_each_finding() -> None:
    week = make_week(1, preset("orientation"))
    verdict = plan_engine(week.metrics, context_of(week))
    assert verdict.spikes["metric_id"].n_unique() == verdict.spikes.height
    ends = {week.as_of - timedelta(days=back) for back in range(7)}
    assert set(verdict.pages["at"].to_list()) <= ends
    assert verdict.changes["onset"].is_between(week.as_of - timedelta(days=7), week.as_of).all()


def test_an_engine_is_told_limits_and_traces_but_no_breach() -> None:
    week = make_week(1, preset("full"))
    context = context_of(week)
    assert context.as_of == week.as_of
    assert context.slas.columns == ["operation_type", "sla_ms"]
    assert context.traces.equals(week.traces)


def test_pairs_connect_to_groups() -> None:
    assert connected([("a", "b"), ("d", "e"), ("b", "c"), ("f", "e")]) == (frozenset("abc"), frozenset("def"))
    assert connected([("a", "b"), ("c", "d"), ("b", "c")]) == (frozenset("abcd"),)


def test_the_table_has_a_column_for_each_preset() -> None:
    rows = [("x", "recall", 0.5, 0.25, 0.75), ("y", "recall", 123.4, None, None), ("y", "lead", None, None, None)]
    results = RESULTS.frame(
        [dict(zip(("preset", "measure", "value", "low", "high"), row, strict=True)) | {"events": 1.0} for row in rows]
    )
    assert markdown(results).splitlines() == [
        "| measure | x | y |",
        "| --- | --- | --- |",
        "| recall | 0.500 [0.250, 0.750] | 123 |",
        "| lead |  | none |",
    ]


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="0 presets and 1 seeds"):
        evaluate(silent, [], [1])
    with pytest.raises(InvalidArgument, match="preset is best"):
        evaluate(silent, ["best"], [1])
