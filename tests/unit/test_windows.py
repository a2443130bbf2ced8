"""Which rows lie in a window of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pggit_analytics.analysis.windows import between
from pggit_analytics.frames import INSTANT

START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rows(*minutes: int | None) -> pl.DataFrame:
    """Rows so many minutes after the start."""
    instants = [None if minute is None else START + minute * MINUTE for minute in minutes]
    return pl.DataFrame({"created_at": instants}, schema={"created_at": INSTANT})


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize(
    ("minutes", "inside"),
    [
        ((), ()),
        ((0, 5, 10), (0, 5, 10)),  # both ends belong to it
        ((-1, 0, 10), (0, 10)),
        ((0, 10, 11), (0, 10)),
        ((-1, 11), ()),
        ((0, None, 10), (0, 10)),
        ((None,), ()),
    ],
)
def test_rows_of_the_window(minutes: tuple[int | None, ...], inside: tuple[int, ...], *, is_lazy: bool) -> None:
    given = rows(*minutes)
    found = between(given.lazy() if is_lazy else given, START, START + 10 * MINUTE).collect()
    assert found.equals(rows(*inside))
