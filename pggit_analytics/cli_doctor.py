"""The command that looks for what is wrong with an installation: doctor."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

from pggit_analytics.invocation import Invocation, common_options

if TYPE_CHECKING:
    from rich.console import Console

    from pggit_analytics.config import Settings
    from pggit_analytics.doctor.checks import Check
    from pggit_analytics.postgres.connection import Database

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta"}
#: the column of names and that of words
_INDENT = 2 + 9 + 20


@click.command()
@common_options
def doctor(invocation: Invocation) -> None:
    """Look for what is wrong and say what mends it; writes nothing. Exit status 1 when something fails.

    A warning is no failure. What cannot be looked at is "unknown", with the reason.
    """
    from pggit_analytics.doctor.checks import Check
    from pggit_analytics.doctor.examine import examine
    from pggit_analytics.errors import ConfigurationError
    from pggit_analytics.terminal import output, steps

    try:
        settings = invocation.settings()
    except ConfigurationError as exc:
        checks = [Check("Settings", "configuration", "fail", str(exc), "env | grep ^PGGIT_; cat pggit.toml")]
    else:
        with steps(quiet=not sys.stderr.isatty()) as progress:
            progress("Looking")
            checks = examine(_database(invocation, settings), settings)
    counts = Counter(check.status for check in checks)
    if invocation.as_json:
        invocation.print_json(
            {"is_well": not counts["fail"], "counts": dict(counts), "checks": [asdict(check) for check in checks]}
        )
    else:
        show(checks, output())
    if counts["fail"]:
        sys.exit(1)


def _database(invocation: Invocation, settings: Settings) -> Database | None:
    """The database to look at; an embedded one only if it was started before, as looking makes nothing."""
    if settings.database_url is None and not (settings.embedded_directory / "postgresql" / "PG_VERSION").is_file():
        return None
    return invocation.database()


def show(checks: list[Check], console: Console) -> None:
    """The checks by group, with words and not by colour alone, and the commands to type."""
    for group, members in groupby(checks, key=lambda check: check.group):
        console.print(f"\n[bold]{group}[/bold]")
        for _same, alike in groupby(members, key=lambda check: check.finding if check.status == "unknown" else check):
            _show_alike(list(alike), console)
    counts = Counter(check.status for check in checks)
    said = ", ".join(f"{counts[status]} {status}" for status in ("fail", "warn", "unknown", "ok") if counts[status])
    console.print(f"\n{said}", markup=False)


def _show_alike(checks: list[Check], console: Console) -> None:
    """One check; or several that cannot be looked at for the same reason, as one."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    first = checks[0]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=8, no_wrap=True)
    line.add_column(width=19)
    line.add_column()
    names = first.name if len(checks) == 1 else f"{len(checks)} checks"
    line.add_row(Text(first.status, style=_STYLES[first.status]), Text(names), Text(first.finding))
    console.print(Padding(line, (0, 0, 0, 2)))
    if first.remedy is not None:
        # whole, so that it can be copied
        console.print(Text(f"{'':{_INDENT}}$ {first.remedy}", style="dim"), soft_wrap=True)
