"""The command that watches from outside whether the monitoring is alive: heartbeat."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pggit_analytics.errors import ConfigurationError
from pggit_analytics.invocation import Invocation, common_options, fail, utc

if TYPE_CHECKING:
    from pggit_analytics.config import Settings
    from pggit_analytics.delivery.reply import Reply
    from pggit_analytics.heartbeat import Beat
    from pggit_analytics.postgres.connection import Database


@click.command()
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".pggit/heartbeat.json"),
    show_default=True,
    help="File that remembers what was said.",
)
@click.option("--test", is_flag=True, help="Send a test message instead; the database is not asked.")
@common_options
def heartbeat(invocation: Invocation, *, state: Path, test: bool) -> None:
    """Say when the monitoring has fallen silent; run it every few minutes on another machine.

    The channel is that of [heartbeat] in pggit.toml, its address may be in PGGIT_HEARTBEAT__ADDRESS. Exit status 0 when
    all is well, 1 when it is not.
    """
    from pggit_analytics import heartbeat as switch

    settings = invocation.settings()
    database = _watched(invocation, settings)
    if test:
        _show_test(invocation, settings, switch.send_test(database, settings))
        return
    done = switch.beat(database, settings, state)
    channel = settings.heartbeat.type
    if invocation.as_json:
        invocation.print_json(_as_json(done, channel))
    if complaint := _complaint(done, channel):
        fail(complaint, 1)
    if not invocation.as_json:
        looked = utc(done.last_success_at) if done.last_success_at else "there was none yet"
        click.echo(f"All is well; last monitoring run: {looked}")


def _watched(invocation: Invocation, settings: Settings) -> Database:
    # an embedded one would be started by looking at it
    if settings.database_url is None:
        raise ConfigurationError("no database to watch: set --database-url or PGGIT_DATABASE_URL")
    return invocation.database()


def _show_test(invocation: Invocation, settings: Settings, reply: Reply) -> None:
    if invocation.as_json:
        invocation.print_json({"channel": _reply_json(reply, settings.heartbeat.type)})
    if reply.outcome != "delivered":
        fail(f"the {settings.heartbeat.type} channel did not take the test message: {reply.error}", 1)
    if not invocation.as_json:
        click.echo(f"The {settings.heartbeat.type} channel took the test message")


def _complaint(done: Beat, channel: str | None) -> str | None:
    """Everything that somebody has to look at, in one line; None when there is nothing."""
    parts = [
        f"{trouble.statement}{f' since {utc(trouble.since)}' if trouble.since else ''}" for trouble in done.troubles
    ]
    parts += [trouble.remedy for trouble in done.troubles]
    if (channel_fault := _channel_fault(done, channel)) is not None:
        parts.append(channel_fault)
    if done.ping is not None and done.ping.outcome != "delivered":
        parts.append(f"all is well, but ping_url could not be told: {done.ping.error}")
    if done.memory_fault is not None:
        parts.append(done.memory_fault)
    return "; ".join(parts) or None


def _channel_fault(done: Beat, channel: str | None) -> str | None:
    if done.transition is None:
        return None
    if channel is None:
        return "nobody was told: [heartbeat] has no channel" if done.troubles else None
    if done.reply is None or done.reply.outcome == "delivered":
        return None
    return f"the {channel} channel did not take it, the next beat tries again: {done.reply.error}"


def _as_json(done: Beat, channel: str | None) -> dict[str, Any]:
    return {
        "checked_at": done.checked_at,
        "is_well": done.is_well,
        "last_success_at": done.last_success_at,
        "troubles": [asdict(trouble) for trouble in done.troubles],
        "transition": done.transition,
        "channel": _reply_json(done.reply, channel),
        "ping": _reply_json(done.ping, None),
        "memory_fault": done.memory_fault,
    }


def _reply_json(reply: Reply | None, channel: str | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    named = {"type": channel} if channel else {}
    return {**named, "outcome": reply.outcome, "http_status": reply.http_status, "error": reply.error}
