"""The command line. Results go to stdout (one JSON object with --json), everything else to stderr.

Everything but click is imported where it is used: ``--help`` has to be instant.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pggit_analytics.cli_alerts import alerts
from pggit_analytics.cli_backtest import backtest, tune
from pggit_analytics.cli_delivery import deliver, webhooks
from pggit_analytics.cli_doctor import doctor
from pggit_analytics.cli_evaluation import evaluate
from pggit_analytics.cli_heartbeat import heartbeat
from pggit_analytics.cli_report import report
from pggit_analytics.cli_sources import sample, sync
from pggit_analytics.errors import PggitAnalyticsError
from pggit_analytics.invocation import Group, Instant, Invocation, common_options, fail, utc, validated
from pggit_analytics.invocation import flow as _flow
from pggit_analytics.version import __version__

if TYPE_CHECKING:
    import polars as pl

    from pggit_analytics.pipeline import MonitorResult
    from pggit_analytics.postgres.schedules import Scheduler


_PROGRAM = "pggit-analytics"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=_PROGRAM)
def cli() -> None:
    """Tells which database operations got slow, since when and together with what.

    Start with: pggit-analytics demo
    """


cli.add_command(deliver)
cli.add_command(webhooks)
cli.add_command(alerts)
cli.add_command(heartbeat)
cli.add_command(doctor)
cli.add_command(sync)
cli.add_command(sample)
cli.add_command(evaluate)
cli.add_command(backtest)
cli.add_command(tune)
cli.add_command(report)


@cli.command()
@click.option("--as-of", type=Instant(), help="Look back from this moment [now, by the database's clock].")
@click.option("--lookback-hours", type=int, help="Hours to look for outliers and correlations in [24].")
@click.option("--operation", "operations", multiple=True, metavar="NAME", help="Only this operation; repeatable.")
@click.option("--notify", is_flag=True, help="Raise alerts even for an old moment.")
@click.option("--details", is_flag=True, help="Show what the plan's detectors found as well.")
@click.option("--no-store", is_flag=True, help="Read every timing from the database, keep none for the next run.")
@common_options
def analyze(
    invocation: Invocation,
    *,
    as_of: datetime | None,
    lookback_hours: int | None,
    operations: tuple[str, ...],
    notify: bool,
    details: bool,
    no_store: bool,
) -> None:
    """Find what got slow, write it to the result tables and raise alerts.

    Incidents need all operations: with --operation only the plan's detectors look.
    """
    from pggit_analytics.pipeline import MonitorParameters, monitor, summary
    from pggit_analytics.terminal import output, show_summary, steps

    parameters = validated(
        MonitorParameters,
        as_of=as_of,
        lookback_hours=lookback_hours,
        operations=operations or None,
        notify=notify,
    )
    with steps() as progress:
        if os.environ.get("PREFECT_API_URL"):
            if no_store:
                os.environ["PGGIT_STORE__ENABLED"] = "false"  # flows have their settings from the environment
            result = _flow(invocation, "monitor_performance").run(parameters)
        else:
            target = invocation.target()
            result = monitor(replace(target, store=None) if no_store else target, parameters, progress=progress)
    if invocation.as_json:
        invocation.print_json(_monitor_json(result))
        return
    console = output()
    show_summary(summary(result), console, details=details)
    console.print(f"\n{_what_was_written(result)}", markup=False)


@cli.command()
@click.option("--lookback-days", type=int, help="Days of timings a baseline is made from, 1 to 365 [7].")
@click.option("--min-samples", type=int, help="Operations with fewer timings keep their baseline, 1 to 1000 [10].")
@click.option("--force", is_flag=True, help="Also adopt changes under 5 % and rises during an open alert.")
@click.option("--as-of", type=Instant(), help="Look back from this moment [now].")
@common_options
def baselines(
    invocation: Invocation,
    lookback_days: int | None,
    min_samples: int | None,
    force: bool,
    as_of: datetime | None,
) -> None:
    """Recalculate what is normal for each operation."""
    from pggit_analytics.pipeline import BaselineParameters, recalculate_baselines
    from pggit_analytics.terminal import output, show_recalculations, steps

    parameters = validated(
        BaselineParameters, as_of=as_of, lookback_days=lookback_days, min_samples=min_samples, force=force
    )
    with steps() as progress:
        if os.environ.get("PREFECT_API_URL"):
            result = _flow(invocation, "recalculate_baselines").run(parameters)
        else:
            result = recalculate_baselines(invocation.target(), parameters, progress=progress)
    if invocation.as_json:
        invocation.print_json(
            {
                "as_of": result.as_of,
                "run_id": result.run_id,
                "rows_read": result.rows_read,
                "baselines": result.recalculations.to_dicts(),
            }
        )
        return
    show_recalculations(result.recalculations, output())


@cli.group()
def db() -> None:
    """Install and inspect the database side."""


@db.command()
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@common_options
def deploy(invocation: Invocation, dry_run: bool) -> None:
    """Install or update tables, functions and roles, in one transaction."""
    from pggit_analytics.postgres import deploy as deployment
    from pggit_analytics.terminal import output, show_deployment

    done = deployment.deploy(invocation.database(), dry_run=dry_run)
    if invocation.as_json:
        invocation.print_json(asdict(done))
    else:
        show_deployment(done, output())


@db.command()
@common_options
def status(invocation: Invocation) -> None:
    """Say what is installed; exit status 1 when a deployment is due."""
    from pggit_analytics.postgres import deploy as deployment
    from pggit_analytics.terminal import output, show_status

    found = deployment.status(invocation.database())
    if invocation.as_json:
        invocation.print_json({**asdict(found), "is_current": found.is_current})
    else:
        show_status(found, output())
    if not found.is_current:
        sys.exit(1)


@db.command()
@click.option(
    "--stage",
    type=click.IntRange(1, 2),
    required=True,
    help="1: functions (views and tables stay); 2: views and functions (tables stay).",
)
@click.option("--dry-run", is_flag=True, help="List what would go, drop nothing.")
@common_options
def rollback(invocation: Invocation, stage: int, dry_run: bool) -> None:
    """Take functions, or views and functions, out of the schema. Tables and rows are never touched."""
    from pggit_analytics.postgres.rollback import roll_back
    from pggit_analytics.terminal import output, show_rollback

    done = roll_back(invocation.database(), stage, dry_run=dry_run)
    if invocation.as_json:
        invocation.print_json(asdict(done))
    else:
        show_rollback(done, output())


@db.command("check-parity")
@click.option("--as-of", type=Instant(), help="Compare as of this moment [now, by the database's clock].")
@common_options
def check_parity(invocation: Invocation, as_of: datetime | None) -> None:
    """Ask SQL and the dataframes the same questions about the data; exit status 1 when they differ."""
    from pggit_analytics.pipeline import compare_engines
    from pggit_analytics.terminal import output, steps

    with steps() as progress:
        comparisons = compare_engines(invocation.database(), as_of, progress=progress)
    if invocation.as_json:
        invocation.print_json({"comparisons": [asdict(comparison) for comparison in comparisons]})
    else:
        console = output()
        for comparison in comparisons:
            verdict = f"{len(comparison.differences)} differences" if comparison.differences else "the same"
            console.print(f"{comparison.sql_object}: {comparison.rows} rows, {verdict}", markup=False)
            for difference in comparison.differences[:10]:
                console.print(f"  {difference}", markup=False)
    if any(comparison.differences for comparison in comparisons):
        sys.exit(1)


@cli.group()
def schedule() -> None:
    """Let pg_cron, Prefect or cron run the jobs: one of them at a time."""


_scheduler_option = click.option(
    "--scheduler",
    type=click.Choice(["pg_cron", "prefect", "crontab"]),
    default="pg_cron",
    show_default=True,
    help="Who runs the jobs; crontab stands for cron and systemd.",
)


@schedule.command("install")
@_scheduler_option
@common_options
def schedule_install(invocation: Invocation, scheduler: Scheduler) -> None:
    """Make a scheduler the active one; pg_cron is also told the jobs."""
    from pggit_analytics.postgres import schedules

    schedules.install(invocation.database(), scheduler)
    _show_schedule(invocation)


@schedule.command("list")
@common_options
def schedule_list(invocation: Invocation) -> None:
    """Show every job, when it last ran and when it is due."""
    _show_schedule(invocation)


@schedule.command("pause")
@click.argument("job", required=False)
@common_options
def schedule_pause(invocation: Invocation, job: str | None) -> None:
    """Pause JOB, or all jobs."""
    from pggit_analytics.postgres import schedules

    schedules.pause(invocation.database(), job)
    _show_schedule(invocation)


@schedule.command("resume")
@click.argument("job", required=False)
@common_options
def schedule_resume(invocation: Invocation, job: str | None) -> None:
    """End the pause of JOB, or of all jobs."""
    from pggit_analytics.postgres import schedules

    schedules.resume(invocation.database(), job)
    _show_schedule(invocation)


@schedule.command("remove")
@common_options
def schedule_remove(invocation: Invocation) -> None:
    """Let no scheduler be active; pg_cron forgets the jobs."""
    from pggit_analytics.postgres import schedules
    from pggit_analytics.terminal import output

    removed = schedules.remove(invocation.database())
    if invocation.as_json:
        invocation.print_json({"removed": removed})
    else:
        output().print(f"{removed} is no longer active" if removed else "no scheduler was active", markup=False)


@schedule.command("run")
@click.argument("job")
@click.option(
    "--scheduler",
    type=click.Choice(["prefect", "crontab"]),
    default="crontab",
    show_default=True,
    help="On whose behalf; refused unless it is the active one.",
)
@click.option("--again", is_flag=True, help="Run a window again that failed.")
@common_options
def schedule_run(invocation: Invocation, job: str, scheduler: Scheduler, again: bool) -> None:
    """Run JOB if its present window has not been run, then one job that was missed; what crontab lines call.

    Being refused is no failure. Exit status 1 when a job failed.
    """
    from pggit_analytics.scheduling import run_due, run_here
    from pggit_analytics.terminal import output, steps

    target = invocation.target()
    with steps(quiet=not sys.stderr.isatty()) as progress:
        outcomes = run_due(
            target.database, job, scheduler, run_here(target, invocation.settings(), progress=progress), again=again
        )
    if invocation.as_json:
        invocation.print_json({"outcomes": [asdict(outcome) for outcome in outcomes]})
    else:
        for outcome in outcomes:
            output().print(f"{outcome.job} {outcome.result}: {outcome.message}", markup=False, soft_wrap=True)
    if failed := [f"{outcome.job}: {outcome.message}" for outcome in outcomes if outcome.result == "failed"]:
        fail("; ".join(failed), 1)


def _show_schedule(invocation: Invocation) -> None:
    from pggit_analytics.postgres import schedules
    from pggit_analytics.terminal import output

    jobs = schedules.list_jobs(invocation.database())
    if invocation.as_json:
        invocation.print_json({"jobs": [asdict(job) for job in jobs]})
        return
    console = output()
    active = jobs[0].scheduler if jobs else None
    console.print(f"Scheduler: {active or 'none is active; run: pggit-analytics schedule install'}", markup=False)
    for job in jobs:
        console.print(f"\n{job.job}: {job.description}", markup=False)
        console.print(f"  {job.schedule} (UTC), {job.state}{_next(job.next_window)}", markup=False)
        if job.last_window is not None:
            console.print(f"  last: {utc(job.last_window)}, {job.last_status}: {job.last_message}", markup=False)


def _next(window: datetime | None) -> str:
    return f", next {utc(window)}" if window else ""


@cli.command()
@common_options
def serve(invocation: Invocation) -> None:
    """Let Prefect run the jobs when they are due, in the foreground; needs PREFECT_API_URL."""
    _flow(invocation, "scheduled_job").serve_jobs()


@cli.command()
@click.option("--metrics-days", type=int, help="Days to keep timings and merges.")
@click.option("--results-days", type=int, help="Days to keep findings, runs, resolved alerts and replaced baselines.")
@click.option("--notifications-days", type=int, help="Days to keep delivered messages.")
@click.option(
    "--logs-days",
    type=int,
    help="Days to keep logs of deliveries, recalculations and scheduled jobs, and ended snoozes.",
)
@click.option("--include-failed", is_flag=True, help="Failed messages go like delivered ones.")
@click.option("--batch-size", type=int, default=10_000, show_default=True, help="Rows of one transaction.")
@click.option("--dry-run", is_flag=True, help="Count what would go, delete nothing.")
@common_options
def retention(invocation: Invocation, dry_run: bool, **policy: Any) -> None:
    """Delete old rows in batches; what no option names is kept. May be stopped and repeated at any time."""
    from pggit_analytics.postgres.retention import Policy, apply_retention
    from pggit_analytics.terminal import deletion_bar, output, show_retention

    checked = Policy(**policy)
    with deletion_bar() as progress:
        done = apply_retention(invocation.database(), checked, dry_run=dry_run, progress=progress)
    if invocation.as_json:
        invocation.print_json(asdict(done))
    else:
        show_retention(done, output())


@cli.command()
@click.option("--fresh", is_flag=True, help="Replace the demo's data by a week that ends now.")
@common_options
def demo(invocation: Invocation, fresh: bool) -> None:
    """Show everything on a made-up week in a PostgreSQL of its own."""
    from pggit_analytics.demo.run import run_demo
    from pggit_analytics.pipeline import summary
    from pggit_analytics.terminal import output, show_summary, steps

    with steps() as progress:
        result = run_demo(invocation.target(), fresh=fresh, progress=progress)
    if invocation.as_json:
        invocation.print_json(_monitor_json(result))
        return
    console = output()
    show_summary(summary(result), console)
    console.print(f"\n{_what_was_written(result)}", markup=False)
    console.print(_next_steps(invocation, result), markup=False)


def _next_steps(invocation: Invocation, result: MonitorResult) -> str:
    schema = invocation.settings().schema_name
    slow = result.findings.degradations["operation_type"]
    operation = slow[0] if len(slow) else "commit"
    schema = f'"{schema}"' if not schema.isidentifier() or schema != schema.lower() else schema
    return f"""
Where to look next
  pggit-analytics report --open
  pggit-analytics analyze --operation {operation}
  pggit-analytics doctor
  psql "{invocation.database().conninfo if invocation.settings().database_url is None else "$PGGIT_DATABASE_URL"}"
    SET pggit.as_of = '{result.as_of.isoformat()}';
    SELECT * FROM {schema}.detect_performance_degradation('{operation}');
    SELECT * FROM {schema}.detect_correlated_degradation();
    SELECT * FROM {schema}.v_current_findings;
    SELECT * FROM {schema}.v_merge_bottleneck_analysis;
Your own data: set PGGIT_DATABASE_URL, then pggit-analytics db deploy"""  # noqa: S608 - text for a person


def _what_was_written(result: MonitorResult) -> str:
    written, told = result.written, result.applied.incidents_written
    rows, gone, queued = written.rows_written, written.rows_deleted, written.messages_queued
    opened = f"{written.alerts_opened} alerts opened"
    if told is not None:
        rows, gone, queued = rows + told.rows_written, gone + told.rows_deleted, queued + told.messages_queued
        opened = f"{told.alerts_opened} incidents and {written.alerts_opened} other alerts opened"
    alerts = (
        f"{opened}, {queued} messages queued"
        if written.alerts_written
        else f"no alerts: {written.alerts_withheld_because}"
    )
    return f"Run {written.run_id}: {rows} result rows written, {gone} removed; {alerts}."


def _monitor_json(result: MonitorResult) -> dict[str, Any]:
    def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
        return frame.to_dicts()

    found, told = result.applied.incidents, result.applied.incidents_written
    return {
        "as_of": result.as_of,
        "rows_read": result.rows_read,
        "written": asdict(result.written),
        "incidents": None if found is None else rows(found.incidents),
        "incident_operations": None if found is None else rows(found.operations),
        "suppressed": None if found is None else rows(found.suppressed),
        "incidents_written": None if told is None else asdict(told),
        "anomalies": rows(result.findings.anomalies),
        "degradations": rows(result.findings.degradations),
        "correlations": rows(result.findings.correlations),
        "thresholds": rows(result.findings.thresholds),
        "slow_since": rows(result.slow_since),
    }


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    \b
    bash, zsh   eval "$(pggit-analytics completion bash)" at the end of ~/.bashrc, or zsh of ~/.zshrc
    fish        pggit-analytics completion fish > ~/.config/fish/completions/pggit-analytics.fish
    """
    from click.shell_completion import get_completion_class

    known = get_completion_class(shell)
    assert known is not None, "click knows the shells of the choice"
    # the name of the variable is the one that click derives from the program's
    click.echo(known(cli, {}, _PROGRAM, f"_{_PROGRAM.replace('-', '_').upper()}_COMPLETE").source())


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit status."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.UsageError as exc:
        command = exc.ctx.command_path if exc.ctx else "pggit-analytics"
        fail(f"{exc.format_message().rstrip('.')}; see {command} --help", exc.exit_code)
    except click.ClickException as exc:
        fail(exc.format_message(), exc.exit_code)
    except PggitAnalyticsError as exc:
        fail(str(exc), exc.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as exc:
        if os.environ.get("PGGIT_DEBUG"):
            raise
        # The text of a foreign error may repeat a connection string.
        reason = str(exc) if isinstance(exc, OSError) else type(exc).__name__
        fail(f"{reason}; set PGGIT_DEBUG=1 to see where", 1)
