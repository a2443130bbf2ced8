"""The incidents that the engine's findings make."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pggit_analytics.analysis.engine_findings import EngineFindings
from pggit_analytics.analysis.incidents import Incidents, Thresholds, find_incidents


def engine_incidents(
    found: EngineFindings,
    previous: Incidents,
    *,
    as_of: datetime,
    settings: pl.DataFrame,
    metrics: pl.DataFrame | pl.LazyFrame | None = None,
    silences: pl.DataFrame | None = None,
    thresholds: Thresholds | None = None,
) -> Incidents:
    """`incidents.find_incidents` of all that the engine found.

    Args:
        found: of the window that ends at ``as_of``.
        previous: the latest state of each incident before ``as_of``, also of those that ended within the window.
        as_of: with a time zone.
        settings: `frames.OPERATION_SETTINGS`.
        metrics: `frames.METRICS` of the window, where the findings do not hold their calls any more; None = they do.
        silences: `frames.SILENCES` that touch the window; None = none.
        thresholds: what holds where an operation has no setting.

    Raises:
        InvalidArgument, InvalidData: see `incidents.find_incidents`.
    """
    return find_incidents(
        found.changes,
        found.episodes,
        found.slow_calls,
        found.shared.groups,
        found.forecasts,
        settings,
        previous,
        as_of=as_of,
        metrics=found.calls if metrics is None else metrics,
        silences=silences,
        parents=found.parents.select("operation_type", "parent_type"),
        thresholds=thresholds,
    )
