"""The scenarios of data/fixtures: small databases and the answers that were derived for them elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from pggit_analytics import frames
from pggit_analytics.parity import Inputs, Parameters

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"

_DECIMALS = ("z_score_threshold", "threshold_percent", "correlation_threshold")


@dataclass(frozen=True)
class Scenario:
    """One of them."""

    name: str
    inputs: Inputs
    parameters: Parameters
    #: arguments other than as_of that differ from the defaults
    arguments: dict[str, Any]
    #: with every column of the frame schema asked for
    expected: pl.DataFrame

    def __str__(self) -> str:
        return self.name


def scenarios(stem: str, schema: frames.FrameSchema) -> list[Scenario]:
    """All scenarios of the fixture ``stem``; the answers have the columns of ``schema``."""
    directory = FIXTURES / stem
    timings = pl.read_csv(
        directory / "input.csv",
        schema_overrides={"scenario": pl.String, **frames.METRICS.columns, "created_at": pl.String},
    ).with_columns(pl.col("created_at").str.to_datetime(time_unit="us", time_zone="UTC"))
    types = {name: dtype for name, dtype in schema.columns.items() if name != "detected_at"}
    answers = pl.read_csv(directory / "expected.csv", schema_overrides={"scenario": pl.String, **types})
    described = json.loads((directory / "parameters.json").read_text(encoding="utf-8"))
    assert set(timings["scenario"]) | set(answers["scenario"]) <= set(described)
    return [
        _scenario(name, d, timings.filter(scenario=name), answers.filter(scenario=name), schema)
        for name, d in described.items()
    ]


def _scenario(
    name: str, described: dict[str, Any], timings: pl.DataFrame, answers: pl.DataFrame, schema: frames.FrameSchema
) -> Scenario:
    as_of = datetime.fromisoformat(described["as_of"]).astimezone(UTC)
    arguments = {k: Decimal(v) if k in _DECIMALS else v for k, v in described["arguments"].items()}
    metrics = timings.select(list(frames.METRICS.columns))
    known = sorted({*metrics["operation_type"], *described["idle"]})
    expected = answers.drop("scenario")
    if "detected_at" in schema.columns:
        expected = expected.with_columns(pl.lit(as_of).cast(frames.INSTANT).alias("detected_at"))
    return Scenario(
        name,
        Inputs(
            metrics=metrics,
            baselines=_valid_baselines(described["baselines"]),
            operation_types=_operation_types(known, described["untracked"]),
            active_baselines=_active_baselines(described["baselines"]),
            held_operations=frozenset(described["held"]),
        ),
        Parameters(as_of=as_of, operations=tuple(known), **arguments),
        arguments,
        expected.select(list(schema.columns)),
    )


def _valid_baselines(given: list[dict[str, Any]]) -> pl.DataFrame:
    return frames.BASELINES.frame(
        [
            {
                "operation_type": b["operation_type"],
                "baseline_id": -number,
                "p99_us": b["p99_us"],
                "alert_threshold_multiplier": float(b["multiplier"]),
            }
            for number, b in enumerate(given, 1)
            if b["state"] in ("active", "superseded")
        ]
    )


def _active_baselines(given: list[dict[str, Any]]) -> pl.DataFrame:
    return frames.ACTIVE_BASELINES.frame(
        [
            {
                "operation_type": b["operation_type"],
                "baseline_id": -number,
                "p99_us": b["p99_us"],
                "is_newer_than_as_of": b["state"] == "newer",
            }
            for number, b in enumerate(given, 1)
            if b["state"] in ("active", "newer")
        ]
    )


def _operation_types(known: list[str], untracked: list[str]) -> pl.DataFrame:
    return frames.OPERATION_TYPES.frame(
        [
            {
                "operation_type": name,
                "category": "UNKNOWN",
                "typical_duration_ms": None,
                "is_tracked": name not in untracked,
            }
            for name in known
        ]
    )


def assert_same(answer: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Keys, order, flags and instants exactly, floating statistics to 1e-9 relative."""
    from polars.testing import assert_frame_equal

    assert_frame_equal(answer, expected, check_exact=False, rel_tol=1e-9, abs_tol=0.0)
