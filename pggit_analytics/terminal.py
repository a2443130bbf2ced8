"""What the command line shows: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pggit_analytics.postgres.deploy import Deployment, DeploymentStatus
from pggit_analytics.report.summary import Summary, milliseconds

_STYLES = {"CRITICAL": "bold red", "WARNING": "yellow", "INFO": "cyan"}


def output() -> Console:
    """Where results go."""
    return Console(highlight=False, soft_wrap=False)


@contextmanager
def steps(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Call what this yields with the name of each step; the current one turns on stderr with the time it takes.

    Without a terminal each step is one plain line.
    """
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        yield lambda step: console.print(f"{step} ...", markup=False)
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), console=console
    ) as progress:
        running: list[int] = []

        def begin(step: str) -> None:
            for task in running:
                progress.update(task, total=1, completed=1)  # type: ignore[arg-type]
            running.append(progress.add_task(Text(step).markup, total=None))

        yield begin
        for task in running:
            progress.update(task, total=1, completed=1)  # type: ignore[arg-type]


def show_summary(summary: Summary, console: Console, *, rows: int = 8) -> None:
    """The findings of one run."""
    console.print(
        f"\n[bold]As of {summary.as_of:%Y-%m-%d %H:%M} UTC[/bold], {summary.rows_read:,} timings read", style="default"
    )
    if not (summary.slow_operations or summary.slow_groups or summary.slow_calls):
        console.print("Nothing got slow.", style="green")
    _show_slow_operations(summary, console, rows)
    _show_groups(summary, console)
    _show_calls(summary, console, rows)


def _show_slow_operations(summary: Summary, console: Console, rows: int) -> None:
    if not summary.slow_operations:
        return
    table = _table("Slower than before", "operation", "p99 before", "now", "change", "since (UTC)", "together with")
    for slow in summary.slow_operations[:rows]:
        table.add_row(
            _named(slow.operation_type, slow.severity),
            milliseconds(slow.p99_old_ms),
            milliseconds(slow.p99_new_ms),
            f"+{slow.degradation_percent:.0f} %",
            f"{slow.since:%a %d %b %H:%M}" if slow.since else "",
            Text(", ".join(slow.together_with)),
        )
    console.print(table)
    _show_rest(len(summary.slow_operations) - rows, console)


def _show_groups(summary: Summary, console: Console) -> None:
    for group in summary.slow_groups:
        low, high = group.correlation
        table = _table("Slow in the same minutes", "operations", "r", "likely shared", "what to do")
        table.add_row(
            Text("\n".join(group.operation_types)),
            f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}",
            "\n".join(group.shared_bottlenecks),
            "\n".join(group.recommendations),
        )
        console.print(table)


def _show_calls(summary: Summary, console: Console, rows: int) -> None:
    if not summary.slow_calls:
        return
    many = dict(summary.over_threshold)
    table = _table(
        f"{summary.slow_call_count:,} single slow calls, the worst of each operation",
        "operation",
        "took",
        "baseline p99",
        "z",
        "metric_id",
        "calls over the alert threshold",
    )
    for call in summary.slow_calls[:rows]:
        table.add_row(
            _named(call.operation_type, call.severity),
            milliseconds(call.duration_ms),
            milliseconds(call.baseline_p99_ms),
            f"{call.z_score:.0f}",
            str(call.metric_id),
            str(many.get(call.operation_type, "")),
        )
    console.print(table)
    _show_rest(len(summary.slow_calls) - rows, console)


def show_recalculations(recalculations: pl.DataFrame, console: Console) -> None:
    """What became of the baselines."""
    table = _table("Baselines", "operation", "status", "p99 before", "p99 now", "samples", "why")
    for row in recalculations.iter_rows(named=True):
        table.add_row(
            Text(row["operation_type"]),
            row["status"],
            milliseconds(row["p99_old_ms"]),
            milliseconds(row["p99_new_ms"]),
            f"{row['sample_count']:,}",
            row["message"],
        )
    console.print(table)


def show_deployment(deployment: Deployment, console: Console) -> None:
    """What a deployment did."""
    verb = "would be" if deployment.dry_run else "are"
    console.print(
        f"Schema {deployment.schema}, version {deployment.package_version}: {len(deployment.created)} objects {verb} "
        f"new, {len(deployment.replaced)} replaced, {len(deployment.unchanged)} unchanged",
        markup=False,
    )
    for change in deployment.changes:
        console.print(f"  {change}", markup=False)
    for notice in deployment.notices:
        console.print(f"  note: {notice}", markup=False)


def show_status(status: DeploymentStatus, console: Console) -> None:
    """What is installed."""
    installed = status.installed_version or "nothing"
    console.print(
        f"Schema {status.schema}: {installed} is installed, this is {status.package_version}; "
        f"{len(status.current)} objects are current",
        markup=False,
    )
    for word, names in (
        ("missing", (*status.missing, *status.missing_roles)),
        ("outdated", status.outdated),
        ("obsolete", status.obsolete),
    ):
        for name in names:
            console.print(f"  {word}: {name}", markup=False)
    if not status.is_current:
        console.print(f"Run: pggit-analytics db deploy --schema {status.schema}", markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _named(operation_type: str, severity: str) -> Text:
    return Text.assemble(("● ", _STYLES[severity]), (operation_type, _STYLES[severity]))


def _show_rest(count: int, console: Console) -> None:
    if count > 0:
        console.print(f"  +{count} more", style="dim")
