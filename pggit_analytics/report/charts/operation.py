"""One operation through a window: what it took, what it usually takes, its slow calls, and when an incident began."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import altair as alt
import polars as pl

from pggit_analytics.analysis.operation_course import COURSE, POINTS

#: legible on white as on black
_COLOURS = ("#8fb3d9", "#7f8c99", "#2f7ed8", "#e0532f")
_MARK = _COLOURS[-1]
#: significant digits: more than can be seen
_DIGITS = 4


class DrawnChart(alt.LayerChart):
    """A chart that a notebook shows as a drawing, for which nothing is fetched and no script is run."""

    def _repr_mimebundle_(self, *_args: Any, **_options: Any) -> dict[str, str]:
        import vl_convert

        return {"image/svg+xml": vl_convert.vegalite_to_svg(self.to_dict()), "text/plain": repr(self)}


def operation_chart(
    course: pl.DataFrame,
    slow: pl.DataFrame,
    *,
    title: str,
    subtitle: str | Sequence[str] = "",
    onset: datetime | None = None,
    ended_at: datetime | None = None,
    width: int = 720,
    height: int = 260,
) -> DrawnChart:
    """The chart. Durations are on a logarithmic scale, instants in UTC.

    Args:
        course: `operation_course.COURSE` of one operation.
        slow: `operation_course.POINTS` of the same operation.
        title: what is shown.
        subtitle: the sentence that explains it; a sequence is several lines.
        onset: of an incident, marked by a line; None = no mark.
        ended_at: its end, marked as well; None = it goes on.
        width, height: of the plot, in pixels.
    """
    cells = _drawn(COURSE.check(course))
    calls = _drawn(POINTS.check(slow))
    names = ("usually, 90 of 100 calls", "usual duration", f"median of {_minutes(course)} minutes", "slow call")
    at = alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(format="%a %d, %H:%M", tickCount=7))
    scale = alt.Scale(type="log", domain=_domain(course, slow), nice=False)
    axis = alt.Axis(tickCount=5, format="~g")
    legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1, labelLimit=0)
    colour = alt.Color("shown:N", scale=alt.Scale(domain=names, range=_COLOURS), legend=legend)

    def ms(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", title="milliseconds", scale=scale, axis=axis)

    def drawn(frame: pl.DataFrame, name: str) -> alt.Chart:
        return alt.Chart(frame).transform_calculate(shown=f"'{name}'")

    band = drawn(cells, names[0]).mark_area(opacity=0.35, clip=True)
    usual = drawn(cells, names[1]).mark_line(strokeDash=[5, 4], strokeWidth=1.5, clip=True)
    # a line passes over cells without a call
    median = drawn(cells, names[2]).transform_filter("isValid(datum.median_ms)").mark_line(strokeWidth=1.3, clip=True)
    points = drawn(calls, names[3]).mark_circle(size=38, opacity=0.9, clip=True)
    tips = [alt.Tooltip("at:T", title="at", format="%Y-%m-%d %H:%M UTC", formatType="utc")]
    of_course = [
        *tips,
        alt.Tooltip("median_ms:Q", title="median, ms", format=".3~s"),
        alt.Tooltip("usual_ms:Q", title="usual, ms", format=".3~s"),
        alt.Tooltip("calls:Q"),
    ]
    of_point = [*tips, alt.Tooltip("duration_ms:Q", title="ms", format=",.1f"), alt.Tooltip("metric_id:Q")]
    layers = [
        band.encode(at, ms("low_ms"), alt.Y2("high_ms:Q"), color=colour),
        usual.encode(at, ms("usual_ms"), color=colour),
        median.encode(at, ms("median_ms"), color=colour, tooltip=of_course),
        points.encode(at, ms("duration_ms"), color=colour, tooltip=of_point),
        *(_mark(at, text, instant) for text, instant in (("began", onset), ("ended", ended_at)) if instant is not None),
    ]
    heading = alt.TitleParams(title, subtitle=subtitle or [], anchor="start", subtitlePadding=4, offset=12)
    return DrawnChart(layer=layers, title=heading, width=width, height=height)


def _mark(at: alt.X, text: str, instant: datetime) -> alt.LayerChart:
    """A line across the plot with a word at its top."""
    chart = alt.Chart(pl.DataFrame({"at": [instant], "text": [text]}))
    rule = chart.mark_rule(color=_MARK, strokeWidth=1.5, clip=True).encode(at)
    word = chart.mark_text(color=_MARK, align="left", baseline="top", dx=4, dy=2, fontWeight="bold")
    return alt.LayerChart(layer=[rule, word.encode(at, alt.Text("text:N"), y=alt.value(0))])


def _drawn(frame: pl.DataFrame) -> pl.DataFrame:
    """What the page has to hold of it."""
    return frame.drop("operation_type").with_columns(pl.col(pl.Float64).round_sig_figs(_DIGITS))


def _minutes(course: pl.DataFrame) -> int:
    """The width of a cell."""
    return int(course["at"].diff().dt.total_minutes().max() or 0)  # type: ignore[arg-type]


def _domain(course: pl.DataFrame, slow: pl.DataFrame) -> list[float]:
    """From the smallest duration to the greatest, with some room."""
    columns = [course[name].drop_nulls() for name in ("low_ms", "high_ms", "median_ms")]
    values = pl.concat([*columns, slow["duration_ms"]])
    low, high = values.min(), values.max()
    assert isinstance(low, float)
    assert isinstance(high, float)
    return [low / 1.1, high * 1.15]
