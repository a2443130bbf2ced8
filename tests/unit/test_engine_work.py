"""What the engine may cost, counted in work: how often rows are read and put in order, and what is kept of a call."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.call_grid import CallGrid, Runs, call_grid
from pggit_analytics.analysis.engine_findings import engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import preset
from pggit_analytics.evaluation.runner import context_of
from pggit_analytics.evaluation.truth import LabelledWeek
from pggit_analytics.frames import OPERATION_SETTINGS


class CountedRows:
    """Rows that count how often they are read."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.reads = 0
        self.frame = rows.lazy().map_batches(self._read)

    def _read(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.reads += 1
        return rows


@pytest.fixture(scope="module")
def week() -> LabelledWeek:
    return make_week(11, preset("full"))


def test_a_window_is_read_once_from_its_rows_to_its_incidents(week: LabelledWeek) -> None:
    rows, context = CountedRows(week.metrics), context_of(week)
    found = engine_findings(rows.frame, week.as_of, limits=context.slas, traces=week.traces)
    incidents = engine_incidents(found, Incidents(), as_of=week.as_of, settings=OPERATION_SETTINGS.empty())
    assert incidents.incidents.height > 0
    assert rows.reads == 1


def test_of_a_call_its_instant_duration_logarithm_and_number_are_kept_and_of_a_cell_no_more_than_that(
    week: LabelledWeek,
) -> None:
    grid = call_grid(week.metrics, week.as_of, timedelta(days=7))
    runs = [array for of_operation in grid.runs for array in _arrays(of_operation)]
    assert sum(array.nbytes for array in _arrays(grid)) == 32 * week.metrics.height + grid.first.nbytes
    assert sum(array.nbytes for array in runs) <= 24 * len(grid.operations) * grid.cells


def _arrays(holder: CallGrid | Runs) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    return [value for one in fields(holder) if isinstance(value := getattr(holder, one.name), np.ndarray)]
