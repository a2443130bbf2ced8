"""The course of the operation an incident is about: usual band, what was, onset, slow calls."""

from __future__ import annotations

from datetime import datetime, timedelta

import altair as alt
import polars as pl

from pggit_analytics.delivery.wording import clean, counted, from_to, instant, interval, milliseconds, shorten
from pggit_analytics.report import drawing
from pggit_analytics.report.charts.form import (
    DURATION,
    Drawing,
    Size,
    inline,
    layered,
    log_ticks,
    of_frame,
    time_axis,
    utc,
)
from pggit_analytics.report.contents import Incident
from pggit_analytics.report.courses import Course


def incident_drawing(incident: Incident) -> Drawing:
    """The course of the operation an incident is about: usual band, what was, onset, slow calls."""
    course = incident.course
    assert course is not None, "incidents without calls have no chart"
    return Drawing(
        name=incident.anchor,
        title=shorten(clean(incident.sentence), 120),
        label=_course_label(incident, course),
        draw=lambda size: _course(incident, course, size),
        key=_course_key(incident, course),
    )


def _course(incident: Incident, course: Course, size: Size) -> alt.LayerChart:
    low, high = _range(incident, course)
    y = alt.Y(
        "low_ms:Q",
        title=None,
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=log_ticks(low, high), labelExpr=DURATION, domain=False, ticks=False),
    )
    x = time_axis("at", course.start, _end(incident, course), size)
    bins = alt.Chart(of_frame(course.bins))
    layers: list[alt.Chart] = [
        bins.mark_area(color=drawing.BAND).encode(x=x, y=y, y2=alt.Y2("high_ms:Q")),
        bins.mark_line(color=drawing.HIGH, strokeWidth=1.25).encode(x=x, y=alt.Y("p95_ms:Q")),
        bins.mark_line(color=drawing.LINE, strokeWidth=2.25, strokeJoin="round").encode(x=x, y=alt.Y("p50_ms:Q")),
    ]
    if course.is_every_call:
        del layers[1:]
    if not course.points.is_empty():
        colour = drawing.LINE if course.is_every_call else drawing.SLOW
        points = alt.Chart(of_frame(course.points))
        layers.append(points.mark_point(color=colour, size=26, strokeWidth=1.5).encode(x=x, y=alt.Y("duration_ms:Q")))
    if incident.sla_ms is not None and low <= incident.sla_ms <= high:
        layers += _limit(incident.sla_ms, course.start, x)
    layers += _moments(incident, course, x, size)
    return layered(layers, size.width, size.height)


def _range(incident: Incident, course: Course) -> tuple[float, float]:
    values = [course.bins[name] for name in ("low_ms", "high_ms", "p50_ms", "p95_ms")]
    if not course.points.is_empty():
        values.append(course.points["duration_ms"])
    found = pl.concat([series.alias("ms") for series in values]).drop_nulls()
    low, high = max(float(found.min() or 0), 1e-3), float(found.max() or 1)  # type: ignore[arg-type]
    if incident.sla_ms is not None and incident.sla_ms < 20 * high:
        high = max(high, incident.sla_ms)
    return low / 1.15, max(high * 1.6, low * 2)


def _end(incident: Incident, course: Course) -> datetime:
    """The end of the span; of a forecast the breach, unless that is too far to be drawn."""
    breach = incident.breach[0]
    return breach if breach and breach - course.end < 2 * (course.end - course.start) else course.end


def _moments(incident: Incident, course: Course, x: alt.X, size: Size) -> list[alt.Chart]:
    """Onset with its uncertainty, end, and a breach to come."""
    marks = [(incident.since, f"began {incident.since:%H:%M}")]
    if incident.kind == "forecast":
        marks = [(incident.breach[0], "limit exceeded")] if incident.breach[0] else []
    if incident.ended_at and incident.ended_at < course.end:
        marks.append((incident.ended_at, f"over {incident.ended_at:%H:%M}"))
    layers: list[alt.Chart] = []
    uncertain = (max(incident.since_low, course.start), min(incident.since_high, course.end))
    if incident.kind != "forecast" and uncertain[1] - uncertain[0] > course.bin_width / 2:
        data = inline([{"at": utc(uncertain[0]), "until": utc(uncertain[1])}])
        layers.append(alt.Chart(data).mark_rect(color=drawing.MARK, opacity=0.14).encode(x=x, x2=alt.X2("until:T")))
    shown = [(at, text) for at, text in marks if course.start <= at <= _end(incident, course)]
    is_crowded = len(shown) == 2 and (shown[1][0] - shown[0][0]) / (course.end - course.start) < (
        0.3 if size.is_narrow else 0.12
    )
    for number, (at, text) in enumerate(shown):
        share = (at - course.start) / (_end(incident, course) - course.start)
        is_left = share > 0.72 if not is_crowded else number == 0
        data = inline([{"at": utc(at), "text": text}])
        layers.append(alt.Chart(data).mark_rule(color=drawing.MARK, strokeWidth=1.75, strokeDash=[5, 3]).encode(x=x))
        layers.append(
            alt.Chart(data)
            .mark_text(
                align="right" if is_left else "left",
                dx=-5 if is_left else 5,
                y=7,
                baseline="middle",
                color=drawing.MARK,
                fontWeight="bold",
            )
            .encode(x=x, text=alt.Text("text:N"))
        )
    return layers


def _limit(limit_ms: float, start: datetime, x: alt.X) -> list[alt.Chart]:
    data = inline([{"at": utc(start), "limit": limit_ms, "text": f"limit {milliseconds(limit_ms)}"}])
    rule = alt.Chart(data).mark_rule(color=drawing.SLOW, strokeDash=[2, 2]).encode(y=alt.Y("limit:Q"))
    text = alt.Chart(data).mark_text(color=drawing.SLOW, align="left", dx=4, dy=-7)
    return [rule, text.encode(x=x, y=alt.Y("limit:Q"), text=alt.Text("text:N"))]


def _course_label(incident: Incident, course: Course) -> str:
    before = course.bins["usual_ms"].median()
    band = course.bins.select(pl.col("low_ms").median(), pl.col("high_ms").median()).row(0)
    parts = [
        f"Durations of {clean(course.operation_type, 80)} {interval(course.start, course.end)}, "
        f"{counted(course.calls, 'call')}.",
    ]
    if isinstance(before, float) and band[0] is not None:
        parts.append(f"Usually {milliseconds(before)}, nine of ten calls {from_to(*band).replace('→', 'to')}.")
    if not course.bins.filter(pl.col("p50_ms").is_not_null()).is_empty():
        worst = course.bins.sort("p50_ms", nulls_last=True, descending=True).row(0, named=True)
        parts.append(f"The highest median is {milliseconds(worst['p50_ms'])}, about {instant(worst['at'])}.")
    if incident.kind != "forecast":
        parts.append(f"It began {instant(incident.since)}.")
    if incident.ended_at:
        parts.append(f"It was over {instant(incident.ended_at)}.")
    if not course.is_every_call and not course.points.is_empty():
        slowest = course.points["duration_ms"].max()
        assert isinstance(slowest, float)
        parts.append(f"{counted(course.points.height, 'slow call')} are marked, up to {milliseconds(slowest)}.")
    return " ".join(parts)


def _course_key(incident: Incident, course: Course) -> str:
    bins = _span_words(course.bin_width)
    marked = "" if incident.kind == "forecast" else " Dashed: when it began, and how exactly that is known."
    if course.is_every_call:
        return f"Band: usual for nine of ten calls. Circles: every call.{marked}"
    slow = "" if course.points.is_empty() else " Circles: the slowest calls."
    return f"Band: usual for nine of ten calls. Lines: median (thick) and 95th percentile of {bins}.{slow}{marked}"


def _span_words(span: timedelta) -> str:
    """15 minutes, 1 hour."""
    for unit, singular in ((timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if span >= unit:
            return counted(span // unit, singular)
    return counted(span // timedelta(seconds=1), "second")
