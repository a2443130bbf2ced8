"""The command that says how good the detectors are: evaluate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pggit_analytics.invocation import Invocation, common_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from pggit_analytics.evaluation.nab import Floats, LabelledSeries
    from pggit_analytics.evaluation.verdicts import Context, Engine, Verdict

#: seeds from here on were not used to choose any constant
FIRST_SEED = 5000

_ENGINES = ("incidents", "plan")


@click.command()
@click.option(
    "--preset",
    "presets",
    multiple=True,
    help="Kind of weeks: orientation, full, clean, surge, steps_small or forecast; repeatable [orientation, full].",
)
@click.option("--weeks", type=click.IntRange(1, 1000), default=20, show_default=True, help="Labelled weeks of each.")
@click.option("--first-seed", type=click.IntRange(min=0), default=FIRST_SEED, show_default=True, help="Of the weeks.")
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    default="incidents",
    show_default=True,
    help="Whose findings are judged: the engine's, or those of the detect_ functions.",
)
@click.option(
    "--series",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Judge the detector of series on this folder instead: windows.json and CSV files in the form of NAB.",
)
@common_options
def evaluate(
    invocation: Invocation,
    *,
    presets: tuple[str, ...],
    weeks: int,
    first_seed: int,
    engine: str,
    series: Path | None,
) -> None:
    """Say how much of what is built into made-up weeks is found, and how much of what is found is built in.

    Needs no database. Figures come with 95 % intervals over the weeks.
    """
    if series is not None:
        _judge_series(invocation, series)
        return
    from pggit_analytics.evaluation import runner

    names = presets or ("orientation", "full")
    with _weeks_bar(weeks * len(names)) as advance:
        results = runner.evaluate(_counted(_engine(engine), advance), names, range(first_seed, first_seed + weeks))
    if invocation.as_json:
        invocation.print_json(
            {"engine": engine, "first_seed": first_seed, "weeks": weeks, "results": results.to_dicts()}
        )
    else:
        _show(results, f"{engine}, {weeks} weeks from seed {first_seed}")


def _engine(name: str) -> Engine:
    if name == "plan":
        from pggit_analytics.evaluation.plan import plan_engine

        return plan_engine
    from pggit_analytics.evaluation.engine import incident_engine

    return incident_engine


def _counted(engine: Engine, advance: Callable[[], None]) -> Engine:
    """The engine, telling when it is done with a week."""

    def counted(metrics: pl.DataFrame, context: Context) -> Verdict:
        verdict = engine(metrics, context)
        advance()
        return verdict

    return counted


@contextmanager
def _weeks_bar(total: int) -> Iterator[Callable[[], None]]:
    """Call what this yields after each week; a bar on stderr, and without a terminal nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("Weeks"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("weeks", total=total)
        yield lambda: bar.advance(task)


def _show(results: pl.DataFrame, title: str) -> None:
    from rich.table import Table

    from pggit_analytics.evaluation.runner import cells
    from pggit_analytics.terminal import output

    # more of them would not fit a line
    intervals = results["preset"].n_unique() <= 2
    presets, rows = cells(results, intervals=intervals)
    title = f"\n{title}{', value [95 % interval]' if intervals else ''}"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    for column in ("measure", *presets):
        table.add_column(column, justify="left" if column == "measure" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    output().print(table)


def _judge_series(invocation: Invocation, folder: Path) -> None:
    """Score the detector of series by the rules of NAB, at its one threshold."""
    from pggit_analytics.analysis.stream_scores import ALARM
    from pggit_analytics.evaluation.nab import PROFILES, read_folder, score_folder

    series = read_folder(folder)
    with _weeks_bar(len(series)) as advance:
        scores = [_scored(one, advance) for one in series]
    judged = {name: score_folder(series, scores, ALARM, profile) for name, profile in PROFILES.items()}
    figures = {name: None if one.score is None else round(one.score, 1) for name, one in judged.items()}
    if invocation.as_json:
        invocation.print_json({"threshold": ALARM, "series": len(series), "scores": figures})
        return
    click.echo(f"{len(series)} series, one threshold for all of them: {ALARM}")
    for name, figure in figures.items():
        click.echo(f"  {name}: {'no series has a labelled window' if figure is None else figure}")


def _scored(series: LabelledSeries, advance: Callable[[], None]) -> Floats:
    from pggit_analytics.analysis.stream_scores import stream_scores

    scores = stream_scores(series.values, series.timestamps)
    advance()
    return scores
