"""The little Markdown that reports are written in; names in it are code, so that they format nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def section(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A heading and a table; nothing without rows."""
    body = table(header, rows)
    return ["", f"## {title}", "", *body] if body else []


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table; none without rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *body] if body else []


def cell(name: str) -> str:
    """A name as it stands in a table."""
    return code(name).replace("|", "\\|")


def code(name: str) -> str:
    """A name as code, whatever it holds."""
    quoted = " ".join(name.splitlines())
    if "`" not in quoted:
        return f"`{quoted}`"
    # a fence must be longer than any run of backticks inside
    fence = "`" * (1 + max(map(len, re.findall("`+", quoted))))
    return f"{fence} {quoted} {fence}"


def plain(text: str) -> str:
    """A sentence that formats nothing."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
