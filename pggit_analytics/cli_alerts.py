"""The commands with which people answer alerts: list, acknowledge, judge, silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

import click

from pggit_analytics.invocation import Group, Instant, Invocation, common_options, utc

if TYPE_CHECKING:
    from pggit_analytics.postgres.alerts import AlertRow, Blackout, Verdict

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class Span(click.ParamType[timedelta]):
    """A length of time such as 2h, 1h30m or 3d."""

    name = "span"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        parts = re.findall(r"(\d+)([dhms])", value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is not a span such as 30m, 2h, 1h30m or 3d", param, ctx)
        try:
            return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
        except OverflowError:
            self.fail(f"{value!r} is longer than any span can be", param, ctx)


class TimeOfDay(click.ParamType[time]):
    """A time of day in UTC."""

    name = "time"

    def convert(self, value: str | time, param: click.Parameter | None, ctx: click.Context | None) -> time:
        if isinstance(value, time):
            return value
        try:
            found = time.fromisoformat(value)
        except ValueError:
            found = None
        if found is None or found.tzinfo is not None:
            self.fail(f"{value!r} is not a time of day such as 22:30; it is in UTC", param, ctx)
        return found


class Days(click.ParamType[list[int]]):
    """Days of the week, 1 Monday to 7 Sunday."""

    name = "days"

    def convert(self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        names = [name.strip().lower() for name in value.split(",")]
        if unknown := [name for name in names if name not in _DAYS]:
            self.fail(f"{unknown[0]!r} is not one of {', '.join(_DAYS)}", param, ctx)
        return sorted({_DAYS.index(name) + 1 for name in names})


_scope_options = (
    click.option("--operation", metavar="NAME", help="Only alerts of this operation [all]."),
    click.option("--alert-type", metavar="TYPE", help="Only alerts of this type, such as ANOMALY [all]."),
    click.option("--reason", help="Why, for those who wonder later."),
    click.option("--by", metavar="WHO", help="Who says so [the role that logs in]."),
)


def _scope(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(_scope_options):
        command = option(command)
    return command


@click.group(cls=Group)
def alerts() -> None:
    """See what is wrong and say what is to become of it."""


@alerts.command("list")
@click.option("--all", "include_resolved", is_flag=True, help="Resolved ones too.")
@click.option("--recorded", is_flag=True, help="Those that do not page too: what the plan's detectors found.")
@click.option("--limit", type=int, default=100, show_default=True, help="Alerts to show.")
@common_options
def alerts_list(invocation: Invocation, include_resolved: bool, recorded: bool, limit: int) -> None:
    """Show the open alerts, the most severe first."""
    from pggit_analytics.postgres.alerts import list_alerts

    found = list_alerts(invocation.database(), only_open=not include_resolved, recorded=recorded, limit=limit)
    if invocation.as_json:
        invocation.print_json({"alerts": [asdict(alert) for alert in found]})
        return
    if not found:
        click.echo("There are no alerts." if include_resolved else "Nothing is wrong: no alert is open.")
    for alert in found:
        click.echo("\n".join(_lines(alert)))


def _lines(alert: AlertRow) -> Iterator[str]:
    yield f"{alert.alert_id}  {alert.severity}  {alert.headline}"
    until = f" to {utc(alert.resolved_at)}" if alert.resolved_at else ""
    notes = [f"from {utc(alert.opened_at)}{until}" if until else f"since {utc(alert.opened_at)}"]
    if alert.group_key:
        notes.append(f"part of {alert.group_key}")
    if alert.acknowledged_by:
        notes.append(f"acknowledged by {alert.acknowledged_by}")
    if alert.snoozed_until:
        notes.append(f"snoozed until {utc(alert.snoozed_until)}")
    if alert.verdict:
        notes.append(alert.verdict.replace("_", " "))
    yield f"    {', '.join(notes)}"


@alerts.command("ack")
@click.argument("alert_id", metavar="ID", type=int)
@click.option("--by", metavar="WHO", help="Who says so [the role that logs in].")
@common_options
def alerts_ack(invocation: Invocation, alert_id: int, by: str | None) -> None:
    """Take note of the alert ID: it is not repeated any more."""
    from pggit_analytics.postgres.alerts import acknowledge

    is_changed = acknowledge(invocation.database(), alert_id, by=by)
    if invocation.as_json:
        invocation.print_json({"alert_id": alert_id, "changed": is_changed})
    else:
        click.echo(f"alert {alert_id} {'is' if is_changed else 'was already'} acknowledged")


@alerts.command("verdict")
@click.argument("alert_id", metavar="ID", type=int)
@click.argument("verdict", type=click.Choice(["true_positive", "false_positive"]))
@common_options
def alerts_verdict(invocation: Invocation, alert_id: int, verdict: Verdict) -> None:
    """Say whether the alert ID was right."""
    from pggit_analytics.postgres.alerts import set_verdict

    is_changed = set_verdict(invocation.database(), alert_id, verdict)
    if invocation.as_json:
        invocation.print_json({"alert_id": alert_id, "verdict": verdict, "changed": is_changed})
    else:
        click.echo(f"alert {alert_id} {'is' if is_changed else 'was already'} a {verdict.replace('_', ' ')}")


@alerts.command("snooze")
@click.option("--until", type=Instant(), help="Silence until this moment.")
@click.option("--for", "span", type=Span(), help="Silence for so long, such as 2h.")
@_scope
@common_options
def alerts_snooze(
    invocation: Invocation,
    *,
    until: datetime | None,
    span: timedelta | None,
    operation: str | None,
    alert_type: str | None,
    reason: str | None,
    by: str | None,
) -> None:
    """Say nothing about alerts for a while; what is still wrong then is said at its end."""
    from pggit_analytics.postgres.alerts import snooze
    from pggit_analytics.postgres.silence import from_now

    if (until is None) is (span is None):
        raise click.UsageError("give either --until or --for")
    database = invocation.database()
    end = until or from_now(database, span or timedelta())
    snooze_id = snooze(database, end, operation_type=operation, alert_type=alert_type, reason=reason, by=by)
    if invocation.as_json:
        invocation.print_json({"snooze_id": snooze_id, "until": end})
    else:
        click.echo(f"snooze {snooze_id}: {_scope_text(operation, alert_type)} until {utc(end)}")


@alerts.group("blackout")
def blackout() -> None:
    """Windows of silence that come back, such as a nightly maintenance."""


@blackout.command("add")
@click.option("--start", type=TimeOfDay(), required=True, help="When the window begins, in UTC, such as 22:30.")
@click.option("--duration", type=Span(), required=True, help="How long it is, up to 24h.")
@click.option("--days", type=Days(), help="Days it begins on, such as sat,sun [every day].")
@click.option("--webhook", metavar="NAME", help="Only messages to this webhook [all].")
@click.option("--spare-critical", is_flag=True, help="CRITICAL alerts are sent all the same.")
@_scope
@common_options
def blackout_add(
    invocation: Invocation,
    *,
    start: time,
    duration: timedelta,
    days: list[int] | None,
    webhook: str | None,
    spare_critical: bool,
    operation: str | None,
    alert_type: str | None,
    reason: str | None,
    by: str | None,
) -> None:
    """Put off what is to be said during a window to its end."""
    from pggit_analytics.postgres import webhooks
    from pggit_analytics.postgres.alerts import add_blackout

    database = invocation.database()
    blackout_id = add_blackout(
        database,
        start_time=start,
        duration=duration,
        days_of_week=days,
        operation_type=operation,
        alert_type=alert_type,
        webhook_id=webhooks.find(database, webhook).webhook_id if webhook else None,
        spare_critical=spare_critical,
        reason=reason,
        by=by,
    )
    if invocation.as_json:
        invocation.print_json({"blackout_id": blackout_id})
    else:
        click.echo(f"blackout {blackout_id} is set; see: pggit-analytics alerts blackout list")


@blackout.command("list")
@common_options
def blackout_list(invocation: Invocation) -> None:
    """Show every window."""
    from pggit_analytics.postgres.alerts import list_blackouts

    found = list_blackouts(invocation.database())
    if invocation.as_json:
        invocation.print_json({"blackouts": [asdict(one) for one in found]})
        return
    for one in found:
        click.echo(_blackout_line(one))


def _blackout_line(one: Blackout) -> str:
    days = ",".join(_DAYS[day - 1] for day in one.days_of_week) if one.days_of_week else "every day"
    notes = [f"to {one.webhook_name}"] if one.webhook_name else []
    notes += ["CRITICAL is sent"] if one.spare_critical else []
    notes += [one.reason] if one.reason else []
    notes += [] if one.enabled else ["ended"]
    scope = _scope_text(one.operation_type, one.alert_type)
    said = f"{one.blackout_id}  {days} from {one.start_time:%H:%M} UTC for {one.duration}: {scope}"
    return ", ".join([said, *notes])


@blackout.command("end")
@click.argument("blackout_id", metavar="ID", type=int)
@common_options
def blackout_end(invocation: Invocation, blackout_id: int) -> None:
    """Let the window ID come back no more; what it has put off already stays put off."""
    from pggit_analytics.postgres.silence import set_blackout_enabled

    is_changed = set_blackout_enabled(invocation.database(), blackout_id, enabled=False)
    if invocation.as_json:
        invocation.print_json({"blackout_id": blackout_id, "enabled": False, "changed": is_changed})
    else:
        click.echo(f"blackout {blackout_id} {'is' if is_changed else 'was already'} ended")


def _scope_text(operation: str | None, alert_type: str | None) -> str:
    return f"{alert_type or 'all'} alerts of {operation or 'all operations'}"
