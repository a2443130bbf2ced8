"""What each part of the engine brings: the same labelled weeks with one part at a time replaced by something plainer.

Needs no database. A row for each variant; the first is the engine as it is. The plainer parts are here, put in the
place of the engine's own while a variant is measured, so that the engine has no switches.

    python benchmarks/ablation.py --weeks 4
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from pggit_analytics.analysis import (
    breach_forecast,
    engine_findings,
    followed_levels,
    level_changes,
    level_models,
    shared_levels,
    shared_pairs,
    spikes,
)
from pggit_analytics.analysis.expected_levels import Season
from pggit_analytics.analysis.followed_levels import Levels
from pggit_analytics.evaluation.engine import found_at_the_end
from pggit_analytics.evaluation.pooling import Tally, pooled
from pggit_analytics.evaluation.presets import maker
from pggit_analytics.evaluation.runner import context_of
from pggit_analytics.evaluation.scoring import LARGE, SMALL, score
from pggit_analytics.evaluation.truth import LabelledWeek

#: preset -> (heading, measure of its weeks); of the clean weeks everything that is found is false
COLUMNS: Mapping[str, Sequence[tuple[str, str]]] = {
    "full": (
        ("spikes 3-8x: precision", "spikes 3-8x precision"),
        ("recall", "spikes 3-8x recall"),
        ("large changes: F1", f"{LARGE} F1"),
        ("onset, min", "onset error of large steps, min median"),
        ("pairs: F1", "pairs F1"),
        ("groups: F1", "groups F1"),
    ),
    "steps_small": (("small steps: precision", f"{SMALL} precision"), ("recall", f"{SMALL} recall")),
    "forecast": (
        ("drifts: F1", f"{LARGE} F1"),
        ("breaches foretold", "breaches foretold 24-48 h ahead"),
        ("false", "false forecasts"),
    ),
}
CLEAN = "clean"

Part = tuple[ModuleType, str, Any]


# --- plainer parts ----------------------------------------------------------------------------------------------------


def _no_season(grid: Any, *_: Any, **__: Any) -> Season:
    size = len(grid.operations)
    return Season(np.zeros((2, 24)), np.ones(size), np.zeros((size, 24)))


def _calls_by_one_level(levels: Levels) -> pl.DataFrame:
    """Slow calls against the mean level of the window."""
    mean = np.average(levels.values, axis=1, weights=np.maximum(levels.precision, 1e-12))[:, None]
    flat = np.broadcast_to(mean, levels.lasting.shape).copy()
    return spikes.slow_calls(replace(levels, lasting=flat, local=flat))


def _each_alone(p: Any, share: float, _tests: int | None = None) -> Any:
    return p <= share


def _normal_tails(found: Any, _tails: Callable[[Any], Any] = spikes._tails) -> Any:
    tails = _tails(found)
    return replace(tails, share=np.zeros_like(tails.share))


def _windows_without_noise(*of: Any, _windows: Callable[..., Any] = shared_pairs.windows) -> Any:
    found = _windows(*of)
    return replace(found, variance=np.zeros_like(found.variance))


def _no_ramp(*of: Any, _best_ramp: Callable[..., Any] = level_models._best_ramp) -> Any:
    ramp, _ = _best_ramp(*of)
    return ramp, math.inf


def _one_path(grid: Any) -> Any:
    """The median of all calls of each operation instead of the running one of its hours."""
    cells = int((grid.end - grid.start) // shared_levels.CELL) + 1
    middle = [np.median(grid.log_us[grid.calls_of(place)]) for place in range(len(grid.operations))]
    return np.repeat(np.array(middle)[:, None], cells, axis=1)


VARIANTS: Mapping[str, Sequence[Part]] = {
    "the engine": (),
    "no season": ((followed_levels, "season", _no_season),),
    "slow calls against one level": ((engine_findings, "slow_calls", _calls_by_one_level),),
    "passing episodes count": ((followed_levels, "_episodes", lambda *_: []),),
    "errors independent in time": (
        (followed_levels, "long_run_inflation", lambda _, errors, __: np.ones(len(errors))),
        (followed_levels, "_wander_inflation", lambda _, values, __: np.ones(len(values))),
    ),
    "borders of any size and length": ((level_models, "merge_pieces", lambda _, __, borders, **___: borders),),
    "any rise counts as lasting": (
        (level_changes, "lasting_size", lambda levels, _, border: float(levels[border] - levels[border - 1])),
    ),
    "steps only, no ramps": ((level_models, "_best_ramp", _no_ramp),),
    "rare operations like others": ((level_models, "RARE_CALLS", 0),),
    "no control of false discoveries": (
        (level_changes, "passes", _each_alone),
        (level_changes, "SURE", 0.05),
        (spikes, "passes", _each_alone),
        (shared_pairs, "false_discovery", lambda p: p),
    ),
    "normal noise instead of tails": (
        (spikes, "_tails", _normal_tails),
        (spikes, "MOST_SPIKES", math.inf),
    ),
    "noise of windows unknown": ((shared_pairs, "windows", _windows_without_noise),),
    "common course left in": ((shared_levels, "common_course", lambda value, *_: np.zeros(value.shape[1])),),
    "own course left in": ((shared_levels, "own_paths", _one_path),),
    "windows independent in time": ((shared_pairs, "LAGS", 0),),
    "drifts always go on": ((breach_forecast, "LEVELLED_PENALTY", math.inf),),
}


@contextmanager
def replaced(parts: Sequence[Part]) -> Iterator[None]:
    """These parts in the place of the engine's own."""
    with ExitStack() as stack:
        for module, name, plainer in parts:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, plainer)
        yield


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Week:
    """A labelled week and its preset."""

    preset: str
    week: LabelledWeek


def measured(parts: Sequence[Part], weeks: Sequence[Week]) -> list[str]:
    """The values of one variant, in the order of the columns."""
    tallies: dict[str, list[Tally]] = {}
    false = 0
    with replaced(parts):
        for one in weeks:
            verdict = found_at_the_end(one.week.metrics, context_of(one.week))
            if one.preset == CLEAN:
                slower = verdict.changes.filter(pl.col("kind").is_in(["step", "drift"]))
                false += verdict.spikes.height + slower.height + verdict.pairs.height
            else:
                tallies.setdefault(one.preset, []).append(score(one.week, verdict))
    values = []
    for preset, columns in COLUMNS.items():
        found = dict(pooled(tallies[preset]).select("measure", "value").iter_rows())
        values += ["none" if found[measure] is None else f"{found[measure]:.3g}" for _, measure in columns]
    return [*values, f"{false / sum(one.preset == CLEAN for one in weeks):.3g}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=4, help="labelled weeks of each preset [4]")
    parser.add_argument("--first-seed", type=int, default=7100, help="of the weeks [7100]")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="only this one; repeatable")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.weeks)
    weeks = [Week(preset, maker(preset)(seed)) for preset in (*COLUMNS, CLEAN) for seed in seeds]
    head = ["", *(heading for columns in COLUMNS.values() for heading, _ in columns), "false findings a clean week"]
    print(f"| {' | '.join(head)} |\n| {' | '.join(['---'] * len(head))} |", flush=True)
    for name in arguments.variant or VARIANTS:
        print(name, file=sys.stderr, flush=True)
        print(f"| {' | '.join([name, *measured(VARIANTS[name], weeks)])} |", flush=True)


if __name__ == "__main__":
    main()
