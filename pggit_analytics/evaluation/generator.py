"""Labelled weeks of timings: what a busy system records, with known faults built in, to judge detectors by.

Calls come as a Poisson process whose rate follows the office hours of a zone; the logarithm of a duration is its
operation's median at that moment (`Truth.rows`) plus noise of the operation's own law (`Truth.laws`). Rates, medians,
spreads and tails are drawn anew for every seed. Everything follows from the arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation import truth
from pggit_analytics.evaluation.faults import Change, Faults, Surge, assign_roles, draw_faults
from pggit_analytics.evaluation.load import EPOCH, HOUR, MINUTE, Floats, Instants, Load, draw_load, last_instant
from pggit_analytics.evaluation.options import WeekOptions
from pggit_analytics.evaluation.profiles import MERGE, OPERATIONS, PHASES, Profile, draw_profiles
from pggit_analytics.evaluation.streams import Streams
from pggit_analytics.evaluation.truth import LARGE_SPIKE, SPIKE_CLASSES, LabelledWeek, Truth
from pggit_analytics.frames import INSTANT, METRICS

Flags = NDArray[np.bool_]

#: share of rows that arrive late, by how much on average, and how long the collector once holds all of them back
_LATE_SHARE, _LATE_MEAN, _HELD_BACK = 0.03, 10 * MINUTE, 1 * HOUR
#: failing calls a minute in a storm of retries
_RETRIES = (20.0, 60.0)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Calls of one operation, as columns of equal length."""

    created: Instants
    #: median of the law, microseconds
    expected: Floats
    duration: Floats
    #: times the typical duration where the call is a labelled spike, else NaN
    spike_factor: Floats
    is_neutral: Flags
    #: position of the merge in its list, -1 for a call that belongs to none
    merge: Instants

    def at(self, chosen: Flags | Instants) -> _Rows:
        """The calls with a true flag, or at these positions in this order."""
        return _Rows(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @staticmethod
    def joined(parts: list[_Rows]) -> _Rows:
        """The calls of all parts, one after the other."""
        return _Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Rows)))


@dataclass(frozen=True, slots=True)
class _Week:
    """What is decided before timings are drawn."""

    options: WeekOptions
    streams: Streams
    load: Load
    profiles: dict[str, Profile]
    faults: Faults


def make_week(seed: int, options: WeekOptions | None = None) -> LabelledWeek:
    """One labelled week: about 300,000 rows of 33 operations.

    Args:
        seed: 0 or more; another one gives other operations, faults and times of the same kinds.
        options: what it contains, see `options.PRESETS`; everything by default.

    Returns:
        Metrics by metric_id, which follows the order of arrival; created_at need not rise with it.

    Raises:
        InvalidArgument: the seed is negative.
    """
    if seed < 0:
        raise InvalidArgument(f"seed is {seed}, expected at least 0")
    options, streams = options or WeekOptions(), Streams(seed)
    as_of = last_instant(options, streams)
    end = (as_of - EPOCH) // timedelta(microseconds=1)
    roles = assign_roles(options, streams)
    profiles = draw_profiles(options, streams, roles.sparse)
    faults = draw_faults(options, streams, roles, profiles, end)
    week = _Week(options, streams, draw_load(options, streams, end), profiles, faults)
    table = _table(week, _all_rows(week))
    labels = Truth(
        spikes=_spikes(table),
        changes=_changes(faults),
        episodes=truth.of_labels(truth.EPISODES, faults.episodes),
        groups=truth.GROUPS.frame([{"group": name, "members": list(of)} for name, of in faults.groups.items()]),
        surges=truth.of_labels(truth.SURGES, faults.surges),
        breaches=_breaches(week),
        rows=table.select(list(truth.ROWS.columns)),
        laws={name: profile.law for name, profile in profiles.items()},
    )
    return LabelledWeek(table.select(list(METRICS.columns)), labels, as_of, _traces(table))


def _all_rows(week: _Week) -> dict[str, _Rows]:
    """Every call by operation; gaps are cut out."""
    rows = {name: _operation(week, name) for name in OPERATIONS if name not in PHASES}
    merges = week.load.arrivals(week.profiles[MERGE].per_minute, week.streams.of("arrivals", OPERATIONS.index(MERGE)))
    rows |= {phase: _phase(week, phase, merges) for phase in PHASES}
    for start, last in week.faults.gaps:
        rows = {name: part.at((part.created < start) | (part.created >= last)) for name, part in rows.items()}
    return rows


def _operation(week: _Week, name: str) -> _Rows:
    """The ordinary calls of an operation, and those of surges and storms on top."""
    place, per_minute = OPERATIONS.index(name), week.profiles[name].per_minute
    created = week.load.arrivals(per_minute, week.streams.of("arrivals", place))
    merge = np.arange(created.size) if name == MERGE else np.full(created.size, -1)
    parts = [_ordinary(week, name, created, week.streams.of("noise", place), merge)]
    surges = [surge for surge in week.faults.surges if surge.operation_type == name]
    random = week.streams.of("surges", place)
    parts += [_surge(week, surge, random) for surge in surges]
    return _Rows.joined([*parts, *_retries(week, name)])


def _phase(week: _Week, phase: str, merges: Instants) -> _Rows:
    """The calls of one phase; they end up to 20 ms before their merge."""
    place = OPERATIONS.index(phase)
    random = week.streams.of("children", place)
    kept = np.flatnonzero(random.random(merges.size) < PHASES[phase])
    created = merges[kept] - random.integers(0, 20_000, kept.size)
    return _ordinary(week, phase, created, week.streams.of("noise", place), kept)


def _ordinary(week: _Week, name: str, created: Instants, random: np.random.Generator, merge: Instants) -> _Rows:
    """Calls at these instants with all lasting and passing faults of their operation, and its spikes."""
    profile, faults = week.profiles[name], week.faults
    changes = [change for change in faults.changes if change.operation_type == name]
    episodes = [episode for episode in faults.episodes if episode.operation_type == name]
    expected = profile.typical_us * (1 + profile.load_slowdown * week.load.at(created))
    noise, is_neutral = profile.law.draw(created.size, random), np.zeros(created.size, dtype=np.bool_)
    for change in changes:
        expected, noise = expected * change.level(created), noise * change.spread(created)
        is_neutral |= created >= change.onset
    for episode in episodes:
        expected, is_neutral = expected * episode.level(created), is_neutral | episode.contains(created)
    spike_factor = np.full(created.size, np.nan)
    for spike in faults.spikes:
        if spike.operation_type == name and created.size:
            spike_factor[np.abs(created - spike.at).argmin()] = spike.factor
    times = np.where(np.isnan(spike_factor), np.exp(noise), spike_factor)
    return _Rows(created, expected, expected * times, spike_factor, is_neutral, merge.astype(np.int64))


def _surge(week: _Week, surge: Surge, random: np.random.Generator) -> _Rows:
    """The calls that a surge adds: durations as ever, no spikes among them."""
    per_minute = (surge.factor - 1) * week.profiles[surge.operation_type].per_minute
    created = week.load.arrivals(per_minute, random, (surge.start, surge.end))
    ordinary = _Week(week.options, week.streams, week.load, week.profiles, _without_spikes(week.faults))
    return _ordinary(ordinary, surge.operation_type, created, random, np.full(created.size, -1))


def _without_spikes(faults: Faults) -> Faults:
    return Faults(faults.changes, faults.episodes, faults.surges, (), faults.gaps, faults.groups)


def _retries(week: _Week, name: str) -> list[_Rows]:
    """The fast failing calls of the operation's storms."""
    storms = [e for e in week.faults.episodes if e.operation_type == name and e.kind == "retry_storm"]
    random, parts = week.streams.of("retry_storms", OPERATIONS.index(name)), []
    for storm in storms:
        count = int(random.uniform(*_RETRIES) * (storm.end - storm.start) / MINUTE)
        created = np.sort(random.integers(storm.start, storm.end, count))
        expected = np.full(count, week.profiles[name].typical_us * storm.factor)
        duration, no_spike = expected * np.exp(0.2 * random.standard_normal(count)), np.full(count, np.nan)
        parts.append(_Rows(created, expected, duration, no_spike, np.ones(count, dtype=np.bool_), np.full(count, -1)))
    return parts


def _table(week: _Week, rows: dict[str, _Rows]) -> pl.DataFrame:
    """All calls in order of arrival: `METRICS`, `ROWS`, and what spikes and traces are made of."""
    every = _Rows.joined(list(rows.values()))
    operation = np.repeat(np.arange(len(rows)), [part.created.size for part in rows.values()])
    arrived = np.concatenate([_arrivals(week, name, part.created) for name, part in rows.items()])
    order = np.argsort(arrived, kind="stable")
    every = every.at(order)
    return pl.DataFrame(
        {
            "metric_id": np.arange(1, order.size + 1, dtype=np.int64),
            "operation_type": pl.Series(list(rows), dtype=pl.String).gather(operation[order]),
            "duration_us": np.maximum(np.rint(every.duration), 1).astype(np.int64),
            "created_at": pl.Series(every.created).cast(INSTANT),
            "expected_us": every.expected,
            "is_neutral": every.is_neutral,
            "spike_factor": pl.Series(every.spike_factor).fill_nan(None),
            "merge": every.merge,
        }
    )


def _arrivals(week: _Week, name: str, created: Instants) -> Instants:
    """When the rows reach the table: a few late, and those of one hour all at its end."""
    if not week.options.has("late_rows"):
        return created
    held = week.load.end - round(week.streams.of("late_rows").uniform(1, 6) * 24) * HOUR
    random = week.streams.of("late_rows", OPERATIONS.index(name))
    is_late, delay = random.random(created.size) < _LATE_SHARE, random.exponential(_LATE_MEAN, created.size)
    arrived = created + np.where(is_late, delay, 0.0).astype(np.int64)
    is_held = (arrived >= held) & (arrived < held + _HELD_BACK)
    return np.where(is_held, held + _HELD_BACK + random.integers(0, MINUTE, created.size), arrived)


def _spikes(table: pl.DataFrame) -> pl.DataFrame:
    factor = pl.col("spike_factor")
    small, large = SPIKE_CLASSES
    return table.filter(factor.is_not_null()).select(
        "metric_id",
        "operation_type",
        pl.col("created_at").alias("at"),
        factor.alias("factor"),
        pl.when(factor >= LARGE_SPIKE).then(pl.lit(large)).otherwise(pl.lit(small)).alias("spike_class"),
        "is_neutral",
    )


def _changes(faults: Faults) -> pl.DataFrame:
    by_name = sorted(faults.changes, key=lambda change: change.operation_type)
    return truth.of_labels(truth.CHANGES, by_name)


def _breaches(week: _Week) -> pl.DataFrame:
    """A limit for every operation that is not sparse; only drifts that go on ever reach theirs."""
    changes: dict[str, Change] = {change.operation_type: change for change in week.faults.changes}
    rows = []
    for place, (name, profile) in enumerate(week.profiles.items()):
        if profile.per_minute < 0.1:
            continue
        random = week.streams.of("slas", place)
        far, near = random.uniform(1.5, 3.0), random.uniform(1.15, 1.4)
        change = changes.get(name)
        level, breach_at = far, None
        if change is not None and change.breach is not None:
            level, breach_us = change.breach
            breach_at = EPOCH + timedelta(microseconds=breach_us)
        elif change is not None:
            level = (near if change.kind == "drift" else far) * max(change.factor, 1.0)
        p95 = profile.typical_us / 1000 * (1 + profile.load_slowdown * week.load.mean)
        p95 *= float(np.exp(profile.law.quantile(0.95)))
        rows.append({"operation_type": name, "sla_ms": p95 * level, "breach_at": breach_at})
    return truth.BREACHES.frame(rows)


def _traces(table: pl.DataFrame) -> pl.DataFrame:
    """The root of a merge has its id; its phases name it as their parent."""
    is_root = pl.col("operation_type") == MERGE
    merge_id = pl.when(pl.col("merge") >= 0).then(pl.format("merge-{}", "merge"))
    return table.select(
        "metric_id",
        pl.when(is_root).then(merge_id).otherwise(None).alias("distributed_trace_id"),
        pl.when(~is_root).then(merge_id).otherwise(None).alias("distributed_trace_parent_id"),
    )
