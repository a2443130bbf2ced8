"""The command that writes the report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pggit_analytics.errors import PggitAnalyticsError
from pggit_analytics.invocation import Instant, Invocation, common_options

if TYPE_CHECKING:
    from pggit_analytics.report.contents import Report


@click.command()
@click.option("--as-of", type=Instant(), help="Look back from this moment [now, by the database's clock].")
@click.option("--open", "is_opened", is_flag=True, help="Open what was written in the browser.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write [report.html; stdout for Markdown]."
)
@click.option(
    "--png",
    type=click.Path(path_type=Path),
    metavar="FILE_OR_DIR",
    help="Write charts instead: the first one to a FILE.png, all of them into a directory.",
)
@click.option("--chart", metavar="NAME", help="With --png: this chart, by the name of its file in the directory.")
@click.option("--markdown", is_flag=True, help="Markdown instead of a page.")
@common_options
def report(
    invocation: Invocation,
    *,
    as_of: datetime | None,
    is_opened: bool,
    out: Path | None,
    png: Path | None,
    chart: str | None,
    markdown: bool,
) -> None:
    """Write one page that shows what is wrong now, what is over, and how the monitoring does.

    The page needs no network and no script. Nothing is written to the database: the role pggit_reader is enough.
    """
    from pggit_analytics.reporting import gather_report
    from pggit_analytics.terminal import steps

    if chart is not None and png is None:
        raise click.UsageError("--chart belongs to --png")
    if is_opened and markdown and out is None:
        raise click.UsageError("--open needs a file: give --out, or leave --markdown out")
    with steps() as progress:
        found = gather_report(invocation.target(), as_of, progress=progress)
        progress("Drawing")
        files, text = _written(found, out, png, chart, markdown=markdown)
    if invocation.as_json:
        from pggit_analytics.report.values import values

        sizes = [{"file": str(file.resolve()), "bytes": file.stat().st_size} for file in files]
        invocation.print_json({**values(found), "files": sizes, **({"markdown": text} if text is not None else {})})
    elif text is not None:
        click.echo(text, nl=False)
    else:
        for file in files:
            click.echo(f"{file.resolve()} ({file.stat().st_size / 1024:,.0f} KiB)")
        click.echo(found.headline)
    if is_opened:
        click.launch(files[0].resolve().as_uri())


def _written(
    found: Report, out: Path | None, png: Path | None, chart: str | None, *, markdown: bool
) -> tuple[list[Path], str | None]:
    """The files written, and the Markdown that goes to stdout."""
    from pggit_analytics.report.markdown import markdown as as_markdown
    from pggit_analytics.report.page import page
    from pggit_analytics.reporting import pictures

    try:
        files = pictures(found, png, chart=chart) if png else []
        if markdown and out is None:
            return files, as_markdown(found)
        if out is not None or not png:
            file = out or Path("report.html")
            file.write_text(as_markdown(found) if markdown else page(found), encoding="utf-8")
            files.insert(0, file)
    except OSError as exc:
        raise PggitAnalyticsError(
            f"cannot write {exc.filename or 'the report'}: {exc.strerror}; name another file"
        ) from exc
    return files, None
