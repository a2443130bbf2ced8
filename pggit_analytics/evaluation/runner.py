"""An engine over many labelled weeks: one table of how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.ideal import Evidence, reachable_recall, spike_evidence, step_evidence
from pggit_analytics.evaluation.pooling import MEASURES, Tally, pooled
from pggit_analytics.evaluation.presets import maker
from pggit_analytics.evaluation.scoring import SMALL, score
from pggit_analytics.evaluation.truth import SPIKE_CLASSES, LabelledWeek
from pggit_analytics.evaluation.verdicts import Context, Engine
from pggit_analytics.frames import FrameSchema

#: `MEASURES` of several presets
RESULTS = FrameSchema("evaluation", {"preset": pl.String, **MEASURES.columns}, MEASURES.nullable)

#: class of `scoring.score` -> spike class, None: small steps
_TESTS: dict[str, str | None] = {f"spikes {c}": c for c in SPIKE_CLASSES} | {SMALL: None}


@dataclass(frozen=True, slots=True)
class Judged:
    """What is kept of one week."""

    tally: Tally
    #: class -> the ideal observer's values, where the week has such a label
    evidence: Mapping[str, Evidence]


def evaluate(engine: Engine, presets: Sequence[str], seeds: Iterable[int]) -> pl.DataFrame:
    """How good an engine is on labelled weeks.

    Args:
        engine: metrics and context -> verdict; it sees no labels.
        presets: of `presets.NAMES`.
        seeds: one week each and preset; use others for tuning than for the figures that are told.

    Returns:
        `RESULTS`: see `results`.

    Raises:
        InvalidArgument: an unknown preset, no preset or no seed.
    """
    weeks = list(seeds)
    if not presets or not weeks:
        raise InvalidArgument(f"there are {len(presets)} presets and {len(weeks)} seeds, expected at least one of each")
    makers = {name: maker(name) for name in presets}
    return pl.concat(
        [results(name, [judged(engine, make(seed), seed) for seed in weeks]) for name, make in makers.items()]
    )


def context_of(week: LabelledWeek) -> Context:
    """What an engine may know of a labelled week besides its metrics."""
    return Context(week.as_of, week.truth.breaches.select("operation_type", "sla_ms"), week.traces)


def judged(engine: Engine, week: LabelledWeek, seed: int) -> Judged:
    """How an engine does on one week, and what could be found there.

    Args:
        engine: metrics and context -> verdict.
        week: with its labels.
        seed: that the week was made with.
    """
    tally = score(week, engine(week.metrics, context_of(week)))
    evidence = {
        name: step_evidence(week, seed) if spike_class is None else spike_evidence(week, spike_class)
        for name, spike_class in _TESTS.items()
        if tally.counts[name].right + tally.counts[name].missed
    }
    return Judged(tally, evidence)


def results(preset: str, weeks: Sequence[Judged]) -> pl.DataFrame:
    """The measures over all weeks of a preset.

    Args:
        preset: its name.
        weeks: one or more.

    Returns:
        `RESULTS`: the measures of `pooling.pooled`, the recall an ideal observer reaches at the same rate of false
        alarms, and the engine's share of it. Measures without a label, verdict or day behind them are left out.
    """
    measures = pl.concat([pooled([week.tally for week in weeks]), _ideal(weeks)])
    return RESULTS.check(measures.filter(pl.col("events") > 0).select(pl.lit(preset).alias("preset"), pl.all()))


def _ideal(weeks: Sequence[Judged]) -> pl.DataFrame:
    """Reachable recalls, and the engine's share of them; without intervals."""
    rows: list[dict[str, object]] = []
    for name in _TESTS:
        labelled = [(week.tally.counts[name], week.evidence[name]) for week in weeks if name in week.evidence]
        right, missed = sum(c.right for c, _ in labelled), sum(c.missed for c, _ in labelled)
        reachable = reachable_recall([found for _, found in labelled], sum(c.wrong for c, _ in labelled))
        if reachable is None:
            continue
        share = right / (right + missed) / reachable if reachable else None
        rows += [
            {"measure": f"{name} ideal recall", "value": reachable, "events": right + missed},
            {"measure": f"{name} share of ideal recall", "value": share, "events": right + missed},
        ]
    return MEASURES.frame(rows)


def cells(results: pl.DataFrame, *, intervals: bool = True) -> tuple[list[str], list[list[str]]]:
    """The presets, and a row for each measure: its name, then ``value [low, high]`` of each preset or an empty text.

    Args:
        results: `RESULTS`.
        intervals: False: values alone.
    """
    presets = results["preset"].unique(maintain_order=True).to_list()
    texts = {
        (row["preset"], row["measure"]): _cell(
            row["value"], *((row["low"], row["high"]) if intervals else (None, None))
        )
        for row in results.iter_rows(named=True)
    }
    measures = results["measure"].unique(maintain_order=True).to_list()
    return presets, [[measure, *(texts.get((name, measure), "") for name in presets)] for measure in measures]


def markdown(results: pl.DataFrame) -> str:
    """The table of `cells` as Markdown.

    Args:
        results: `RESULTS`.
    """
    presets, rows = cells(results)
    lines = [["measure", *presets], ["---"] * (1 + len(presets)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "none"
    if low is None or high is None:
        return _shown(value)
    return f"{_shown(value)} [{_shown(low)}, {_shown(high)}]"


def _shown(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
