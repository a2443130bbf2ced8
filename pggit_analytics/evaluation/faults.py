"""Which faults a labelled week has, decided before any timing is drawn.

Instants are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from pggit_analytics.evaluation.load import DAY, HOUR, MINUTE, Floats, Instants
from pggit_analytics.evaluation.options import WeekOptions
from pggit_analytics.evaluation.profiles import FREE, MERGE, PHASES, Profile
from pggit_analytics.evaluation.streams import Streams


@dataclass(frozen=True, slots=True)
class Change:
    """A lasting change of one operation; see `truth.CHANGES`."""

    operation_type: str
    kind: str
    onset: int
    settled_at: int
    factor: float
    cause: str = "own"
    #: a drift that grows by equal ratios instead of equal amounts
    is_exponential: bool = False
    #: the factor at which its SLA is broken, and when; None: never
    breach: tuple[float, int] | None = None

    def level(self, at: Instants) -> Floats:
        """Times the level without it."""
        if self.kind == "variance":
            return np.ones(at.size)
        if self.settled_at == self.onset:
            return np.where(at >= self.onset, self.factor, 1.0)
        done = np.clip((at - self.onset) / (self.settled_at - self.onset), 0.0, 1.0)
        return np.asarray(self.factor**done if self.is_exponential else 1 + (self.factor - 1) * done, dtype=np.float64)

    def spread(self, at: Instants) -> Floats:
        """Times the spread without it."""
        return np.where((at >= self.onset) & (self.kind == "variance"), self.factor, 1.0)


@dataclass(frozen=True, slots=True)
class Episode:
    """A passing event of one operation; see `truth.EPISODES`."""

    operation_type: str
    kind: str
    start: int
    end: int
    factor: float
    group: str | None = None

    def contains(self, at: Instants) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which instants lie in [start, end)."""
        return (at >= self.start) & (at < self.end)

    def level(self, at: Instants) -> Floats:
        """Times the level without it: rising over a fifth of the time, falling over the last fifth."""
        if self.kind == "retry_storm":
            return np.ones(at.size)
        done = (at - self.start) / (self.end - self.start)
        height = np.clip(5 * np.minimum(done, 1 - done), 0.0, 1.0)
        return np.asarray(self.factor**height, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Surge:
    """Traffic of one operation ``factor`` times as dense."""

    operation_type: str
    start: int
    end: int
    factor: float


@dataclass(frozen=True, slots=True)
class PlannedSpike:
    """The call nearest to the instant takes ``factor`` times as long."""

    operation_type: str
    at: int
    factor: float


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything that happens in one week."""

    changes: tuple[Change, ...]
    episodes: tuple[Episode, ...]
    surges: tuple[Surge, ...]
    spikes: tuple[PlannedSpike, ...]
    #: times without rows, [start, end)
    gaps: tuple[tuple[int, int], ...]
    #: group -> members
    groups: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Roles:
    """Which operations the faults fall on, whether or not they are switched on."""

    #: fault -> operations; no operation has two
    operations: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]
    sparse: frozenset[str]


def assign_roles(options: WeekOptions, streams: Streams) -> Roles:
    """Operations for every lasting fault and every group; what is rare besides the rare steps is from the rest."""
    random = streams.of("roles")
    names = [str(name) for name in random.permutation(FREE)]
    sizes = random.integers(3, 6, options.bottlenecks)
    rest: Iterator[str] = iter(names)
    groups = {f"group_{place + 1}": tuple(sorted(islice(rest, int(size)))) for place, size in enumerate(sizes)}
    counts = {
        "large_steps": options.large_steps,
        "breaching_drifts": options.breaching_drifts,
        "levelled_drifts": options.levelled_drifts,
        "small_steps": options.small_steps,
        "releases": options.released,
        "improvements": options.improvements,
        "variance_changes": options.variance_changes,
        "incidents": options.incidents,
    }
    operations = {role: tuple(islice(rest, count)) for role, count in counts.items()}
    operations["cost_shift"] = (str(random.choice(list(PHASES))),)
    rare = operations["small_steps"][: options.rare_steps]
    others = names[::-1][: options.sparse - options.rare_steps]
    return Roles(operations, groups, frozenset((*rare, *others)))


def draw_faults(options: WeekOptions, streams: Streams, roles: Roles, profiles: dict[str, Profile], end: int) -> Faults:
    """The faults of the last 7 days before ``end``."""
    has = options.has
    return Faults(
        changes=tuple(_changes(options, streams, roles, end)),
        episodes=tuple(_episodes(options, streams, roles, end)),
        surges=tuple(_surges(options.surges, streams, end)) if has("surges") else (),
        spikes=tuple(_spikes(options, streams, profiles, end)) if has("spikes") else (),
        gaps=tuple(_gaps(streams, end)) if has("gaps") else (),
        groups=roles.groups if has("bottlenecks") else {},
    )


def _changes(options: WeekOptions, streams: Streams, roles: Roles, end: int) -> Iterator[Change]:
    draws: dict[str, Callable[[np.random.Generator, Roles, int], list[Change]]] = {
        "small_steps": _small_steps,
        "large_steps": _large_steps,
        "drifts": _drifts,
        "improvements": _improvements,
        "variance_changes": _variance_changes,
        "releases": _releases,
        "cost_shift": _cost_shift,
    }
    for feature, draw in draws.items():
        if options.has(feature):
            yield from draw(streams.of(feature), roles, end)


def _days_before(end: int, random: np.random.Generator, most: float, least: float) -> int:
    return end - round(random.uniform(least, most) * DAY)


def _step(name: str, kind: str, onset: int, factor: float, cause: str = "own") -> Change:
    return Change(name, kind, onset, onset, factor, cause)


def _small_steps(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    names = roles.operations["small_steps"]
    return [_step(name, "step", _days_before(end, random, 5.5, 0.75), random.uniform(1.10, 1.35)) for name in names]


def _large_steps(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    names = roles.operations["large_steps"]
    return [_step(name, "step", _days_before(end, random, 5.5, 0.75), random.uniform(1.35, 3.0)) for name in names]


def _improvements(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    names = roles.operations["improvements"]
    return [_step(name, "improvement", _days_before(end, random, 5.5, 1), random.uniform(0.5, 0.8)) for name in names]


def _variance_changes(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    names = roles.operations["variance_changes"]
    return [_step(name, "variance", _days_before(end, random, 5.5, 1), random.uniform(1.5, 2.0)) for name in names]


def _releases(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    onset = _days_before(end, random, 5.0, 1.0)
    return [_step(name, "step", onset, random.uniform(1.35, 2.0), "release") for name in roles.operations["releases"]]


def _cost_shift(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    onset = _days_before(end, random, 5.0, 1.0)
    names = roles.operations["cost_shift"]
    return [_step(name, "step", onset, random.uniform(1.4, 1.8), "cost_shift") for name in names]


def _drifts(random: np.random.Generator, roles: Roles, end: int) -> list[Change]:
    return [
        *(_breaching_drift(name, random, end) for name in roles.operations["breaching_drifts"]),
        *(_levelled_drift(name, random, end) for name in roles.operations["levelled_drifts"]),
    ]


def _breaching_drift(name: str, random: np.random.Generator, end: int) -> Change:
    onset = _days_before(end, random, 5.5, 2.5)
    drift = Change(name, "drift", onset, end, random.uniform(1.5, 2.5), is_exponential=bool(random.random() < 0.5))
    lead = round(random.uniform(24, 48) * HOUR)
    lasted = (end - onset + lead) / (end - onset)
    factor = drift.factor**lasted if drift.is_exponential else 1 + (drift.factor - 1) * lasted
    return replace(drift, breach=(factor, end + lead))


def _levelled_drift(name: str, random: np.random.Generator, end: int) -> Change:
    onset, settled_at = _days_before(end, random, 5.5, 3.5), _days_before(end, random, 1.75, 1.0)
    factor, is_exponential = random.uniform(1.5, 2.5), bool(random.random() < 0.5)
    return Change(name, "drift", onset, settled_at, factor, is_exponential=is_exponential)


def _episodes(options: WeekOptions, streams: Streams, roles: Roles, end: int) -> Iterator[Episode]:
    if options.has("bottlenecks"):
        for place, (group, members) in enumerate(roles.groups.items()):
            yield from _bottleneck(group, members, streams.of("bottlenecks", place), end)
    if options.has("incidents"):
        random = streams.of("incidents")
        for name in roles.operations["incidents"]:
            start = _days_before(end, random, 5.5, 2.0)
            length = round(random.uniform(4, 10) * HOUR)
            yield Episode(name, "incident", start, start + length, random.uniform(2.0, 4.0))
    if options.has("retry_storms"):
        random = streams.of("retry_storms")
        for _ in range(options.retry_storms):
            name, start = str(random.choice(FREE)), _days_before(end, random, 6.0, 0.1)
            length = round(random.uniform(10, 30) * MINUTE)
            yield Episode(name, "retry_storm", start, start + length, random.uniform(0.1, 0.3))


def _bottleneck(group: str, members: tuple[str, ...], random: np.random.Generator, end: int) -> Iterator[Episode]:
    """One episode in each of 10 to 16 equal parts of the week, up to 3 minutes later on all members but the first.

    Groups differ in how high they usually rise, episodes by 30 % of that, members in how much of it they show.
    """
    gains, lags = random.uniform(0.7, 1.3, len(members)), random.uniform(0, 3 * MINUTE, len(members))
    lags[int(random.integers(len(members)))] = 0.0
    count, usual = int(random.integers(10, 17)), np.log(random.uniform(1.3, 3.5))
    part = 7 * DAY / count
    for place in range(count):
        length = random.uniform(20, 120) * MINUTE
        start = end - 7 * DAY + part * place + random.random() * (part - length - 3 * MINUTE)
        height = usual * random.uniform(0.7, 1.3)
        for name, gain, lag in zip(members, gains, lags, strict=True):
            first = round(start + lag)
            yield Episode(name, "bottleneck", first, first + round(length), float(np.exp(gain * height)), group)


def _surges(count: int, streams: Streams, end: int) -> Iterator[Surge]:
    random = streams.of("surges")
    for _ in range(count):
        start = _days_before(end, random, 6.5, 0.2)
        last, factor = min(start + round(random.uniform(1, 3) * HOUR), end), random.uniform(3.0, 6.0)
        is_hit = random.random(len(FREE) + 1) < random.uniform(0.3, 1.0)
        yield from (Surge(name, start, last, factor) for name, hit in zip((*FREE, MERGE), is_hit, strict=True) if hit)


def _spikes(options: WeekOptions, streams: Streams, profiles: dict[str, Profile], end: int) -> Iterator[PlannedSpike]:
    """Spikes fall on an operation in proportion to the root of its rate, so that the rare ones have some as well."""
    random = streams.of("spikes")
    weight = np.sqrt([profile.per_minute for profile in profiles.values()])
    names = list(profiles)
    for count, low, high in ((options.spikes_small, 3.0, 8.0), (options.spikes_large, 8.0, 30.0)):
        chosen = random.choice(len(names), count, p=weight / weight.sum())
        at = end - random.random(count) * 7 * DAY
        factors = np.exp(random.uniform(np.log(low), np.log(high), count))
        yield from (
            PlannedSpike(names[place], int(instant), float(factor))
            for place, instant, factor in zip(chosen, at, factors, strict=True)
        )


def _gaps(streams: Streams, end: int) -> Iterator[tuple[int, int]]:
    random = streams.of("gaps")
    for _ in range(2):
        start = _days_before(end, random, 6.5, 0.5)
        yield start, start + round(random.uniform(2, 5) * HOUR)
