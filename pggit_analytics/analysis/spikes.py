"""Single calls that took far longer than their operation usually takes.

The residual x of a call is the logarithm of its duration less season and level (`level_changes.Levels`; inside passing
episodes the episode's level, so that a slow hour is no run of slow calls, nor a storm of fast calls a reason to call
ordinary ones slow). The chance of an ordinary call with at least this residual is::

    P(x) = normal_tail(x / sigma) + share x exp(-(x - u) / scale)        u = `TAIL_FROM` x sigma

Where far more calls than a tail has are beyond u, they are a mode, and u is where the slowest `MOST_TAIL` begin. sigma
comes from the lower half of the residuals, which slow calls do not touch. The second part is the tail beyond u (peaks
over threshold: Pickands 1975; Siffer et al. 2017, "Anomaly detection in streams with extreme value theory").
Exceedances of logarithms are taken as exponential (shape 0), that is durations as Pareto-tailed (Hill 1975). The scale
is estimated from exceedances up to `TAIL_TO` only, beyond which spikes would be taken for tail, by the likelihood of
the truncated exponential. One week of one operation holds few such calls, hence the estimates (posterior means of the
logarithm) are drawn to those of all operations, and these to a usual tail (log-normal priors); rare operations borrow
nearly all. One in ten operations may be of another kind, and is drawn less.

The calls told are those that pass the weighted procedure of Benjamini and Hochberg (Genovese, Roeder and Wasserman
2006) over all calls of the window. The wrong ones it allows are shared out to operations by the root of their number of
calls, so that busy operations do not use up what rare ones may say. On data without any spike `FALSE_DISCOVERIES` is
the number of wrong calls to be expected.

An operation with many far calls has a mode or a tail of its own, which is no news: there P is at least what its slowest
calls alone suggest.

Assumptions: residuals of ordinary calls are independent and their lower half is about normal. Limits: calls of less
than `LEAST_TIMES` the expected duration are never told; an operation whose durations have several modes has few
spikes; a tail far heavier than the prior needs some hundred calls beyond u to be believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from pggit_analytics.analysis.call_grid import Flags, Floats, Ints
from pggit_analytics.analysis.followed_levels import Levels
from pggit_analytics.analysis.level_models import passes
from pggit_analytics.analysis.order_statistics import quantile
from pggit_analytics.frames import FrameSchema

#: Slow calls, by operation and metric_id. ``score``: -log10 of P, at most 300. ``times_expected``: duration over the
#: expected one.
SLOW_CALLS = FrameSchema(
    "slow calls",
    {"operation_type": pl.String, "metric_id": pl.Int64, "score": pl.Float64, "times_expected": pl.Float64},
)

#: share of wrong ones among the calls told
FALSE_DISCOVERIES = 0.04
#: times the expected duration below which a call is never told
LEAST_TIMES = 2.75
#: where the tail begins, in sigmas, and the times the expected duration where its estimation ends
TAIL_FROM, TAIL_TO = 3.2, 2.6
#: least width of that range, in logarithms
_LEAST_RANGE = 0.25
#: usual scale of the tail; standard deviations, in logarithms, of all operations about it, of one about all
USUAL_SCALE, SCALE_OF_ALL, SCALE_OF_ONE = 0.14, 0.1, 0.1
#: share of operations that may be of another kind, and their standard deviation about all
OTHERS, SCALE_OF_OTHERS = 0.1, 0.5
#: more calls than this number and share of an operation's beyond `TAIL_FROM` are a mode; then its tail has this share
_LEAST_MODE, MOST_TAIL = 10, 0.02
#: calls that an operation's share of tail calls is drawn to that of all operations by
_SHARE_CALLS = 1.0
#: scales tried
_SCALES = np.exp(np.linspace(math.log(0.04), math.log(0.6), 120))
#: more far calls than this number and share of an operation's calls are no spikes but its own: the probability is then
#: at least that of `_own_tail`, which is of this share and number of its slowest calls, the very slowest left out
MOST_SPIKES, MOST_SHARE = 5.0, 0.01
_OWN_SHARE, _LEAST_OWN, _OWN_KEPT = 0.02, 25, 0.75
#: calls without which sigma is taken from successive differences
_LEAST_HALF = 100
#: quantile the lower half is measured at, in normal units -1.6449
_LOW, _LOW_SIGMAS = 0.05, 1.6448536269514722


def slow_calls(levels: Levels) -> pl.DataFrame:
    """The spikes of all operations.

    Returns:
        `SLOW_CALLS`.
    """
    grid, found = levels.grid, _residuals(levels)
    calls = np.diff(grid.first)
    weights = calls**-0.5 * grid.at.size / max(float((calls**0.5).sum()), 1.0)
    # p is 1 of all other calls, of which those count whose weighted p is small enough
    rest = calls - np.bincount(found.operation, minlength=calls.size)
    others = np.repeat(1 / weights, np.where(1 / weights <= FALSE_DISCOVERIES, rest, 0))
    p = _chances(levels, found)
    weighted = np.concatenate((p / weights[found.operation], others))
    told = np.flatnonzero(passes(weighted, FALSE_DISCOVERIES, grid.at.size)[: p.size])
    names = pl.Series(grid.operations, dtype=pl.String).gather(found.operation[told])
    return pl.DataFrame(
        {
            "operation_type": names,
            "metric_id": grid.metric_id[found.call[told]],
            "score": -np.log10(np.maximum(p[told], 1e-300)),
            "times_expected": np.exp(found.x[told]),
        },
        schema=SLOW_CALLS.columns,
    ).sort("operation_type", "metric_id")


@dataclass(frozen=True, slots=True)
class _Residuals:
    """What is kept of the residuals: those of far calls, and of each operation what its tail is estimated from."""

    #: of each far call: position, position of its operation, residual, and whether it may be learnt from
    call: Ints
    operation: Ints
    x: Floats
    trains: Flags
    #: of each operation: calls that may be learnt from, sigma, where the tail begins, number and sum of the exceedances
    count: Floats
    sigma: Floats
    begin: Floats
    exceeding: Floats
    total: Floats


def _residuals(levels: Levels) -> _Residuals:
    """One operation after the other, so that no more than the residuals of one are held."""
    operations = len(levels.grid.operations)
    count, sigma, begin, exceeding, total = (np.zeros(operations) for _ in range(5))
    far: list[tuple[Ints, Floats, Flags]] = []
    for place, start in enumerate(levels.grid.first[:-1]):
        x, trains = _of_operation(levels, place)
        at = np.flatnonzero(x > math.log(LEAST_TIMES))
        far.append((at + start, x[at], trains[at]))
        learnt = x if trains.all() else x[trains]
        count[place], sigma[place] = learnt.size, _sigma(learnt, float(levels.spread[place]))
        begin[place] = _tail_begin(learnt, float(sigma[place]))
        above = learnt[learnt > begin[place]] - begin[place]
        above = above[above <= _width(begin[place])]
        exceeding[place], total[place] = above.size, above.sum()
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.bool_))
    call, of_far, learnt_from = (np.concatenate(parts) for parts in zip(nothing, *far, strict=True))
    operation = np.repeat(np.arange(operations), [at.size for at, _, _ in far])
    return _Residuals(call, operation, of_far, learnt_from, count, sigma, begin, exceeding, total)


def _of_operation(levels: Levels, operation: int) -> tuple[Floats, Flags]:
    """Of each of its calls: the residual, and whether it may be learnt from."""
    grid, runs = levels.grid, levels.grid.runs[operation]
    expected = levels.season[operation] + np.maximum(levels.local[operation], levels.lasting[operation])
    x = grid.log_us[grid.calls_of(operation)] - runs.at_calls(expected)
    return x, runs.at_calls(levels.trains[operation] & ~levels.is_passing[operation])


def _width(begin: Floats) -> Floats:
    """How far the range of the tail reaches that is estimated from."""
    return np.maximum(math.log(TAIL_TO) - begin, _LEAST_RANGE)


def _chances(levels: Levels, found: _Residuals) -> Floats:
    """Of each far call the probability of an ordinary one with at least its residual."""
    p = _tails(found).chance(found.x, found.operation)
    far = np.bincount(found.operation[found.trains], minlength=found.count.size)
    for place in np.flatnonzero(far > MOST_SPIKES + MOST_SHARE * found.count):
        x, trains = _of_operation(levels, int(place))
        slow = found.operation == place
        p[slow] = np.maximum(p[slow], _own_tail(x[trains], found.x[slow]))
    return p


@dataclass(frozen=True, slots=True)
class _Tails:
    """The upper tails of the operations' ordinary residuals."""

    sigma: Floats
    #: where they begin
    begin: Floats
    share: Floats
    scale: Floats

    def chance(self, x: Floats, operation: Ints) -> Floats:
        """Probability of an ordinary residual of at least x."""
        sigma = self.sigma[operation]
        beyond = np.maximum(x - self.begin[operation], 0.0)
        # Mills' bound, 10 % above the normal tail where that matters
        normal = np.exp(-((x / sigma) ** 2) / 2) * sigma / x / math.sqrt(2 * math.pi)
        return np.asarray(normal + self.share[operation] * np.exp(-beyond / self.scale[operation]), dtype=np.float64)


def _own_tail(x: Floats, at: Floats) -> Floats:
    """Probability of at least ``at`` by the slowest 2 % of an operation alone (Hill 1975), whatever they are."""
    count = min(x.size, max(_LEAST_OWN, round(_OWN_SHARE * x.size)))
    tail = np.sort(x)[x.size - count :]
    # censored, lest a few spikes among them count much (Epstein and Sobel 1953)
    kept = max(1, round(_OWN_KEPT * count))
    scale = (float((tail[:kept] - tail[0]).sum()) + (count - kept) * float(tail[kept - 1] - tail[0])) / kept
    return np.asarray(count / x.size * np.exp(-np.maximum(at - tail[0], 0.0) / max(scale, 1e-6)), dtype=np.float64)


def _tails(found: _Residuals) -> _Tails:
    width = _width(found.begin)
    calls, total = _without_normal(found.exceeding, found.total, found.count, found.sigma, found.begin)
    scale = tail_scales(calls, total, width)
    common = max(float(calls.sum()), 1.0) / max(float(found.count.sum()), 1.0)
    share = (calls + _SHARE_CALLS) / (found.count + _SHARE_CALLS / common) / (1 - np.exp(-width / scale))
    return _Tails(found.sigma, found.begin, share, scale)


def _tail_begin(x: Floats, sigma: float) -> float:
    """Where the tail begins: later where so many calls are beyond `TAIL_FROM` that they are a mode of their own."""
    begin = TAIL_FROM * sigma
    if (x > begin).sum() <= _LEAST_MODE + MOST_TAIL * x.size:
        return begin
    return float(np.quantile(x, 1 - MOST_TAIL))


def _sigma(x: Floats, otherwise: float) -> float:
    if x.size < _LEAST_HALF:
        return otherwise
    return max((quantile(x, 0.5) - quantile(x, _LOW)) / _LOW_SIGMAS, 1e-3)


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _without_normal(calls: Floats, total: Floats, count: Floats, sigma: Floats, begin: Floats) -> tuple[Floats, Floats]:
    """Number and sum of exceedances less those to be expected of normal residuals."""
    z = begin / sigma
    chance = np.array([_normal_tail(value) for value in z.tolist()])
    mean = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / np.maximum(chance, 1e-300) - z
    left = np.maximum(calls - count * chance, 0.0)
    return left, np.where(left > 0, np.maximum(total - count * chance * mean * sigma, 0.03 * left), 0.0)


def tail_scales(calls: Floats, total: Floats, width: Floats) -> Floats:
    """Scales of exponential tails of which only exceedances up to ``width`` are seen, one for each operation.

    Drawn to their common value, the one under which the exceedances of all are likeliest (empirical Bayes; Efron and
    Morris 1975). An operation is one value of it, however many calls it has, lest the mode of a busy one be their tail.

    Args:
        calls: number of exceedances.
        total: their sum.
        width: 0 < exceedance <= width.
    """
    columns = (calls[:, None], total[:, None], width[:, None])
    misfit = columns[0] * (np.log(_SCALES) + np.log1p(-np.exp(-columns[2] / _SCALES))) + columns[1] / _SCALES
    logs = np.log(_SCALES)
    # (common scale, scale): the law of an operation's scale given the common one
    alike, other = (-0.5 * ((logs - logs[:, None]) / scatter) ** 2 for scatter in (SCALE_OF_ONE, SCALE_OF_OTHERS))
    alike, other = (law - np.logaddexp.reduce(law, axis=1)[:, None] for law in (alike, other))
    law = np.logaddexp(math.log1p(-OTHERS) + alike, math.log(OTHERS) + other)
    evidence = np.logaddexp.reduce(law[None] - misfit[:, None, :], axis=2).sum(axis=0)
    common = int((0.5 * ((logs - math.log(USUAL_SCALE)) / SCALE_OF_ALL) ** 2 - evidence).argmin())
    posterior = law[common] - misfit
    posterior = np.exp(posterior - posterior.max(axis=1)[:, None])
    return np.asarray(np.exp(posterior @ logs / posterior.sum(axis=1)), dtype=np.float64)
