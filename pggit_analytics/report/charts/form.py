"""What all charts of the report share: sizes, axes, data, and the form in which a chart waits to be drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import polars as pl
from altair.utils.schemapi import debug_mode

#: hours of the day, the date at midnight
_CLOCK = (
    "utcseconds(datum.value) > 0 ? utcFormat(datum.value, '%H:%M:%S') "
    ": utchours(datum.value) == 0 && utcminutes(datum.value) == 0 "
    "? utcFormat(datum.value, '%e %b') : utcFormat(datum.value, '%H:%M')"
)
#: 0.5 ms, 20 ms, 3 s, 2 min
DURATION = (
    "datum.value >= 7200000 ? format(datum.value / 3600000, '~r') + ' h' "
    ": datum.value >= 120000 ? format(datum.value / 60000, '~r') + ' min' "
    ": datum.value >= 1000 ? format(datum.value / 1000, '~r') + ' s' : format(datum.value, '~r') + ' ms'"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of the inner part of a chart, in pixels."""

    width: int
    height: int
    #: ticks of the time axis
    ticks: int
    is_narrow: bool = False


WIDE, NARROW = Size(860, 230, 8), Size(300, 210, 4, is_narrow=True)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One chart: how it is drawn, and what it says to those who do not see it."""

    #: names the file of its PNG
    name: str
    title: str
    #: the chart in words
    label: str
    draw: Callable[[Size], alt.LayerChart]
    #: the explanation under it
    key: str = ""
    sizes: tuple[Size, ...] = (WIDE, NARROW)

    def chart(self, size: Size) -> alt.LayerChart:
        """The chart, not checked against the schema while it is put together, which takes longer than drawing it."""
        with debug_mode(False):
            return self.draw(size)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ...; so many that they can be read."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 7:
            return ticks
    return ticks[:: -(-len(ticks) // 7)]


def time_axis(name: str, start: datetime, end: datetime, size: Size, *, is_days: bool = False) -> alt.X:
    """An axis of UTC from start to end: hours, or days of a long span."""
    is_long = is_days or (end - start) > timedelta(days=5)
    # seconds take more room
    ticks = size.ticks // 2 if (end - start) < timedelta(minutes=10) else size.ticks
    return alt.X(
        f"{name}:T",
        title=None,
        scale=alt.Scale(type="utc", domain=[utc(start), utc(end)], nice=False),
        axis=alt.Axis(
            labelExpr="utcFormat(datum.value, '%e %b')" if is_long else _CLOCK,
            tickCount="day" if is_long and not size.is_narrow else ticks,
            labelFlush=True,
            grid=False,
            labelOverlap="greedy",
        ),
    )


def layered(layers: list[alt.Chart], width: int, height: int) -> alt.LayerChart:
    """The layers upon each other, the first one lowest."""
    return alt.LayerChart(layer=layers, width=width, height=height)


def inline(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Rows as a chart takes them; as text, which is not copied over and over while a chart is put together."""
    return alt.InlineData(values=json.dumps(rows), format=alt.JsonDataFormat(type="json"))


def of_frame(frame: pl.DataFrame) -> alt.InlineData:
    """The rows of a frame, with no more digits than can be seen."""
    shown = frame.with_columns(
        pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"), pl.col(pl.Float64).round_sig_figs(5)
    )
    return inline(shown.to_dicts())


def utc(moment: datetime) -> str:
    """An instant as charts take it."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
