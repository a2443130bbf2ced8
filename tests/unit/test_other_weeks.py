"""The second generator: its laws against SciPy, its labels against its timings."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.other_laws import Gamma, LogLogistic, OtherLaw, TwoModes, Weibull
from pggit_analytics.evaluation.other_weeks import OtherOptions, make_other_week
from pggit_analytics.evaluation.presets import maker
from pggit_analytics.frames import METRICS

#: law -> distribution of the duration itself
LAWS: list[tuple[OtherLaw, object]] = [
    (Gamma(12.0), stats.gamma(12.0)),
    (Weibull(4.0), stats.weibull_min(4.0)),
    (LogLogistic(0.1), stats.fisk(10.0)),
    (TwoModes(0.2, 1e-12, 1.0), stats.lognorm(0.2)),
]


@pytest.mark.parametrize(("law", "duration"), LAWS)
def test_a_law_has_the_density_of_the_logarithm_and_its_median_is_0(law: OtherLaw, duration: object) -> None:
    middle = duration.median()  # type: ignore[attr-defined]
    at = np.linspace(-0.6, 0.6, 13)
    times = middle * np.exp(at)
    expected = duration.logpdf(times) + np.log(times)  # type: ignore[attr-defined]
    assert law.log_density(at) == pytest.approx(expected, abs=0.01)
    assert math.exp(law.quantile(0.95)) == pytest.approx(duration.ppf(0.95) / middle, rel=2e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("law", [law for law, _ in LAWS] + [TwoModes(0.1, 0.3, 2.0)])
def test_what_is_drawn_has_the_quantiles_of_its_law(law: OtherLaw) -> None:
    drawn = law.draw(100_000, np.random.default_rng(1))
    for share in (0.05, 0.5, 0.95):
        assert (drawn < law.quantile(share)).mean() == pytest.approx(share, abs=0.004)


def test_two_modes_are_a_share_of_calls_so_many_times_as_long() -> None:
    law = TwoModes(0.05, 0.25, 3.0)
    drawn = law.draw(50_000, np.random.default_rng(2))
    is_slow = drawn > 0.5
    assert is_slow.mean() == pytest.approx(0.25, abs=0.01)
    assert np.median(drawn[is_slow]) - np.median(drawn[~is_slow]) == pytest.approx(math.log(3), abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_week_is_well_formed_and_the_same_every_time(seed: int) -> None:
    week = make_other_week(seed)
    METRICS.check(week.metrics)
    assert week.metrics["operation_type"].n_unique() == (5, 33, 60)[seed]
    assert week.metrics["created_at"].max() < week.as_of
    assert week.truth.groups.height >= 1
    assert week.metrics.equals(make_other_week(seed).metrics)


@pytest.mark.parametrize("seed", range(3))
def test_labelled_changes_and_spikes_are_in_the_timings(seed: int) -> None:
    week = make_other_week(seed)
    rows = week.metrics.join(week.truth.rows, on="metric_id")
    for change in week.truth.changes.iter_rows(named=True):
        of = rows.filter(operation_type=change["operation_type"])
        before = of.filter(pl.col("created_at") < change["onset"])["duration_us"].median()
        latest = of.filter(pl.col("created_at") > week.as_of - pl.duration(hours=12))["duration_us"].median()
        if before and latest:
            assert latest / before == pytest.approx(change["factor"], rel=0.45)
    spikes = week.truth.spikes.join(rows, on="metric_id")
    ratio = spikes["duration_us"] / spikes["expected_us"]
    # rounding to a unit of a third of the fastest durations
    assert (ratio / spikes["factor"]).is_between(0.9, 1.1).all()


def test_the_clean_week_is_the_same_system_without_labels() -> None:
    clean = make_other_week(1, OtherOptions(faults=False))
    labels = clean.truth
    assert [f.height for f in (labels.spikes, labels.changes, labels.episodes, labels.groups)] == [0, 0, 0, 0]
    assert labels.breaches["breach_at"].null_count() == labels.breaches.height
    assert clean.metrics.height == make_other_week(1).metrics.height


def test_presets_of_both_generators_go_by_their_names() -> None:
    assert maker("other")(1).metrics.equals(make_other_week(1).metrics)
    with pytest.raises(InvalidArgument, match=r"preset is best, expected one of orientation, .*, other, other_clean"):
        maker("best")
