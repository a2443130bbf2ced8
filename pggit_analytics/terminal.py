"""What the command line shows: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pggit_analytics.postgres.deploy import Deployment, DeploymentStatus
from pggit_analytics.postgres.retention import Retention
from pggit_analytics.postgres.rollback import Rollback
from pggit_analytics.report.incident_lines import IncidentLine
from pggit_analytics.report.summary import Summary, milliseconds, recorded, times, uncertain_pairs

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

        def end_latest() -> None:
            if progress.task_ids:
                progress.update(progress.task_ids[-1], total=1, completed=1)

        def begin(step: str) -> None:
            end_latest()
            progress.add_task(Text(step).markup, total=None)

        yield begin
        end_latest()


def show_summary(summary: Summary, console: Console, *, rows: int = 8, details: bool = False) -> None:
    """The findings of one run: the incidents, and what the plan's detectors found, in a line or (details) as tables.

    Without incidents, since the engine did not run, the tables are shown.
    """
    console.print(
        f"\n[bold]As of {summary.as_of:%Y-%m-%d %H:%M} UTC[/bold], {summary.rows_read:,} timings read", style="default"
    )
    if summary.incidents is not None:
        _show_incidents(summary.incidents, console, rows)
        if not details:
            if plain := recorded(summary):
                console.print(Text(f"\nThe plan's detectors: {plain} (--details lists them)", style="dim"))
            return
    elif not (summary.slow_operations or summary.slow_groups or summary.slow_calls or summary.over_threshold):
        console.print("Nothing got slow.", style="green")
    _show_slow_operations(summary, console, rows)
    _show_groups(summary, console)
    _show_calls(summary, console, rows)
    _show_over_threshold(summary, console)


def _show_incidents(incidents: tuple[IncidentLine, ...], console: Console, rows: int) -> None:
    if not incidents:
        console.print("Nothing got slow.", style="green")
        return
    table = _table("Incidents", "operation", "", "what", "since (UTC)", "until", ">lost/h")
    for one in incidents[:rows]:
        table.add_row(
            _named(f"{one.operation_type} +{len(one.others)}" if one.others else one.operation_type, one.severity),
            times(one.size_ratio),
            one.what,
            f"{one.onset:%d %b %H:%M}",
            _until(one),
            "" if one.ended_at else milliseconds(one.lost_ms_per_hour),
        )
    console.print(table)
    _show_rest(len(incidents) - rows, console)
    for one in (one for one in incidents[:rows] if one.others):
        shared = f"; likely shared: {one.bottleneck}" if one.bottleneck else ""
        first = f"; first was {one.first_mover}" if one.first_mover else ""
        names = Text(f"{one.operation_type} with {', '.join(one.others)}", style="bold")
        console.print(Text("  ").append(names).append(f"{first}{shared}"))


def _until(one: IncidentLine) -> str:
    if one.ended_at:
        return f"{one.ended_at:%H:%M}" if one.ended_at.date() == one.onset.date() else f"{one.ended_at:%d %b %H:%M}"
    if one.expected_breach_at:
        return f"{one.expected_breach_at:%d %b %H:%M}"
    return "worsens" if one.state == "worsening" else "goes on"


def _show_slow_operations(summary: Summary, console: Console, rows: int) -> None:
    if not summary.slow_operations:
        return
    table = _table("Slower than before", "operation", ">p99 before", ">now", ">change", "since (UTC)", "trend")
    for slow in summary.slow_operations[:rows]:
        table.add_row(
            _named(slow.operation_type, slow.severity),
            milliseconds(slow.p99_old_ms),
            milliseconds(slow.p99_new_ms),
            f"+{slow.degradation_percent:.0f} %",
            f"{slow.since:%d %b %H:%M}" if slow.since else "",
            slow.trend.lower(),
        )
    console.print(table)
    _show_rest(len(summary.slow_operations) - rows, console)


def _show_groups(summary: Summary, console: Console) -> None:
    for group in summary.slow_groups:
        low, high = (f"{r:.2f}" for r in group.correlation)
        names = Text(", ".join(group.operation_types), style="bold")
        console.print(Text(f"\nSlow in the same minutes (r = {low} to {high}): ").append(names))
        for bottleneck, recommendation in zip(group.shared_bottlenecks, group.recommendations, strict=True):
            console.print(f"  {bottleneck}: {recommendation}", markup=False)
    if summary.uncertain_pairs:
        console.print(f"\n{uncertain_pairs(summary)}", style="dim")


def _show_calls(summary: Summary, console: Console, rows: int) -> None:
    if not summary.slow_calls:
        return
    many = dict(summary.over_threshold)
    title = f"{summary.slow_call_count:,} single slow calls; of each operation the worst:"
    table = _table(title, "operation", ">took", ">baseline p99", ">z", ">metric_id", ">over limit")
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


def _show_over_threshold(summary: Summary, console: Console) -> None:
    """Calls over the limit of operations that the table of single calls does not show."""
    shown = {call.operation_type for call in summary.slow_calls}
    rest = [f"{name} ({count})" for name, count in summary.over_threshold if name not in shown]
    if rest:
        console.print(Text(f"\nCalls over the limit of the baseline: {', '.join(rest)}"))


def show_recalculations(recalculations: pl.DataFrame, console: Console) -> None:
    """What became of the baselines, and the reasons below the table."""
    table = _table("Baselines", "operation", "status", ">p99 before", ">now", ">change", ">samples")
    for row in recalculations.iter_rows(named=True):
        change = row["percent_change"]
        table.add_row(
            Text(row["operation_type"]),
            row["status"],
            milliseconds(row["p99_old_ms"]),
            milliseconds(row["p99_new_ms"]),
            "" if change is None else f"{change:+.0f} %",
            f"{row['sample_count']:,}",
        )
    console.print(table)
    console.print()
    reasons = (
        recalculations.group_by("status", "message")
        .len()
        .sort("len", "status", "message", descending=[True, False, False])
    )
    for status, message, count in reasons.iter_rows():
        console.print(f"{count:4} {status}: {message}", markup=False)


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
    for migration in deployment.migrations:
        console.print(f"  {migration} applied", markup=False)
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
        ("not installed", status.not_installed),
    ):
        for name in names:
            console.print(f"  {word}: {name}", markup=False)
    if not status.is_current:
        console.print(f"Run: pggit-analytics db deploy --schema {status.schema}", markup=False)


def show_rollback(rollback: Rollback, console: Console) -> None:
    """What a rollback took out, what stays and who will miss it."""
    verb = "would be" if rollback.dry_run else "are"
    console.print(
        f"Schema {rollback.schema}, stage {rollback.stage}: {len(rollback.dropped)} objects {verb} dropped, "
        f"{len(rollback.kept)} functions stay; tables and rows are untouched",
        markup=False,
    )
    for word, names in (
        ("would drop" if rollback.dry_run else "dropped", rollback.dropped),
        ("kept, views that stay need it", rollback.kept),
        ("fails from now on, calls what is gone", rollback.callers),
    ):
        for name in names:
            console.print(f"  {word}: {name}", markup=False, soft_wrap=True)
    console.print(f"To restore them: pggit-analytics db deploy --schema {rollback.schema}", markup=False)


def show_retention(retention: Retention, console: Console) -> None:
    """How many rows went."""
    verb = "would be deleted" if retention.dry_run else "deleted"
    console.print(f"Schema {retention.schema}, as of {retention.as_of:%Y-%m-%d %H:%M %Z}, {verb}:", markup=False)
    for kind, rows in retention.rows.items():
        console.print(f"  {kind:15}{rows:>14,}", markup=False)


@contextmanager
def deletion_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Call what this yields with a kind, the rows of it deleted so far and how many there were; a bar on stderr.

    Without a terminal each kind is one plain line when it begins.
    """
    console = Console(stderr=True)
    if not console.is_terminal:

        def tell(kind: str, deleted: int, total: int) -> None:
            if deleted == 0:
                console.print(f"{kind}: {total:,} old rows ...", markup=False)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def update(kind: str, deleted: int, total: int) -> None:
            if kind not in tasks:
                tasks[kind] = progress.add_task(kind, total=total)
            progress.update(tasks[kind], completed=deleted, total=max(total, deleted))

        yield update


def _table(title: str, *columns: str) -> Table:
    """A table without lines; a column whose header begins with > holds numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", header_style="dim", box=None)
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=not is_number)
    return table


def _named(operation_type: str, severity: str) -> Text:
    return Text.assemble(("● ", _STYLES[severity]), (operation_type, _STYLES[severity]))


def _show_rest(count: int, console: Console) -> None:
    if count > 0:
        console.print(f"  +{count} more", style="dim")
