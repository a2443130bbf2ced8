"""When a drifting operation will break its limit.

The limit is for the 95th percentile of durations at mean load. Its logarithm less that of the percentile of the
operation's residuals is the level at which the limit is broken. Of every operation with a significant drift
(`level_changes`) four courses are fitted by least squares to the adjusted cells: growth by equal amounts (linear in
milliseconds) or by equal ratios (linear in logarithms), each still going on or levelled off some hours ago. Nothing is
foretold unless going on explains the data nearly as well as having levelled off (BIC, Schwarz 1978).

The better course that goes on is fitted once more, from its beginning on, by weighted least squares with
heteroskedasticity and autocorrelation consistent errors (Newey and West 1987; statsmodels), and continued until it
crosses the level. The interval is where the 95 % band of the line crosses it (Fieller 1954 inverts the same band),
widened by the error of the percentile and of the season; where equal amounts and equal ratios cannot be told apart it
spans both.

Limits: a drift is taken to go on as it did; nothing is said more than `HORIZON_HOURS` ahead, nor of an operation that
is over its limit already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import HOUR, Floats
from pggit_analytics.analysis.followed_levels import LEVEL_ERROR, Levels
from pggit_analytics.analysis.level_models import fit_ramps
from pggit_analytics.frames import INSTANT, FrameSchema

#: Limits for the 95th percentile at mean load.
LIMITS = FrameSchema("limits", {"operation_type": pl.String, "sla_ms": pl.Float64})

#: When limits will be broken, by operation. ``low`` and ``high``: 95 % interval, ``high`` at most two weeks.
BREACH_FORECASTS = FrameSchema(
    "breach forecasts",
    {"operation_type": pl.String, "breach_at": INSTANT, "low": INSTANT, "high": INSTANT},
)

#: how far ahead something is said
HORIZON_HOURS = 72.0
PERCENTILE = 0.95
#: least time since a drift ended for it to count as levelled off, in hours
_LEVELLED_HOURS = 6.0
#: by how much of log(cells) levelling off must explain the data better to be believed
LEVELLED_PENALTY = 1.5
#: difference of the sums of squares up to which both courses are believed; generous, for neither shape is the true one
_ALIKE = 12.0
_BAND = 1.959964
#: hours over which errors are alike, and how far a line is continued
_LAG_HOURS, _SEEN_HOURS = 6.0, 14 * 24.0


@dataclass(frozen=True, slots=True)
class _Drift:
    """The adjusted cells of one operation, what they lead to, and how exactly that is known."""

    cells_per_hour: float
    values: Floats
    precision: Floats
    #: the level at which the limit is broken, and its standard error
    target: float
    error: float


@dataclass(frozen=True, slots=True)
class _Course:
    """One fitted course: its sum of squares, first cell, and whether it is linear in milliseconds."""

    misfit: float
    first: int
    is_linear: bool


@dataclass(frozen=True, slots=True)
class _Crossing:
    """Hours after the last cell at which a course crosses the target, with the interval; infinite: not to be seen."""

    at: float
    low: float
    high: float


def breach_forecasts(levels: Levels, changes: pl.DataFrame, limits: pl.DataFrame) -> pl.DataFrame:
    """The breaches to be expected within the horizon.

    Args:
        levels: the followed levels.
        changes: `level_changes.LEVEL_CHANGES` of them.
        limits: `LIMITS`; operations without one are left out.

    Returns:
        `BREACH_FORECASTS`.
    """
    grid = levels.grid
    drifting = changes.filter(kind="drift").join(limits, on="operation_type").sort("operation_type")
    end = grid.start + grid.cells * grid.width
    rows: list[tuple[object, ...]] = []
    for name, limit in drifting.select("operation_type", "sla_ms").iter_rows():
        found = _forecast(levels, grid.operations.index(name), math.log(1000.0 * limit))
        if found is not None:
            rows.append((name, *(int(end + hours * HOUR) for hours in (found.at, found.low, found.high))))
    numbers = {name: pl.Int64 if dtype == INSTANT else dtype for name, dtype in BREACH_FORECASTS.columns.items()}
    frame = pl.DataFrame(rows, schema=numbers, orient="row")
    return frame.with_columns(pl.col("breach_at", "low", "high").cast(INSTANT))


def _forecast(levels: Levels, place: int, limit: float) -> _Crossing | None:
    """When an operation reaches its limit, a logarithm of microseconds; None: not to be foretold."""
    values, precision = levels.values[place], levels.precision[place] / levels.inflation[place]
    going_on, levelled = _courses(levels, place)
    best = min(going_on, key=lambda course: course.misfit)
    if best.misfit - min(levelled) > LEVELLED_PENALTY * math.log((precision > 0).sum()):
        return None
    percentile, of_percentile = _percentile(levels, place)
    error = math.hypot(of_percentile, LEVEL_ERROR)
    drift = _Drift(levels.grid.cells_per_hour, values, precision, limit - percentile, error)
    expected = _crossing(drift, best)
    if not 0 < expected.at <= HORIZON_HOURS:
        return None
    alike = [_crossing(drift, course) for course in going_on if course.misfit - best.misfit < _ALIKE]
    return _Crossing(expected.at, min(c.low for c in alike), min(_SEEN_HOURS, max(c.high for c in alike)))


def _percentile(levels: Levels, place: int) -> tuple[float, float]:
    """The residual that 95 % of the operation's calls stay below, passing episodes left out, and its standard error.

    The error is from the distance between the quantiles one binomial standard deviation beside it (Woodruff 1952).
    """
    grid = levels.grid
    rest = levels.residuals(place)[~grid.runs[place].at_calls(levels.is_passing[place])]
    beside = math.sqrt(PERCENTILE * (1 - PERCENTILE) / rest.size)
    low, middle, high = np.quantile(rest, [PERCENTILE - beside, PERCENTILE, min(1.0, PERCENTILE + beside)])
    return float(middle), float(high - low) / 2


def _courses(levels: Levels, place: int) -> tuple[list[_Course], list[float]]:
    """The courses that go on, and the sums of squares of those that have levelled off."""
    grid = levels.grid
    values, precision = levels.values[place], levels.precision[place] / levels.inflation[place]
    going_on, levelled = [], []
    for is_linear in (False, True):
        fit = fit_ramps(grid, values, precision, levels.lasting[place], is_linear=is_linear)
        misfit = np.where(fit.rise > 0, fit.misfit, np.inf)
        has_levelled = fit.last <= grid.cells - grid.cells_in(_LEVELLED_HOURS)
        best = int(np.where(fit.last == grid.cells, misfit, np.inf).argmin())
        going_on.append(_Course(float(misfit[best]), int(fit.first[best]), is_linear))
        levelled.append(float(np.where(has_levelled, misfit, np.inf).min()))
    return going_on, levelled


def _crossing(drift: _Drift, course: _Course) -> _Crossing:
    """Where a straight line through the course since its beginning, and the band about it, reach the target."""
    # a second at start-up, and few runs have a drift
    from statsmodels.regression.linear_model import WLS

    used = np.flatnonzero((drift.precision > 0) & (np.arange(drift.values.size) >= course.first))
    x = np.column_stack((np.ones(used.size), (used + 0.5 - drift.values.size) / drift.cells_per_hour))
    y, weight, target, error = drift.values[used], drift.precision[used], drift.target, drift.error
    if course.is_linear:
        rough = WLS(y, x, weights=weight).fit().fittedvalues
        y, weight, target = np.exp(y - target), weight * np.exp(2 * (target - rough)), 1.0
    lags = max(1, round(_LAG_HOURS * drift.cells_per_hour))
    fit = WLS(y, x, weights=weight).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    ahead = np.arange(0.0, _SEEN_HOURS, 0.25)
    at = np.column_stack((np.ones(ahead.size), ahead))
    line, variance = at @ fit.params, np.einsum("ij,jk,ik->i", at, fit.cov_params(), at)
    band = _BAND * np.sqrt(variance + error**2)
    return _Crossing(*(_first_reaching(ahead, curve, target) for curve in (line, line + band, line - band)))


def _first_reaching(at: Floats, curve: Floats, target: float) -> float:
    above = np.flatnonzero(curve >= target)
    return float(at[above[0]]) if above.size else float("inf")
