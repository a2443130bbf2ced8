"""What a labelled week contains: how many faults of each kind, which features are switched off, and named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from pggit_analytics.errors import InvalidArgument

#: Everything that can be switched off. Each has a random stream of its own, numbered by its place here, so that
#: switching one off leaves the others as they are. New features go to the end.
FEATURES = (
    "daily_load",  # traffic and durations follow the hour of the day
    "weekly_cycle",  # weekends are quiet
    "wander",  # the load strays from its daily shape
    "dst",  # the local clock is changed within the last week
    "sparse",  # some operations run 5 times a day
    "gaps",  # hours without rows
    "late_rows",  # rows that arrive after younger ones
    "spikes",
    "small_steps",
    "large_steps",
    "drifts",
    "improvements",
    "variance_changes",
    "releases",
    "incidents",
    "cost_shift",
    "bottlenecks",
    "retry_storms",
    "surges",
)

#: What is wrong, as opposed to what every system shows.
FAULTS = frozenset(FEATURES[FEATURES.index("spikes") :])

#: Operations outside the merge family, each of which carries at most one lasting fault.
FREE_OPERATIONS = 29


@dataclass(frozen=True, slots=True)
class WeekOptions:
    """Size of a labelled week. The counts reserve operations; what is in ``off`` stays reserved but does not happen."""

    #: length; the faults lie in the last 7 days
    weeks: int = 1
    #: time zone whose office hours the load follows
    zone: str = "Europe/Berlin"
    sparse: int = 3
    spikes_small: int = 40
    spikes_large: int = 40
    small_steps: int = 3
    #: of these, on operations that are sparse
    rare_steps: int = 1
    large_steps: int = 2
    #: drifts that go on and break their SLA 24 to 48 h after the week
    breaching_drifts: int = 1
    #: drifts that level off below their SLA
    levelled_drifts: int = 1
    improvements: int = 1
    variance_changes: int = 1
    #: operations that one release slows at once
    released: int = 3
    #: operations with an incident that was over before the last day
    incidents: int = 1
    #: groups of 3 to 5 operations that share a bottleneck
    bottlenecks: int = 3
    retry_storms: int = 3
    surges: int = 3
    #: names of `FEATURES` switched off
    off: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what cannot be generated.

        Raises:
            InvalidArgument: a count outside its range, more lasting faults than operations, an unknown feature.
        """
        if not 1 <= self.weeks <= 12:
            raise InvalidArgument(f"weeks is {self.weeks}, expected at least 1 and at most 12")
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in counts.items():
            if isinstance(value, int) and value < 0:
                raise InvalidArgument(f"{name} is {value}, expected at least 0")
        if self.reserved > FREE_OPERATIONS:
            raise InvalidArgument(
                f"the counts reserve up to {self.reserved} operations, expected at most {FREE_OPERATIONS}"
            )
        if self.rare_steps > min(self.sparse, self.small_steps):
            raise InvalidArgument(
                f"rare_steps is {self.rare_steps}, expected at most {min(self.sparse, self.small_steps)}: "
                "the lower of sparse and small_steps"
            )
        unknown = sorted(self.off - set(FEATURES))
        if unknown:
            raise InvalidArgument(f"off names {', '.join(unknown)}, expected names of {', '.join(FEATURES)}")

    @property
    def reserved(self) -> int:
        """Operations that may carry a lasting fault: 5 a bottleneck and one for every other."""
        return 5 * self.bottlenecks + sum(
            (
                self.small_steps,
                self.large_steps,
                self.breaching_drifts,
                self.levelled_drifts,
                self.improvements,
                self.variance_changes,
                self.released,
                self.incidents,
            )
        )

    def has(self, feature: str) -> bool:
        """Whether this feature is on.

        Raises:
            InvalidArgument: there is no such feature.
        """
        if feature not in FEATURES:
            raise InvalidArgument(f"feature is {feature}, expected one of {', '.join(FEATURES)}")
        return feature not in self.off

    def without(self, *features: str) -> WeekOptions:
        """The same week with these features off as well."""
        return replace(self, off=self.off | frozenset(features))

    def only_faults(self, *features: str) -> WeekOptions:
        """The same week with no other faults than these."""
        return replace(self, off=(self.off | FAULTS) - frozenset(features))


_FULL = WeekOptions()
_ORIENTATION = WeekOptions(
    sparse=0,
    small_steps=0,
    rare_steps=0,
    large_steps=4,
    breaching_drifts=2,
    levelled_drifts=2,
    improvements=0,
    variance_changes=0,
    released=0,
    incidents=0,
)
_SMALL = replace(
    _ORIENTATION,
    sparse=6,
    small_steps=12,
    rare_steps=4,
    large_steps=0,
    breaching_drifts=0,
    levelled_drifts=0,
    bottlenecks=0,
)
_FORECAST = replace(_ORIENTATION, large_steps=2, breaching_drifts=8, levelled_drifts=6, bottlenecks=0)

#: Named weeks. ``orientation``: daily load, heavy tails, spikes, steps, drifts, three groups. ``full``: everything.
#: ``clean`` and ``surge`` are the weeks of ``full`` without faults and with surges alone.
PRESETS: Mapping[str, WeekOptions] = MappingProxyType(
    {
        "orientation": _ORIENTATION.only_faults("spikes", "large_steps", "drifts", "bottlenecks").without(
            "weekly_cycle", "wander", "dst", "gaps", "late_rows"
        ),
        "full": _FULL,
        "clean": _FULL.only_faults(),
        "surge": _FULL.only_faults("surges"),
        "steps_small": _SMALL.only_faults("small_steps"),
        "forecast": _FORECAST.only_faults("drifts", "large_steps"),
    }
)


def preset(name: str) -> WeekOptions:
    """The options of a preset.

    Raises:
        InvalidArgument: there is no such preset.
    """
    if name not in PRESETS:
        raise InvalidArgument(f"preset is {name}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
