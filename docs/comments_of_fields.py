"""An extension of griffe: what stands in ``#:`` comments above a field or a constant is its docstring."""

from __future__ import annotations

from typing import Any

from griffe import Attribute, Docstring, Extension


class CommentsOfFields(Extension):
    """Reads the comments from the source, which keeps none in what it is parsed to."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Give the attribute its docstring, unless it has one."""
        if attr.docstring is not None or attr.lineno is None:
            return
        lines = attr.lines_collection[attr.filepath]
        first = attr.lineno - 1
        while first and lines[first - 1].lstrip().startswith("#:"):
            first -= 1
        comment = " ".join(line.strip().removeprefix("#:").strip() for line in lines[first : attr.lineno - 1])
        if comment:
            attr.docstring = Docstring(f"{comment[0].upper()}{comment[1:]}", parent=attr)
