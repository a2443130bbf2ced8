"""The engine beside Apache Otava and PyOD, on the same series of labelled weeks, with the same scoring.

- Lasting changes: Otava (E-divisive with Student's t-test) on the hourly medians of each operation, once as it comes
  and once told to leave changes under 10 % out; the engine's levels on the same hourly medians, and on every call.
- Slow calls: PyOD's MAD (its own threshold), ECOD and IForest on the logarithms of each operation's durations; the
  latter two must be told the share of outliers, and are told the true one. The engine's slow calls; nothing is told.

Otava and PyOD run in an environment of their own below ``--directory``, made from requirements-others.txt the first
time; needs no database. Seconds are those of the computing alone, in turns week by week; the engine's are for the parts
that the findings need: for changes without slow calls, for slow calls with the levels they rest on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import polars as pl
from figures import Line, table, told

from data import DEFAULT_DIRECTORY, say
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.level_changes import level_changes
from pggit_analytics.analysis.spikes import slow_calls
from pggit_analytics.evaluation.pooling import Tally, pooled
from pggit_analytics.evaluation.presets import NAMES, maker
from pggit_analytics.evaluation.scoring import score
from pggit_analytics.evaluation.truth import LabelledWeek
from pggit_analytics.evaluation.verdicts import CHANGES, SPIKES, Verdict
from pggit_analytics.frames import INSTANT, METRICS

OTHERS = ("Otava", "Otava, changes of 10 % and more")
CHANGE_METHODS = ("engine, every call", "engine, hourly medians", *OTHERS)
SPIKE_METHODS = ("engine", "PyOD MAD, 3.5", "PyOD ECOD, true share", "PyOD IForest, true share")

HERE = Path(__file__).parent


@dataclass(slots=True)
class Method:
    """One contender over all weeks."""

    seconds: list[float] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    #: week and operation said to have got slower, or week and metric said to be slow
    said: set[tuple[int, str | int]] = field(default_factory=set)

    @property
    def measures(self) -> dict[str, float | None]:
        """Over all weeks, by the names of `evaluate`."""
        rows = pooled(self.tallies).select("measure", "value").iter_rows()
        return {str(name): value for name, value in rows}


def main() -> None:
    arguments = _arguments()
    python = environment(arguments.directory / "others")
    changes = {name: Method() for name in CHANGE_METHODS}
    spikes = {name: Method() for name in SPIKE_METHODS}
    make, calls = maker(arguments.preset), 0
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.weeks):
        say(f"Week {seed}")
        week = make(seed)
        calls += week.metrics.height
        add_week(week, seed, python, changes, spikes)
    details = report(arguments, calls, changes, spikes, versions(python))
    print(told(lines(calls, changes, spikes), details) if arguments.json else details)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the environment lives")
    parser.add_argument("--weeks", type=int, default=5, help="labelled weeks [5]")
    parser.add_argument("--first-seed", type=int, default=9000, help="of the weeks [9000]")
    parser.add_argument("--preset", choices=NAMES, default="full")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    return parser.parse_args()


def environment(directory: Path) -> str:
    """The interpreter of an environment with the others, made now unless an earlier call has."""
    python, ready = directory / "bin" / "python", directory / "installed"
    requirements = HERE / "requirements-others.txt"
    if not ready.exists() or ready.read_bytes() != requirements.read_bytes():
        say(f"Installing Otava and PyOD into {directory}")
        venv.create(directory, clear=True, with_pip=True)
        pip = [
            str(python),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
            "--require-hashes",
            "--no-deps",
        ]
        subprocess.run([*pip, "-r", str(requirements)], check=True, stdout=sys.stderr)
        ready.write_bytes(requirements.read_bytes())
    return str(python)


def versions(python: str) -> str:
    """Of the others."""
    code = "from importlib.metadata import version as v; print('Otava', v('apache-otava') + ', PyOD', v('pyod'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def add_week(week: LabelledWeek, seed: int, python: str, changes: dict[str, Method], spikes: dict[str, Method]) -> None:
    """All contenders on one week."""
    hours = hourly_medians(week)
    claims, slow = ours(week, hours)
    theirs = of_others(week, hours, python)
    for name, (found, seconds) in claims.items():
        _add(changes[name], week, seed, Verdict(changes=found), seconds)
    for name, (found, seconds) in slow.items():
        _add(spikes[name], week, seed, Verdict(spikes=found), seconds)
    for name, answer in theirs.items():
        if name in changes:
            _add(changes[name], week, seed, Verdict(changes=_as_changes(answer["found"])), answer["seconds"])
        else:
            _add(spikes[name], week, seed, Verdict(spikes=_as_spikes(week, answer["found"])), answer["seconds"])


def _add(method: Method, week: LabelledWeek, seed: int, verdict: Verdict, seconds: float) -> None:
    method.seconds.append(seconds)
    method.tallies.append(score(week, verdict))
    slower = verdict.changes.filter(pl.col("kind").is_in(["step", "drift"]))["operation_type"]
    method.said |= {(seed, name) for name in slower.to_list()}
    method.said |= {(seed, metric) for metric in verdict.spikes["metric_id"].to_list()}


def hourly_medians(week: LabelledWeek) -> pl.DataFrame:
    """operation_type, hour, median_ms."""
    return (
        week.metrics.group_by("operation_type", pl.col("created_at").dt.truncate("1h").alias("hour"))
        .agg(median_ms=pl.col("duration_us").median() / 1000)
        .sort("operation_type", "hour")
    )


Claims = dict[str, tuple[pl.DataFrame, float]]


def ours(week: LabelledWeek, hours: pl.DataFrame) -> tuple[Claims, Claims]:
    """What the engine says of changes and of slow calls, with the seconds it took."""
    as_calls = METRICS.check(
        hours.select(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("metric_id"),
            "operation_type",
            (pl.col("median_ms") * 1000).round().cast(pl.Int64).alias("duration_us"),
            # the middle of the hour that it is the median of
            (pl.col("hour") + pl.duration(minutes=30)).alias("created_at"),
        ).filter(pl.col("created_at") <= week.as_of)
    )
    changes = {
        "engine, every call": _timed(
            lambda: level_changes(operation_levels(week.metrics, week.as_of)), CHANGES.columns
        ),
        "engine, hourly medians": _timed(
            lambda: level_changes(operation_levels(as_calls, week.as_of)), CHANGES.columns
        ),
    }
    return changes, {"engine": _timed(lambda: slow_calls(operation_levels(week.metrics, week.as_of)), SPIKES.columns)}


def _timed(find: Callable[[], pl.DataFrame], columns: Any) -> tuple[pl.DataFrame, float]:
    start = perf_counter()
    found = find()
    return found.select(list(columns)), perf_counter() - start


def of_others(week: LabelledWeek, hours: pl.DataFrame, python: str) -> dict[str, dict[str, Any]]:
    """What `others_child.py` writes about the week."""
    calls = week.metrics.select("metric_id", "operation_type", pl.col("duration_us").clip(1).log().alias("log_us"))
    with TemporaryDirectory() as directory:
        hours.write_parquet(Path(directory) / "hours.parquet")
        calls.sort("operation_type", maintain_order=True).write_parquet(Path(directory) / "calls.parquet")
        share = week.truth.spikes.height / week.metrics.height
        (Path(directory) / "share.json").write_text(json.dumps(share))
        child = [python, "-W", "ignore", str(HERE / "others_child.py"), directory]
        subprocess.run(child, check=True, stdout=sys.stderr)
        answers: dict[str, dict[str, Any]] = json.loads((Path(directory) / "found.json").read_text())
    return answers


def _as_changes(found: list[dict[str, Any]]) -> pl.DataFrame:
    rows = [
        {
            "operation_type": one["operation_type"],
            "kind": "step" if one["size_ratio"] > 1 else "improvement",
            "onset": datetime.fromtimestamp(one["hour"], UTC),
            "onset_low": None,
            "onset_high": None,
            "size_ratio": one["size_ratio"],
            "p": None,
        }
        for one in found
    ]
    return pl.DataFrame(rows, schema={**CHANGES.columns, "onset": pl.Datetime("us", "UTC")}).cast({"onset": INSTANT})


def _as_spikes(week: LabelledWeek, found: list[int]) -> pl.DataFrame:
    named = week.metrics.filter(pl.col("metric_id").is_in(found))
    return named.select("operation_type", "metric_id", pl.lit(1.0).alias("score")).select(list(SPIKES.columns))


# --- report -----------------------------------------------------------------------------------------------------------

_LARGE, _SMALL = "changes from +35 %", "steps +10 to +35 %"


def lines(calls: int, changes: dict[str, Method], spikes: dict[str, Method]) -> Iterator[Line]:
    """For the table of the README."""
    titles = {
        "large": f"{_LARGE} F1",
        "precision": f"{_SMALL} precision",
        "recall": f"{_SMALL} recall",
    }
    of_ours = changes[CHANGE_METHODS[0]]
    for name, method in changes.items():
        found = {key: _shown(method.measures[measure]) for key, measure in titles.items()}
        measured = (
            f"from +35 %: F1 {found['large']}; +10 to +35 %: precision {found['precision']}, recall {found['recall']}; "
            f"{_mean(method):.2f} s a week"
        )
        yield Line(
            f"lasting changes: {name}", calls, measured, f"{_mean(method) / _mean(of_ours):.1f} x the engine's time"
        )
    for name, method in spikes.items():
        measured = f"F1 {_shown(method.measures['spikes all F1'])}; {_mean(method):.2f} s a week"
        ratio = _mean(method) / _mean(spikes[SPIKE_METHODS[0]])
        yield Line(f"slow calls: {name}", calls, measured, f"{ratio:.1f} x the engine's time")


def _mean(method: Method) -> float:
    """Seconds a week."""
    return sum(method.seconds) / len(method.seconds)


def report(
    arguments: argparse.Namespace, calls: int, changes: dict[str, Method], spikes: dict[str, Method], others: str
) -> str:
    """Everything measured, as Markdown."""
    of_changes = [
        *(f"{_LARGE} {measure}" for measure in ("precision", "recall", "F1")),
        *(f"{_SMALL} {measure}" for measure in ("precision", "recall")),
        "onset error of large steps, min median",
    ]
    of_spikes = [f"spikes {c} {measure}" for c in ("3-8x", "8-30x") for measure in ("precision", "recall")]
    weeks = (
        f"{arguments.weeks} weeks of the preset {arguments.preset} from seed {arguments.first_seed}, {calls:,} calls"
    )
    return "\n\n".join(
        [
            f"{weeks}, {calls:,} calls; {others}",
            "Lasting changes",
            _table(changes, of_changes, CHANGE_METHODS[0]),
            "Slow calls",
            _table(spikes, [*of_spikes, "spikes all F1"], SPIKE_METHODS[0]),
        ]
    )


def _table(methods: dict[str, Method], measures: list[str], reference: str) -> str:
    ours_said, ours_s = methods[reference].said, sum(methods[reference].seconds)
    rows = []
    for name, method in methods.items():
        both = len(method.said & ours_said)
        rows.append(
            [
                name,
                *(_shown(method.measures[measure]) for measure in measures),
                f"{sum(method.seconds) / len(method.seconds):.2f}",
                f"{sum(method.seconds) / ours_s:.2f}",
                f"{both:,} of {len(ours_said):,}",
                f"{len(method.said) - both:,}",
            ]
        )
    head = ["", *measures, "s a week", "x engine", "of the engine's findings", "said besides"]
    return table(head, rows)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}" if value < 10 else f"{value:.0f}"


if __name__ == "__main__":
    main()
