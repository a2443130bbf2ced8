"""Boundary frames: what a schema accepts, and what it says about the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from pggit_analytics import frames
from pggit_analytics.errors import InvalidData

ROW: dict[str, Any] = {
    "metric_id": 1,
    "operation_type": "commit",
    "duration_us": 5,
    "created_at": datetime(2026, 1, 31, tzinfo=UTC),
}

SCHEMAS = [value for value in vars(frames).values() if isinstance(value, frames.FrameSchema)]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_an_empty_frame_of_a_schema_passes_its_own_check(schema: frames.FrameSchema) -> None:
    empty = schema.empty()
    assert schema.check(empty) is empty
    assert empty.columns == list(schema.columns)
    assert schema.frame([]).schema == empty.schema


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_what_may_be_null_is_a_column(schema: frames.FrameSchema) -> None:
    assert schema.nullable <= set(schema.columns)


def test_names_of_schemas_are_unique() -> None:
    assert len({schema.name for schema in SCHEMAS}) == len(SCHEMAS)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_every_instant_is_utc_in_microseconds(schema: frames.FrameSchema) -> None:
    for dtype in schema.columns.values():
        if isinstance(dtype, pl.Datetime):
            assert dtype == pl.Datetime("us", "UTC")


def test_a_frame_that_fits_is_returned_as_it_is() -> None:
    frame = frames.METRICS.frame([ROW])
    assert frames.METRICS.check(frame) is frame


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (frames.METRICS.frame([ROW]).drop("duration_us"), "column duration_us is missing, expected Int64"),
        (
            frames.METRICS.frame([ROW]).with_columns(pl.col("duration_us").cast(pl.Float64)),
            "column duration_us is Float64, expected Int64",
        ),
        (
            frames.METRICS.frame([ROW]).with_columns(pl.col("created_at").dt.replace_time_zone(None)),
            "column created_at is Datetime(time_unit='us', time_zone=None), expected",
        ),
        (frames.METRICS.frame([ROW]).with_columns(extra=1), "unexpected column extra"),
        (frames.METRICS.frame([ROW, ROW | {"duration_us": None}]), "column duration_us holds 1 NULL"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_with_the_difference(frame: pl.DataFrame, fault: str) -> None:
    with pytest.raises(InvalidData) as caught:
        frames.METRICS.check(frame)
    assert str(caught.value).startswith(f"metrics: {fault}")


def test_every_difference_is_named() -> None:
    frame = frames.METRICS.frame([ROW]).drop("metric_id").with_columns(extra=1)
    with pytest.raises(InvalidData, match=r"^metrics: column metric_id is missing.*; unexpected column extra$"):
        frames.METRICS.check(frame)


def test_null_is_accepted_where_the_schema_allows_it() -> None:
    row = {"operation_type": "commit", "category": "WRITE", "typical_duration_ms": None, "is_tracked": True}
    frames.OPERATION_TYPES.check(frames.OPERATION_TYPES.frame([row]))


def test_severities_are_ordered_most_severe_first() -> None:
    found = pl.Series(["INFO", "CRITICAL", "WARNING"]).cast(frames.SEVERITIES).sort()
    assert found.cast(pl.String).to_list() == ["CRITICAL", "WARNING", "INFO"]
