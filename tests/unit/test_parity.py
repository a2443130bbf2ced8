"""How two answers are compared: what counts as the same, and that everything else is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pggit_analytics.parity import TOLERANCE, differences

INSTANT = datetime(2026, 1, 31, tzinfo=UTC)


def _frame(**changes: object) -> pl.DataFrame:
    row = {"name": "commit", "id": 1, "z": 3.5, "flag": True, "at": INSTANT} | changes
    return pl.DataFrame(
        [row],
        schema={
            "name": pl.String,
            "id": pl.Int64,
            "z": pl.Float64,
            "flag": pl.Boolean,
            "at": pl.Datetime("us", "UTC"),
        },
    )


def test_equal_answers_have_no_difference() -> None:
    assert differences(_frame(), _frame()) == []
    assert differences(_frame().clear(), _frame().clear()) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "merge"),
        ("name", None),
        ("id", 2),
        ("id", None),
        ("z", 3.6),
        ("z", None),
        ("z", -3.5),
        ("z", float("nan")),
        ("z", float("inf")),
        ("flag", False),
        ("flag", None),
        ("at", INSTANT + timedelta(microseconds=1)),
    ],
)
def test_a_cell_that_differs_is_named_either_way_round(column: str, value: object) -> None:
    other = _frame(**{column: value})
    for one, two in ((_frame(), other), (other, _frame())):
        found = differences(one, two)
        assert len(found) == 1
        assert found[0].startswith(f"row 0, {column}: ")


def test_null_is_equal_to_null_and_to_nothing_else() -> None:
    assert differences(_frame(z=None), _frame(z=None)) == []
    assert differences(_frame(z=None), _frame(z=0.0)) != []


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_floats_may_differ_by_a_billionth_and_no_more(scale: float) -> None:
    assert TOLERANCE == 1e-9
    assert differences(_frame(z=scale), _frame(z=scale * (1 + 0.9e-9))) == []
    assert len(differences(_frame(z=scale), _frame(z=scale * (1 + 1.1e-9)))) == 1


def test_zero_is_no_small_number() -> None:
    assert differences(_frame(z=0.0), _frame(z=-0.0)) == []
    assert len(differences(_frame(z=0.0), _frame(z=1e-300))) == 1


def test_the_number_of_rows_counts() -> None:
    two = pl.concat([_frame(), _frame()])
    assert differences(_frame(), two) == ["1 rows in SQL, 2 in the dataframes"]


def test_the_order_of_rows_counts() -> None:
    one, two = _frame(name="a"), _frame(name="b")
    found = differences(pl.concat([one, two]), pl.concat([two, one]))
    assert found == [
        "row 0, name: 'a' in SQL, 'b' in the dataframes",
        "row 1, name: 'b' in SQL, 'a' in the dataframes",
    ]


def test_the_columns_and_their_types_count() -> None:
    assert "columns differ" in differences(_frame(), _frame().drop("flag"))[0]
    assert "columns differ" in differences(_frame(), _frame().with_columns(pl.col("id").cast(pl.Float64)))[0]
