"""Pages of the site that are made of what exists: the command line's help, the frames, the README and the changelog.

A hook of mkdocs. Names of documents in backticks become links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from pggit_analytics import frames
from pggit_analytics.cli import cli
from pggit_analytics.frames import FrameSchema

ROOT = Path(__file__).parents[1]
#: of a line of help
_WIDTH = 90


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    readme, changelog = ((ROOT / name).read_text() for name in ("README.md", "CHANGELOG.md"))
    pages = {
        "tasks.md": readme.replace("# pggit_analytics\n", "# Every task in short\n", 1).replace("](docs/", "]("),
        "changelog.md": changelog,
        "command_line.md": command_line(),
        "frames.md": frame_reference(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn the name of a document in backticks into a link to it, and links to the README into ones to its page."""
    known = {file.src_uri for file in files.documentation_pages()} - {page.file.src_uri}

    def linked(name: re.Match[str]) -> str:
        return f"[{name[1]}]({name[1]})" if name[1] in known else name[0]

    markdown = markdown.replace("](../README.md", "](tasks.md")
    # what stands in blocks of code, and what is a link already, is left as it is
    parts = re.split(r"(^```.*?^```$|\[`[^\]]*\]\([^)]*\))", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if number % 2 else re.sub(r"`docs/(\w+\.md)`", linked, part) for number, part in enumerate(parts)
    )


def command_line() -> str:
    """The help of every command."""
    lines = [
        "# Command line",
        "",
        "What each command says with `--help`. Exit status: 0 done, 1 failed with one line that says why and what to",
        "do, 2 wrong usage. `completion` makes the shell complete commands and options.",
    ]
    for context in contexts(cli, None):
        level = "##" if context.command_path.count(" ") < 2 else "###"
        lines += ["", f"{level} {context.command_path}", "", "```text", context.get_help(), "```"]
    return "\n".join(lines) + "\n"


def contexts(command: click.Command, parent: click.Context | None) -> Iterator[click.Context]:
    """The context of a command, and of those below it, by name."""
    name = command.name if parent else "pggit-analytics"
    settings = {"terminal_width": _WIDTH, **command.context_settings}
    with click.Context(command, info_name=name, parent=parent, **settings) as context:
        yield context
        if isinstance(command, click.Group):
            for _, below in sorted(command.commands.items()):
                yield from contexts(below, context)


def frame_reference() -> str:
    """The columns of every frame, with what the source says of it."""
    lines = [
        "# Frames",
        "",
        "Every frame that functions take or return: its columns, their Polars types and where NULL may stand.",
        "Durations are whole microseconds (`_us`) in metrics and milliseconds (`_ms`) in results; instants are UTC.",
    ]
    source = (ROOT / "pggit_analytics" / "frames.py").read_text()
    for comment, name in re.findall(r"((?:^#: .*\n)+)^(\w+) = FrameSchema\(", source, re.MULTILINE):
        schema: FrameSchema = getattr(frames, name)
        text = " ".join(line.removeprefix("#:").strip() for line in comment.splitlines())
        lines += ["", f"## {schema.name.capitalize()}", "", f"`frames.{name}`: {text}", ""]
        lines += ["| column | type | NULL |", "| --- | --- | --- |"]
        lines += [
            f"| `{column}` | {_type(dtype)} | {'may be' if column in schema.nullable else 'never'} |"
            for column, dtype in schema.columns.items()
        ]
    return "\n".join(lines) + "\n"


def _type(dtype: object) -> str:
    """The type as it is written in Python, but for instants and lists of possible values."""
    written = str(dtype).replace("Datetime(time_unit='us', time_zone='UTC')", "Datetime, UTC, microseconds")
    return written.replace("Enum(categories=[", "one of (").replace("'])", "')").replace("|", "\\|")
