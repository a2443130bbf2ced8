"""The command evaluate: what it prints, and that it needs no database."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from tests.commands import run_here


def test_a_week_is_judged_and_told_as_json() -> None:
    done = run_here("evaluate", "--preset", "clean", "--weeks", "1", "--first-seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["engine"], said["weeks"], said["first_seed"]) == ("incidents", 1, 7)
    measures = {row["measure"] for row in said["results"]}
    assert {"pages per operation-day", "CRITICAL pages a day"} <= measures
    assert {row["preset"] for row in said["results"]} == {"clean"}


def test_a_table_names_the_engine_and_the_weeks() -> None:
    done = run_here("evaluate", "--preset", "clean", "--weeks", "1", "--engine", "plan")
    assert done.returncode == 0, done.stderr
    assert "plan, 1 weeks from seed 5000" in done.stdout
    assert "pages per operation-day" in done.stdout


def test_an_unknown_preset_is_refused_in_one_line() -> None:
    done = run_here("evaluate", "--preset", "busy", "--weeks", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "preset is busy" in done.stderr


def test_a_folder_of_labelled_series_is_scored_with_one_threshold(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1)
    value = [row * 37 % 11 + (80 if row >= 305 else 0) for row in range(400)]
    rows = [f"{start + timedelta(minutes=5 * row)},{value[row]}" for row in range(400)]
    (tmp_path / "jump.csv").write_text("\n".join(["timestamp,value", *rows]) + "\n")
    window = [str(start + timedelta(minutes=5 * row)) for row in (300, 320)]
    (tmp_path / "windows.json").write_text(json.dumps({"jump.csv": [window]}))
    done = run_here("evaluate", "--series", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["series"] == 1
    assert set(said["scores"]) == {"standard", "reward_low_FP_rate", "reward_low_FN_rate"}
    # 0 is silence, 100 perfection: the one jump is found
    assert said["scores"]["standard"] > 50


def test_a_folder_without_labels_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run_here("evaluate", "--series", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "windows.json" in done.stderr
