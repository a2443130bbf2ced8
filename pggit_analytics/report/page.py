"""The report as one HTML page: no script, nothing is fetched, readable by ear and in the dark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pggit_analytics.delivery.wording import age, clean, counted, instant, milliseconds, slower
from pggit_analytics.report import drawing
from pggit_analytics.report.charts.drawings import drawings
from pggit_analytics.report.charts.form import Drawing
from pggit_analytics.report.contents import KINDS, MOST_CHARTS, MOST_RUNS, Report, words

#: a name longer than this is cut where it heads something
_HEADING = 80

#: stands where there is no figure
NOTHING = "\N{EN DASH}"

templates = Environment(
    loader=PackageLoader("pggit_analytics.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart on the page."""

    drawing: Drawing
    #: wide, narrow
    pictures: tuple[Markup, ...]


def page(report: Report) -> str:
    """The page; the same report gives the same page."""
    figures = {
        name: Figure(one, tuple(drawing.svg(one.chart(size), label=one.label) for size in one.sizes))
        for name, one in drawings(report).items()
    }
    return templates.get_template("report.html").render(
        report=report,
        figures=figures,
        dark=drawing.style(selector=".chart svg"),
        most_runs=MOST_RUNS,
        most_charts=MOST_CHARTS,
    )


def moment(value: datetime | None) -> Markup:
    """<time>27 Nov 01:30</time>, exact for machines."""
    if value is None:
        return Markup("")
    at = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds").replace("+00:00", "Z"), f"{at.day} {at:%b %H:%M}"
    )


def lost(value: float) -> str:
    """A loss, or a dash where there is none to speak of."""
    return milliseconds(value) if value >= 0.5 else NOTHING


def _filters() -> dict[str, Any]:
    return {
        "moment": moment,
        "ms": lambda value: NOTHING if value is None else milliseconds(value),
        "lost": lost,
        "slower": lambda ratio: (
            slower(1.0, ratio) if ratio > 1.005 else "as before" if ratio > 0.995 else _faster(ratio)
        ),
        "age": lambda span: age(span / timedelta(minutes=1)),
        "heading": lambda text: clean(text, _HEADING) or "(no name)",
        "full": lambda text: clean(text, 2000) or "(no name)",
        "instant": instant,
        "counted": counted,
        "words": words,
        "kind": lambda kind: KINDS.get(kind, kind),
    }


def _faster(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f} % faster"


templates.filters |= _filters()
