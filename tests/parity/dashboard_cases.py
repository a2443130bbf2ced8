"""Data for the tests of the dashboards: fixtures and made-up cases, as frames and in real tables."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pggit_analytics import frames
from pggit_analytics.analysis.v_current_findings import ADVICE
from pggit_analytics.frames import INSTANT, FrameSchema
from pggit_analytics.parity import DASHBOARD_TWINS, Inputs, Parameters, Twin
from pggit_analytics.postgres.extract_dashboards import DashboardInputs
from pggit_analytics.postgres.parity_check import from_frames, from_sql
from tests.parity.cases import AS_OF, DURATIONS, HOUR, MICROSECOND

FIXTURES = Path(__file__).parents[2] / "data" / "fixtures"

SCHEMAS = {
    "merges": frames.MERGES,
    "merge_spans": frames.MERGE_SPANS,
    "baseline_records": frames.BASELINE_RECORDS,
    "recalc_executions": frames.RECALC_EXECUTIONS,
    "notifications": frames.NOTIFICATIONS,
    "alerts": frames.ALERTS,
    "snoozes": frames.SNOOZES,
}


def twin_of(view: str) -> Twin:
    return next(twin for twin in DASHBOARD_TWINS if twin.sql_object == view)


def read_fixture(view: str) -> tuple[DashboardInputs, datetime, pl.DataFrame]:
    """What the fixture of a view holds: the tables, the moment, and the rows expected in their order."""
    directory = FIXTURES / view
    given = json.loads((directory / "input.json").read_text(encoding="utf-8"))
    expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    tables = {name: _frame(schema, given.get(name, [])) for name, schema in SCHEMAS.items()}
    as_of = datetime.fromisoformat(given["as_of"])
    return DashboardInputs(**tables), as_of, _frame(twin_of(view).columns, expected)


def _frame(schema: FrameSchema, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return schema.check(
        schema.frame([{name: _value(schema, name, row[name]) for name in schema.columns} for row in rows])
    )


def _value(schema: FrameSchema, name: str, value: Any) -> Any:
    if value is None:
        return None
    if schema.columns[name] == INSTANT:
        return datetime.fromisoformat(value)
    if schema.columns[name] == pl.Date:
        return date.fromisoformat(value)
    return as_jsonb(value) if name == "evidence" else value


def as_jsonb(value: Any) -> str:
    """The JSON text that PostgreSQL prints for the value: keys by length, then by byte."""
    if isinstance(value, dict):
        value = dict(sorted(value.items(), key=lambda item: (len(item[0].encode()), item[0].encode())))
    return json.dumps(value, ensure_ascii=False)


def assert_frames_give_the_fixture(view: str) -> None:
    """The dataframe function gives the expected rows, in order."""
    inputs, as_of, expected = read_fixture(view)
    twin = twin_of(view)
    answer = from_frames(twin, engine_inputs(inputs), parameters(as_of))
    assert_frame_equal(twin.columns.check(answer), expected, check_exact=False, rel_tol=1e-12, abs_tol=0.0)


def assert_view_gives_the_fixture(connection: psycopg.Connection, view: str, time_zone: str) -> None:
    """The view gives the expected rows, in order, whatever the time zone of the session."""
    inputs, as_of, expected = read_fixture(view)
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('timezone', %s, TRUE)", (time_zone,))
        load(connection, inputs)
        answer = from_sql(connection, twin_of(view), parameters(as_of))
    assert_frame_equal(answer, expected, check_exact=False, rel_tol=1e-12, abs_tol=0.0)


def engine_inputs(inputs: DashboardInputs) -> Inputs:
    return Inputs(frames.METRICS.empty(), **inputs._asdict())


def parameters(as_of: datetime) -> Parameters:
    return Parameters(as_of=as_of, operations=())


_INSERTS = {
    "merges": """
        INSERT INTO merge_relationships (
            merge_id, branch_from, branch_into, created_at, resolution_strategy, status, duration_ms
        )
        VALUES (
            %(merge_id)s, %(branch_from)s, %(branch_into)s, %(created_at)s, %(resolution_strategy)s, %(status)s,
            %(duration_us)s * 0.001
        )
    """,
    "merge_spans": """
        INSERT INTO performance_metrics (
            operation_type, duration_ms, created_at, distributed_trace_id, distributed_trace_parent_id
        )
        VALUES (
            %(operation_type)s, %(duration_us)s * 0.001, %(created_at)s, %(distributed_trace_id)s,
            %(distributed_trace_parent_id)s
        )
    """,
    "baseline_records": """
        INSERT INTO performance_baselines (
            baseline_id, operation_type, is_active, valid_from, valid_to, sample_count, p99_microseconds, created_at,
            last_updated
        )
        VALUES (
            %(baseline_id)s, %(operation_type)s, %(is_active)s, coalesce(%(valid_from)s::TIMESTAMPTZ, '-infinity'),
            %(valid_to)s, %(sample_count)s, %(p99_us)s, %(created_at)s,
            coalesce(%(last_updated)s::TIMESTAMPTZ, '-infinity')
        )
    """,
    "recalc_executions": """
        INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status)
        VALUES ('commit', %(execution_start)s, %(execution_end)s, %(status)s)
    """,
    "notifications": """
        INSERT INTO alert_notification_queue (
            webhook_id, message_body, dedup_key, created_at, status, delivered_at, retry_count
        )
        VALUES (-1, 'secret', gen_random_uuid()::TEXT, %(created_at)s, %(status)s, %(delivered_at)s, %(retry_count)s)
    """,
    "alerts": """
        INSERT INTO performance_alerts (
            alert_id, operation_type, alert_type, severity, alert_source, dedup_key, evidence, opened_at, last_seen_at,
            resolved_at, acknowledged_at
        )
        VALUES (
            %(alert_id)s, %(operation_type)s, %(alert_type)s, %(severity)s, %(alert_source)s, 'test ' || %(alert_id)s,
            %(evidence)s, %(opened_at)s, %(last_seen_at)s, %(resolved_at)s, %(acknowledged_at)s
        )
    """,
    "snoozes": """
        INSERT INTO alert_snooze (operation_type, alert_type, created_at, snooze_until)
        VALUES (%(operation_type)s, %(alert_type)s, %(created_at)s, %(snooze_until)s)
    """,
}


def load(connection: psycopg.Connection, inputs: DashboardInputs) -> None:
    """Put the frames into the tables, in the caller's transaction."""
    connection.execute(
        "INSERT INTO alert_notification_webhooks (webhook_id, webhook_type, name) VALUES (-1, 'webhook', 'test')"
    )
    for name, statement in _INSERTS.items():
        with connection.cursor() as cursor:
            cursor.executemany(statement.encode(), getattr(inputs, name).to_dicts())


def _instants(as_of: datetime) -> st.SearchStrategy[datetime]:
    """Edges of windows, of hours, minutes and dates; and anything around them, later than ``as_of`` too."""
    hour, day = (
        as_of.replace(minute=0, second=0, microsecond=0),
        as_of.replace(hour=0, minute=0, second=0, microsecond=0),
    )
    edges = [as_of - hours * HOUR for hours in (0, 24, 168, 720, 2160)] + [hour, hour - HOUR, day, day - 24 * HOUR]
    return st.one_of(
        st.sampled_from([edge + k * MICROSECOND for edge in edges for k in (-1, 0, 1)]),
        st.integers(0, 20).map(lambda minutes: hour - timedelta(minutes=minutes)),
        st.integers(-(3600 * 10**6), 24 * 3600 * 10**6).map(lambda us: as_of - us * MICROSECOND),
        st.integers(0, 2200 * 3600).map(lambda s: as_of - timedelta(seconds=s)),
    )


_BRANCHES = st.sampled_from(["main", "Main", "release/1", "release-1", "é", "z"])
_TYPES = st.sampled_from(["commit", "Commit", "get_history", "merge_branches"])
_FEW = st.integers(0, 3)


def _rows(schema: FrameSchema, **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    assert list(columns) == list(schema.columns)
    return st.lists(st.fixed_dictionaries(columns), max_size=40)


def _merges(instants: st.SearchStrategy[datetime]) -> st.SearchStrategy[list[dict[str, Any]]]:
    rows = _rows(
        frames.MERGES,
        merge_id=st.sampled_from([f"{letter}{number}" for letter in "aBé" for number in range(6)]),
        branch_from=_BRANCHES,
        branch_into=_BRANCHES,
        created_at=instants,
        resolution_strategy=st.sampled_from(["auto", "manual", "rejected", None]),
        status=st.sampled_from(["SUCCESS", "CONFLICT", "CONFLICT", "FAILED"]),
        duration_us=st.one_of(st.none(), st.sampled_from([99_000, 99_001, 150_000, 150_001, 50, 149]), DURATIONS),
    )
    return rows.map(lambda drawn: list({row["merge_id"]: row for row in drawn}.values()))


def _spans(instants: st.SearchStrategy[datetime]) -> st.SearchStrategy[list[dict[str, Any]]]:
    ids = st.sampled_from([None, "a0", "a1", "B0", "é0", "a2", "B1"])
    return _rows(
        frames.MERGE_SPANS,
        operation_type=st.sampled_from(
            ["merge_base_find", "merge_conflict_detect", "merge_auto_resolve", "merge_branches", "merge_execute"]
        ),
        duration_us=st.one_of(st.integers(0, 20).map(lambda n: 50 * n), DURATIONS),
        created_at=instants,
        distributed_trace_id=ids,
        distributed_trace_parent_id=ids,
    )


@st.composite
def _baselines(draw: st.DrawFn, instants: st.SearchStrategy[datetime]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 10))):
        operation, one, two = draw(_TYPES), draw(instants), draw(instants)
        is_taken = any(b["operation_type"] == operation and b["is_active"] for b in found)
        found.append(
            {
                "baseline_id": number + 1,
                "operation_type": operation,
                "is_active": not is_taken and draw(st.booleans()),
                "valid_from": draw(st.sampled_from([min(one, two), None])),
                "valid_to": draw(st.sampled_from([max(one, two), None])),
                "sample_count": number,
                "p99_us": draw(DURATIONS),
                "created_at": one,
                "last_updated": draw(st.sampled_from([one, two, None])),
            }
        )
    return found


@st.composite
def _executions(draw: st.DrawFn, instants: st.SearchStrategy[datetime]) -> list[dict[str, Any]]:
    taken = st.one_of(st.sampled_from([0, 5000, 15_000, 14_999, 1_005_000]), st.integers(0, 10**10))
    starts = draw(st.lists(st.tuples(instants, st.one_of(st.none(), taken)), max_size=30))
    return [
        {
            "execution_start": start,
            "execution_end": None if us is None else start + us * MICROSECOND,
            "status": "RUNNING" if us is None else draw(st.sampled_from(["SUCCESS", "SUCCESS", "TIMEOUT", "ERROR"])),
        }
        for start, us in starts
    ]


@st.composite
def _notifications(draw: st.DrawFn, instants: st.SearchStrategy[datetime]) -> list[dict[str, Any]]:
    rows = draw(
        _rows(
            frames.NOTIFICATIONS,
            created_at=instants,
            status=st.sampled_from(["pending", "delivered", "delivered", "failed"]),
            delivered_at=st.one_of(st.none(), st.integers(0, 10**9)),
            retry_count=_FEW,
        )
    )
    return [
        {**row, "delivered_at": row["created_at"] + row["delivered_at"] * MICROSECOND}
        if row["status"] == "delivered" and row["delivered_at"] is not None
        else {**row, "delivered_at": None}
        for row in rows
    ]


@st.composite
def _alerts(draw: st.DrawFn, instants: st.SearchStrategy[datetime]) -> list[dict[str, Any]]:
    evidence = st.fixed_dictionaries(
        {},
        optional={
            "operation_type_1": _TYPES,
            "operation_type_2": _TYPES,
            "recommendation": st.sampled_from(["", 'say "é"\n', None, 7, ["x"]]),
        },
    )
    rows = draw(
        _rows(
            frames.ALERTS,
            alert_id=st.integers(1, 40),
            operation_type=st.one_of(st.none(), _TYPES),
            alert_type=st.sampled_from(sorted(ADVICE)),
            severity=st.sampled_from(list(frames.SEVERITIES.categories)),
            alert_source=st.sampled_from(["plan", "incidents"]),
            evidence=st.one_of(evidence, st.just([1]), st.just("text")),
            opened_at=instants,
            last_seen_at=instants,
            resolved_at=st.one_of(st.none(), instants),
            acknowledged_at=st.one_of(st.none(), instants),
        )
    )
    return [{**row, "evidence": as_jsonb(row["evidence"])} for row in {r["alert_id"]: r for r in rows}.values()]


def _snoozes(instants: st.SearchStrategy[datetime]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return _rows(
        frames.SNOOZES,
        operation_type=st.one_of(st.none(), _TYPES),
        alert_type=st.one_of(st.none(), st.sampled_from(sorted(ADVICE))),
        created_at=instants,
        snooze_until=instants,
    ).map(lambda rows: rows[:3])


@st.composite
def dashboard_cases(draw: st.DrawFn) -> tuple[DashboardInputs, datetime, str]:
    """Tables, the moment they are looked at, and the time zone of the session that looks."""
    as_of = draw(AS_OF)
    instants = _instants(as_of)
    drawn = {
        "merges": draw(_merges(instants)),
        "merge_spans": draw(_spans(instants)),
        "baseline_records": draw(_baselines(instants)),
        "recalc_executions": draw(_executions(instants)),
        "notifications": draw(_notifications(instants)),
        "alerts": draw(_alerts(instants)),
        "snoozes": draw(_snoozes(instants)),
    }
    time_zone = draw(st.sampled_from(["UTC", "America/St_Johns", "Asia/Kathmandu", "Europe/Berlin"]))
    return DashboardInputs(**{name: SCHEMAS[name].frame(rows) for name, rows in drawn.items()}), as_of, time_zone
