"""Everything that the engine's detectors find in one window, from calls that are put in order once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from pggit_analytics.analysis.breach_forecast import BREACH_FORECASTS, LIMITS, breach_forecasts
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.level_changes import EPISODES, LEVEL_CHANGES, level_changes, level_episodes
from pggit_analytics.analysis.ordered_calls import Calls, ordered_calls
from pggit_analytics.analysis.shared_causes import TRACE_PARENTS, trace_parents
from pggit_analytics.analysis.shared_degradation import SharedDegradation, shared_degradation_of
from pggit_analytics.analysis.spikes import SLOW_CALLS, slow_calls
from pggit_analytics.frames import METRICS

LOOKBACK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class EngineFindings:
    """What was found, each in the frame of its detector; what `incidents.find_incidents` makes incidents of."""

    #: `level_changes.LEVEL_CHANGES`
    changes: pl.DataFrame = field(default_factory=LEVEL_CHANGES.empty)
    #: `level_changes.EPISODES`
    episodes: pl.DataFrame = field(default_factory=EPISODES.empty)
    #: `spikes.SLOW_CALLS`
    slow_calls: pl.DataFrame = field(default_factory=SLOW_CALLS.empty)
    shared: SharedDegradation = field(default_factory=SharedDegradation)
    #: `breach_forecast.BREACH_FORECASTS`
    forecasts: pl.DataFrame = field(default_factory=BREACH_FORECASTS.empty)
    #: `shared_causes.TRACE_PARENTS`
    parents: pl.DataFrame = field(default_factory=TRACE_PARENTS.empty)
    #: the calls of the window, in order
    calls: Calls = field(default_factory=lambda: ordered_calls(METRICS.empty()))


def engine_findings(
    metrics: pl.DataFrame | pl.LazyFrame | Calls,
    as_of: datetime,
    *,
    lookback: timedelta = LOOKBACK,
    limits: pl.DataFrame | None = None,
    traces: pl.DataFrame | pl.LazyFrame | None = None,
    parents: pl.DataFrame | None = None,
    incidents: pl.DataFrame | None = None,
) -> EngineFindings:
    """What the detectors find in ``[as_of - lookback, as_of]``.

    Args:
        metrics: `frames.METRICS`, or just the calls of the window in order.
        as_of: end of the window, with a time zone.
        lookback: length of the window; a season is seen from two days on.
        limits: `breach_forecast.LIMITS`, the limits that must not be exceeded; None = none, and so no forecast.
        traces: metric_id, distributed_trace_id, distributed_trace_parent_id; None if there are none.
        parents: `shared_causes.TRACE_PARENTS` where it is known already; None = as the traces say.
        incidents: `followed_levels.KNOWN_INCIDENTS`, which are not learnt from; None = none.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, or the window is too short.
    """
    levels = operation_levels(metrics, as_of, lookback=lookback, incidents=incidents)
    changes = level_changes(levels)
    if parents is None:
        parents = TRACE_PARENTS.empty() if traces is None else trace_parents(levels.grid, traces)
    return EngineFindings(
        changes=changes,
        episodes=level_episodes(levels),
        slow_calls=slow_calls(levels),
        shared=shared_degradation_of(levels.grid, levels.spread, parents),
        forecasts=breach_forecasts(levels, changes, LIMITS.empty() if limits is None else limits),
        parents=parents,
        calls=levels.grid,
    )
