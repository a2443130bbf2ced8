"""What a script of this directory tells `run.py`: lines for the table of the README, and its report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; texts are shown as they are."""

    what: str
    #: timings in the table, None: there are none
    rows: int | None
    measured: str
    #: to what the aim compares with, in the same run
    ratio: str = ""
    aim: str = ""
    #: None: there is no aim
    met: bool | None = None


def told(lines: Iterable[Line], details: str, **more: Any) -> str:
    """The one JSON object that a script prints with ``--json``."""
    return json.dumps({"lines": [asdict(line) for line in lines], "details": details, **more})


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, without an end of line after the last."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
