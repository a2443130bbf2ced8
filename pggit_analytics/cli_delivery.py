"""The commands that send messages and say where they go: deliver, webhooks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pggit_analytics.errors import ConfigurationError
from pggit_analytics.invocation import Group, Invocation, common_options, flow, stopped_by_signals, utc, validated

if TYPE_CHECKING:
    from pggit_analytics.deliver import DeliveryParameters, DeliveryResult
    from pggit_analytics.postgres.webhooks import Route
    from pggit_analytics.webhook_admin import ListedWebhook

#: where an address may be given besides stdin; an argument would show in the list of processes
ADDRESS_VARIABLE = "PGGIT_WEBHOOK_URL"


@click.command()
@click.option("--batch-size", type=int, help="Messages of a webhook that are claimed at a time, 1 to 1000 [50].")
@click.option("--max-retries", type=int, help="Attempts after which a message fails, 1 to 20 [3].")
@click.option("--watch", is_flag=True, help="Go on until stopped; SIGTERM or Ctrl-C end it without losing anything.")
@click.option("--redrive", is_flag=True, help="First put failed messages back, as if they had never been tried.")
@click.option("--webhook", metavar="NAME", help="With --redrive: only the messages of this webhook.")
@click.option("--preview", is_flag=True, help="Write a page that shows what would be sent; send nothing.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File of --preview [messages.html].")
@common_options
def deliver(
    invocation: Invocation,
    *,
    batch_size: int | None,
    max_retries: int | None,
    watch: bool,
    redrive: bool,
    webhook: str | None,
    preview: bool,
    out: Path | None,
) -> None:
    """Send the messages that are due.

    What failed is tried again later; what waits for a later time stays. Exit status 1 when messages wait for another
    master key.
    """
    from pggit_analytics.deliver import DeliveryParameters

    if webhook is not None and not redrive:
        raise click.UsageError("--webhook belongs to --redrive")
    if out is not None and not preview:
        raise click.UsageError("--out belongs to --preview")
    if preview and (watch or redrive):
        raise click.UsageError("--preview sends nothing; leave --watch and --redrive out")
    if preview:
        _write_preview(invocation, out or Path("messages.html"))
        return
    parameters = validated(DeliveryParameters, batch_size=batch_size, max_retries=max_retries)
    redriven = _redrive(invocation, webhook) if redrive else None
    result = _deliver(invocation, parameters, watch=watch)
    _show_delivery(invocation, result, redriven)


def _deliver(invocation: Invocation, parameters: DeliveryParameters, *, watch: bool) -> DeliveryResult:
    from pggit_analytics import deliver as worker
    from pggit_analytics.terminal import steps

    if os.environ.get("PREFECT_API_URL") and not watch:
        result: DeliveryResult = flow(invocation, "deliver_notifications").run(parameters)
        return result
    database, settings = invocation.database(), invocation.settings()
    with _log_on_stderr(), stopped_by_signals() as stop, steps() as progress:
        return worker.deliver(database, settings, parameters, watch=watch, stop=stop, progress=progress)


def _redrive(invocation: Invocation, name: str | None) -> int:
    from pggit_analytics.postgres import outbox, webhooks

    database = invocation.database()
    webhook_id = webhooks.find(database, name).webhook_id if name is not None else None
    with database.connect() as connection:
        return outbox.redrive(connection, webhook_id=webhook_id)


def _show_delivery(invocation: Invocation, result: DeliveryResult, redriven: int | None) -> None:
    from pggit_analytics.deliver import check_deliverable

    if invocation.as_json:
        invocation.print_json({**asdict(result), "redriven": redriven})
    else:
        if redriven is not None:
            click.echo(f"{redriven} failed rows put back")
        due = f", the first is due {utc(result.next_due_at)}" if result.next_due_at else ""
        click.echo(f"{result.headline()}{due}")
    check_deliverable(result, invocation.settings())


def _write_preview(invocation: Invocation, file: Path) -> None:
    from pggit_analytics.webhook_admin import write_preview

    waiting = write_preview(invocation.database(), file)
    if invocation.as_json:
        invocation.print_json({"file": str(file.resolve()), "waiting": waiting, "is_sample": waiting == 0})
    else:
        what = f"the first {waiting} messages that wait" if waiting else "samples, as no message waits"
        click.echo(f"{file.resolve()} shows {what}; nothing was sent")


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """What the worker has to say goes to stderr, a line each."""
    log = logging.getLogger("pggit_analytics.deliver")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@click.group(cls=Group)
def webhooks() -> None:
    """Say where messages go. Addresses are stored encrypted and never shown."""


_route_option = click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="TYPE:SEVERITY[:digest]",
    help="Alerts that go there, in the daily digest if so said; TYPE may be ALL; repeatable, the last one counts.",
)


@webhooks.command("add")
@click.argument("name")
@click.option(
    "--type",
    "webhook_type",
    type=click.Choice(["slack", "mattermost", "pagerduty", "email", "webhook"]),
    required=True,
    help="What the address belongs to.",
)
@click.option("--channel", help="A remark on where it goes, such as #ops.")
@click.option("--to", "recipients", metavar="ADDRESSES", help="Recipients of mail, separated by commas.")
@click.option("--allow-private", is_flag=True, help="The address may be one of a private network, and without TLS.")
@_route_option
@click.option("--min-interval-ms", type=int, help="Least time between two messages [slack 1000, others 0].")
@click.option("--replace", is_flag=True, help="Give an existing webhook this address; routes stay unless given.")
@common_options
def webhooks_add(
    invocation: Invocation,
    *,
    name: str,
    webhook_type: str,
    channel: str | None,
    recipients: str | None,
    allow_private: bool,
    routes: tuple[str, ...],
    min_interval_ms: int | None,
    replace: bool,
) -> None:
    """Store the webhook NAME; its address is asked for, read from stdin or taken from PGGIT_WEBHOOK_URL.

    \b
    slack, mattermost  https://...
    pagerduty          the integration key, or https://events.pagerduty.com/v2/enqueue#KEY
    email              smtps://user:password@host:465?from=a@b, smtp://...:587?from=a@b
    webhook            https://host/path#SECRET, which signs the messages (16 characters or more)

    Without --route every CRITICAL and WARNING goes there at once, but single slow calls and correlations of severity
    WARNING once a day.
    """
    from pggit_analytics.postgres.webhooks import NewWebhook
    from pggit_analytics.webhook_admin import add_webhook

    if (recipients is None) is (webhook_type == "email"):
        raise click.UsageError("--to names the recipients of mail: give it with --type email, and only then")
    if recipients is not None and channel is not None:
        raise click.UsageError("--channel has no meaning for mail; leave it out")
    new = NewWebhook(name, webhook_type, recipients or channel, allow_private, min_interval_ms)
    checked = _parsed(routes) or None
    host = add_webhook(invocation.database(), invocation.settings(), new, _address(), checked, replace=replace)
    if invocation.as_json:
        invocation.print_json({"name": name, "type": webhook_type, "host": host})
    else:
        click.echo(f"{name} is stored: {webhook_type} at {host}; try it: pggit-analytics webhooks test {name}")


def _address() -> str:
    """The address, from the first place that has one.

    Raises:
        ConfigurationError: there is none.
    """
    if given := os.environ.get(ADDRESS_VARIABLE):
        return given.strip()
    if sys.stdin.isatty():
        return str(click.prompt("Address", hide_input=True, err=True)).strip()
    address = sys.stdin.readline().strip()
    if not address:
        raise ConfigurationError(f"no address was given; write it to stdin or into {ADDRESS_VARIABLE}")
    return address


def _parsed(routes: Sequence[str]) -> list[Route]:
    from pggit_analytics.postgres.webhooks import parse_route

    return [route for text in routes for route in parse_route(text)]


@webhooks.command("list")
@common_options
def webhooks_list(invocation: Invocation) -> None:
    """Show every webhook and how delivery to it goes; of its address the host alone."""
    from pggit_analytics.webhook_admin import list_webhooks

    found = list_webhooks(invocation.database(), invocation.settings())
    if invocation.as_json:
        invocation.print_json({"webhooks": [asdict(webhook) for webhook in found]})
        return
    if not found:
        click.echo("There are no webhooks; add one with: pggit-analytics webhooks add NAME --type slack")
    for webhook in found:
        click.echo("\n".join(_lines(webhook)))


def _lines(webhook: ListedWebhook) -> Iterator[str]:
    place = webhook.host or f"an address under the key {webhook.encryption_key_id or '(none)'}"
    remark = f" ({webhook.channel_or_recipient})" if webhook.channel_or_recipient else ""
    yield f"{webhook.name}: {webhook.webhook_type} at {place}{remark}{'' if webhook.enabled else ', DISABLED'}"
    probe = f", next try {utc(webhook.breaker_probe_at)}" if webhook.breaker_probe_at else ""
    yield f"  {webhook.pending} rows wait, {webhook.failed} failed; breaker {webhook.breaker}{probe}"
    if webhook.last_error:
        yield f"  last error: {webhook.last_error}"
    tested = f"{utc(webhook.last_tested_at)}, {webhook.test_status}" if webhook.last_tested_at else "never"
    yield f"  last test: {tested}; key {webhook.encryption_key_id or '(none)'}"


@webhooks.command("test")
@click.argument("name")
@common_options
def webhooks_test(invocation: Invocation, name: str) -> None:
    """Send a test message to the webhook NAME now; exit status 1 when it does not arrive."""
    from pggit_analytics.terminal import steps
    from pggit_analytics.webhook_admin import try_webhook

    with steps(quiet=not sys.stderr.isatty()) as progress:
        progress(f"Sending a test message to {name}")
        reply = try_webhook(invocation.database(), invocation.settings(), name)
    if invocation.as_json:
        invocation.print_json({"name": name, **asdict(reply)})
    else:
        click.echo(f"{name} took the test message")


@webhooks.command("disable")
@click.argument("name")
@common_options
def webhooks_disable(invocation: Invocation, name: str) -> None:
    """Send nothing to the webhook NAME any more; its messages wait."""
    _set_enabled(invocation, name, enabled=False)


@webhooks.command("enable")
@click.argument("name")
@common_options
def webhooks_enable(invocation: Invocation, name: str) -> None:
    """Send to the webhook NAME again, what waits included."""
    _set_enabled(invocation, name, enabled=True)


def _set_enabled(invocation: Invocation, name: str, *, enabled: bool) -> None:
    from pggit_analytics.postgres import webhooks as rows

    is_changed = rows.set_enabled(invocation.database(), name, enabled)
    if invocation.as_json:
        invocation.print_json({"name": name, "enabled": enabled, "changed": is_changed})
    else:
        click.echo(f"{name} {'is' if is_changed else 'was already'} {'enabled' if enabled else 'disabled'}")


@webhooks.command("route")
@click.argument("name")
@_route_option
@common_options
def webhooks_route(invocation: Invocation, name: str, routes: tuple[str, ...]) -> None:
    """Say which alerts go to the webhook NAME, and no others; without --route show them."""
    from pggit_analytics.postgres import webhooks as rows

    database = invocation.database()
    if routes:
        rows.set_routes(database, name, _parsed(routes))
    found = rows.routes_of(database, name)
    if invocation.as_json:
        invocation.print_json({"name": name, "routes": [route._asdict() for route in found]})
        return
    for route in found:
        click.echo(f"{route.alert_type}:{route.severity}{':digest' if route.delivery == 'digest' else ''}")


@webhooks.command("rotate-key")
@click.option(
    "--new-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The new master key; make one with: openssl rand -base64 32.",
)
@common_options
def webhooks_rotate_key(invocation: Invocation, new_key_file: Path) -> None:
    """Encrypt every address under a new master key, all or none."""
    from pggit_analytics.webhook_admin import rotate_key

    changed, key_id = rotate_key(invocation.database(), invocation.settings(), new_key_file)
    if invocation.as_json:
        invocation.print_json({"changed": changed, "key_id": key_id})
    else:
        click.echo(
            f"{changed} addresses are under the key {key_id} now; give that one to every worker "
            "(PGGIT_WEBHOOK_KEY_FILE) and destroy the old one"
        )
