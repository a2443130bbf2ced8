"""How well the engine finds what labelled weeks hold, how small a change it finds, and what it costs.

Needs no database. Four parts, all of them unless ``--part`` names some:

- accuracy: the engine and the plan's detectors on ``--weeks`` labelled weeks of every preset of the evaluation, from
  ``--first-seed`` on; values with 95 % intervals over the weeks. ``--keep`` names a folder for what was found in each
  week: a run that was stopped goes on from there.
- smallest: the smallest lasting rise that is found in 90 % of `TRIALS` operations, by the number of calls since.
- cost: time and peak memory of the engine and of the plan's detectors on the same ``--rows`` rows of one week, each in
  a process of its own, in turns. What reading the rows takes is not in the time, but in the memory; only the last
  contender begins with a file of Parquet and reads what it needs itself.
- series: the scores of the detector of single series on a folder in the form of NAB, ``--series``.
"""

from __future__ import annotations

import argparse
import math
import pickle
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import ParamSpec, TypeVar

import numpy as np
import polars as pl

from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import combine
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.detect_threshold_exceeded import detect_threshold_exceeded
from pggit_analytics.analysis.engine_findings import EngineFindings, engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.analysis.level_changes import level_changes
from pggit_analytics.analysis.slow_since import slow_since
from pggit_analytics.analysis.stream_scores import ALARM, stream_scores
from pggit_analytics.evaluation.engine import found_at_the_end, incident_engine
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.nab import PROFILES, read_folder, score_folder
from pggit_analytics.evaluation.noise import NoiseLaw
from pggit_analytics.evaluation.options import preset
from pggit_analytics.evaluation.plan import plan_engine
from pggit_analytics.evaluation.presets import NAMES, maker
from pggit_analytics.evaluation.profiles import OPERATIONS
from pggit_analytics.evaluation.runner import Judged, cells, context_of, judged, results
from pggit_analytics.evaluation.scoring import TOO_EARLY
from pggit_analytics.evaluation.verdicts import Engine
from pggit_analytics.frames import BASELINES, INSTANT, METRICS, OPERATION_SETTINGS, OPERATION_TYPES

PARTS = ("accuracy", "smallest", "cost", "series")
#: the presets whose pages are counted
PAGED = ("full", "clean", "surge", "other_clean")
Frames = dict[str, pl.DataFrame | pl.LazyFrame]
Arguments, Result = ParamSpec("Arguments"), TypeVar("Result")
ENGINES: dict[str, Engine] = {"engine": incident_engine, "plan": plan_engine}

AS_OF = datetime(2026, 6, 17, 12, tzinfo=UTC)
_DAY_US = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)

#: calls a day, and so calls in the day since the change, of every operation
CALLS = (5, 10, 20, 50, 100, 200, 500, 1000)
#: rises tried, percent
RISES = (5, 7, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100, 150, 200)
#: spreads of the logarithm of durations: the ends of the generator's range
SPREADS = (0.14, 0.31)
#: share of calls in the tail, and its scale: the middle of the generator's range
_TAIL = (0.003, 0.14)
#: weeks simulated, and operations of each whose level rises
WEEKS_OF_TRIALS, RISING = 6, 8
TRIALS = WEEKS_OF_TRIALS * RISING
#: share that must be found
RECALL = 0.9

#: numbers of rows whose costs are measured
ROWS = (1_000_000, 10_000_000)


def main() -> None:
    arguments = _arguments()
    parts: dict[str, Callable[[], str]] = {
        "accuracy": lambda: accuracy(
            arguments.weeks, arguments.first_seed, arguments.preset or list(NAMES), arguments.keep
        ),
        "smallest": smallest,
        "cost": lambda: "\n".join(cost(rows, arguments.rounds) for rows in arguments.rows or ROWS),
        "series": lambda: series(arguments.series),
    }
    for part in arguments.part or [name for name in PARTS if name != "series" or arguments.series]:
        say(part)
        print(parts[part](), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; repeatable")
    parser.add_argument("--weeks", type=int, default=20, help="labelled weeks of each preset [20]")
    parser.add_argument("--first-seed", type=int, default=7000, help="of the weeks [7000]")
    parser.add_argument("--preset", action="append", choices=list(NAMES), help="only this one; repeatable")
    parser.add_argument("--keep", type=Path, help="folder for what was found in each week, to go on from later")
    parser.add_argument("--rows", action="append", type=int, help="for the cost; repeatable [1000000 and 10000000]")
    parser.add_argument("--rounds", type=int, default=5, help="for the cost [5]")
    parser.add_argument("--series", type=Path, help="folder of labelled series: windows.json and CSV files")
    arguments = parser.parse_args()
    if arguments.weeks < 1:
        parser.error(f"--weeks is {arguments.weeks}, expected at least 1")
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}, expected at least 1")
    if "series" in (arguments.part or []) and arguments.series is None:
        parser.error("--part series needs --series with the folder")
    return arguments


def say(text: str) -> None:
    """Tell the person waiting; results go to standard output, this does not."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# --- accuracy ---------------------------------------------------------------------------------------------------------


def accuracy(weeks: int, first_seed: int, presets: Sequence[str], kept: Path | None) -> str:
    """One table for each preset: a row for each measure, a column for each engine."""
    seeds = range(first_seed, first_seed + weeks)
    found = {(name, engine): list[Judged]() for name in presets for engine in ENGINES}
    for seed in seeds:
        for name in presets:
            for engine, of_week in _both(name, seed, kept).items():
                found[name, engine].append(of_week)
    texts = []
    for name in presets:
        columns = {engine: _column(results(name, found[name, engine])) for engine in ENGINES}
        measures = list(dict.fromkeys(measure for column in columns.values() for measure in column))
        rows = [[measure, *(column.get(measure, "") for column in columns.values())] for measure in measures]
        texts.append(f"{name}, {weeks} weeks from seed {first_seed}\n\n{table(['measure', *columns], rows)}")
    return "\n".join(texts)


def _column(measures: pl.DataFrame) -> dict[str, str]:
    _, rows = cells(measures)
    return {row[0]: row[1] for row in rows}


def _both(name: str, seed: int, kept: Path | None) -> dict[str, Judged]:
    """One week judged for each engine; taken from the folder where it was kept there, kept otherwise."""
    file = None if kept is None else kept / f"{name}-{seed}.pickle"
    if file is not None and file.exists():
        found: dict[str, Judged] = pickle.loads(file.read_bytes())
        return found
    say(f"{name}, seed {seed}")
    week = maker(name)(seed)
    found = {engine: judged(judge, week, seed) for engine, judge in _engines(name).items()}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(found))
    return found


def _engines(name: str) -> dict[str, Engine]:
    """Pages are asked of the presets they are a measure of: they take seven runs more."""
    return ENGINES | ({} if name in PAGED else {"engine": found_at_the_end})


# --- the smallest change that is found --------------------------------------------------------------------------------


def smallest() -> str:
    """A row for each number of calls, a column for each spread."""
    rows, wrong, quiet = [], 0, 0
    for calls in CALLS:
        row = [str(calls)]
        for spread in SPREADS:
            rise, of_search = _smallest_rise(calls, NoiseLaw(spread, *_TAIL))
            row.append(f"more than +{RISES[-1]} %" if rise is None else f"+{rise} %")
            wrong, quiet = wrong + of_search.wrong, quiet + of_search.quiet
        say(f"{calls} calls: {', '.join(row[1:])}")
        rows.append(row)
    head = ["calls since the change", *(f"spread {spread}" for spread in SPREADS)]
    return f"{table(head, rows)}\n{wrong} of {quiet} operations without a change were said to have got slower.\n"


@dataclass(slots=True)
class _Trials:
    """What was said of operations that rose and of those that did not."""

    found: int = 0
    rose: int = 0
    wrong: int = 0
    quiet: int = 0

    def add(self, other: _Trials) -> None:
        self.found += other.found
        self.rose += other.rose
        self.wrong += other.wrong
        self.quiet += other.quiet


def _smallest_rise(calls: int, law: NoiseLaw) -> tuple[int | None, _Trials]:
    """The least of `RISES` of which enough is found, None: of none; by bisection, on the same chance for all."""
    every, low, high = _Trials(), 0, len(RISES)
    while low < high:
        middle = (low + high) // 2
        trials = _Trials()
        for seed in range(WEEKS_OF_TRIALS):
            trials.add(_tried(seed, calls, law, 1 + RISES[middle] / 100))
        every.add(trials)
        if trials.found >= RECALL * trials.rose:
            high = middle
        else:
            low = middle + 1
    return (RISES[low] if low < len(RISES) else None), every


def _tried(seed: int, calls: int, law: NoiseLaw, factor: float) -> _Trials:
    """One week of steady traffic in which some operations rise by the factor, each at a call of the last day or so."""
    random = np.random.default_rng([seed, calls])
    end = int(pl.Series([AS_OF], dtype=INSTANT).dt.epoch("us").item())
    rising = {OPERATIONS[place] for place in random.choice(len(OPERATIONS), RISING, replace=False)}
    onsets: dict[str, int] = {}
    parts = []
    for name in OPERATIONS:
        # other rates, so that the same number of calls takes 18 to 30 hours and the onsets lie apart
        count = random.poisson(7 * calls * random.uniform(24 / 30, 24 / 18))
        at = np.sort(random.integers(end - 7 * _DAY_US, end, max(count, 2 * calls)))
        times = np.exp(law.draw(at.size, random))
        if name in rising:
            onsets[name] = int(at[-calls])
            times[-calls:] *= factor
        parts.append(pl.DataFrame({"at": at, "us": np.rint(20_000 * times)}).with_columns(operation_type=pl.lit(name)))
    found = _slower(pl.concat(parts))
    right = {name for name, onset in found if name in onsets and onset >= onsets[name] - TOO_EARLY // _MICROSECOND}
    said = {name for name, _ in found}
    return _Trials(len(right), RISING, len(said - rising), len(OPERATIONS) - RISING)


def _slower(calls: pl.DataFrame) -> list[tuple[str, int]]:
    """What is said to have got slower, and since when, microseconds."""
    metrics = METRICS.check(
        calls.select(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("metric_id"),
            "operation_type",
            pl.col("us").cast(pl.Int64).alias("duration_us"),
            pl.col("at").cast(INSTANT).alias("created_at"),
        )
    )
    changes = level_changes(operation_levels(metrics, AS_OF)).filter(pl.col("kind").is_in(["step", "drift"]))
    return list(changes.select("operation_type", pl.col("onset").dt.epoch("us")).iter_rows())


# --- cost -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one run took."""

    seconds: float
    #: of all processors together, which other work on the machine touches less
    cpu_seconds: float
    peak_mib: float


def cost(rows: int, rounds: int) -> str:
    """Least times and medians of the rounds, and the ratios of every contender's least times to the plan's."""
    measured: dict[str, list[_Cost]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as directory:
        # a process inherits the peak memory of the one that starts it
        as_of = _alone(_prepare, Path(directory), rows)
        for place in range(rounds):
            for name in CONTENDERS:
                say(f"{rows:,} rows, round {place + 1}: {name}")
                measured[name].append(_alone(_measured, name, directory, as_of))
    least = {name: (min(r.seconds for r in runs), min(r.cpu_seconds for r in runs)) for name, runs in measured.items()}
    lines = [
        [
            name,
            *(f"{of_all:.2f}" for of_all in least[name]),
            f"{median(run.seconds for run in runs):.2f}",
            *(f"{one / of_plan:.2f}" for one, of_plan in zip(least[name], least["plan"], strict=True)),
            f"{max(run.peak_mib for run in runs):.0f}",
        ]
        for name, runs in measured.items()
    ]
    head = ["", "least, s", "CPU, least, s", "median, s", "x plan", "x plan, CPU", "peak memory, MiB"]
    return f"{rows:,} rows of one week, {rounds} rounds\n\n{table(head, lines)}"


def _alone(called: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(called, *arguments, **named).result()


def _prepare(directory: Path, rows: int) -> datetime:
    """Rows of one week of the preset full, drawn again with instants and durations a little off; with their traces."""
    week = make_week(5000, preset("full"))
    random = np.random.default_rng(5000)
    drawn = random.integers(0, week.metrics.height, rows)
    metric_id = pl.Series("metric_id", np.arange(1, rows + 1, dtype=np.int64))
    moved = pl.Series(random.integers(-30_000_000, 1, rows)).cast(pl.Duration("us"))
    metrics = week.metrics[drawn].with_columns(
        metric_id,
        (pl.col("duration_us") * pl.Series(np.exp(0.05 * random.standard_normal(rows)))).round().cast(pl.Int64),
        pl.col("created_at") + moved,
    )
    METRICS.check(metrics).write_parquet(directory / "metrics.parquet")
    week.traces[drawn].with_columns(metric_id).write_parquet(directory / "traces.parquet")
    context_of(week).slas.write_parquet(directory / "limits.parquet")
    baselines = metrics.group_by("operation_type").agg(p99_us=pl.col("duration_us").quantile(0.99).cast(pl.Int64))
    BASELINES.check(
        baselines.sort("operation_type")
        .with_columns(baseline_id=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), alert_threshold_multiplier=pl.lit(1.5))
        .select(list(BASELINES.columns))
    ).write_parquet(directory / "baselines.parquet")
    return week.as_of


def _measured(name: str, directory: str, as_of: datetime) -> _Cost:
    """The cost of a contender, in the process this is called in."""
    # loaded with the other libraries: the engine imports it where it is needed, which takes a second
    import statsmodels.regression.linear_model  # noqa: F401

    read = pl.scan_parquet if name == SCANNED else pl.read_parquet
    frames: Frames = {path.stem: read(path) for path in Path(directory).glob("*.parquet")}
    start, of_processors = perf_counter(), process_time()
    CONTENDERS[name](frames, as_of)
    seconds, cpu_seconds = perf_counter() - start, process_time() - of_processors
    return _Cost(seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _nothing(frames: Frames, as_of: datetime) -> None:
    """The floor of the memory: libraries and rows."""


def _plan(frames: Frames, as_of: datetime) -> None:
    metrics, baselines = frames["metrics"], frames["baselines"].lazy().collect()
    degradations = detect_performance_degradation(metrics, as_of=as_of)
    combine(detect_anomalies_statistical(metrics, baselines, as_of=as_of), degradations)
    detect_threshold_exceeded(metrics, baselines, as_of=as_of)
    slow_since(metrics, degradations)
    detect_correlated_degradation(metrics, OPERATION_TYPES.empty(), as_of=as_of)


def _found(frames: Frames, as_of: datetime) -> EngineFindings:
    limits = frames["limits"].lazy().collect()
    return engine_findings(frames["metrics"], as_of, limits=limits, traces=frames["traces"])


def _detectors(frames: Frames, as_of: datetime) -> None:
    _found(frames, as_of)


def _engine(frames: Frames, as_of: datetime) -> None:
    found = _found(frames, as_of)
    engine_incidents(found, Incidents(), as_of=as_of, settings=OPERATION_SETTINGS.empty())


#: the contender that is not given its rows
SCANNED = "engine with incidents, from a file"
CONTENDERS: dict[str, Callable[[Frames, datetime], None]] = {
    "rows alone": _nothing,
    "plan": _plan,
    "engine, detectors": _detectors,
    "engine with incidents": _engine,
    SCANNED: _engine,
}


# --- labelled series --------------------------------------------------------------------------------------------------


def series(folder: Path) -> str:
    """The score of every profile, at the one threshold."""
    labelled = read_folder(folder)
    scores = [stream_scores(one.values, one.timestamps) for one in labelled]
    rows = []
    for name, profile in PROFILES.items():
        judged = score_folder(labelled, scores, ALARM, profile)
        found, windows = sum(s.windows_found for s in judged.series), sum(s.windows for s in judged.series)
        alarms = sum(s.false_positives for s in judged.series)
        score = math.nan if judged.score is None else judged.score
        rows.append([name, f"{score:.1f}", f"{found} of {windows}", str(alarms)])
    head = ["profile", "score", "windows found", "alarms outside windows"]
    return f"{len(labelled)} series, one threshold for all of them: {ALARM}\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
