"""When the system is busy: office hours of a zone, quiet weekends, and calls that come accordingly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.options import WeekOptions
from pggit_analytics.evaluation.streams import Streams
from pggit_analytics.frames import INSTANT

Floats = NDArray[np.float64]
#: microseconds since 1970-01-01 UTC
Instants = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: width of the cells in which the load is constant for the arrivals
CELL = 10 * MINUTE
#: (hour, width in hours, height) of the day's peaks over the night's load
_PEAKS = ((10.5, 2.2, 0.85), (15.0, 2.2, 0.75), (21.0, 1.5, 0.2))
_NIGHT = 0.06
_WEEKEND = 0.35
#: calls at no load, to be added to the load for the rate
_IDLE_RATE = 0.25
#: how far the load strays (share of it) and for how long
_WANDER, _WANDER_HOURS = 0.08, 3.0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the system is, 0 to about 1, over [start, end)."""

    start: int
    end: int
    #: one value per `CELL`
    cells: Floats

    @property
    def mean(self) -> float:
        """Mean over the whole time."""
        return float(self.cells.mean())

    def at(self, instants: Instants) -> Floats:
        """The load at these instants, interpolated between the middles of the cells."""
        middles = self.start + CELL * (np.arange(self.cells.size) + 0.5)
        return np.asarray(np.interp(instants, middles, self.cells), dtype=np.float64)

    def arrivals(
        self, per_minute: float, random: np.random.Generator, window: tuple[int, int] | None = None
    ) -> Instants:
        """Rising instants of a Poisson process whose rate follows the load.

        Args:
            per_minute: its mean rate over the whole time.
            random: where the chance comes from.
            window: only instants in [first, last) of it; all by default.
        """
        first, last = window or (self.start, self.end)
        rate = (_IDLE_RATE + self.cells) / (_IDLE_RATE + self.mean)
        edges = np.arange(self.start, self.end + 1, CELL, dtype=np.float64)
        expected = np.concatenate(([0.0], np.cumsum(rate * per_minute * (CELL / MINUTE))))
        low, high = np.interp([first, last], edges, expected)
        drawn = np.sort(random.uniform(low, high, random.poisson(high - low)))
        return np.asarray(np.interp(drawn, expected, edges - self.start), dtype=np.int64) + self.start


def last_instant(options: WeekOptions, streams: Streams) -> datetime:
    """Where the week ends: one to five days after a change of the local clock, or the same four weeks earlier."""
    random = streams.of("as_of")
    changes = clock_changes(options.zone)
    changed = changes[int(random.integers(len(changes)))]
    end = changed + timedelta(days=int(random.integers(1, 6)), hours=int(random.integers(24)))
    return end if options.has("dst") else end - timedelta(weeks=4)


def clock_changes(zone: str) -> list[datetime]:
    """The UTC midnights of 2026 after which the zone's offset changes; the last Sunday of March for a zone without.

    Raises:
        InvalidArgument: there is no such zone.
    """
    days = pl.Series([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(365)], dtype=INSTANT)
    try:
        local = days.dt.convert_time_zone(zone)
        offsets = local.dt.base_utc_offset() + local.dt.dst_offset()
    except pl.exceptions.PolarsError as exc:
        raise InvalidArgument(f"zone is {zone}, expected a time zone of the IANA list such as Europe/Berlin") from exc
    changed: list[datetime] = days.filter((offsets != offsets.shift(-1)).fill_null(value=False)).to_list()
    return changed or [datetime(2026, 3, 29, tzinfo=UTC)]


def draw_load(options: WeekOptions, streams: Streams, end: int) -> Load:
    """The load of the weeks that end at ``end`` (microseconds since 1970)."""
    start = end - 7 * options.weeks * DAY
    middles = pl.Series(np.arange(start, end, CELL) + CELL // 2).cast(INSTANT).dt.convert_time_zone(options.zone)
    hour = (middles.dt.hour() + middles.dt.minute() / 60).to_numpy()
    cells: Floats = np.full(hour.size, 0.4)
    if options.has("daily_load"):
        cells = np.full(hour.size, _NIGHT)
        for at, width, height in _PEAKS:
            cells += height * np.exp(-(((hour - at) / width) ** 2))
    if options.has("weekly_cycle"):
        cells = cells * np.where(middles.dt.weekday().to_numpy() >= 6, _WEEKEND, 1.0)
    if options.has("wander"):
        cells = cells * np.maximum(1 + _stray(cells.size, streams.of("wander")), 0.0)
    return Load(start, end, np.asarray(cells, dtype=np.float64))


def _stray(count: int, random: np.random.Generator) -> Floats:
    """A stationary autoregression of order 1 over the cells."""
    kept = float(np.exp(-CELL / (_WANDER_HOURS * HOUR)))
    shocks = random.standard_normal(count) * _WANDER
    values = np.empty(count)
    last = shocks[0]
    for place in range(count):
        last = kept * last + np.sqrt(1 - kept * kept) * shocks[place]
        values[place] = last
    return values
