"""The commands that bring in what other programs measure: sync, sample."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pggit_analytics.cli_alerts import Span
from pggit_analytics.errors import DatabaseUnavailable
from pggit_analytics.invocation import Group, Invocation, common_options, stopped_by_signals

if TYPE_CHECKING:
    from pggit_analytics.postgres.sample_statements import Sampled


@click.command()
@click.option("--all", "everything", is_flag=True, help="Look at every merge, not only at new and open ones.")
@common_options
def sync(invocation: Invocation, everything: bool) -> None:
    """Copy the merges of pgGit 0.2.1 for the dashboards of merges; repeat it as often as you like.

    Which schema pgGit is in, and the time zone of its timestamps, says [merges] in pggit.toml [pggit, UTC].
    """
    from pggit_analytics.postgres.sync_merges import sync_merges
    from pggit_analytics.terminal import output

    done = sync_merges(invocation.database(), invocation.settings().merges, everything=everything)
    if invocation.as_json:
        invocation.print_json(asdict(done))
        return
    console = output()
    console.print(
        f"{done.table}, its timestamps read as {done.time_zone}: {done.read:,} merges looked at, {done.added:,} new, "
        f"{done.changed:,} changed, {done.still_open:,} not over; {done.metrics_added:,} timings added",
        markup=False,
        soft_wrap=True,
    )
    for reason in done.left_out[:5]:
        console.print(f"  left out: {reason}", markup=False, soft_wrap=True)
    if len(done.left_out) > 5:
        console.print(f"  and {len(done.left_out) - 5:,} more", markup=False)


@click.group(cls=Group)
def sample() -> None:
    """Make timings of what the server counts."""


@sample.command("statements")
@click.option("--every", type=Span(), metavar="SPAN", help="Go on, a sample every 60s, 5m ..., until stopped.")
@common_options
def sample_statements(invocation: Invocation, every: timedelta | None) -> None:
    """Record how long statements took on average since the sample before, from pg_stat_statements.

    The first sample only remembers. What statements are called says [statements] in pggit.toml.
    """
    from pggit_analytics.postgres import sample_statements as sampler

    if every is not None and invocation.as_json:
        raise click.UsageError("--json is one object, --every never ends; use one of them")
    if every is not None and not timedelta(seconds=1) <= every <= timedelta(days=1):
        raise click.UsageError("--every is from 1s to 1d")
    database, settings = invocation.database(), invocation.settings().statements
    if every is None:
        done = sampler.sample_statements(database, settings)
        if invocation.as_json:
            invocation.print_json(asdict(done))
        else:
            click.echo(_said(done))
        return
    with stopped_by_signals() as stop:
        due = time.monotonic()
        while not stop.is_set():
            try:
                click.echo(_said(sampler.sample_statements(database, settings)))
            except DatabaseUnavailable as exc:  # it comes back, and the next sample looks further back
                click.echo(f"pggit-analytics: {exc}", err=True)
            due = max(due + every.total_seconds(), time.monotonic())
            stop.wait(due - time.monotonic())


def _said(done: Sampled) -> str:
    notes = [f"{done.hidden:,} statements of others are hidden (GRANT pg_read_all_stats)"] if done.hidden else []
    notes += ["the statistics were reset meanwhile"] if done.was_reset else []
    notes += [f"entries were evicted {done.evictions:,} times (raise pg_stat_statements.max)"] if done.evictions else []
    what = "the first sample, which the next is compared with"
    if done.interval_s is not None:
        what = f"{done.timings:,} timings of {done.calls:,} calls in {done.interval_s:,.0f} s"
    return "; ".join([f"{done.sampled_at:%Y-%m-%d %H:%M:%S%z}: {what}, {done.statements:,} statements known", *notes])
