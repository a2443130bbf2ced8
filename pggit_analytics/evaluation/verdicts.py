"""What an engine is given besides the timings, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime

import polars as pl

from pggit_analytics.evaluation.truth import TRACES
from pggit_analytics.frames import INSTANT, FrameSchema

#: Single calls said to be abnormally slow; a higher score is more certain.
SPIKES = FrameSchema("spike verdicts", {"operation_type": pl.String, "metric_id": pl.Int64, "score": pl.Float64})

#: Lasting changes; ``kind`` is step, drift (both: slower), improvement or variance. ``size_ratio``: new level to old.
CHANGES = FrameSchema(
    "change verdicts",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "onset_low": INSTANT,
        "onset_high": INSTANT,
        "size_ratio": pl.Float64,
        "p": pl.Float64,
    },
    nullable=frozenset({"onset_low", "onset_high", "p"}),
)

#: Pairs said to slow down together, names ascending.
PAIRS = FrameSchema(
    "pair verdicts", {"operation_type_1": pl.String, "operation_type_2": pl.String, "score": pl.Float64}
)

#: Messages a person would get; ``operation_types`` has one member or those of a group.
PAGES = FrameSchema("pages", {"operation_types": pl.List(pl.String), "at": INSTANT, "severity": pl.String})

#: When an operation will break its SLA, said at the as_of.
FORECASTS = FrameSchema(
    "forecasts",
    {"operation_type": pl.String, "breach_at": INSTANT, "low": INSTANT, "high": INSTANT},
    nullable=frozenset({"low", "high"}),
)

#: Limits for the 95th percentile of an operation at its mean load.
SLAS = FrameSchema("SLAs", {"operation_type": pl.String, "sla_ms": pl.Float64})


@dataclass(frozen=True, slots=True)
class Context:
    """What an engine knows besides the timings."""

    as_of: datetime
    #: `SLAS`
    slas: pl.DataFrame = field(default_factory=SLAS.empty)
    #: `truth.TRACES`
    traces: pl.DataFrame = field(default_factory=TRACES.empty)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An engine's findings; a frame it does not fill is empty and counts as having found nothing."""

    spikes: pl.DataFrame = field(default_factory=SPIKES.empty)
    changes: pl.DataFrame = field(default_factory=CHANGES.empty)
    pairs: pl.DataFrame = field(default_factory=PAIRS.empty)
    #: sets of operations said to share a bottleneck
    groups: tuple[frozenset[str], ...] = ()
    pages: pl.DataFrame = field(default_factory=PAGES.empty)
    forecasts: pl.DataFrame = field(default_factory=FORECASTS.empty)

    def __post_init__(self) -> None:
        """Refuse frames of another form.

        Raises:
            InvalidData: naming every difference.
        """
        schemas = {"spikes": SPIKES, "changes": CHANGES, "pairs": PAIRS, "pages": PAGES, "forecasts": FORECASTS}
        for member in fields(self):
            if member.name in schemas:
                schemas[member.name].check(getattr(self, member.name))


#: `frames.METRICS` and what else is known -> findings
Engine = Callable[[pl.DataFrame, Context], Verdict]
