"""What is really in a labelled week, and the week itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

import polars as pl

from pggit_analytics.evaluation.noise import DurationLaw
from pggit_analytics.frames import INSTANT, FrameSchema

#: classes of spikes by how many times the typical duration they take
SPIKE_CLASSES = ("3-8x", "8-30x")
#: a factor from here on belongs to the upper class
LARGE_SPIKE = 8.0
#: a lasting change of the level by this factor or more is a large one
LARGE_CHANGE = 1.35

#: Isolated slow calls. ``factor``: times the duration typical at that moment. ``is_neutral``: the call lies inside a
#: labelled episode or change and counts neither way.
SPIKES = FrameSchema(
    "labelled spikes",
    {
        "metric_id": pl.Int64,
        "operation_type": pl.String,
        "at": INSTANT,
        "factor": pl.Float64,
        "spike_class": pl.String,
        "is_neutral": pl.Boolean,
    },
)

#: Lasting changes of one operation; none ends within the week. ``kind``: step, drift, improvement (a step down) or
#: variance. ``settled_at``: when ``factor`` is reached, the onset unless it is a drift. ``factor``: of the level, at
#: the end of the week; of the spread for a variance. ``cause``: own, release or cost_shift (a child that rises while
#: its parent does not: nobody needs to be told).
CHANGES = FrameSchema(
    "labelled changes",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "settled_at": INSTANT,
        "factor": pl.Float64,
        "cause": pl.String,
    },
)

#: Passing events of one operation, ``start <= t < end``. ``kind``: bottleneck (``group`` tells which), incident or
#: retry_storm (a burst of fast failing calls). ``factor``: of the duration at the height of the event.
EPISODES = FrameSchema(
    "labelled episodes",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "start": INSTANT,
        "end": INSTANT,
        "factor": pl.Float64,
        "group": pl.String,
    },
    nullable=frozenset({"group"}),
)

#: Operations that share a bottleneck.
GROUPS = FrameSchema("labelled groups", {"group": pl.String, "members": pl.List(pl.String)})

#: Traffic ``factor`` times as dense, durations as ever.
SURGES = FrameSchema(
    "labelled surges", {"operation_type": pl.String, "start": INSTANT, "end": INSTANT, "factor": pl.Float64}
)

#: Limits for the 95th percentile at the mean load. ``breach_at``: when the percentile reaches it if nothing is done,
#: NULL: never.
BREACHES = FrameSchema(
    "labelled breaches",
    {"operation_type": pl.String, "sla_ms": pl.Float64, "breach_at": INSTANT},
    nullable=frozenset({"breach_at"}),
)

#: One row per metric, by metric_id: the median of its duration's law at that moment, and whether it lies inside a
#: labelled episode or change.
ROWS = FrameSchema("labelled rows", {"metric_id": pl.Int64, "expected_us": pl.Float64, "is_neutral": pl.Boolean})

#: How the metrics hang together; NULL where a call has no trace, or is the root of one.
TRACES = FrameSchema(
    "traces",
    {"metric_id": pl.Int64, "distributed_trace_id": pl.String, "distributed_trace_parent_id": pl.String},
    nullable=frozenset({"distributed_trace_id", "distributed_trace_parent_id"}),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """All labels of one week, each in the frame of the same name."""

    spikes: pl.DataFrame
    changes: pl.DataFrame
    episodes: pl.DataFrame
    groups: pl.DataFrame
    surges: pl.DataFrame
    breaches: pl.DataFrame
    rows: pl.DataFrame
    #: operation -> law of its durations' scatter
    laws: Mapping[str, DurationLaw]

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The pairs of operations that share a bottleneck, names ascending."""
        members = self.groups["members"].to_list()
        return frozenset(pair for group in members for pair in combinations(sorted(group), 2))


@dataclass(frozen=True, slots=True)
class LabelledWeek:
    """Timings and the truth about them."""

    #: `frames.METRICS`, by metric_id
    metrics: pl.DataFrame
    truth: Truth
    #: the instant the week ends at, in UTC
    as_of: datetime
    #: `TRACES`, by metric_id
    traces: pl.DataFrame


def of_labels(schema: FrameSchema, labels: Sequence[object]) -> pl.DataFrame:
    """Labels as a frame of this schema, by attributes of its columns' names; instants come in microseconds."""
    numbers = {name: pl.Int64 if dtype == INSTANT else dtype for name, dtype in schema.columns.items()}
    rows = [{name: getattr(label, name) for name in numbers} for label in labels]
    return pl.DataFrame(rows, schema=numbers).with_columns(
        pl.col(name).cast(INSTANT) for name, dtype in schema.columns.items() if dtype == INSTANT
    )
