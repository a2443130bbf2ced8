"""What every command of the command line takes and does: its common options, where it works, how it ends.

Everything but click is imported where it is used: ``--help`` has to be instant.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pggit_analytics.errors import ConfigurationError, InvalidArgument

if TYPE_CHECKING:
    from types import FrameType, ModuleType

    from pggit_analytics.config import Settings
    from pggit_analytics.pipeline import Target
    from pggit_analytics.postgres.connection import Database

#: longest first sentence of a help text
_SENTENCE = 200


class Group(click.Group):
    """Lists its commands with the whole first sentence of each, which click would cut."""

    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of commands."""
        rows = [
            (name, command.get_short_help_str(limit=_SENTENCE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@dataclass(frozen=True)
class Invocation:
    """What the options that every command takes say."""

    database_url: str | None
    schema: str | None
    #: print one JSON object instead of text
    as_json: bool

    def settings(self) -> Settings:
        """The settings with these options on top."""
        from pggit_analytics.config import load_settings

        return load_settings(database_url=self.database_url, schema_name=self.schema)

    def database(self) -> Database:
        """The database named by option, environment or file; else the embedded one, started if need be."""
        from pggit_analytics.postgres.connection import Database
        from pggit_analytics.postgres.embedded import embedded_url

        settings = self.settings()
        if settings.database_url is not None:
            return Database(settings.database_url.get_secret_value(), settings.schema_name)
        return Database(embedded_url(settings.embedded_directory), settings.schema_name)

    def target(self) -> Target:
        """Where a run reads and writes."""
        from pggit_analytics.pipeline import Target

        return Target.of(self.database(), self.settings())

    def print_json(self, result: dict[str, Any]) -> None:
        """Print the one object of --json."""
        click.echo(json.dumps(result, default=_plain, indent=2))


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) or hasattr(value, "isoformat") else str(value)


def common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --database-url, --schema and --json; the command gets them as its first argument."""

    @click.option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL to work on [environment: PGGIT_DATABASE_URL; default: an embedded one in .pggit/].",
    )
    @click.option("--schema", metavar="NAME", help="Schema of the project's objects [PGGIT_SCHEMA; pggit].")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @wraps(command)
    def wrapped(database_url: str | None, schema: str | None, as_json: bool, **options: Any) -> None:
        command(Invocation(database_url, schema, as_json), **options)

    return wrapped


class Instant(click.ParamType[datetime]):
    """A moment with a time zone."""

    name = "instant"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            instant = None
        if instant is None or instant.utcoffset() is None:
            self.fail(f"{value!r} is not a date, time and time zone such as 2026-01-31T12:00:00+00:00", param, ctx)
        return instant


def validated(kind: Callable[..., Any], **parameters: object) -> Any:
    """Parameters of a run, or an InvalidArgument that says in one line what is wrong with them."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in parameters.items() if value is not None})
    except ValidationError as exc:
        faults = "; ".join(
            f"{e['loc'][0]} is {e['input']!r}: {e['msg'][:1].lower()}{e['msg'][1:]}" for e in exc.errors()
        )
        raise InvalidArgument(faults) from exc


def flow(invocation: Invocation, name: str) -> ModuleType:
    """The module of a flow, which reads its database from the environment: a URL is no parameter to be recorded."""
    import importlib.util

    from pggit_analytics.resources import flow_module

    for variable, value in (("PGGIT_DATABASE_URL", invocation.database_url), ("PGGIT_SCHEMA", invocation.schema)):
        if value is not None:
            os.environ[variable] = value
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if importlib.util.find_spec("prefect") is None:
        raise ConfigurationError(
            "PREFECT_API_URL is set but Prefect is not installed; install it with: "
            "pip install 'pggit-analytics[flows]', or unset PREFECT_API_URL to run without"
        )
    return flow_module(name)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process as if nobody had listened."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def request_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for handled, handler in before.items():
            signal.signal(handled, handler)
        # The main thread may be inside stop.wait() and hold the event's lock, which set() needs.
        threading.Thread(target=stop.set).start()

    for handled in (signal.SIGTERM, signal.SIGINT):
        before[handled] = signal.signal(handled, request_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def utc(instant: datetime) -> str:
    """The instant to the minute, for a person."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def fail(reason: str, exit_status: int) -> NoReturn:
    """End the process with one line on stderr."""
    click.echo(f"pggit-analytics: {' '.join(reason.split())}", err=True)
    sys.exit(exit_status)
