"""The engine on labelled weeks that were not used to choose its constants: well above what is asked of many weeks."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest

from pggit_analytics.evaluation.engine import incident_engine
from pggit_analytics.evaluation.runner import evaluate

SEEDS = (300, 301, 302)


@cache
def _table() -> pl.DataFrame:
    return evaluate(incident_engine, ["full", "clean", "forecast"], SEEDS)


def _results() -> dict[tuple[str, str], float]:
    table = _table()
    return {(r["preset"], r["measure"]): r["value"] for r in table.filter(pl.col("value").is_not_null()).to_dicts()}


@pytest.mark.parametrize(
    ("preset", "measure", "least"),
    [
        ("full", "spikes 3-8x precision", 0.85),
        ("full", "spikes 3-8x recall", 0.7),
        ("full", "spikes 8-30x precision", 0.97),
        ("full", "spikes 8-30x recall", 0.95),
        ("full", "changes from +35 % F1", 0.95),
        ("full", "steps +10 to +35 % precision", 0.8),
        ("full", "steps +10 to +35 % recall", 0.6),
        ("full", "improvement changes F1", 0.7),
        ("full", "variance changes F1", 0.7),
        ("forecast", "changes from +35 % F1", 0.97),
        ("forecast", "breaches foretold 24-48 h ahead", 0.8),
    ],
)
def test_what_is_in_a_week_is_found(preset: str, measure: str, least: float) -> None:
    assert _results()[preset, measure] >= least


def test_large_steps_are_dated_to_minutes_and_few_forecasts_are_false() -> None:
    assert _results()["full", "onset error of large steps, min median"] <= 15
    assert _results()["forecast", "false forecasts"] <= 0.1


def test_next_to_nothing_is_told_of_clean_weeks() -> None:
    told = _table().filter(pl.col("measure").str.ends_with("precision"), preset="clean")
    # one call a week at most; each counts in its class and among all
    assert told["events"].sum() <= 2 * len(SEEDS)
