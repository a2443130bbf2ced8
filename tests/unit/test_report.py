"""The report from frames: what it says first, what it draws, and that no name can break it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import altair as alt
import polars as pl
import pytest

from pggit_analytics import frames
from pggit_analytics.report import drawing
from pggit_analytics.report.charts.drawings import drawings
from pggit_analytics.report.charts.form import NARROW, WIDE, Size
from pggit_analytics.report.charts.incidents import incident_drawing
from pggit_analytics.report.contents import components, concerned
from pggit_analytics.report.courses import Courses
from pggit_analytics.report.markdown import markdown
from pggit_analytics.report.page import page
from pggit_analytics.report.values import values

from . import report_rows
from .report_rows import AS_OF, HOSTILE, LONG, ONSET, full, incident, member, nothing, report, rows, run, slow

HOUR = timedelta(hours=1)


class Page(HTMLParser):
    """What a page is made of: elements with their attributes, and the texts within each kind."""

    VOID = frozenset({"meta", "link", "br", "rect", "path", "line"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


# What it says.


def test_incidents_are_ranked_by_what_users_lose_in_an_hour_and_what_is_over_comes_last() -> None:
    given = replace(
        slow("a", "b", "c"),
        incidents=rows(
            frames.INCIDENTS,
            incident("a", lost_ms_per_hour=10.0),
            incident("b", lost_ms_per_hour=900.0),
            incident("c", lost_ms_per_hour=5000.0, state="recovered", ended_at=AS_OF - HOUR, ended_because="recovered"),
        ),
    )
    told = report(given)
    assert [one.operation for one in told.open] == ["b", "a"]
    assert [one.operation for one in told.over] == ["c"]
    assert [one.number for one in (*told.open, *told.over)] == [1, 2, 3]
    assert told.headline == "2 incidents now"


def test_an_incident_is_told_in_a_sentence_with_what_belongs_to_it() -> None:
    given = slow("commit")
    joint = rows(
        frames.INCIDENT_OPERATIONS,
        member("commit"),
        member("ensure_object", "level:commit", onset=ONSET + HOUR, size_ratio=1.5),
    )
    one = report(replace(given, incident_operations=joint)).open[0]
    assert one.sentence == "commit is 3x slower: p50 10 → 30 ms"
    assert one.notes == ("together with ensure_object (50 % slower)", "users lose 6 s an hour")
    assert [m.operation for m in one.members] == ["commit", "ensure_object"]


def test_a_database_that_was_just_deployed_is_told_what_to_do() -> None:
    text = Page(page(report(nothing()))).texts["main"][0]
    assert "No monitoring run has looked at the timings yet" in text
    assert "pggit-analytics analyze" in text
    assert "pggit-analytics demo" in text
    assert "There is no timing in the last 7 days." in text


def test_nothing_wrong_is_said_so() -> None:
    given = replace(nothing(), runs=rows(frames.RUNS, run()))
    told = report(given)
    assert told.headline == "Nothing is wrong"
    assert "No incident is open." in page(told)
    assert "No incident is open." in markdown(told)


def test_a_failed_latest_run_and_missed_jobs_come_first_among_what_is_said_of_the_monitoring() -> None:
    failed = run(AS_OF, 2, status="FAILED", error_message="disk full")
    given = replace(
        nothing(), runs=rows(frames.RUNS, failed, run(AS_OF - 3 * HOUR)), missed_jobs=("check_performance_anomalies",)
    )
    said = report(given).health
    assert "disk full" in next(check.finding for check in said if check.level == "trouble")
    assert any("check_performance_anomalies" in check.finding for check in said if check.level == "attention")


@pytest.mark.parametrize(
    ("ago", "scheduler", "level"),
    [
        (HOUR, "pg_cron", "ok"),
        (13 * HOUR, "pg_cron", "attention"),
        (HOUR, None, "note"),
        (25 * HOUR, None, "attention"),
    ],
)
def test_the_latest_look_is_judged_by_the_schedule(ago: timedelta, scheduler: str | None, level: str) -> None:
    given = replace(
        nothing(), runs=rows(frames.RUNS, run(AS_OF - ago)), scheduler=scheduler, monitoring_period=6 * HOUR
    )
    assert {check.level for check in report(given).health if check.subject == "Monitoring runs"} == {level}


@pytest.mark.parametrize(("calls", "is_said"), [(29, True), (30, False)])
def test_operations_with_too_little_data_are_named(calls: int, *, is_said: bool) -> None:
    coverage = rows(
        frames.COVERAGE,
        {"operation_type": "rare_one", "calls": calls, "first_at": AS_OF - timedelta(days=6), "last_at": AS_OF},
    )
    said = [check for check in report(replace(nothing(), coverage=coverage)).health if "rare_one" in check.finding]
    assert bool(said) == is_said


def test_an_alert_of_an_operation_in_an_incident_points_to_it() -> None:
    told = report(full())
    (other,) = told.others
    number = next(one.number for one in told.open if one.operation == "get_objects")
    assert (other.operation, other.incident, other.statement) == ("get_objects", number, "4x slower: p99 5 → 20 ms")


def test_groups_are_incidents_of_several_and_pairs_without_one() -> None:
    joint, loose = report(full()).groups
    assert (joint.operations, joint.first_mover) == (("commit", "ensure_object"), "commit")
    assert joint.edges == (("commit", "ensure_object", 0.9),)
    assert set(loose.operations) == {"commit", "ensure_object", "branch_create"}
    assert loose.incident is None


def test_what_hangs_together_is_one_component() -> None:
    assert components([("a", "b"), ("c", "d"), ("b", "e"), ("x", "y"), ("e", "c")]) == [
        {"a", "b", "c", "d", "e"},
        {"x", "y"},
    ]


def test_only_the_timings_that_are_drawn_are_asked_for() -> None:
    given = full()
    assert concerned(given.incidents, given.correlations) == (
        "branch_create",
        "commit",
        "ensure_object",
        "get_objects",
        "merge_branches",
    )


# Courses.


def test_the_usual_level_is_held_at_what_it_was_before_the_onset() -> None:
    given = slow("commit")
    course = Courses(given.metrics, AS_OF).of(given.incidents.row(0, named=True), "commit")
    assert course is not None
    after = course.bins.filter(pl.col("at") > ONSET + HOUR)
    # 10 ms before, three times as much since
    assert after["usual_ms"].to_list() == pytest.approx([10.0] * after.height, rel=0.1)
    assert after["p50_ms"].to_list() == pytest.approx([30.0] * after.height, rel=0.25)
    assert (after["p50_ms"] > after["high_ms"]).all()
    before = course.bins.filter(pl.col("at") < ONSET - HOUR)
    assert (
        before.select((pl.col("low_ms") < pl.col("p50_ms")) & (pl.col("p50_ms") < pl.col("high_ms"))).to_series().all()
    )
    assert course.bins["calls"].sum() == course.calls
    assert not course.is_every_call
    assert course.points["at"].min() >= ONSET  # type: ignore[operator]


def test_of_few_calls_every_one_is_a_point() -> None:
    given = replace(slow("commit"), metrics=report_rows.calls("commit", every=3600))
    course = Courses(given.metrics, AS_OF).of(given.incidents.row(0, named=True), "commit")
    assert course is not None
    assert course.is_every_call
    assert course.points.height == course.calls == given.metrics.filter(pl.col("created_at") >= course.start).height


def test_a_single_call_has_a_course() -> None:
    metrics = report_rows.calls("commit").tail(1)
    given = replace(slow("commit"), metrics=metrics)
    course = Courses(metrics, AS_OF).of(given.incidents.row(0, named=True), "commit")
    assert course is not None
    assert course.calls == 1
    assert page(report(given)).count("<figure") == 2  # its own and that of the runs


def test_an_operation_without_a_call_in_the_window_has_no_chart_and_the_page_says_why() -> None:
    given = replace(slow("commit"), metrics=report_rows.calls("merge"))
    told = report(given)
    assert told.open[0].course is None
    assert "No timing of it is in the window any more" in page(told)


# The page.


def test_the_page_needs_nothing_but_itself() -> None:
    html = page(report(full()))
    made = Page(html)
    assert not made.all("script")
    assert not made.all("img")
    links = [value for _, attributes in made.elements for name, value in attributes.items() if name in {"href", "src"}]
    assert all(link and link.startswith(("#", "data:,")) for link in links), links
    assert not re.search(r"url\(|@import|https?://", html)
    policy = next(meta["content"] for meta in made.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_read_by_ear_and_with_the_keyboard() -> None:
    made = Page(page(report(full())))
    assert made.all("html") == [{"lang": "en"}]
    assert [len(made.all(tag)) for tag in ("main", "header", "nav", "footer", "h1")] == [1, 1, 1, 1, 1]
    assert all(nav.get("aria-label") for nav in made.all("nav"))
    headings = [int(tag[1]) for tag, _ in made.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings)), headings
    identifiers = [attributes["id"] for _, attributes in made.elements if attributes.get("id")]
    assert len(set(identifiers)) == len(identifiers)
    for link in made.all("a"):
        assert (link["href"] or "").removeprefix("#") in identifiers
    for _, attributes in made.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in identifiers
    assert made.elements[[tag for tag, _ in made.elements].index("body") + 1][0] == "a", "the skip link comes first"


def test_every_chart_is_an_image_with_a_text_and_every_table_has_a_caption_and_scopes() -> None:
    given = full()
    made = Page(page(report(given)))
    assert len(made.all("svg")) == 2 * len(drawings(report(given)))
    for picture in made.all("svg"):
        assert picture["role"] == "img"
        assert len(picture["aria-label"] or "") > 40
    assert len(made.texts["caption"]) == len(made.all("table"))
    assert all(header.get("scope") in {"col", "row"} for header in made.all("th"))
    for region in made.all("div"):
        if region.get("class") == "scroller":
            assert region["tabindex"] == "0"
            assert region["aria-label"]


@pytest.mark.parametrize("name", [HOSTILE, LONG, "", " ", "\x00\x1b[31m\u202e", "名前 🦀"])
def test_no_name_breaks_the_page(name: str) -> None:
    given = slow("commit")
    replaced = {
        field: getattr(given, field).with_columns(pl.lit(name).alias("operation_type"))
        for field in ("incidents", "incident_operations", "metrics", "coverage")
    }
    told = report(replace(given, **replaced))
    made = Page(page(told))
    assert not made.all("script")
    assert not made.all("b") or all("bold" not in text for text in made.texts["b"])
    assert "\x00" not in page(told)
    assert len(made.all("svg")) == 4
    markdown(told)
    values(told)


def test_a_hostile_name_is_shown_as_it_is_in_the_page_and_formats_nothing_in_markdown() -> None:
    given = slow(HOSTILE)
    told = report(given)
    assert any(HOSTILE in text for text in Page(page(told)).texts["th"])
    assert "<script" not in re.sub(r"(`+).*?\1", "", markdown(told)).replace("\\<", "")


def test_a_long_name_is_shown_whole_in_the_table_and_cut_in_the_heading() -> None:
    made = Page(page(report(slow(LONG))))
    assert LONG in made.texts["th"]
    assert max(map(len, made.texts["h3"])) < 100


def test_of_many_incidents_the_first_forty_have_charts_and_the_page_stays_small() -> None:
    names = [f"operation_{number:02}" for number in range(45)]
    html = page(report(slow(*names)))
    assert html.count('id="chart-incident-') == 40
    assert html.count("Charts are drawn of the first 40 incidents.") == 5
    assert len(html.encode()) < 3_000_000


def test_the_same_report_gives_the_same_page() -> None:
    assert page(report(slow("commit"))) == page(report(slow("commit")))


# Charts.


def _variants() -> dict[str, dict[str, Any]]:
    over = {"state": "recovered", "ended_at": AS_OF - HOUR, "ended_because": "recovered", "kind": "episode"}
    breach = AS_OF + timedelta(days=1)
    forecast = {"kind": "forecast", "onset": AS_OF, "onset_low": AS_OF, "onset_high": AS_OF}
    limit = '{"sla_ms": 40, "breach_low": "2026-03-07T00:00:00Z", "breach_high": "2026-03-08T00:00:00Z"}'
    return {
        "goes on": {},
        "over": over,
        "of seconds": {"onset": AS_OF - timedelta(seconds=240)},
        "forecast": {**forecast, "expected_breach_at": breach, "evidence": limit},
        "at the start of the window": {"onset": AS_OF - timedelta(days=7), "onset_low": AS_OF - timedelta(days=7)},
    }


@pytest.mark.parametrize("kind", _variants())
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_charts_of_incidents_are_valid_and_say_what_they_show(kind: str, size: Size) -> None:
    given = replace(slow("commit"), incidents=rows(frames.INCIDENTS, incident("commit", **_variants()[kind])))
    one = incident_drawing(report(given).open[0] if kind != "over" else report(given).over[0])
    chart = one.draw(size)
    chart.to_dict(validate=True)
    assert isinstance(chart, alt.LayerChart)
    picture = drawing.svg(chart, label=one.label)
    assert "Durations of commit" in picture
    assert ("limit exceeded" in picture) == (kind == "forecast")
    assert ("limit 40 ms" in picture) == (kind == "forecast")
    assert ("over 11:00" in picture) == (kind == "over")
    assert "NaN" not in picture


def test_every_chart_is_valid_in_both_sizes() -> None:
    found = drawings(report(full()))
    assert list(found) == [
        "incident-1",
        "incident-2",
        "incident-3",
        "group-1",
        "group-2",
        "pairs",
        "merge-phases",
        "messages",
        "runs",
    ]
    for one in found.values():
        for size in one.sizes:
            one.draw(size).to_dict(validate=True)


def test_every_colour_of_the_charts_has_one_for_the_dark() -> None:
    html = page(report(full()))
    inside = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', inside))
    assert used <= set(drawing.DARK), used - set(drawing.DARK)
    assert not re.search(r'(?:fill|stroke)="(?!#|none)', inside)


def test_numbers_in_texts_of_charts_keep_their_digits() -> None:
    given = replace(full(), incidents=frames.INCIDENTS.empty(), incident_operations=frames.INCIDENT_OPERATIONS.empty())
    group = drawings(report(given))["group-1"]
    assert ">0.90<" in drawing.svg(group.chart(group.sizes[0]), label="")


def test_a_png_stands_by_itself() -> None:
    one = drawings(report(slow("commit")))["incident-1"]
    picture = drawing.png(one.chart(WIDE), title=one.title, subtitle=one.key)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") > 1500
    assert len(picture) < 200_000


# The same as text and values.


def test_markdown_says_the_same_as_the_page() -> None:
    told = report(full())
    text = markdown(told)
    for one in told.open:
        assert f"### {one.number}. `{one.operation}`" in text
        assert one.sentence.replace("_", "\\_") in text
    for heading in (
        "## Other open alerts",
        "## Found and not told",
        "## Slow together",
        "## Conflict hotspots",
        "## Baselines, the oldest first",
        "## Messages of the last 7 days",
        "## Runs",
        "## The monitoring itself",
    ):
        assert heading in text
    assert "\n\n\n" not in text


def test_values_have_every_part() -> None:
    told = values(report(full()))
    assert [one["operation"] for one in told["incidents"]] == ["commit", "get_objects", "merge_branches"]
    assert told["incidents"][0]["operations"][1]["operation"] == "ensure_object"
    assert told["left_out"] == [{"reason": "the change is below the minimum", "count": 1}]
    assert told["merges"]["hotspots"][0]["branch_from"] == "develop"
    assert {
        "as_of",
        "headline",
        "over",
        "alerts",
        "groups",
        "pairs",
        "baselines",
        "messages",
        "runs",
        "monitoring",
    } <= set(told)
