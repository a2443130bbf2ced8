"""Pooled measures, on numbers small enough to be done by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.pooling import BOOTSTRAP_SEED, MEASURES, RESAMPLES, Counts, Tally, pooled


def value(table: pl.DataFrame, measure: str, column: str = "value") -> float | None:
    """One number of the table."""
    return table.filter(measure=measure)[column].item()


def test_precision_recall_and_f1_come_from_the_pooled_counts() -> None:
    # 8 right, 2 wrong, 4 missed in all; the mean over the weeks would give a precision of (6 / 6 + 2 / 4) / 2 = 0.75
    table = pooled([Tally({"x": Counts(6, 0, 1)}), Tally({"x": Counts(2, 2, 3)})])
    assert value(table, "x precision") == pytest.approx(8 / 10)
    assert value(table, "x recall") == pytest.approx(8 / 12)
    assert value(table, "x F1") == pytest.approx(16 / 22)
    assert [value(table, f"x {m}", "events") for m in ("precision", "recall", "F1")] == [10, 12, 14]
    assert MEASURES.check(table) is table


def test_ratios_add_numerators_and_denominators() -> None:
    table = pooled([Tally(ratios={"pages a day": (3, 7)}), Tally(ratios={"pages a day": (1, 9)})])
    assert value(table, "pages a day") == pytest.approx(4 / 16)


def test_amounts_are_pooled_before_the_median_and_the_90th_percentile() -> None:
    table = pooled([Tally(amounts={"error": (1.0, 2.0, 3.0)}), Tally(amounts={"error": (10.0, 20.0)})])
    assert value(table, "error median") == 3.0
    # position 0.9 x 4 = 3.6 of 1, 2, 3, 10, 20
    assert value(table, "error p90") == pytest.approx(10 + 0.6 * 10)


def test_where_nothing_was_to_be_measured_the_value_is_null() -> None:
    table = pooled([Tally({"x": Counts(0, 0, 5)}, {"r": (0, 0)}, {"a": ()})] * 2)
    assert value(table, "x precision") is None
    assert value(table, "x recall") == 0.0
    assert value(table, "r") is None
    assert value(table, "a median") is None


def test_the_interval_is_the_percentile_interval_of_weeks_drawn_with_replacement() -> None:
    weeks = [(1, 1), (3, 1), (0, 4), (2, 2), (5, 0)]
    table = pooled([Tally({"x": Counts(right, wrong, 0)}) for right, wrong in weeks])
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(0, 5, (RESAMPLES, 5))
    precisions = []
    for draw in drawn:
        right, wrong = sum(weeks[k][0] for k in draw), sum(weeks[k][1] for k in draw)
        if right + wrong:
            precisions.append(right / (right + wrong))
    low, high = np.quantile(precisions, [0.025, 0.975])
    assert value(table, "x precision", "low") == pytest.approx(low)
    assert value(table, "x precision", "high") == pytest.approx(high)


def test_equal_weeks_give_an_interval_of_no_width() -> None:
    table = pooled([Tally({"x": Counts(3, 1, 0)})] * 4)
    assert (value(table, "x precision", "low"), value(table, "x precision", "high")) == (0.75, 0.75)


def test_a_single_week_has_no_interval() -> None:
    table = pooled([Tally({"x": Counts(3, 1, 0)}, amounts={"a": (1.0,)})])
    assert value(table, "x precision", "low") is None
    assert value(table, "a median", "high") is None


def test_no_week_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="tallies is empty"):
        pooled([])
