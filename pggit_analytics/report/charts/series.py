"""Merges, messages and runs over time."""

from __future__ import annotations

from datetime import datetime, timedelta

import altair as alt
import polars as pl

from pggit_analytics.delivery.wording import milliseconds
from pggit_analytics.report import drawing
from pggit_analytics.report.charts.form import DURATION, Drawing, Size, inline, layered, log_ticks, of_frame, time_axis

_PHASE_NAMES = {
    "merge_base_find": "find the base",
    "merge_conflict_detect": "detect conflicts",
    "merge_auto_resolve": "resolve them",
}
_STATUS_COLOURS = {"delivered": drawing.PHASES[0], "pending": drawing.HIGH, "failed": drawing.SLOW}


def phases_drawing(phases: pl.DataFrame, as_of: datetime) -> Drawing:
    """How long each phase of merging took, over the last day."""
    totals = phases.group_by("phase").agg(pl.col("p99_ms").median()).sort(-pl.col("p99_ms"))
    said = ", ".join(f"{_PHASE_NAMES.get(phase, phase)} {milliseconds(ms)}" for phase, ms in totals.iter_rows())
    return Drawing(
        name="merge-phases",
        title="Phases of merging, last 24 hours",
        label=f"Lines of the 99th percentile of each phase of merging over the last 24 hours; in the middle: {said}.",
        draw=lambda size: _phases(phases, as_of, size),
        key="The 99th percentile of each minute, median of half hours, UTC.",
    )


def _phases(phases: pl.DataFrame, as_of: datetime, size: Size) -> alt.LayerChart:
    present = [phase for phase in _PHASE_NAMES if phase in phases["phase"].to_list()]
    x = time_axis("at", as_of - timedelta(hours=24), as_of, size)
    y = alt.Y(
        "p99_ms:Q",
        title=None,
        axis=alt.Axis(labelExpr=DURATION, tickCount=5, domain=False, ticks=False),
        # room for the names of the phases above the lines
        scale=alt.Scale(domain=[0, float(phases["p99_ms"].max()) * (1.4 if size.is_narrow else 1.2)], nice=False),  # type: ignore[arg-type]
    )
    dashes = ([1, 0], [7, 3], [2, 2])
    layers: list[alt.Chart] = []
    for number, phase in enumerate(present):
        colour = drawing.PHASES[number]
        rows = phases.filter(phase=phase)
        line = alt.Chart(of_frame(rows)).mark_line(color=colour, strokeWidth=2, strokeDash=dashes[number])
        layers.append(line.encode(x=x, y=y))
    sample = [
        {"n": number, "phase": f"{'━━' if number == 0 else '━ ━' if number == 1 else '┄┄'}  {_PHASE_NAMES[phase]}"}
        for number, phase in enumerate(present)
    ]
    spot = 8 if size.is_narrow else 16
    for entry in sample:
        number = int(str(entry["n"]))
        offset = spot + (14 * number if size.is_narrow else 0)
        layers.append(
            alt.Chart(inline([entry]))
            .mark_text(
                align="left",
                baseline="top",
                color=drawing.PHASES[number],
                fontWeight="bold",
                x=6 if size.is_narrow else 6 + 190 * number,
                y=offset - spot,
            )
            .encode(text=alt.Text("phase:N"))
        )
    return layered(layers, size.width, size.height)


def delivery_drawing(delivery: pl.DataFrame, as_of: datetime) -> Drawing:
    """What became of the messages, by the time they were queued."""
    totals = dict(delivery.group_by("status").agg(pl.col("notification_count").sum()).iter_rows())
    said = ", ".join(f"{totals.get(status, 0):,} {status}" for status in _STATUS_COLOURS)
    return Drawing(
        name="messages",
        title="Messages of the last 7 days",
        label=f"Bars of messages by six hours of queueing, last 7 days: {said}.",
        draw=lambda size: _delivery(delivery, as_of, size),
        key="Messages by six hours of queueing; from the bottom: delivered, waiting (light), failed (red).",
    )


def _delivery(delivery: pl.DataFrame, as_of: datetime, size: Size) -> alt.LayerChart:
    binned = (
        delivery.group_by(pl.col("hour").dt.truncate("6h").alias("at"), "status")
        .agg(pl.col("notification_count").sum().alias("count"))
        .with_columns((pl.col("at") + timedelta(hours=5, minutes=20)).alias("until"))
        .with_columns(pl.col("status").cast(pl.Enum(list(_STATUS_COLOURS))).alias("rank"))
        .sort("at", "rank")
        .with_columns(pl.col("count").cum_sum().over("at").alias("top"))
        .with_columns((pl.col("top") - pl.col("count")).alias("bottom"))
    )
    x = time_axis("at", as_of - timedelta(days=7, hours=6), as_of, size, is_days=True)
    y = alt.Y("bottom:Q", title=None, axis=alt.Axis(tickCount=4, tickMinStep=1, domain=False, ticks=False))
    layers = [
        alt.Chart(of_frame(binned.filter(status=status).drop("rank")))
        .mark_rect(color=colour)
        .encode(x=x, x2=alt.X2("until:T"), y=y, y2=alt.Y2("top:Q"))
        for status, colour in _STATUS_COLOURS.items()
        if not binned.filter(status=status).is_empty()
    ]
    return layered(layers, size.width, 140)


def runs_drawing(runs: pl.DataFrame) -> Drawing:
    """How long the latest runs took, and which failed."""
    failed = runs.filter(status="FAILED").height
    took = _took(runs)["seconds"]
    longest = took.max()
    assert isinstance(longest, float)
    return Drawing(
        name="runs",
        title="Runs",
        label=f"Points of the latest {runs.height} runs by the moment they looked at and the time they took, "
        f"the longest {milliseconds(1000 * longest)}; {failed} failed.",
        draw=lambda size: _runs(runs, size),
        key="Each circle a run: when it looked, how long it took. Crosses: failed.",
    )


def _took(runs: pl.DataFrame) -> pl.DataFrame:
    seconds = (pl.col("finished_at") - pl.col("started_at")).dt.total_microseconds() / 1e6
    return runs.select(pl.col("as_of").alias("at"), seconds.clip(lower_bound=0.001).alias("seconds"), "status")


def _runs(runs: pl.DataFrame, size: Size) -> alt.LayerChart:
    took = _took(runs).with_columns((1000 * pl.col("seconds")).alias("ms"))
    start, end = took["at"].min(), took["at"].max()
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    margin = max((end - start) / 40, timedelta(minutes=10))
    x = time_axis("at", start - margin, end + margin, size)
    low, high = float(took["ms"].min()) / 2, float(took["ms"].max()) * 2  # type: ignore[arg-type]
    y = alt.Y(
        "ms:Q",
        title=None,
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=log_ticks(low, high), labelExpr=DURATION, domain=False, ticks=False),
    )
    good, bad = took.filter(status="SUCCESS"), took.filter(status="FAILED")
    layers = []
    if not good.is_empty():
        layers.append(
            alt.Chart(of_frame(good)).mark_point(color=drawing.LINE, size=40, strokeWidth=1.75).encode(x=x, y=y)
        )
    if not bad.is_empty():
        cross = alt.Chart(of_frame(bad)).mark_point(color=drawing.SLOW, shape="cross", filled=True, size=90)
        layers.append(cross.encode(x=x, y=y))
    return layered(layers, size.width, 130)
