"""The commands that look back over weeks: backtest, and tune."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from pggit_analytics.cli_alerts import Span
from pggit_analytics.invocation import Instant, Invocation, common_options, utc, validated

if TYPE_CHECKING:
    from pggit_analytics.backtesting import Backtest
    from pggit_analytics.tuning import Tuning

_SAID = {"standing": "was so already", "opened": "opened", "worse": "got worse", "recovered": "recovered"}


@click.command()
@click.option("--from", "start", type=Instant(), help="First run [7 days before --to].")
@click.option("--to", "end", type=Instant(), help="No run is later [now, by the database's clock].")
@click.option("--step", type=Span(), help="From run to run, such as 1h or 6h; 1 minute to 7 days [6h].")
@click.option("--all", "show_all", is_flag=True, help="Show INFO as well, which pages nobody.")
@common_options
def backtest(
    invocation: Invocation, start: datetime | None, end: datetime | None, step: timedelta | None, show_all: bool
) -> None:
    """Replay history as if live: what would have been said, and when. Nothing is written.

    The run at --from tells what was so already. Reads from 7 days before it on.
    """
    from pggit_analytics.backtesting import BacktestParameters
    from pggit_analytics.backtesting import backtest as replay

    parameters = validated(BacktestParameters, start=start, end=end, step=step)
    with _runs_bar("Runs") as progress:
        done = replay(invocation.target(), parameters, progress=progress)
    _say_defaults(thresholds_known=done.thresholds_known)
    if invocation.as_json:
        invocation.print_json(_json(done, parameters.step))
    else:
        _show(done, show_all=show_all)


@click.command()
@click.option("--from", "start", type=Instant(), help="First run [7 days before --to].")
@click.option("--to", "end", type=Instant(), help="No run is later [now, by the database's clock].")
@click.option("--step", type=Span(), help="From run to run, such as 1h or 6h; 1 minute to 7 days [6h].")
@click.option("--apply", is_flag=True, help="Write what is proposed to operation_settings.")
@common_options
def tune(
    invocation: Invocation, start: datetime | None, end: datetime | None, step: timedelta | None, apply: bool
) -> None:
    """Propose settings of operations, from verdicts on alerts and from a backtest.

    Verdicts on alerts about incidents raise the smallest effect that is told; the pages a week that an operation
    expects change its sensitivity.
    """
    from pggit_analytics.backtesting import BacktestParameters
    from pggit_analytics.tuning import tune as propose

    parameters = validated(BacktestParameters, start=start, end=end, step=step)
    with _runs_bar("Runs") as progress:
        done = propose(invocation.target(), parameters, apply=apply, progress=progress)
    _say_defaults(thresholds_known=done.thresholds_known)
    if invocation.as_json:
        invocation.print_json(
            {
                "from": done.moments[0],
                "to": done.moments[-1],
                "proposals": done.proposals.to_dicts(),
                "applied": done.applied,
            }
        )
    else:
        _show_tuning(done)


def _say_defaults(*, thresholds_known: bool) -> None:
    if not thresholds_known:
        click.echo(
            "this role may not read analytics_settings: the thresholds are those of a new installation", err=True
        )


@contextmanager
def _runs_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Call what this yields with the runs done and their number; a bar on stderr, and without a terminal nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _json(done: Backtest, step: timedelta) -> dict[str, Any]:
    told = done.summary
    return {
        "from": done.moments[0],
        "to": done.moments[-1],
        "step_s": step.total_seconds(),
        "runs": len(done.moments),
        "rows_read": done.rows_read,
        "operations": told.operations,
        "days": told.days,
        "pages": told.pages,
        "pages_per_operation_day": told.pages_per_operation_day,
        "critical_pages": told.critical_pages,
        "critical_pages_a_day": told.critical_a_day,
        "default_thresholds": not done.thresholds_known,
        "events": done.events.to_dicts(),
    }


def _show(done: Backtest, *, show_all: bool) -> None:
    events = [event for event in done.events.iter_rows(named=True) if show_all or event["severity"] != "INFO"]
    for event in events:
        click.echo(_line(event))
    if hidden := done.events.height - len(events):
        click.echo(f"and {hidden} of severity INFO, which page nobody; --all shows them")
    told = done.summary
    pages = "1 page" if told.pages == 1 else f"{told.pages} pages"
    rate = told.pages_per_operation_day
    per_day = "no operation was called" if rate is None else f"{rate:.3f} per operation-day"
    click.echo(
        f"\n{len(done.moments)} runs from {utc(done.moments[0])} to {utc(done.moments[-1])}, "
        f"{done.rows_read:,} timings: {pages}, {per_day}; {told.critical_a_day:.2f} CRITICAL a day"
    )


def _line(event: dict[str, Any]) -> str:
    others = [name for name in event["operation_types"] if name != event["operation_type"]]
    names = f"{event['operation_type']} with {', '.join(others)}" if others else event["operation_type"]
    return f"{utc(event['said_at'])}  {event['severity']:8}  {_SAID[event['event']]:14}  {names}: {_facts(event)}"


def _facts(event: dict[str, Any]) -> str:
    """How much, since when, and how long it took to be said."""
    delay = _span(event["delay_s"])
    if event["event"] == "recovered":
        into = f", part of {event['merged_into']}" if event["merged_into"] else ""
        return (
            f"{event['kind']} since {utc(event['onset'])} ended at {utc(event['ended_at'])}{into}; said {delay} later"
        )
    if event["kind"] == "forecast":
        return f"will exceed its limit about {utc(event['expected_breach_at'])}"
    much = "" if event["size_ratio"] is None else f", {event['size_ratio']:.2f} times as long"
    return f"{event['kind']}{much} since {utc(event['onset'])}; said {delay} later"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _show_tuning(done: Tuning) -> None:
    for row in done.proposals.iter_rows(named=True):
        click.echo("\n".join(_proposal_lines(row)))
    if done.proposals.is_empty():
        click.echo("No operation has pages, verdicts or an expectation: there is nothing to propose.")
    changes = [name for name in ("proposed_sensitivity", "proposed_minimum_effect_percent") if _any(done, name)]
    if done.applied:
        click.echo(f"\nWritten to operation_settings: {', '.join(done.applied)}")
    elif changes:
        click.echo("\nNothing is written; --apply writes what is proposed to operation_settings.")


def _any(done: Tuning, name: str) -> bool:
    return bool(done.proposals[name].is_not_null().any())


def _proposal_lines(row: dict[str, Any]) -> Iterator[str]:
    expected = row["expected_pages_per_week"]
    wanted = "" if expected is None else f", {expected:g} expected"
    judged = f"{row['false_positives']} of {row['judged']} verdicts say false" if row["judged"] else "not judged"
    yield f"{row['operation_type']}: {row['pages_per_week']:.1f} pages a week{wanted}; {judged}"
    for name, unit in (("sensitivity", ""), ("minimum_effect_percent", " %")):
        if row[f"proposed_{name}"] is not None:
            yield f"    {name}: {row[name]:g}{unit} -> {row[f'proposed_{name}']:g}{unit}"
    if row["reason"]:
        yield f"    {row['reason']}"
