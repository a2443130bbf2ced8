"""A labelled week of operation timings: what a busy pgGit records, with known faults built in.

Calls come as a Poisson process whose rate follows the day (busiest at 15:00 UTC) and the week (weekends are quiet).
Durations are lognormal around the typical one, a few of them stretched into a heavy tail, all slightly slower under
load. On top stand the faults of the tables below, and each is written down in the labels, so a detector's findings can
be held against what is really there. Everything follows from the arguments: no clock, no other source of chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.frames import INSTANT, FrameSchema

Instants = NDArray[np.int64]  # microseconds since 1970-01-01 UTC
Floats = NDArray[np.float64]

#: the user of every generated metric, and the beginning of every generated merge_id: how the demo knows its own rows
DEMO_USER = "pggit_demo"
DEMO_MERGE_PREFIX = "pggit-demo-merge-"

#: ``duration_ms`` has at most three decimals; ``created_at`` is when the operation ended
WEEK_METRICS = FrameSchema(
    "week metrics",
    {
        "operation_type": pl.String,
        "duration_ms": pl.Float64,
        "created_at": INSTANT,
        "distributed_trace_id": pl.String,
        "distributed_trace_parent_id": pl.String,
        "user_name": pl.String,
    },
    nullable=frozenset({"distributed_trace_id", "distributed_trace_parent_id"}),
)

#: ``created_at`` is when the merge began; a strategy is NULL where the merge failed or nobody has decided yet
WEEK_MERGES = FrameSchema(
    "week merges",
    {
        "merge_id": pl.String,
        "branch_from": pl.String,
        "branch_into": pl.String,
        "created_at": INSTANT,
        "resolution_strategy": pl.String,
        "status": pl.String,
        "duration_ms": pl.Float64,
    },
    nullable=frozenset({"resolution_strategy"}),
)

#: What was built in. ``factor`` is how many times slower than usual (at its worst, for a DRIFT); ``group`` names what
#: slows several operations together; ``row`` is the position in the metrics of a SPIKE, whose start and end are equal.
LABELS = FrameSchema(
    "labels",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "start": INSTANT,
        "end": INSTANT,
        "factor": pl.Float64,
        "group": pl.String,
        "row": pl.Int64,
    },
    nullable=frozenset({"group", "row"}),
)


@dataclass(frozen=True, slots=True)
class OperationProfile:
    """How one operation behaves on an ordinary day."""

    operation_type: str
    #: median duration in the quiet hours
    typical_ms: float
    #: mean calls a minute over a week; None: whenever a merge needs it
    per_minute: float | None
    #: standard deviation of the logarithm of the duration
    sigma: float
    #: share of calls stretched into the heavy tail
    tail_share: float
    #: how much slower at full load than at none: 0.1 is 10 %
    load_slowdown: float


PROFILES: tuple[OperationProfile, ...] = (
    OperationProfile("commit", 5.0, 1.1, 0.16, 0.0005, 0.10),
    OperationProfile("merge", 50.0, 0.4, 0.28, 0.003, 0.12),
    OperationProfile("rollback", 10.0, 0.3, 0.25, 0.003, 0.08),
    OperationProfile("branch_create", 2.0, 0.8, 0.16, 0.0005, 0.10),
    OperationProfile("branch_delete", 1.0, 0.5, 0.18, 0.002, 0.08),
    OperationProfile("conflict_detection", 20.0, 0.6, 0.32, 0.003, 0.12),
    OperationProfile("auto_resolution", 15.0, 0.4, 0.30, 0.003, 0.10),
    OperationProfile("branch_checkout", 6.0, 1.5, 0.22, 0.003, 0.10),
    OperationProfile("ensure_object", 0.8, 1.4, 0.16, 0.0005, 0.10),
    OperationProfile("rollback_commit", 12.0, 0.3, 0.24, 0.002, 0.08),
    OperationProfile("rollback_cascade", 45.0, 0.3, 0.30, 0.002, 0.10),
    OperationProfile("rollback_recovery", 30.0, 0.3, 0.30, 0.002, 0.08),
    OperationProfile("merge_data_branches", 85.0, 0.4, 0.33, 0.003, 0.15),
    OperationProfile("merge_execute", 28.0, 0.8, 0.26, 0.003, 0.12),
    OperationProfile("merge_cleanup", 3.0, 0.8, 0.18, 0.003, 0.06),
    OperationProfile("create_data_branch", 60.0, 0.4, 0.28, 0.002, 0.12),
    OperationProfile("apply_data_merge", 70.0, 0.4, 0.30, 0.003, 0.12),
    OperationProfile("get_objects", 1.0, 4.2, 0.20, 0.004, 0.12),
    OperationProfile("get_history", 5.0, 0.9, 0.20, 0.002, 0.10),
    OperationProfile("get_branches", 0.5, 3.4, 0.15, 0.004, 0.08),
    OperationProfile("get_commits", 2.0, 2.6, 0.20, 0.004, 0.10),
    OperationProfile("get_object_timeline", 14.0, 0.8, 0.22, 0.002, 0.10),
    OperationProfile("get_object_at_time", 4.0, 1.4, 0.24, 0.003, 0.10),
    OperationProfile("query_temporal_snapshots", 22.0, 0.6, 0.34, 0.004, 0.14),
    OperationProfile("rollback_dry_run", 8.0, 0.4, 0.22, 0.002, 0.08),
    OperationProfile("rollback_validate", 3.5, 0.5, 0.20, 0.002, 0.08),
    OperationProfile("calculate_branch_size", 18.0, 0.5, 0.26, 0.003, 0.10),
    OperationProfile("create_history_partition", 35.0, 0.3, 0.24, 0.002, 0.05),
    OperationProfile("compress_branch", 220.0, 0.3, 0.35, 0.002, 0.15),
    # A whole merge takes as long as its phases and, on top, what this row says.
    OperationProfile("merge_branches", 14.0, 1.0, 0.46, 0.006, 0.10),
    OperationProfile("merge_base_find", 13.0, None, 0.46, 0.006, 0.10),
    OperationProfile("merge_conflict_detect", 20.0, None, 0.42, 0.006, 0.12),
    OperationProfile("merge_auto_resolve", 17.0, None, 0.34, 0.004, 0.10),
)

_PROFILE = {profile.operation_type: profile for profile in PROFILES}
_MERGE_SPANS = ("merge_branches", "merge_base_find", "merge_conflict_detect", "merge_auto_resolve")


#: how many times the typical duration the heavy tail reaches; what is slower than that is built in, and labelled
ORDINARY_LIMIT = 6.0


@dataclass(frozen=True, slots=True)
class BranchPair:
    """Two branches that are merged again and again."""

    branch_from: str
    branch_into: str
    #: share of all merges
    share: float
    #: share of this pair's merges that meet a conflict
    conflict_share: float


BRANCH_PAIRS: tuple[BranchPair, ...] = (
    BranchPair("feature/search", "develop", 0.22, 0.16),
    BranchPair("feature/payments", "develop", 0.18, 0.24),
    BranchPair("develop", "main", 0.20, 0.28),
    BranchPair("feature/billing", "release/2.4", 0.15, 0.86),  # the hotspot
    BranchPair("develop", "release/2.4", 0.10, 0.48),
    BranchPair("hotfix/locks", "main", 0.08, 0.22),
    BranchPair("feature/audit-log", "develop", 0.07, 0.12),
)

#: share of the merges that fail before conflicts are looked for
FAILED_SHARE = 0.015
#: how conflicts end; None: nobody has decided yet
CONFLICT_STRATEGIES: tuple[tuple[str | None, float], ...] = (
    ("auto", 0.55),
    ("manual", 0.25),
    ("rejected", 0.12),
    (None, 0.08),
)


@dataclass(frozen=True, slots=True)
class Spike:
    """One isolated slow call, within the hour before or after the planned instant."""

    operation_type: str
    days_before: float
    #: times the typical duration, give or take a tenth
    factor: float


SPIKES: tuple[Spike, ...] = (
    Spike("get_objects", 0.12, 24.0),
    Spike("get_commits", 0.21, 15.0),
    Spike("rollback_cascade", 0.33, 11.0),
    Spike("query_temporal_snapshots", 0.46, 13.0),
    Spike("get_objects", 0.62, 18.0),
    Spike("branch_checkout", 0.74, 20.0),
    Spike("compress_branch", 0.87, 10.0),
    Spike("get_commits", 1.6, 12.0),
    Spike("merge", 2.7, 9.5),
    Spike("apply_data_merge", 3.9, 11.0),
    Spike("query_temporal_snapshots", 5.2, 10.0),
    Spike("get_objects", 6.1, 26.0),
)


@dataclass(frozen=True, slots=True)
class Step:
    """Slower at once, and staying so until the end."""

    operation_type: str
    days_before: float
    factor: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Slower little by little, reaching ``factor`` at the end."""

    operation_type: str
    days_before: float
    factor: float


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Several operations slow together, in bursts spread over the last 24 hours."""

    group: str
    operation_types: tuple[str, ...]
    bursts: int
    minutes: tuple[float, float]
    factor: tuple[float, float]


#: phases of single merges, which the merge as a whole waits for; on days before the last
PHASE_SPIKES: tuple[Spike, ...] = (
    Spike("merge_conflict_detect", 1.4, 22.0),
    Spike("merge_base_find", 3.3, 18.0),
)

STEP = Step("get_history", 2.3, 1.6)
DRIFT = Drift("get_object_timeline", 4.0, 1.7)
# The bursts are frequent and alike, so that they show in the correlation rather than as hundreds of single outliers.
BOTTLENECK = Bottleneck("object_storage", ("branch_create", "commit", "ensure_object"), 9, (20.0, 38.0), (3.6, 4.4))


@dataclass(frozen=True, slots=True)
class Week:
    """Generated timings and the truth about them."""

    #: the instant the week ends at, in UTC
    as_of: datetime
    #: `WEEK_METRICS`, by created_at
    metrics: pl.DataFrame
    #: `WEEK_MERGES`, by created_at
    merges: pl.DataFrame
    #: `LABELS`, by kind, start, operation_type
    labels: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Burst:
    start: int
    end: int
    factor: float


@dataclass(frozen=True, slots=True)
class _Period:
    """The generated period and what happens in it, in microseconds since 1970."""

    start: int
    end: int
    seed: int
    bursts: tuple[_Burst, ...]

    def random(self, stream: str) -> np.random.Generator:
        """A stream of its own for each purpose: changing one operation leaves the others as they are."""
        return np.random.default_rng([self.seed, *stream.encode()])


_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def generate_week(as_of: datetime, *, seed: int = 7, days: int = 7) -> Week:
    """Timings of all 33 operations from ``as_of - days`` to ``as_of``, both included.

    Args:
        as_of: where the timings end; any time zone.
        seed: another number gives another week with the same kinds of faults.
        days: length, 7 to 60; the faults always lie in the last 7 days.

    Returns:
        The metrics (about 40,000 rows a day), the merges they belong to, and the labels.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, ``seed`` is negative or ``days`` outside 7..60.
    """
    period = _checked_period(as_of, seed, days)
    merges = _draw_merges(period)
    operations = [
        _draw_operation(profile, period) for profile in PROFILES if profile.operation_type not in _MERGE_SPANS
    ]
    metrics = (
        pl.concat([*operations, *(_merge_metrics(merges, name) for name in _MERGE_SPANS)])
        .sort("created_us", "operation_type", "duration_us", "distributed_trace_id")
        .with_row_index("row")
    )
    return Week(
        as_of.astimezone(UTC),
        metrics.select(
            "operation_type",
            _milliseconds("duration_us"),
            _instant("created_us", "created_at"),
            "distributed_trace_id",
            "distributed_trace_parent_id",
            pl.lit(DEMO_USER).alias("user_name"),
        ),
        merges.select(
            "merge_id",
            "branch_from",
            "branch_into",
            _instant("start_us", "created_at"),
            "resolution_strategy",
            "status",
            _milliseconds("merge_branches"),
        ),
        _labels(period, metrics),
    )


def _checked_period(as_of: datetime, seed: int, days: int) -> _Period:
    if as_of.tzinfo is None:
        raise InvalidArgument(f"as_of is {as_of.isoformat()} without a time zone; give one, such as +00:00")
    if seed < 0:
        raise InvalidArgument(f"seed is {seed}; allowed is 0 or more")
    if not 7 <= days <= 60:
        raise InvalidArgument(f"days is {days}; allowed is 7 to 60")
    end = (as_of - _EPOCH) // timedelta(microseconds=1)
    return _Period(end - days * _DAY, end, seed, _bursts(end, seed))


def _milliseconds(column: str) -> pl.Expr:
    # Polars multiplies by 1 / 1000, which is not always the nearest number to the quotient; the rounded one is.
    return (pl.col(column) / 1000).round(3).alias("duration_ms")


def _instant(column: str, name: str) -> pl.Expr:
    return pl.col(column).cast(INSTANT).alias(name)


def _load(at: Instants) -> Floats:
    """How busy the system is, 0 to 1: most at 15:00 UTC, least at 03:00, less than half of it on weekends."""
    hour = (at % _DAY) / _HOUR
    by_day = 0.5 - 0.5 * np.cos(2 * np.pi * (hour - 3) / 24)
    weekday = (at // _DAY + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    return np.asarray(by_day * np.where(weekday >= 5, 0.45, 1.0), dtype=np.float64)


def _call_instants(per_minute: float, period: _Period, random: np.random.Generator) -> Instants:
    """Instants of a Poisson process that follows the load and has ``per_minute`` calls a minute over a week."""
    edges = np.arange(period.start, period.end + 1, 10 * _MINUTE)
    rate = 0.45 + 1.1 * _load(edges[:-1] + 5 * _MINUTE)
    # the mean of the load over a week: half for the day's cosine, times five full days and two quiet ones
    rate /= 0.45 + 1.1 * 0.5 * (5 + 2 * 0.45) / 7
    expected = np.concatenate(([0.0], np.cumsum(rate * 10 * per_minute)))
    count = random.poisson(expected[-1])
    drawn = np.sort(random.uniform(0.0, expected[-1], count))
    since_start: Instants = np.interp(drawn, expected, (edges - period.start).astype(np.float64)).astype(np.int64)
    return since_start + period.start


def _durations(profile: OperationProfile, at: Instants, random: np.random.Generator) -> Floats:
    """Ordinary durations in microseconds at these instants."""
    body = np.exp(profile.sigma * random.standard_normal(at.size))
    stretched = np.minimum(body * (1.5 + random.exponential(0.8, at.size)), ORDINARY_LIMIT)
    in_tail = random.random(at.size) < profile.tail_share
    times_typical = np.where(in_tail, np.maximum(body, stretched), body) * (1 + profile.load_slowdown * _load(at))
    return np.asarray(profile.typical_ms * 1000 * times_typical, dtype=np.float64)


def _whole_microseconds(durations: Floats) -> Instants:
    return np.maximum(np.rint(durations), 1).astype(np.int64)


def _draw_operation(profile: OperationProfile, period: _Period) -> pl.DataFrame:
    """All calls of an operation that belongs to no merge; ``spike_factor`` is NULL but for its spikes."""
    random = period.random(profile.operation_type)
    created = _call_instants(profile.per_minute or 0.0, period, random)
    durations = _durations(profile, created, random) * _slowdown(profile.operation_type, created, period)
    spike_factor = np.full(created.size, np.nan)
    for spike in SPIKES:
        if spike.operation_type == profile.operation_type:
            planned = period.end - spike.days_before * _DAY + random.uniform(-1, 1) * _HOUR
            row = np.abs(created - planned).argmin()
            spike_factor[row] = spike.factor * random.uniform(0.9, 1.1)
            durations[row] = profile.typical_ms * 1000 * spike_factor[row]
    return pl.DataFrame(
        {
            "operation_type": pl.repeat(profile.operation_type, created.size, eager=True),
            "duration_us": _whole_microseconds(durations),
            "created_us": created,
            "distributed_trace_id": pl.repeat(None, created.size, dtype=pl.String, eager=True),
            "distributed_trace_parent_id": pl.repeat(None, created.size, dtype=pl.String, eager=True),
            "spike_factor": pl.Series(spike_factor).fill_nan(None),
        }
    )


def _slowdown(operation_type: str, at: Instants, period: _Period) -> Floats:
    """How many times slower the step, the drift and the bottleneck make an operation at these instants."""
    factor = np.ones(at.size)
    if operation_type == STEP.operation_type:
        factor[at >= _days_before(STEP.days_before, period)] = STEP.factor
    if operation_type == DRIFT.operation_type:
        start = _days_before(DRIFT.days_before, period)
        factor += (DRIFT.factor - 1) * np.clip((at - start) / (period.end - start), 0, 1)
    if operation_type in BOTTLENECK.operation_types:
        for burst in period.bursts:
            factor[(at >= burst.start) & (at < burst.end)] = burst.factor
    return factor


def _days_before(days: float, period: _Period) -> int:
    return period.end - round(days * _DAY)


def _bursts(end: int, seed: int) -> tuple[_Burst, ...]:
    """The bursts of the bottleneck, one somewhere in each equal part of the last 24 hours."""
    random = np.random.default_rng([seed, *BOTTLENECK.group.encode()])
    part = _DAY // BOTTLENECK.bursts
    lengths = (random.uniform(*BOTTLENECK.minutes, BOTTLENECK.bursts) * _MINUTE).astype(np.int64)
    starts = end - _DAY + part * np.arange(BOTTLENECK.bursts) + (random.random(lengths.size) * (part - lengths))
    factors = random.uniform(*BOTTLENECK.factor, BOTTLENECK.bursts).round(2)
    return tuple(
        _Burst(int(start), int(start) + int(length), float(factor))
        for start, length, factor in zip(starts, lengths, factors, strict=True)
    )


def _draw_merges(period: _Period) -> pl.DataFrame:
    """One row a merge: its branches, how it ended, and the microseconds of each span (NULL: did not happen)."""
    random = period.random("merges")
    start = _call_instants(_PROFILE["merge_branches"].per_minute or 0.0, period, random)
    pair = random.choice(len(BRANCH_PAIRS), start.size, p=[pair.share for pair in BRANCH_PAIRS])
    failed = random.random(start.size) < FAILED_SHARE
    conflict = random.random(start.size) < np.array([pair.conflict_share for pair in BRANCH_PAIRS])[pair]
    decided = random.choice(len(CONFLICT_STRATEGIES), start.size, p=[share for _, share in CONFLICT_STRATEGIES])
    spent = {name: _whole_microseconds(_durations(_PROFILE[name], start, random)) for name in _MERGE_SPANS}
    spikes = _slow_phases(period, start, np.flatnonzero(~failed), spent)
    pairs = pl.DataFrame(
        {"branch_from": [p.branch_from for p in BRANCH_PAIRS], "branch_into": [p.branch_into for p in BRANCH_PAIRS]}
    )
    strategies = pl.Series([strategy for strategy, _ in CONFLICT_STRATEGIES], dtype=pl.String)
    outcome = (
        pl.when("failed").then(pl.lit("FAILED")).when("conflict").then(pl.lit("CONFLICT")).otherwise(pl.lit("SUCCESS"))
    )
    merges = pl.DataFrame({"start_us": start, "failed": failed, "conflict": conflict, **spent, **spikes})
    merges = merges.hstack(pairs[pair])
    return (
        merges.with_columns(strategies.gather(decided).alias("decided"), outcome.alias("status"))
        .with_columns(
            pl.when(status="CONFLICT")
            .then("decided")
            .when(status="SUCCESS")
            .then(pl.lit("auto"))
            .alias("resolution_strategy"),
            pl.when(pl.col("status") != "FAILED").then("merge_conflict_detect"),
            pl.when(status="CONFLICT").then("merge_auto_resolve"),
        )
        .with_columns(pl.sum_horizontal(_MERGE_SPANS).alias("merge_branches"))
        .filter(pl.col("start_us") + pl.col("merge_branches") <= period.end)
        .with_row_index("number", offset=1)
        .with_columns(
            pl.format(DEMO_MERGE_PREFIX + "{}", pl.col("number").cast(pl.String).str.zfill(6)).alias("merge_id")
        )
    )


def _slow_phases(
    period: _Period, start: Instants, complete: Instants, spent: dict[str, Instants]
) -> dict[str, pl.Series]:
    """Make phases of single merges slow; of each phase the factors by merge, NULL where it is not slow."""
    random = period.random("slow phases")
    factors = {name: np.full(start.size, np.nan) for name in _MERGE_SPANS}
    for spike in PHASE_SPIKES:
        planned = period.end - spike.days_before * _DAY + random.uniform(-1, 1) * _HOUR
        row = complete[np.abs(start[complete] - planned).argmin()]
        factor = factors[spike.operation_type][row] = spike.factor * random.uniform(0.9, 1.1)
        spent[spike.operation_type][row] = round(_PROFILE[spike.operation_type].typical_ms * 1000 * factor)
    return {f"{name}_spike": pl.Series(values).fill_nan(None) for name, values in factors.items()}


def _merge_metrics(merges: pl.DataFrame, name: str) -> pl.DataFrame:
    """The metrics of one span of every merge: the whole (``merge_branches``, the root) or one of its phases."""
    root, *phases = _MERGE_SPANS
    # the phases follow each other from the beginning of the merge; the whole ends when its own work is done as well
    until_end = pl.col(root) if name == root else pl.sum_horizontal(phases[: phases.index(name) + 1])
    trace_id = pl.col("merge_id") if name == root else pl.format("{}/" + name, "merge_id")
    parent_id = pl.lit(None) if name == root else pl.col("merge_id")
    return merges.filter(pl.col(name).is_not_null()).select(
        pl.lit(name).alias("operation_type"),
        pl.col(name).alias("duration_us"),
        (pl.col("start_us") + until_end).alias("created_us"),
        trace_id.alias("distributed_trace_id"),
        parent_id.cast(pl.String).alias("distributed_trace_parent_id"),
        pl.col(f"{name}_spike").alias("spike_factor"),
    )


def _labels(period: _Period, metrics: pl.DataFrame) -> pl.DataFrame:
    """What was built in, as `LABELS`; ``metrics`` has its final order."""
    spikes = metrics.filter(pl.col("spike_factor").is_not_null()).select(
        "operation_type",
        pl.lit("SPIKE").alias("kind"),
        _instant("created_us", "start"),
        _instant("created_us", "end"),
        pl.col("spike_factor").alias("factor"),
        pl.lit(None, dtype=pl.String).alias("group"),
        pl.col("row").cast(pl.Int64),
    )
    lasting = [
        (STEP.operation_type, "STEP", _days_before(STEP.days_before, period), period.end, STEP.factor, None, None),
        (DRIFT.operation_type, "DRIFT", _days_before(DRIFT.days_before, period), period.end, DRIFT.factor, None, None),
    ]
    slow_together = [
        (operation_type, "BOTTLENECK", burst.start, burst.end, burst.factor, BOTTLENECK.group, None)
        for operation_type in BOTTLENECK.operation_types
        for burst in period.bursts
    ]
    in_microseconds = LABELS.columns | {"start": pl.Int64, "end": pl.Int64}
    others = pl.DataFrame([*lasting, *slow_together], schema=in_microseconds, orient="row")
    return pl.concat([spikes, others.with_columns(_instant("start", "start"), _instant("end", "end"))]).sort(
        "kind", "start", "operation_type"
    )
