"""How much of what the labelled generator builds into a week is found, and how much of what is found is built in.

Each of ``--weeks`` weeks has another seed and ends at another hour of another day; kinds and sizes of the faults are
the generator's and always the same. The functions asked are the dataframe ones, which give the SQL functions' answers.

- calls: the slow outliers of ``detect_anomalies_statistical`` in the last 24 hours. Found: the labelled spikes. Right:
  a labelled spike, or a call inside a labelled step, drift or bottleneck of its operation.
- operations: ``detect_performance_degradation`` over 7 days. Found and right: the operations with a labelled step,
  drift or bottleneck.
- pairs: ``detect_correlated_degradation`` over 24 hours. Found and right: the pairs of one labelled bottleneck.
- pages: the rows of ``detect_combined_anomalies`` with alert_required. Right: rows of an operation with such a label.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

import polars as pl

from data import AS_OF
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import combine
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.demo.generator import Week, generate_week
from pggit_analytics.frames import BASELINES, METRICS, OPERATION_TYPES

WEEKS = 20

#: from one week's end to the next one's, so that they end at different hours of different days
_STEP = timedelta(hours=29)


@dataclass(slots=True)
class Score:
    """Counts over all weeks."""

    #: built in
    labelled: int = 0
    #: of these, reported
    found: int = 0
    reported: int = 0
    #: of these, built in
    right: int = 0

    def add(self, labelled: int, found: int, reported: int, right: int) -> None:
        self.labelled += labelled
        self.found += found
        self.reported += reported
        self.right += right

    @property
    def recall_percent(self) -> float:
        return 100 * self.found / self.labelled if self.labelled else 0.0

    @property
    def precision_percent(self) -> float:
        return 100 * self.right / self.reported if self.reported else 0.0

    def reaches(self, percent: float) -> bool:
        return min(self.recall_percent, self.precision_percent) >= percent

    def __str__(self) -> str:
        return (
            f"recall {self.recall_percent:.1f} % ({self.found} of {self.labelled}), "
            f"precision {self.precision_percent:.1f} % ({self.right} of {self.reported})"
        )


@dataclass(slots=True)
class Accuracy:
    """What was found in all weeks."""

    weeks: int = 0
    rows: int = 0
    calls: Score = field(default_factory=Score)
    operations: Score = field(default_factory=Score)
    pairs: Score = field(default_factory=Score)
    pages: Score = field(default_factory=Score)
    #: the lowest correlation of a pair that is built in and was reported
    lowest_coefficient: float = 1.0


def measure(weeks: int = WEEKS) -> Accuracy:
    """Generate the weeks one after the other and ask the detectors about each."""
    accuracy = Accuracy()
    for seed in range(1, weeks + 1):
        _add_week(accuracy, generate_week(AS_OF + seed * _STEP, seed=seed))
    return accuracy


def _add_week(accuracy: Accuracy, week: Week) -> None:
    metrics = _metrics(week)
    outliers = detect_anomalies_statistical(metrics, BASELINES.empty(), as_of=week.as_of)
    degradations = detect_performance_degradation(metrics, as_of=week.as_of)
    pairs = detect_correlated_degradation(metrics, OPERATION_TYPES.empty(), as_of=week.as_of)
    lasting = week.labels.filter(pl.col("kind") != "SPIKE")
    slow = set(lasting["operation_type"])
    accuracy.weeks += 1
    accuracy.rows += metrics.height
    _add_calls(accuracy.calls, outliers.filter(pl.col("z_score") > 0), metrics, week.labels, week.as_of)
    _add_sets(accuracy.operations, slow, degradations["operation_type"])
    built_in = {
        pair
        for group in lasting.drop_nulls("group").partition_by("group")
        for pair in combinations(sorted(set(group["operation_type"])), 2)
    }
    _add_sets(accuracy.pairs, built_in, pairs.select("operation_type_1", "operation_type_2").iter_rows())
    for one, two, r in pairs.select("operation_type_1", "operation_type_2", "correlation_coefficient").iter_rows():
        if (one, two) in built_in:
            accuracy.lowest_coefficient = min(accuracy.lowest_coefficient, r)
    paging = combine(outliers, degradations).filter("alert_required")["operation_type"].to_list()
    accuracy.pages.add(len(slow), len(slow & set(paging)), len(paging), sum(name in slow for name in paging))


def _metrics(week: Week) -> pl.DataFrame:
    """The week's rows as `METRICS`; metric_id is the row's position, as in the labels."""
    rows = week.metrics.with_row_index("metric_id").select(
        pl.col("metric_id").cast(pl.Int64),
        "operation_type",
        (pl.col("duration_ms") * 1000).round().cast(pl.Int64).alias("duration_us"),
        "created_at",
    )
    METRICS.check(rows)
    return rows


def _add_calls(score: Score, slow: pl.DataFrame, metrics: pl.DataFrame, labels: pl.DataFrame, as_of: datetime) -> None:
    spikes = set(labels.filter(pl.col("kind") == "SPIKE", pl.col("start") >= as_of - timedelta(hours=24))["row"])
    lasting = labels.filter(pl.col("kind") != "SPIKE").select("operation_type", "start", "end")
    in_label = (
        slow.select("metric_id")
        .join(metrics, on="metric_id")
        .join(lasting, on="operation_type")
        .filter(pl.col("created_at").is_between("start", "end"))["metric_id"]
    )
    reported = set(slow["metric_id"])
    score.add(len(spikes), len(spikes & reported), len(reported), len(reported & (spikes | set(in_label))))


def _add_sets(score: Score, labelled: set[object], reported: Iterable[object]) -> None:
    found = set(reported)
    both = len(labelled & found)
    score.add(len(labelled), both, len(found), both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=WEEKS, help=f"how many [{WEEKS}]")
    arguments = parser.parse_args()
    if arguments.weeks < 1:
        parser.error(f"--weeks is {arguments.weeks}, expected at least 1")
    accuracy = measure(arguments.weeks)
    print(f"{accuracy.weeks} weeks, {accuracy.rows:,} timings\n")
    for name in ("calls", "operations", "pairs", "pages"):
        print(f"{name}: {getattr(accuracy, name)}")
    print(f"lowest coefficient of a pair that is built in: {accuracy.lowest_coefficient:.3f}")


if __name__ == "__main__":
    main()
