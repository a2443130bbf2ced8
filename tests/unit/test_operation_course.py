"""The course of an operation, and its chart: what was put into the calls is what is shown."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import polars as pl
import pytest

from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.operation_course import COURSE, POINTS, operation_course, slow_points
from pggit_analytics.analysis.spikes import SLOW_CALLS
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.report.charts.operation import operation_chart
from tests.unit import changing_calls as made

USUAL_MS = made.USUAL_US / 1000
ONSET = made.hour(120)


@pytest.fixture(scope="module")
def metrics() -> pl.DataFrame:
    return made.calls({"plain": made.constant, "slower": made.step(120, 2.0)}, per_hour=60, spread=0.2)


@pytest.fixture(scope="module")
def levels(metrics: pl.DataFrame):
    return operation_levels(metrics, made.AS_OF)


def _around(course: pl.DataFrame, column: str, *, after: bool) -> float:
    """The median over the cells before or after the onset."""
    is_after = pl.col("at") > ONSET
    return float(course.filter(is_after if after else ~is_after)[column].median())  # type: ignore[arg-type]


def test_a_steady_operation_keeps_to_its_band_of_ninety_of_a_hundred_calls(levels, metrics: pl.DataFrame) -> None:
    course = COURSE.check(operation_course(levels, "plain"))
    assert course["at"].is_sorted()
    assert course["calls"].sum() == metrics.filter(operation_type="plain").height
    assert course["usual_ms"].median() == pytest.approx(USUAL_MS, rel=0.03)
    assert course["median_ms"].median() == pytest.approx(USUAL_MS, rel=0.03)
    # 1.645 standard deviations of 0.2
    assert course["high_ms"].median() == pytest.approx(USUAL_MS * math.exp(0.329), rel=0.05)
    assert course["low_ms"].median() == pytest.approx(USUAL_MS * math.exp(-0.329), rel=0.05)


def test_usual_follows_a_lasting_change_unless_an_onset_says_what_was_usual(levels) -> None:
    followed, kept = operation_course(levels, "slower"), operation_course(levels, "slower", onset=ONSET)
    for course in (followed, kept):
        assert _around(course, "median_ms", after=True) == pytest.approx(2 * USUAL_MS, rel=0.03)
        assert _around(course, "usual_ms", after=False) == pytest.approx(USUAL_MS, rel=0.03)
    assert _around(followed, "usual_ms", after=True) == pytest.approx(2 * USUAL_MS, rel=0.03)
    assert _around(kept, "usual_ms", after=True) == pytest.approx(USUAL_MS, rel=0.03)


def test_a_cell_without_a_call_has_no_median_but_a_usual_duration() -> None:
    random = made.calls({"rare": made.constant}, per_hour=0.5)
    course = operation_course(operation_levels(random, made.AS_OF), "rare")
    quiet = course.filter(calls=0)
    assert 0 < quiet.height < course.height
    assert quiet["median_ms"].null_count() == quiet.height
    assert quiet["usual_ms"].null_count() == 0


def test_slow_points_are_the_calls_told_of_this_operation(levels, metrics: pl.DataFrame) -> None:
    calls = metrics.filter(operation_type="plain").head(3)
    other = metrics.filter(operation_type="slower").head(1)
    told = pl.concat([calls, other]).select("operation_type", "metric_id", score=9.0, times_expected=5.0)
    points = POINTS.check(slow_points(levels, SLOW_CALLS.check(told), "plain"))
    assert points["metric_id"].to_list() == calls["metric_id"].to_list()
    assert points["at"].to_list() == calls["created_at"].to_list()
    assert points["duration_ms"].to_list() == pytest.approx((calls["duration_us"] / 1000).to_list())


def test_an_operation_that_was_not_called_is_named(levels) -> None:
    with pytest.raises(InvalidArgument, match="operation_type is 'nobody', which was not called in the window"):
        operation_course(levels, "nobody")


def test_the_chart_marks_the_onset_and_says_what_it_shows(levels) -> None:
    told = pl.DataFrame(
        {"operation_type": ["slower"], "metric_id": [1], "at": [ONSET], "duration_ms": [99.0]}, schema=POINTS.columns
    )
    chart = operation_chart(
        operation_course(levels, "slower", onset=ONSET),
        told,
        title="slower",
        subtitle="twice as long",
        onset=ONSET,
        ended_at=ONSET + timedelta(hours=3),
    )
    spec = chart.to_dict()
    assert (spec["title"]["text"], spec["title"]["subtitle"]) == ("slower", "twice as long")
    rows = [row for data in spec["datasets"].values() for row in data]
    assert [row["text"] for row in rows if "text" in row] == ["began", "ended"]
    assert [row["duration_ms"] for row in rows if "duration_ms" in row] == [99.0]
    assert "median of 15 minutes" in json.dumps(spec)
    # a page has dozens of them
    assert len(json.dumps(spec)) < 120_000


def test_the_chart_can_be_drawn_without_a_browser(levels, tmp_path) -> None:
    chart = operation_chart(operation_course(levels, "plain"), POINTS.empty(), title="plain")
    chart.save(tmp_path / "chart.svg")
    picture = (tmp_path / "chart.svg").read_text()
    assert "milliseconds" in picture
    assert "began" not in picture


def test_a_notebook_shows_the_chart_as_a_drawing_that_fetches_nothing(levels) -> None:
    chart = operation_chart(operation_course(levels, "plain"), POINTS.empty(), title="plain", subtitle="quiet")
    shown = chart._repr_mimebundle_()
    assert set(shown) == {"image/svg+xml", "text/plain"}
    assert ">quiet<" in shown["image/svg+xml"]
    assert "<script" not in shown["image/svg+xml"]
    assert "http" not in shown["image/svg+xml"].replace("http://www.w3.org/", "")
