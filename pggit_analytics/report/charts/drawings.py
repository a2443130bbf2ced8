"""Every chart of the report by its name."""

from __future__ import annotations

from pggit_analytics.report.charts.form import Drawing
from pggit_analytics.report.charts.incidents import incident_drawing
from pggit_analytics.report.charts.series import delivery_drawing, phases_drawing, runs_drawing
from pggit_analytics.report.charts.together import group_drawing, map_drawing
from pggit_analytics.report.contents import Report


def drawings(report: Report) -> dict[str, Drawing]:
    """Every chart of the report by name, in the order of the page."""
    found = [incident_drawing(one) for one in (*report.open, *report.over) if one.course is not None]
    found += [group_drawing(group, number) for number, group in enumerate(report.groups, start=1)]
    if not report.pairs.is_empty():
        found.append(map_drawing(report.pairs))
    if not report.phases.is_empty():
        found.append(phases_drawing(report.phases, report.as_of))
    if not report.delivery.is_empty():
        found.append(delivery_drawing(report.delivery, report.as_of))
    if report.runs.height > 1:
        found.append(runs_drawing(report.runs))
    return {one.name: one for one in found}
