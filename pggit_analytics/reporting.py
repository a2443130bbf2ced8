"""The report from a database: gather, arrange, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import polars as pl

from pggit_analytics.analysis.incidents import WINDOW
from pggit_analytics.delivery.wording import instant
from pggit_analytics.errors import InvalidArgument, PggitAnalyticsError
from pggit_analytics.frames import METRICS
from pggit_analytics.pipeline import Target
from pggit_analytics.postgres.extract import extract_metrics
from pggit_analytics.postgres.extract_report import ReportRows, extract_coverage, extract_report
from pggit_analytics.report.charts.drawings import drawings
from pggit_analytics.report.charts.form import Drawing
from pggit_analytics.report.contents import Report, Rows, compose, concerned
from pggit_analytics.report.drawing import png
from pggit_analytics.version import __version__

Progress = Callable[[str], None]


def gather_report(target: Target, as_of: datetime | None = None, *, progress: Progress = lambda _: None) -> Report:
    """What the report says when it looks back from ``as_of``; nothing is written.

    Args:
        target: where results and timings are.
        as_of: with a time zone; None = the setting ``pggit.as_of``, else now, as in the views.
        progress: told each step.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
        PggitAnalyticsError: see `extract_report` and `extract_metrics`.
    """
    progress("Reading the findings")
    found = extract_report(target.database, as_of)
    start, names = found.as_of - WINDOW, concerned(found.incidents, found.correlations)
    progress("Counting the timings")
    coverage = extract_coverage(target.source_database, target.source, start=start, end=found.as_of)
    if not names:
        return _composed(target, found, coverage, METRICS.empty())
    progress(f"Reading the timings of {len(names)} operations")
    with extract_metrics(
        target.source_database, target.source, start=start, end=found.as_of, operations=names
    ) as metrics:
        return _composed(target, found, coverage, metrics.frame)


def _composed(
    target: Target, found: ReportRows, coverage: pl.DataFrame, metrics: pl.DataFrame | pl.LazyFrame
) -> Report:
    of_database = {field.name: getattr(found, field.name) for field in fields(found)}
    return compose(
        Rows(**of_database, coverage=coverage, metrics=metrics),
        version=__version__,
        place=target.database.place,
        schema=target.database.schema,
    )


def pictures(report: Report, path: Path, *, chart: str | None = None) -> list[Path]:
    """Write charts as PNG: one to a file that ends in .png, all of them into a directory.

    Args:
        report: what `gather_report` returned.
        path: the file, or the directory, which is made.
        chart: name of the one to write; None = the first, or all.

    Raises:
        InvalidArgument: there is no such chart.
        PggitAnalyticsError: there is none at all.
    """
    charts = drawings(report)
    if chart is not None and chart not in charts:
        raise InvalidArgument(
            f"chart is {chart!r}, expected one of {', '.join(charts) or 'none, as there is no chart'}"
        )
    if not charts:
        raise PggitAnalyticsError(f"there is no chart to draw: {report.headline.lower()}")
    if path.suffix.lower() == ".png":
        written = {path: charts[chart] if chart else next(iter(charts.values()))}
    else:
        path.mkdir(parents=True, exist_ok=True)
        written = {path / f"{one.name}.png": one for one in charts.values() if chart in {None, one.name}}
    for file, one in written.items():
        file.write_bytes(picture(one, report.as_of))
    return list(written)


def picture(one: Drawing, as_of: datetime) -> bytes:
    """A chart that says by itself what it shows and when."""
    return png(one.chart(one.sizes[0]), title=one.title, subtitle=f"{instant(as_of)}. {one.key}")
