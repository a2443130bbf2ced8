"""Operations that get slow together: a graph of each group, and all pairs as a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import polars as pl

from pggit_analytics.delivery.wording import clean, counted, shorten
from pggit_analytics.report import drawing
from pggit_analytics.report.charts.form import NARROW, WIDE, Drawing, Size, inline, layered
from pggit_analytics.report.contents import MOST_IN_GRAPH, Group


def group_drawing(group: Group, number: int) -> Drawing:
    """The operations of a group as a small graph."""
    joined = "; ".join(
        f"{clean(one, 40)} and {clean(two, 40)}{'' if r is None else f' r {r:.2f}'}" for one, two, r in group.edges[:20]
    )
    first = f" {clean(group.first_mover, 60)} changed first." if group.first_mover else ""
    return Drawing(
        name=f"group-{number}",
        title=f"Slow together: {shorten(', '.join(clean(one, 40) for one in group.operations), 90)}",
        label=f"Graph of {counted(len(group.operations), 'operation')} that get slow together: {joined}.{first}",
        draw=lambda size: _graph(group, size),
        key="Lines: pairs that rise and fall together, thicker the closer (r beside them); dotted: "
        "joined by the incident alone. Filled: changed first.",
        sizes=(Size(420, 210, 0), Size(300, 200, 0, is_narrow=True)),
    )


def _graph(group: Group, size: Size) -> alt.LayerChart:
    names = sorted(group.operations, key=lambda name: (name != group.first_mover, group.operations.index(name)))
    names = names[:MOST_IN_GRAPH]
    places = {name: _on_circle(position, len(names)) for position, name in enumerate(names)}
    edges = [edge for edge in group.edges if edge[0] in places and edge[1] in places]
    scales: dict[str, Any] = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-2.1, 2.1] if size.is_narrow else [-2.4, 2.4])),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1.35, 1.35])),
    }
    lines = [
        {
            "x": places[one][0],
            "y": places[one][1],
            "x2": places[two][0],
            "y2": places[two][1],
            "r": "" if r is None else f"{r:.2f}",
            "mx": (places[one][0] + places[two][0]) / 2,
            "my": (places[one][1] + places[two][1]) / 2,
            "width": 1.2 if r is None else 1 + 4 * max(r - 0.5, 0),
            "dash": r is None,
        }
        for one, two, r in edges
    ]
    layers: list[alt.Chart] = []
    for is_dotted in (False, True):
        values = [line for line in lines if line["dash"] == is_dotted]
        if values:
            rule = alt.Chart(inline(values)).mark_rule(color=drawing.HIGH, strokeDash=[2, 3] if is_dotted else [1, 0])
            layers.append(
                rule.encode(
                    x2=alt.X2("x2:Q"), y2=alt.Y2("y2:Q"), strokeWidth=alt.StrokeWidth("width:Q", scale=None), **scales
                )
            )
    labelled = [{**line, "x": line["mx"], "y": line["my"]} for line in lines if line["r"]]
    if labelled and len(labelled) <= 10:
        data = inline(labelled)
        layers.append(alt.Chart(data).mark_square(color=drawing.PAPER, size=900, opacity=1).encode(**scales))
        layers.append(
            alt.Chart(data).mark_text(color=drawing.QUIET, fontSize=11).encode(text=alt.Text("r:N"), **scales)
        )
    layers += _nodes(places, group.first_mover, scales, limit=16 if size.is_narrow else 22)
    return layered(layers, size.width, size.height)


def _on_circle(position: int, count: int) -> tuple[float, float]:
    """The first one on top; two are beside each other."""
    angle = math.pi / 2 - 2 * math.pi * position / count if count > 2 else math.pi * (1 - position)
    return round(math.cos(angle), 4), round(math.sin(angle), 4)


def _nodes(
    places: dict[str, tuple[float, float]], first_mover: str | None, scales: dict[str, Any], *, limit: int
) -> list[alt.Chart]:
    layers = []
    for name, (x, y) in places.items():
        align: Literal["left", "center", "right"] = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
        above = abs(x) < 0.2
        data = inline([{"x": x, "y": y, "name": shorten(clean(name), limit)}])
        is_first = name == first_mover
        layers.append(
            alt.Chart(data)
            .mark_circle(
                size=170,
                opacity=1,
                color=drawing.LINE if is_first else drawing.PAPER,
                stroke=drawing.LINE,
                strokeWidth=2,
            )
            .encode(**scales)
        )
        layers.append(
            alt.Chart(data)
            .mark_text(
                align=align,
                dx=0 if above else math.copysign(12, x),
                dy=math.copysign(17, -y) if above else 0,
                baseline="middle",
                fontWeight="bold" if is_first else "normal",
                color=drawing.INK,
            )
            .encode(text=alt.Text("name:N"), **scales)
        )
    return layers


def map_drawing(pairs: pl.DataFrame) -> Drawing:
    """How closely each two of the operations go together, as a heat map."""
    names = sorted({*pairs["operation_type_1"], *pairs["operation_type_2"]})
    closest = pairs.sort(-pl.col("r")).row(0)
    return Drawing(
        name="pairs",
        title="How closely operations rise and fall together",
        label=f"Heat map of the correlation of {counted(len(names), 'operation')} by minutes of the last 24 hours; the "
        f"closest pair is {clean(closest[0], 60)} and {clean(closest[1], 60)}, r {closest[2]:.2f}. "
        "The table below has all pairs.",
        draw=lambda size: _map(pairs, names, size),
        key="Pearson's r of the means of the same minutes, last 24 hours; the stronger the colour, the closer. "
        "Empty: not positive, or fewer than 10 minutes in common.",
        sizes=(WIDE, NARROW),
    )


def _map(pairs: pl.DataFrame, names: Sequence[str], size: Size) -> alt.LayerChart:
    shown = {
        name: f"{number}. {shorten(clean(name), 14 if size.is_narrow else 24)}" for number, name in enumerate(names, 1)
    }
    order = list(shown.values())
    both = [
        {"one": shown[a], "two": shown[b], "r": round(r, 2), "text": f"{r:.2f}".removeprefix("0"), "is_dark": r >= 0.6}
        for one, two, r in pairs.select("operation_type_1", "operation_type_2", "r").iter_rows()
        for a, b in ((one, two), (two, one))
    ]
    cell = min(52, (size.width - (110 if size.is_narrow else 180)) // len(names))
    base = alt.Chart(inline(both))
    x = alt.X(
        "one:N",
        sort=order,
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(
            orient="top", labelAngle=0, labelExpr="split(datum.label, '.')[0]", ticks=False, domain=False, grid=False
        ),
    )
    y = alt.Y(
        "two:N",
        sort=order,
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=220),
    )
    colour = alt.Color(
        "r:Q", legend=None, scale=alt.Scale(type="threshold", domain=[0.2, 0.4, 0.6, 0.8], range=list(drawing.SHARES))
    )
    layers: list[alt.Chart] = [base.mark_rect(stroke=drawing.PAPER, strokeWidth=2).encode(x=x, y=y, color=colour)]
    if cell >= 24:
        text = base.mark_text(fontSize=11).encode(
            x=x,
            y=y,
            text=alt.Text("text:N"),
            color=alt.Color(
                "r:Q",
                legend=None,
                scale=alt.Scale(type="threshold", domain=[0.2, 0.4, 0.6, 0.8], range=list(drawing.ON_SHARES)),
            ),
        )
        layers.append(text)
    joined = layered(layers, cell * len(names), cell * len(names))
    joined.resolve = alt.Resolve(scale=alt.LegendResolveMap(color="independent"))
    return joined
