"""Labelled weeks of a second generator, which has hardly anything in common with the first but the form of its labels.

A detector whose constants were chosen on one generator may know that generator rather than the world. Here every seed
is another system: 5, 33 or 60 operations of 0.05 to 20 calls a minute, one of five shapes of the day, calls in bursts,
laws of noise from `other_laws`, clocks in seconds or milliseconds, durations in units of 1 us to 1 ms, levels that
stray, a nightly job. Steps come on within half an hour, drifts are linear or exponential, groups slow down in part
and not every time, in episodes of three forms. Nothing here was used to choose a constant of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from pggit_analytics.evaluation import truth
from pggit_analytics.evaluation.load import DAY, EPOCH, HOUR, MINUTE, Floats, Instants
from pggit_analytics.evaluation.other_laws import OtherLaw, draw_law
from pggit_analytics.evaluation.truth import LARGE_SPIKE, SPIKE_CLASSES, LabelledWeek, Truth
from pggit_analytics.frames import INSTANT, METRICS

_SIZES = (5, 33, 60)
#: units of the clock and of durations, microseconds
_CLOCKS, _UNITS = (1, 1_000, 1_000_000), (1, 100, 1_000)
_SHAPES = ("flat", "sine", "office", "two shifts", "night batch")
#: calls a minute: the least, how many times as many the most, and the power that makes few of them busy
_RATE, _RATE_SPAN, _RATE_POWER = 0.05, 400.0, 2.5
#: durations, microseconds; with a coarse unit at least this many units
_FASTEST, _SLOWEST, _LEAST_UNITS = 400.0, 2e6, 3.0
_BURST_SHARE, _BURST_SIZE = 0.5, 4.0
_FIRST_DAY = datetime(2026, 2, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OtherOptions:
    """What a week contains."""

    #: False: the same systems without any fault
    faults: bool = True


@dataclass(slots=True)
class _Operation:
    """One operation, and what happens to it."""

    name: str
    per_minute: float
    typical_us: float
    slowdown: float
    law: OtherLaw
    is_bursty: bool
    stray: float
    changes: list[_Change] = field(default_factory=list)
    episodes: list[_Episode] = field(default_factory=list)
    sla_factor: float = 3.0
    breach_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    operation_type: str
    kind: str
    onset: int
    settled_at: int
    factor: float
    #: when the last level is really reached: a step comes on within half an hour
    full_at: int
    is_exponential: bool = False
    cause: str = "own"

    def log_level(self, at: Instants) -> Floats:
        done = np.clip((at - self.onset) / max(self.full_at - self.onset, 1), 0.0, 1.0)
        linear = np.log1p((self.factor - 1) * done)
        return np.asarray(np.log(self.factor) * done if self.is_exponential else linear, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Episode:
    operation_type: str
    kind: str
    start: int
    end: int
    factor: float
    group: str | None
    form: int = 0

    def log_level(self, at: Instants) -> Floats:
        """A box, a triangle, or a jump that fades."""
        done = (at - self.start) / (self.end - self.start)
        heights = (np.ones(at.size), 1 - np.abs(2 * done - 1), 1 - 0.8 * done)
        return np.where((done >= 0) & (done < 1), np.log(self.factor) * heights[self.form], 0.0)


def make_other_week(seed: int, options: OtherOptions | None = None) -> LabelledWeek:
    """One labelled week of another system; everything follows from the arguments.

    Args:
        seed: 0 or more.
        options: with faults by default.
    """
    options = options or OtherOptions()
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x07E3]))
    end_at = _FIRST_DAY + timedelta(days=int(random.integers(100)), hours=int(random.integers(24)))
    end = (end_at - EPOCH) // timedelta(microseconds=1)
    clock, unit = (int(random.choice(choices)) for choices in (_CLOCKS, _UNITS))
    load, night = _load(random, end), end - DAY * 7 + int(random.integers(24)) * HOUR
    operations = _operations(random, _SIZES[seed % len(_SIZES)], unit)
    groups = _faults(random, operations, end)
    if not options.faults:
        groups = {}
        for operation in operations:
            operation.changes, operation.episodes, operation.breach_at = [], [], None
            operation.sla_factor = 3.0
    parts = [
        _calls(operation, load, end, night, np.random.default_rng(np.random.SeedSequence([seed, 0x07E3, place])))
        for place, operation in enumerate(operations)
    ]
    table = _table(pl.concat(parts), clock, unit)
    table = _with_spikes(table, random, len(operations), unit, faults=options.faults)
    return LabelledWeek(
        table.select(list(METRICS.columns)), _truth(table, operations, groups, load), end_at, _no_traces(table)
    )


def _load(random: np.random.Generator, end: int) -> Floats:
    """The load of each minute of the week, 0 to 1."""
    minute = (np.arange(7 * 24 * 60) + (end - 7 * DAY) // MINUTE) % (24 * 60)
    hour, zone = minute / 60, random.uniform(0, 24)
    local = (hour + zone) % 24
    shapes = {
        "flat": np.full(hour.size, 0.5),
        "sine": 0.5 + 0.45 * np.sin(2 * np.pi * local / 24),
        "office": np.where((local > 9) & (local < 17), 1.0, 0.1),
        "two shifts": np.where((local > 6) & (local < 22), 0.8, 0.15),
        "night batch": 0.3 + 0.7 * ((local > 1) & (local < 3)),
    }
    return np.asarray(shapes[_SHAPES[int(random.integers(len(_SHAPES)))]], dtype=np.float64)


def _operations(random: np.random.Generator, count: int, unit: int) -> list[_Operation]:
    fastest = max(_FASTEST, _LEAST_UNITS * unit)
    return [
        _Operation(
            name=f"step_{place:02d}",
            per_minute=float(_RATE * _RATE_SPAN ** (random.random() ** _RATE_POWER)),
            typical_us=float(np.exp(random.uniform(np.log(fastest), np.log(_SLOWEST)))),
            slowdown=float(random.uniform(-0.05, 0.25)),
            law=draw_law(random),
            is_bursty=bool(random.random() < _BURST_SHARE),
            stray=float(random.uniform(0.0, 0.03)),
        )
        for place in range(count)
    ]


def _faults(random: np.random.Generator, operations: list[_Operation], end: int) -> dict[str, tuple[str, ...]]:
    """Every third operation gets a lasting change, every third is in a group; the others have incidents or nothing."""
    order = [operations[place] for place in random.permutation(len(operations))]
    third = max(2, len(order) // 3)
    for operation in order[:third]:
        _change(random, operation, end)
    groups: dict[str, tuple[str, ...]] = {}
    members = order[third : 2 * third]
    while len(members) >= 2:
        size = min(int(random.integers(2, 7)), len(members))
        taken, members = members[:size], members[size:]
        name = f"group_{len(groups) + 1}"
        groups[name] = tuple(sorted(one.name for one in taken))
        _group(random, name, taken, end)
    for operation in order[2 * third :: 4]:
        start, length = _before(random, end, 6.0, 0.5), round(random.uniform(1.5, 9) * HOUR)
        operation.episodes.append(
            _Episode(operation.name, "incident", start, min(start + length, end), random.uniform(1.6, 4.0), None)
        )
    return groups


def _before(random: np.random.Generator, end: int, most: float, least: float) -> int:
    return end - round(random.uniform(least, most) * DAY)


def _change(random: np.random.Generator, operation: _Operation, end: int) -> None:
    name, kind = operation.name, str(random.choice(["large", "small", "drift", "levelled", "faster"]))
    if kind in {"drift", "levelled"} and operation.per_minute > 0.1:
        onset, is_exponential = _before(random, end, 5.5, 3.0), bool(random.random() < 0.5)
        settled = end if kind == "drift" else _before(random, end, 1.75, 1.0)
        factor = random.uniform(1.5, 3.0)
        change = _Change(name, "drift", onset, settled, factor, settled, is_exponential)
        operation.sla_factor = factor * random.uniform(1.2, 1.5)
        if kind == "drift":
            lead = round(random.uniform(24, 48) * HOUR)
            lasted = (end - onset + lead) / (end - onset)
            operation.sla_factor = factor**lasted if is_exponential else 1 + (factor - 1) * lasted
            operation.breach_at = end + lead
    else:
        ranges = {"small": (1.12, 1.35), "faster": (0.5, 0.8)}
        factor = random.uniform(*ranges.get(kind, (1.4, 4.0)))
        onset = _before(random, end, 5.5, 0.75)
        came_on = onset + round(random.uniform(0, 30) * MINUTE)
        label = "improvement" if kind == "faster" else "step"
        change = _Change(name, label, onset, onset, factor, came_on)
        operation.sla_factor = 3.0 * max(factor, 1.0)
    operation.changes.append(change)


def _group(random: np.random.Generator, group: str, members: list[_Operation], end: int) -> None:
    """Episodes of one form; each member shows its part of them, and one in ten not at all."""
    parts, lags = random.uniform(0.5, 1.3, len(members)), random.uniform(0, 2 * MINUTE, len(members))
    count, usual, form = int(random.integers(10, 21)), np.log(random.uniform(1.5, 4.0)), int(random.integers(3))
    share = 7 * DAY / count
    for place in range(count):
        length = random.uniform(20, 180) * MINUTE
        start = end - 7 * DAY + share * place + random.random() * (share - length - 2 * MINUTE)
        height = usual * random.uniform(0.6, 1.4)
        for operation, part, lag in zip(members, parts, lags, strict=True):
            if random.random() < 0.1:
                continue
            first = round(start + lag)
            factor = float(np.exp(part * height))
            operation.episodes.append(
                _Episode(operation.name, "bottleneck", first, first + round(length), factor, group, form)
            )


def _calls(operation: _Operation, load: Floats, end: int, night: int, random: np.random.Generator) -> pl.DataFrame:
    """The calls of one operation: instants, the median of each and its duration."""
    start = end - 7 * DAY
    created = np.sort(_arrivals(operation, load, start, random))
    created = created[(created >= start) & (created < end)]
    minute = np.minimum((created - start) // MINUTE, load.size - 1)
    expected = np.log(operation.typical_us) + np.log1p(operation.slowdown * load[minute])
    expected += np.where((created - night) % DAY < HOUR, 0.1, 0.0)
    expected += operation.stray * _strays(load.size, random)[minute]
    is_neutral = np.zeros(created.size, dtype=np.bool_)
    for change in operation.changes:
        expected, is_neutral = expected + change.log_level(created), is_neutral | (created >= change.onset)
    for episode in operation.episodes:
        expected += episode.log_level(created)
        is_neutral |= (created >= episode.start) & (created < episode.end)
    return pl.DataFrame(
        {
            "created": created,
            "expected_us": np.exp(expected),
            "duration": np.exp(expected + operation.law.draw(created.size, random)),
            "is_neutral": is_neutral,
        }
    ).with_columns(operation_type=pl.lit(operation.name))


def _arrivals(operation: _Operation, load: Floats, start: int, random: np.random.Generator) -> Instants:
    """A Poisson process that follows the load; of bursty operations each event is several calls within seconds."""
    rate = (0.2 + load) / (0.2 + load.mean()) * operation.per_minute / (_BURST_SIZE if operation.is_bursty else 1)
    minutes = np.repeat(np.arange(load.size), random.poisson(rate))
    created = start + minutes * MINUTE + random.integers(0, MINUTE, minutes.size)
    if operation.is_bursty:
        sizes = random.geometric(1 / _BURST_SIZE, created.size)
        created = np.repeat(created, sizes) + random.integers(0, 10_000_000, int(sizes.sum()))
    return np.asarray(created, dtype=np.int64)


def _strays(minutes: int, random: np.random.Generator) -> Floats:
    """A stationary process of deviation 1 that forgets within six hours, drawn every hour."""
    kept, hours = float(np.exp(-1 / 6)), minutes // 60 + 2
    values = np.empty(hours)
    values[0] = random.standard_normal()
    shocks = np.sqrt(1 - kept * kept) * random.standard_normal(hours)
    for place in range(1, hours):
        values[place] = kept * values[place - 1] + shocks[place]
    return np.asarray(np.interp(np.arange(minutes) / 60, np.arange(hours), values), dtype=np.float64)


def _table(calls: pl.DataFrame, clock: int, unit: int) -> pl.DataFrame:
    """All calls in order of time; clocks and durations in their units, rounded down and to the nearest."""
    return calls.sort("created").select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("metric_id"),
        "operation_type",
        _in_units(pl.col("duration"), unit).alias("duration_us"),
        (pl.col("created") // clock * clock).cast(INSTANT).alias("created_at"),
        "expected_us",
        "is_neutral",
        pl.lit(None, dtype=pl.Float64).alias("spike_factor"),
    )


def _in_units(duration: pl.Expr, unit: int) -> pl.Expr:
    return ((duration / unit).round() * unit).cast(pl.Int64)


def _with_spikes(
    table: pl.DataFrame, random: np.random.Generator, operations: int, unit: int, *, faults: bool
) -> pl.DataFrame:
    """One small and one large spike for each operation, on any of its calls."""
    if not faults:
        return table
    places = {str(key[0]): frame["row"].to_numpy() for key, frame in _rows_of(table).items()}
    chosen: list[int] = []
    factors: list[float] = []
    for low, high in ((3.0, 8.0), (8.0, 30.0)):
        for name in random.choice(sorted(places), operations):
            chosen.append(int(random.choice(places[name])))
            factors.append(float(np.exp(random.uniform(np.log(low), np.log(high)))))
    spikes = pl.DataFrame({"metric_id": table["metric_id"][chosen], "factor": factors}).unique("metric_id", keep="last")
    joined = table.join(spikes, on="metric_id", how="left", maintain_order="left")
    slow = _in_units(pl.col("expected_us") * pl.col("factor"), unit)
    longer = pl.when(pl.col("factor").is_null()).then("duration_us").otherwise(slow)
    return joined.with_columns(duration_us=longer, spike_factor=pl.col("factor")).drop("factor")


def _rows_of(table: pl.DataFrame) -> dict[tuple[object, ...], pl.DataFrame]:
    return table.with_row_index("row").select("row", "operation_type").partition_by("operation_type", as_dict=True)


def _truth(
    table: pl.DataFrame, operations: list[_Operation], groups: dict[str, tuple[str, ...]], load: Floats
) -> Truth:
    small, large = SPIKE_CLASSES
    factor = pl.col("spike_factor")
    by_name = sorted(operations, key=lambda operation: operation.name)
    return Truth(
        spikes=table.filter(factor.is_not_null()).select(
            "metric_id",
            "operation_type",
            at="created_at",
            factor=factor,
            spike_class=pl.when(factor >= LARGE_SPIKE).then(pl.lit(large)).otherwise(pl.lit(small)),
            is_neutral="is_neutral",
        ),
        changes=truth.of_labels(truth.CHANGES, [c for operation in by_name for c in operation.changes]),
        episodes=truth.of_labels(truth.EPISODES, [e for operation in by_name for e in operation.episodes]),
        groups=truth.GROUPS.frame([{"group": name, "members": list(of)} for name, of in groups.items()]),
        surges=truth.SURGES.empty(),
        breaches=truth.BREACHES.frame([_breach(operation, float(load.mean())) for operation in by_name]),
        rows=table.select(list(truth.ROWS.columns)),
        laws={operation.name: operation.law for operation in by_name},
    )


def _breach(operation: _Operation, load: float) -> dict[str, object]:
    """The limit of its 95th percentile at the mean load, which a drift that goes on breaks after the week."""
    p95_us = operation.typical_us * (1 + operation.slowdown * load) * float(np.exp(operation.law.quantile(0.95)))
    breach_at = None if operation.breach_at is None else EPOCH + timedelta(microseconds=operation.breach_at)
    sla_ms = p95_us / 1000 * operation.sla_factor
    return {"operation_type": operation.name, "sla_ms": sla_ms, "breach_at": breach_at}


def _no_traces(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        "metric_id",
        pl.lit(None, dtype=pl.String).alias("distributed_trace_id"),
        pl.lit(None, dtype=pl.String).alias("distributed_trace_parent_id"),
    )
