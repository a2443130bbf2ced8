"""The notebooks are run as they are, on a week whose faults are known, and what they come to is compared with these."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest

from pggit_analytics.config import Settings
from pggit_analytics.demo.generator import Week, generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.pipeline import (
    BaselineParameters,
    MonitorParameters,
    Target,
    monitor,
    recalculate_baselines,
)
from pggit_analytics.postgres.connection import Database

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
#: a Friday noon: the drift has begun on the last Tuesday, the step has not
AS_OF = datetime(2026, 1, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def week() -> Week:
    return generate_week(AS_OF)


@pytest.fixture(scope="module")
def analysed(shared_database: Database, week: Week) -> Database:
    """The week, analysed at its end."""
    with shared_database.connect() as connection:
        load_week(connection, week)
    target = Target.of(shared_database, Settings())
    recalculate_baselines(target, BaselineParameters(as_of=AS_OF - DAY, lookback_days=6))
    monitor(target, MonitorParameters(as_of=AS_OF))
    return shared_database


@pytest.fixture
def run(analysed: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch):
    """Call it with a notebook's name and with expressions: their values, as JSON, when all of its cells have run."""
    monkeypatch.setenv("PGGIT_DATABASE_URL", analysed.conninfo)
    monkeypatch.setenv("IPYTHONDIR", str(run_directory / "ipython"))

    def execute(name: str, **expressions: str) -> dict[str, Any]:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        pairs = ", ".join(f"{key!r}: {expression}" for key, expression in expressions.items())
        notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{pairs}}}, default=str))"))
        file = run_directory / f"{name}.ipynb"
        nbformat.write(notebook, file)
        # in a process of its own, as its sockets are left for the end of the process to close
        program = Path(sys.executable).with_name("jupyter-execute")
        done = subprocess.run(
            [program, file, "--inplace", "--timeout=600"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        notebook = nbformat.read(file, as_version=4)
        shown = [output for cell in notebook.cells[:-1] for output in cell.get("outputs", [])]
        assert {output.output_type for output in shown} == {"execute_result"}
        assert any("image/svg+xml" in output.data for output in shown)
        values: dict[str, Any] = json.loads(notebook.cells[-1].outputs[0].text)
        return values

    return execute


def _label(week: Week, kind: str) -> dict[str, Any]:
    return week.labels.filter(kind=kind).row(0, named=True)


def test_last_tuesday_knew_of_the_drift_and_not_yet_of_the_step(run, week: Week) -> None:
    found = run(
        "rerun_last_tuesday",
        tuesday="tuesday",
        calls="per_operation['calls'].sum()",
        known="dict(known_now.with_columns(k=pl.col('operation_type').is_in(known_then))"
        ".select('operation_type', 'k').iter_rows())",
    )
    tuesday = datetime(2026, 1, 27, 18, tzinfo=UTC)
    assert found["tuesday"] == str(tuesday)
    assert found["calls"] == week.metrics.filter(pl.col("created_at").is_between(tuesday - DAY, tuesday)).height
    step, drift = _label(week, "STEP"), _label(week, "DRIFT")
    assert drift["start"] < tuesday < step["start"]
    assert found["known"][drift["operation_type"]] is True
    assert found["known"][step["operation_type"]] is False


def test_an_incident_leads_to_the_slow_part_of_its_slowest_call(run, week: Week) -> None:
    found = run(
        "investigate_an_incident",
        worst="worst.operation_type",
        groups="[sorted(m) for m in detections.groups['members'].to_list()]",
        traced="sorted(traced.operations['operation_type'])",
        parts="parts.filter(pl.col('depth') == 1).select('operation_type', 'times_usual').rows()",
    )
    (spike,) = week.labels.filter(operation_type="merge_conflict_detect").iter_rows(named=True)
    assert found["worst"] in {_label(week, kind)["operation_type"] for kind in ("STEP", "DRIFT")}
    assert found["groups"] == [sorted(set(week.labels.filter(kind="BOTTLENECK")["operation_type"]))]
    assert "merge_conflict_detect" in found["traced"]
    name, times = found["parts"][0]
    assert name == "merge_conflict_detect"
    # the label's factor is of the typical duration, which is that of the quiet hours
    assert times == pytest.approx(spike["factor"], rel=0.15)
    assert all(other < 3 for _, other in found["parts"][1:])


def test_the_settings_tried_keep_the_noisy_operations_to_a_page_and_others_as_they_are(
    run, week: Week, analysed: Database
) -> None:
    found = run(
        "tune_a_noisy_operation",
        together="together",
        before="comparison.row(0, named=True)",
        after="comparison.row(1, named=True)",
        missed="missed.height",
    )
    assert found["together"] == sorted(set(week.labels.filter(kind="BOTTLENECK")["operation_type"]))
    assert found["before"]["of these"] >= 1
    assert found["after"]["of these"] == 0
    assert found["before"]["of others"] == found["after"]["of others"]
    assert found["missed"] == found["before"]["of these"] - found["after"]["of these"]
    with analysed.connect() as connection:
        assert connection.execute("SELECT count(*) FROM operation_settings").fetchone() == (0,)


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_notebooks_are_kept_without_outputs_and_are_run_here(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert f'"{file.stem}"' in Path(__file__).read_text()
