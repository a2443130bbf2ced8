"""Apache Otava and PyOD on the series of one labelled week; `others.py` runs this in an environment of their own.

    python others_child.py DIRECTORY

reads ``hours.parquet`` (operation_type, hour, median_ms; by operation and hour), ``calls.parquet`` (metric_id,
operation_type, log_us) and ``share.json`` (share of the calls that are spikes), and writes ``found.json``: for every
method its findings and the seconds it took, without imports, reading and writing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from otava.series import AnalysisOptions, Metric, Series  # type: ignore[import-not-found]
from pyod.models.ecod import ECOD  # type: ignore[import-not-found]
from pyod.models.iforest import IForest  # type: ignore[import-not-found]
from pyod.models.mad import MAD  # type: ignore[import-not-found]

#: an operation with fewer calls gives PyOD nothing to learn from
LEAST_CALLS = 20


def change_points(hours: pl.DataFrame, min_magnitude: float) -> list[dict[str, Any]]:
    """Of each operation, with Otava's defaults but for the least magnitude."""
    options = AnalysisOptions()
    options.min_magnitude = min_magnitude
    found = []
    for (name,), rows in hours.group_by("operation_type", maintain_order=True):
        times, values = rows["hour"].dt.epoch("s").to_list(), rows["median_ms"].to_list()
        series = Series(str(name), None, times, {"median": Metric()}, {"median": values}, {})
        found += [
            {"operation_type": name, "hour": point.time, "size_ratio": point.stats.mean_2 / point.stats.mean_1}
            for point in series.analyze(options).change_points["median"]
        ]
    return found


def outliers(calls: pl.DataFrame, detector: Callable[[], Any]) -> list[int]:
    """metric_id of the slow outliers of each operation by itself."""
    found: list[int] = []
    for (_,), rows in calls.group_by("operation_type", maintain_order=True):
        if rows.height < LEAST_CALLS:
            continue
        x = rows["log_us"].to_numpy().reshape(-1, 1)
        fitted = detector().fit(x)
        is_slow = (fitted.labels_ == 1) & (x[:, 0] > np.median(x))
        found += rows["metric_id"].to_numpy()[is_slow].tolist()
    return found


def main() -> None:
    directory = Path(sys.argv[1])
    hours, calls = (pl.read_parquet(directory / f"{name}.parquet") for name in ("hours", "calls"))
    share = json.loads((directory / "share.json").read_text())
    methods: dict[str, Callable[[pl.DataFrame, pl.DataFrame], list[Any]]] = {
        "Otava": lambda hours, _: change_points(hours, 0.0),
        "Otava, changes of 10 % and more": lambda hours, _: change_points(hours, 0.1),
        "PyOD MAD, 3.5": lambda _, calls: outliers(calls, MAD),
        "PyOD ECOD, true share": lambda _, calls: outliers(calls, lambda: ECOD(contamination=share)),
        "PyOD IForest, true share": lambda _, calls: outliers(
            calls, lambda: IForest(contamination=share, random_state=0)
        ),
    }
    # what is compiled or imported at the first call is not in the time
    few = [hours.head(30), calls.head(200)]
    found = {}
    for name, method in methods.items():
        method(*few)
        start = perf_counter()
        findings = method(hours, calls)
        found[name] = {"found": findings, "seconds": perf_counter() - start}
    (directory / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
