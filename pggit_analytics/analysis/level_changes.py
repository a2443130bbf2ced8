"""Lasting changes of an operation's level: steps, drifts, improvements, changes of the scatter; and passing episodes.

Where the level changed is in `followed_levels`; here it is decided what is told, and since when.

- Significance: the law of the largest squared t over all positions (`level_models.largest_gain_p`), or of permutations.
  Over operations: the false discovery rate (Benjamini and Hochberg 1995). With many calls p must be below `SURE` too,
  for the law is asymptotic and knows nothing of errors of the season.
- A border counts if the level stays beyond what it was just before and beyond what it was most of the time before, so
  that an incident of days that is over is none, nor its end an improvement.
- Onset of a step: the `_ONSET` quantile of the distribution of its position, given the calls around the border and
  flat priors on the position and on both levels (Chernoff and Zacks 1964; Smith 1975). Rather late than early, for what
  came just before an onset is suspected. Of a drift: where the best ramp begins, with the beginnings of ramps that fit
  nearly as well.
- Changes of the scatter: `scatter_changes`.

Limits: a change shorter than `level_models.LEAST_HOURS` is an episode, or nothing; a change of less than
`level_models.LEAST_SIZE` is not told; of several ramps of one operation one is found.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import HOUR, Floats, Ints
from pggit_analytics.analysis.followed_levels import Episode, Levels
from pggit_analytics.analysis.level_models import (
    LEAST_HOURS,
    LEAST_SIZE,
    Model,
    Ramp,
    fit_ramps,
    passes,
)
from pggit_analytics.analysis.scatter_changes import ScatterChange, scatter_changes
from pggit_analytics.frames import INSTANT, FrameSchema

#: Lasting changes, by operation and onset. ``kind``: step, drift (both: slower), improvement (faster) or variance.
#: ``settled_at``: when the last level was reached, the onset of anything but a drift. ``size_ratio``: level after to
#: before, at the end of the window; of a variance the ratio of the spreads. ``p`` after allowing for all positions.
LEVEL_CHANGES = FrameSchema(
    "level changes",
    {
        "operation_type": pl.String,
        "kind": pl.String,
        "onset": INSTANT,
        "onset_low": INSTANT,
        "onset_high": INSTANT,
        "settled_at": INSTANT,
        "size_ratio": pl.Float64,
        "p": pl.Float64,
    },
)

#: Passing episodes, by operation and start; cells wide. ``size_ratio``: level inside to around. ``is_open``: its end
#: was not seen.
EPISODES = FrameSchema(
    "level episodes",
    {
        "operation_type": pl.String,
        "start": INSTANT,
        "end": INSTANT,
        "size_ratio": pl.Float64,
        "is_open": pl.Boolean,
    },
)

#: share of wrong ones among the operations told
FALSE_DISCOVERIES = 0.1
#: largest p of an operation with many calls
SURE = 1e-4
#: nobody waits for improvements of rare operations: their p is multiplied
FALL_WEIGHT = 5.0
#: half width of the interval of the onset of a change of the scatter
_SCATTER_ONSET = 3 * HOUR
#: of the probability of its position: where a step is said to be, and its interval
_ONSET, _ONSET_RANGE = 0.7, (0.025, 0.975)
#: how far a call may stray from both levels for its onset, in spreads
_STRAY = 2.0
#: 95 % of chi square with one degree of freedom
_CHI_SQUARE = 3.84


def level_changes(levels: Levels) -> pl.DataFrame:
    """The lasting changes of all operations, those of the scatter included.

    Returns:
        `LEVEL_CHANGES`.
    """
    grid = levels.grid
    least = np.array([_weighted_p(model) for model in levels.models])
    is_rare = np.array([model.is_rare for model in levels.models], dtype=np.bool_)
    is_told = passes(least, FALSE_DISCOVERIES) & ((least < SURE) | is_rare)
    rows: list[dict[str, object]] = []
    for place in np.flatnonzero(is_told):
        model = levels.models[place]
        found = _step_rows(levels, int(place)) if model.ramp is None else _ramp_rows(levels, int(place), model.ramp)
        rows += [{"operation_type": grid.operations[place], **row} for row in found]
    rows += [
        {"operation_type": grid.operations[c.operation], **_scatter_row(levels, c)} for c in scatter_changes(levels)
    ]
    return _frame(LEVEL_CHANGES, rows).sort("operation_type", "onset", "kind")


def _weighted_p(model: Model) -> float:
    """The least p of a model; that of a rare operation's fall is weighted (Genovese, Roeder and Wasserman 2006)."""
    p = min(model.p, default=1.0)
    return min(1.0, FALL_WEIGHT * p) if model.is_rare and model.levels[-1] < model.levels[0] else p


def _frame(schema: FrameSchema, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows whose instants are microseconds."""
    instants = [name for name, dtype in schema.columns.items() if dtype == INSTANT]
    numbers = {name: pl.Int64 if name in instants else dtype for name, dtype in schema.columns.items()}
    return pl.DataFrame(rows, schema=numbers).with_columns(pl.col(instants).cast(INSTANT))


def _step_rows(levels: Levels, place: int) -> list[dict[str, object]]:
    """Each border after which the level stays beyond what it was, and beyond what it usually was."""
    model = levels.models[place]
    rows: list[dict[str, object]] = []
    for border in range(1, model.borders.size - 1):
        sign = math.copysign(1.0, model.levels[border] - model.levels[border - 1])
        lasting = lasting_size(sign * model.levels, np.diff(model.borders), border)
        if lasting < LEAST_SIZE:
            continue
        onset, low, high = _onset(levels, place, border)
        rows.append(
            {
                "kind": "step" if sign > 0 else "improvement",
                "onset": onset,
                "onset_low": low,
                "onset_high": high,
                "settled_at": onset,
                "size_ratio": math.exp(sign * lasting),
                "p": model.p[border - 1],
            }
        )
    return rows


def lasting_size(levels: Floats, lengths: Ints, border: int) -> float:
    """By how much the pieces from ``border`` on stay above the one before it and above most of the time before.

    So neither the rise of an incident that ended nor its end is a lasting change.

    Args:
        levels: of all pieces.
        lengths: of all pieces, in cells.
        border: the first piece after the rise.
    """
    order = np.argsort(levels[:border])
    # the level exceeded in less than half of the time before; the higher one where that is undecided
    share = np.cumsum(lengths[:border][order]) / lengths[:border].sum()
    usual = levels[:border][order][int(np.searchsorted(share, 0.5, side="right"))]
    return float(levels[border:].min() - max(levels[border - 1], usual))


def _onset(levels: Levels, place: int, border: int) -> tuple[int, int, int]:
    """The first call at the new level, and the calls between which it may be."""
    grid, model = levels.grid, levels.models[place]
    calls, spread = grid.calls_of(place), levels.spread[place]
    cell = grid.cells_of(place)
    counts = levels.precision[place, cell] > 0
    low, high = (0, grid.cells) if model.is_rare else _around(model.borders[border - 1 : border + 2], cell[counts])
    is_near = (cell >= low) & (cell < high) & counts
    at, near = grid.at[calls][is_near], cell[is_near]
    x = grid.log_us[calls][is_near] - levels.season[place, near]
    around = model.levels[border - 1 : border + 1]
    x = np.clip(x, around.min() - _STRAY * spread, around.max() + _STRAY * spread)
    first, chance = step_positions(x, spread * math.sqrt(levels.inflation[place]))
    shares = np.searchsorted(np.cumsum(chance), (_ONSET, *_ONSET_RANGE))
    onset, begin, end = (int(instant) for instant in at[first[np.minimum(shares, first.size - 1)]])
    return onset, begin, end


def _around(borders: Ints, cell: Ints) -> tuple[int, int]:
    """The nearer halves of the two pieces between three borders; a whole piece where its nearer half has no calls.

    Args:
        borders: cells.
        cell: of each call that counts, ascending.
    """
    start, border, end = (int(value) for value in borders)
    low, high = (start + border) // 2, (border + end) // 2
    at_low, at_border, at_high = np.searchsorted(cell, (low, border, high))
    return (low if at_low < at_border else start), (high if at_border < at_high else end)


def step_positions(x: Floats, spread: float) -> tuple[Ints, Floats]:
    """How likely each element is to be the first one after the only step of a series.

    The posterior with flat priors on the position and on both levels (Chernoff and Zacks 1964; Smith 1975).

    Args:
        x: values with independent normal errors.
        spread: their standard deviation.

    Returns:
        Elements from the second one on, probabilities that sum to 1.
    """
    before = np.arange(1, x.size)
    pooled = before * (x.size - before) / x.size
    sums = np.cumsum(x)[:-1]
    difference = (x.sum() - sums) / (x.size - before) - sums / before
    log_chance = pooled * (difference / spread) ** 2 / 2 - np.log(pooled) / 2
    chance = np.exp(log_chance - log_chance.max())
    return before, chance / chance.sum()


def _ramp_rows(levels: Levels, place: int, ramp: Ramp) -> list[dict[str, object]]:
    grid = levels.grid
    if abs(ramp.rise) < LEAST_SIZE:
        return []
    precision = levels.precision[place] / levels.inflation[place]
    fit = fit_ramps(grid, levels.values[place], precision, levels.lasting[place], is_linear=ramp.is_linear)
    alike = fit.first[fit.misfit <= fit.misfit.min() + _CHI_SQUARE]
    onset, low, high, settled_at = (
        min(grid.end, grid.start + int(cell) * grid.width)
        for cell in (ramp.first, min(alike.min(), ramp.first), max(alike.max(), ramp.first), ramp.last)
    )
    return [
        {
            "kind": "drift" if ramp.rise > 0 else "improvement",
            "onset": onset,
            "onset_low": low,
            "onset_high": high,
            "settled_at": settled_at,
            "size_ratio": math.exp(ramp.rise),
            "p": levels.models[place].p[0],
        }
    ]


def _scatter_row(levels: Levels, change: ScatterChange) -> dict[str, object]:
    grid = levels.grid
    onset = grid.start + change.cell * grid.width
    return {
        "kind": "variance",
        "onset": onset,
        "onset_low": max(grid.start, onset - _SCATTER_ONSET),
        "onset_high": min(grid.end, onset + _SCATTER_ONSET),
        "settled_at": onset,
        "size_ratio": change.ratio,
        "p": change.p,
    }


def level_episodes(levels: Levels) -> pl.DataFrame:
    """The passing episodes of all operations; pieces on the same side without a call between them are one.

    Returns:
        `EPISODES`.
    """
    grid = levels.grid
    rows: list[dict[str, object]] = []
    previous: Episode | None = None
    for episode in levels.episodes:
        off = episode.level - float(levels.lasting[episode.operation, episode.first : episode.last].mean())
        ratio = math.exp(off)
        end = min(grid.end, grid.start + episode.last * grid.width)
        is_open = _is_open(levels, episode)
        if previous is not None and _are_neighbours(levels, previous, episode):
            farther = max(float(str(rows[-1]["size_ratio"])), ratio, key=lambda r: abs(math.log(r)))
            if (farther > 1) == (ratio > 1):
                rows[-1] |= {"end": end, "size_ratio": farther, "is_open": is_open}
                previous = episode
                continue
        rows.append(
            {
                "operation_type": grid.operations[episode.operation],
                "start": grid.start + episode.first * grid.width,
                "end": end,
                "size_ratio": ratio,
                "is_open": is_open,
            }
        )
        previous = episode
    return _frame(EPISODES, rows).sort("operation_type", "start")


def _is_open(levels: Levels, episode: Episode) -> bool:
    """Whether no call shows its end; after `LEAST_HOURS` without a call it is over."""
    grid = levels.grid
    last_called = int(grid.runs[episode.operation].cell[-1])
    return last_called < episode.last and grid.cells - 1 - episode.last <= grid.cells_in(LEAST_HOURS)


def _are_neighbours(levels: Levels, one: Episode, two: Episode) -> bool:
    """Whether both are of one operation, and it was not called between them."""
    if one.operation != two.operation:
        return False
    between = np.searchsorted(levels.grid.runs[one.operation].cell, (one.last, two.first))
    return bool(between[0] == between[1])
