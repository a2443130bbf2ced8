"""What can be found at all: likelihood-ratio tests of an observer who knows the noise, the level and the load.

The observer knows what no engine does: the law of every operation's noise, the median of every single call without the
fault in question, and, for a step, when it would have begun. By the Neyman-Pearson lemma no test finds more at the same
rate of false alarms; with a prior over unknown sizes that holds on average over the prior.

- Spikes. For each call outside labelled episodes and changes, with x = log(duration / expected duration):
  log p1(x) - log p0(x) + log w. p0 is the operation's noise law, p1 uniform in x over the class (log 3..log 8 or
  log 8..log 30, the law the spikes are drawn from), w the operation's number of spikes to be expected over its number
  of calls. The alarms are the calls with the highest values.
- Small steps. For each operation with one, and for each without any change or episode at several times drawn as onsets
  are: the logarithm of the mean, over 16 sizes spread evenly over +10..35 %, of the likelihood ratio of all calls since
  then. The alarms are the operations with the highest values.

The rate of false alarms is made the engine's own: the threshold is the one at which the observer raises as many false
alarms over all weeks, per ordinary call or per unchanged operation, as the engine did in that class. Where the engine
raised none it is given half of one: a count of 0 does not show a rate of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.noise import DurationLaw
from pggit_analytics.evaluation.truth import LARGE_CHANGE, SPIKE_CLASSES, LabelledWeek

Floats = NDArray[np.float64]

#: class of spikes -> its factors
_RANGES = {SPIKE_CLASSES[0]: (3.0, 8.0), SPIKE_CLASSES[1]: (8.0, 30.0)}
_SIZES = np.log(np.linspace(1.10, LARGE_CHANGE, 16))
#: times at which an unchanged operation is tried, drawn like onsets: 0.75 to 5.5 days before the end
CANDIDATES, _ONSET_DAYS = 20, (0.75, 5.5)
#: false alarms granted where the engine raised none
NO_ALARM = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """Values of one test: where there is something, where there is nothing, and how many decisions that is."""

    present: Floats
    absent: Floats
    #: decisions an engine makes where there is nothing; ``absent`` may hold several values for each
    decisions: float


def spike_evidence(week: LabelledWeek, spike_class: str) -> Evidence:
    """The test of every call of a week for one class of spikes; see the module.

    Args:
        week: any labelled week.
        spike_class: one of `truth.SPIKE_CLASSES`.

    Raises:
        InvalidArgument: there is no such class.
    """
    if spike_class not in _RANGES:
        raise InvalidArgument(f"spike_class is {spike_class}, expected one of {', '.join(_RANGES)}")
    low, high = np.log(_RANGES[spike_class])
    calls = _ordinary_calls(week, spike_class)
    parts: list[Floats] = []
    flags: list[NDArray[np.bool_]] = []
    for (name,), of_operation in calls.partition_by("operation_type", as_dict=True).items():
        x = of_operation["x"].to_numpy()
        is_within = (x >= low - 1e-4) & (x <= high + 1e-4)
        # the root of the rate over the rate: how the generator spreads spikes over operations and calls
        prior = -0.5 * np.log(x.size)
        ratio = -np.log(high - low) - week.truth.laws[str(name)].log_density(x) + prior
        parts.append(np.where(is_within, ratio, -np.inf))
        flags.append(of_operation["is_spike"].to_numpy())
    values = np.concatenate(parts) if parts else np.empty(0)
    is_spike = np.concatenate(flags) if flags else np.empty(0, dtype=np.bool_)
    return Evidence(values[is_spike], values[~is_spike], float((~is_spike).sum()))


def _ordinary_calls(week: LabelledWeek, spike_class: str) -> pl.DataFrame:
    """Calls outside episodes and changes with x and whether they are spikes of the class; other spikes left out."""
    of_class = week.truth.spikes.filter(spike_class=spike_class)
    others = week.truth.spikes.filter(pl.col("spike_class") != spike_class)
    return (
        week.metrics.join(week.truth.rows, on="metric_id", maintain_order="left")
        .filter(~pl.col("is_neutral"))
        .join(others, on="metric_id", how="anti", maintain_order="left")
        .select(
            "operation_type",
            (pl.col("duration_us") / pl.col("expected_us")).log().alias("x"),
            pl.col("metric_id").is_in(of_class["metric_id"].to_list()).alias("is_spike"),
        )
    )


def step_evidence(week: LabelledWeek, seed: int) -> Evidence:
    """The test of every operation of a week for a small step; see the module.

    Args:
        week: any labelled week.
        seed: for the times at which unchanged operations are tried.
    """
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x57E9]))
    changes, end = week.truth.changes, _microseconds(pl.Series([week.as_of]))[0]
    small = changes.filter((pl.col("kind") == "step") & (pl.col("factor") < LARGE_CHANGE) & (pl.col("cause") == "own"))
    onsets = dict(zip(small["operation_type"], _microseconds(small["onset"]), strict=True))
    steps = {name: float(np.log(factor)) for name, factor in small.select("operation_type", "factor").iter_rows()}
    touched = set(changes["operation_type"]) | set(week.truth.episodes["operation_type"])
    rows = week.metrics.join(week.truth.rows, on="metric_id").sort("operation_type", "created_at")
    present, absent, unchanged = [], [], 0
    for (key,), of_operation in rows.partition_by("operation_type", as_dict=True, maintain_order=True).items():
        name, at = str(key), _microseconds(of_operation["created_at"])
        x = np.log(of_operation["duration_us"].to_numpy() / of_operation["expected_us"].to_numpy())
        if name in onsets:
            since = at >= onsets[name]
            present += [_step_ratio(x[since] + steps[name], week.truth.laws[name])]
        elif name not in touched:
            unchanged += 1
            tried = end - random.uniform(*_ONSET_DAYS, CANDIDATES) * 86_400e6
            absent.append(_step_ratios(x, at.searchsorted(tried), week.truth.laws[name]))
    return Evidence(np.array(present), np.concatenate(absent) if absent else np.empty(0), float(unchanged))


def _microseconds(instants: pl.Series) -> NDArray[np.int64]:
    return np.asarray(instants.dt.epoch("us").to_numpy(), dtype=np.int64)


def _step_ratio(x: Floats, law: DurationLaw) -> float:
    """The test over all of ``x``, the logarithms of duration over duration expected without a step."""
    return float(_step_ratios(x, np.zeros(1, dtype=np.int64), law)[0])


def _step_ratios(x: Floats, first: NDArray[np.int64], law: DurationLaw) -> Floats:
    """The test over the calls from each of these positions to the last one."""
    ordinary = law.log_density(x)
    sums = []
    for size in _SIZES:
        gain = law.log_density(x - size) - ordinary
        sums.append(np.concatenate((np.cumsum(gain[::-1])[::-1], [0.0]))[first])
    stacked = np.stack(sums)
    return np.asarray(np.logaddexp.reduce(stacked, axis=0) - np.log(_SIZES.size), dtype=np.float64)


def reachable_recall(evidence: Sequence[Evidence], false_alarms: float) -> float | None:
    """The share found by the observer, over several weeks, at the engine's rate of false alarms.

    Args:
        evidence: of one test, one per week.
        false_alarms: raised by the engine over all these weeks in the same class.

    Returns:
        0 to 1, or None where there was nothing to find.
    """
    present = np.concatenate([of.present for of in evidence]) if evidence else np.empty(0)
    if present.size == 0:
        return None
    absent = np.sort(np.concatenate([of.absent for of in evidence]))[::-1]
    decisions = sum(of.decisions for of in evidence)
    rate = max(false_alarms, NO_ALARM) / decisions if decisions else 1.0
    allowed = int(rate * absent.size)
    threshold = absent[allowed] if allowed < absent.size else -np.inf
    return float((present > threshold).mean())
