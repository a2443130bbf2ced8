"""How results show themselves in a prompt and in a notebook: a headline, and what they hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from html import escape

import polars as pl

#: rows of a frame that a notebook shows unasked
_ROWS = 8


class Shown(ABC):
    """A named result: its text and its HTML are made of its headline and of its frames.

    Subclasses are dataclasses with ``repr=False``.
    """

    __slots__ = ()

    @abstractmethod
    def headline(self) -> str:
        """What it is, in one line."""

    def lines(self) -> list[str]:
        """What else there is to say, line by line."""
        return []

    def frames(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Name of the attribute and frame, of each."""
        for name in self.__dataclass_fields__:  # type: ignore[attr-defined]
            if isinstance(value := getattr(self, name), pl.DataFrame):
                yield name, value

    def __repr__(self) -> str:
        held = [f"  .{name}: {_counted(frame)}" for name, frame in self.frames()]
        return "\n".join([self.headline(), *(f"  {line}" for line in self.lines()), *held])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(line)}</li>" for line in self.lines())
        said = f'<ul style="list-style: none">{items}</ul>' if items else ""
        return f"<p><strong>{escape(self.headline())}</strong></p>{said}{''.join(map(_details, self.frames()))}"


def _counted(frame: pl.DataFrame) -> str:
    return f"{frame.height:,} {'row' if frame.height == 1 else 'rows'}"


def _details(named: tuple[str, pl.DataFrame]) -> str:
    """A frame folded away; its first rows come with it."""
    name, frame = named
    title = f"<code>.{name}</code>: {_counted(frame)}"
    if frame.is_empty():
        return f"<p>{title}</p>"
    return f"<details><summary>{title}</summary>{frame.head(_ROWS)._repr_html_()}</details>"
