"""Every frame that crosses a boundary: its columns, their Polars types and units, and where NULL may stand.

Durations are whole microseconds (``_us``, Int64) on the way in and milliseconds (``_ms``, Float64) in results, as in
the database. Instants are UTC with microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pggit_analytics.errors import InvalidData

INSTANT = pl.Datetime("us", "UTC")

#: order of severities, most severe first
SEVERITIES = pl.Enum(["CRITICAL", "WARNING", "INFO"])


@dataclass(frozen=True, slots=True)
class FrameSchema:
    """The columns of one boundary frame."""

    name: str
    #: column -> type, in order
    columns: dict[str, pl.DataType | type[pl.DataType]]
    #: columns that may hold NULL
    nullable: frozenset[str] = frozenset()

    def empty(self) -> pl.DataFrame:
        """A frame of this schema without rows."""
        return pl.DataFrame(schema=self.columns)

    def frame(self, rows: list[dict[str, object]]) -> pl.DataFrame:
        """A frame of this schema from rows given as dicts."""
        return pl.DataFrame(rows, schema=self.columns)

    def check(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame itself, if it has exactly these columns and types and NULL only where allowed.

        Raises:
            InvalidData: naming every difference.
        """
        faults = [
            f"column {name} is {frame.schema.get(name, 'missing')}, expected {dtype}"
            for name, dtype in self.columns.items()
            if frame.schema.get(name) != dtype
        ]
        faults += [f"unexpected column {name}" for name in frame.columns if name not in self.columns]
        if not faults:
            counts = frame.null_count().row(0, named=True)
            faults = [
                f"column {name} holds {count} NULL"
                for name, count in counts.items()
                if count and name not in self.nullable
            ]
        if faults:
            raise InvalidData(f"{self.name}: {'; '.join(faults)}")
        return frame


#: One row per finished operation. ``duration_us`` >= 0; ``created_at`` is when it ended.
METRICS = FrameSchema(
    "metrics",
    {"metric_id": pl.Int64, "operation_type": pl.String, "duration_us": pl.Int64, "created_at": INSTANT},
)

#: The baselines valid at the as_of, at most one per operation.
BASELINES = FrameSchema(
    "baselines",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "p99_us": pl.Int64,
        "alert_threshold_multiplier": pl.Float64,
    },
)

#: The baselines in force when baselines are recalculated, at most one per operation. ``is_newer_than_as_of`` marks one
#: that became valid only after the as_of.
ACTIVE_BASELINES = FrameSchema(
    "active baselines",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "p99_us": pl.Int64,
        "is_newer_than_as_of": pl.Boolean,
    },
)

#: What is known of the operations. ``typical_duration_ms`` is NULL where nobody has stated one.
OPERATION_TYPES = FrameSchema(
    "operation types",
    {
        "operation_type": pl.String,
        "category": pl.String,
        "typical_duration_ms": pl.Float64,
        "is_tracked": pl.Boolean,
    },
    nullable=frozenset({"typical_duration_ms"}),
)

#: Result of `detect_anomalies_statistical`. ``baseline_p99_ms`` is NULL without a baseline.
STATISTICAL = FrameSchema(
    "statistical anomalies",
    {
        "metric_id": pl.Int64,
        "operation_type": pl.String,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "z_score": pl.Float64,
        "deviation_percent": pl.Float64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
    nullable=frozenset({"baseline_p99_ms"}),
)

#: Result of `detect_performance_degradation`, one row per degraded operation.
DEGRADATIONS = FrameSchema(
    "degradations",
    {
        "operation_type": pl.String,
        "period_start": pl.Date,
        "period_end": pl.Date,
        "p99_old_ms": pl.Float64,
        "p99_new_ms": pl.Float64,
        "degradation_percent": pl.Float64,
        "trend": pl.String,
        "confidence": pl.Float64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `detect_combined_anomalies`. A DEGRADATION row speaks of the whole operation: the columns of one
#: metric are NULL. ``degradation_percent`` is NULL where the operation has not degraded.
ANOMALIES = FrameSchema(
    "anomalies",
    {
        "operation_type": pl.String,
        "metric_id": pl.Int64,
        "anomaly_type": pl.String,
        "severity": pl.String,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "z_score": pl.Float64,
        "deviation_percent": pl.Float64,
        "degradation_percent": pl.Float64,
        "alert_required": pl.Boolean,
        "detected_at": INSTANT,
    },
    nullable=frozenset(
        {"metric_id", "duration_ms", "baseline_p99_ms", "z_score", "deviation_percent", "degradation_percent"}
    ),
)

#: Result of `detect_correlated_degradation`, one row per pair, names in ascending order.
CORRELATIONS = FrameSchema(
    "correlations",
    {
        "operation_type_1": pl.String,
        "operation_type_2": pl.String,
        "correlation_coefficient": pl.Float64,
        "shared_minutes": pl.Int64,
        "shared_bottleneck": pl.String,
        "confidence": pl.Float64,
        "recommendation": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `slow_since`, one row per operation.
SLOW_SINCE = FrameSchema("slow since", {"operation_type": pl.String, "slow_since": INSTANT})

#: Result of `detect_threshold_exceeded`, one row per operation: its slowest metric over the threshold.
THRESHOLDS = FrameSchema(
    "thresholds exceeded",
    {
        "operation_type": pl.String,
        "metric_id": pl.Int64,
        "duration_ms": pl.Float64,
        "baseline_p99_ms": pl.Float64,
        "threshold_ms": pl.Float64,
        "exceeded_count": pl.Int64,
        "severity": pl.String,
        "detected_at": INSTANT,
    },
)

#: Result of `recalculate_all_baselines_rolling`, one row per tracked operation. The statistics are NULL where there
#: are too few samples; the old p99 and the change are NULL without an old baseline (or an old p99 of 0).
BASELINE_RECALCULATIONS = FrameSchema(
    "baseline recalculations",
    {
        "operation_type": pl.String,
        "baseline_id": pl.Int64,
        "sample_count": pl.Int64,
        "p99_old_ms": pl.Float64,
        "p99_new_ms": pl.Float64,
        "percent_change": pl.Float64,
        "status": pl.String,
        "message": pl.String,
        "min_us": pl.Int64,
        "max_us": pl.Int64,
        "p50_us": pl.Int64,
        "p75_us": pl.Int64,
        "p90_us": pl.Int64,
        "p95_us": pl.Int64,
        "p99_us": pl.Int64,
        "mean_us": pl.Float64,
        "stddev_us": pl.Float64,
    },
    nullable=frozenset(
        {
            "baseline_id",
            "p99_old_ms",
            "p99_new_ms",
            "percent_change",
            "min_us",
            "max_us",
            "p50_us",
            "p75_us",
            "p90_us",
            "p95_us",
            "p99_us",
            "mean_us",
            "stddev_us",
        }
    ),
)
