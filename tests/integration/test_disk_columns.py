"""Calls kept on disk give what calls in memory give, whatever the order of the rows; a full disk is one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pggit_analytics.analysis.engine_findings import EngineFindings, engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.analysis.ordered_calls import ordered_calls
from pggit_analytics.errors import DiskFull
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import preset
from pggit_analytics.evaluation.runner import context_of
from pggit_analytics.evaluation.truth import LabelledWeek
from pggit_analytics.frames import METRICS, OPERATION_SETTINGS
from pggit_analytics.postgres.disk_columns import DiskColumns


@pytest.fixture(scope="module")
def week() -> LabelledWeek:
    return make_week(12, preset("full"))


def test_the_findings_and_incidents_are_those_of_memory_to_the_last_bit(week: LabelledWeek, tmp_path: Path) -> None:
    shuffled = week.metrics.sample(fraction=1.0, shuffle=True, seed=1)
    for part, rows in enumerate(shuffled.iter_slices(100_000)):
        rows.write_parquet(tmp_path / f"{part}.parquet")
    frame = pl.scan_parquet(tmp_path / "*.parquet")
    limits = context_of(week).slas

    def found(room: DiskColumns | None) -> tuple[EngineFindings, Incidents]:
        findings = engine_findings(ordered_calls(frame, room), week.as_of, limits=limits)
        settings = OPERATION_SETTINGS.empty()
        return findings, engine_incidents(findings, Incidents(), as_of=week.as_of, settings=settings)

    (on_disk, its_incidents), (in_memory, incidents) = found(DiskColumns()), found(None)
    assert in_memory.slow_calls.height > 0
    for name in ("changes", "episodes", "slow_calls", "forecasts"):
        assert getattr(on_disk, name).equals(getattr(in_memory, name), null_equal=True), name
    assert on_disk.shared.groups.equals(in_memory.shared.groups, null_equal=True)
    assert its_incidents.incidents.equals(incidents.incidents, null_equal=True)
    assert its_incidents.operations.equals(incidents.operations, null_equal=True)
    for column in ("at", "duration_us", "metric_id", "log_us"):
        assert np.array_equal(getattr(on_disk.calls, column), getattr(in_memory.calls, column)), column


def test_nothing_is_left_in_the_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    column = DiskColumns().column(np.int64, 1000)
    column[:] = 7
    assert (int(column.sum()), list(tmp_path.iterdir())) == (7000, [])


def test_no_rows_are_no_calls() -> None:
    calls = ordered_calls(METRICS.empty().lazy(), DiskColumns())
    assert (calls.operations, calls.at.size, calls.first.tolist()) == ((), 0, [0])


def test_a_disk_without_room_is_one_line_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    # more than any file may hold; the system says that there is no room before anything is written
    with pytest.raises(DiskFull, match=r"has no room for [\d,]+ bytes of calls: .*TMPDIR"):
        DiskColumns().column(np.int64, os.statvfs("/tmp").f_frsize * 2**45)
