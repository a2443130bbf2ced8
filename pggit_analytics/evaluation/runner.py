"""An engine over many labelled weeks: one table of how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.ideal import Evidence, reachable_recall, spike_evidence, step_evidence
from pggit_analytics.evaluation.pooling import MEASURES, Counts, Tally, pooled
from pggit_analytics.evaluation.presets import maker
from pggit_analytics.evaluation.scoring import SMALL, score
from pggit_analytics.evaluation.truth import SPIKE_CLASSES, LabelledWeek
from pggit_analytics.evaluation.verdicts import Context, Engine
from pggit_analytics.frames import FrameSchema

#: `MEASURES` of several presets
RESULTS = FrameSchema("evaluation", {"preset": pl.String, **MEASURES.columns}, MEASURES.nullable)

#: class of `scoring.score` -> spike class, None: small steps
_TESTS: dict[str, str | None] = {f"spikes {c}": c for c in SPIKE_CLASSES} | {SMALL: None}


@dataclass(slots=True)
class _Pool:
    """What is kept of the weeks of one preset."""

    tallies: list[Tally] = field(default_factory=list)
    #: class -> the engine's counts and the ideal observer's values, one entry a week that has such a label
    evidence: dict[str, list[tuple[Counts, Evidence]]] = field(default_factory=lambda: {name: [] for name in _TESTS})


def evaluate(engine: Engine, presets: Sequence[str], seeds: Iterable[int]) -> pl.DataFrame:
    """How good an engine is on labelled weeks.

    Args:
        engine: metrics and context -> verdict; it sees no labels.
        presets: of `presets.NAMES`.
        seeds: one week each and preset; use others for tuning than for the figures that are told.

    Returns:
        `RESULTS`: the measures of `pooling.pooled`, the recall an ideal observer reaches at the same rate of false
        alarms, and the engine's share of it. Measures without a label, verdict or day behind them are left out.

    Raises:
        InvalidArgument: an unknown preset, no preset or no seed.
    """
    weeks = list(seeds)
    if not presets or not weeks:
        raise InvalidArgument(f"there are {len(presets)} presets and {len(weeks)} seeds, expected at least one of each")
    makers = {name: maker(name) for name in presets}
    tables = []
    for name, make in makers.items():
        pool = _Pool()
        for seed in weeks:
            _add(pool, engine, make(seed), seed)
        measures = pl.concat([pooled(pool.tallies), _ideal(pool)])
        tables.append(measures.filter(pl.col("events") > 0).select(pl.lit(name).alias("preset"), pl.all()))
    return RESULTS.check(pl.concat(tables))


def context_of(week: LabelledWeek) -> Context:
    """What an engine may know of a labelled week besides its metrics."""
    return Context(week.as_of, week.truth.breaches.select("operation_type", "sla_ms"), week.traces)


def _add(pool: _Pool, engine: Engine, week: LabelledWeek, seed: int) -> None:
    pool.tallies.append(score(week, engine(week.metrics, context_of(week))))
    for name, spike_class in _TESTS.items():
        labelled = pool.tallies[-1].counts[name]
        if labelled.right + labelled.missed:
            found = step_evidence(week, seed) if spike_class is None else spike_evidence(week, spike_class)
            pool.evidence[name].append((labelled, found))


def _ideal(pool: _Pool) -> pl.DataFrame:
    """Reachable recalls, and the engine's share of them; without intervals."""
    rows: list[dict[str, object]] = []
    for name, weeks in pool.evidence.items():
        right, missed = sum(c.right for c, _ in weeks), sum(c.missed for c, _ in weeks)
        reachable = reachable_recall([found for _, found in weeks], sum(c.wrong for c, _ in weeks))
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
