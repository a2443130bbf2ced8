"""Incidents in the database: rows per as_of, one alert an incident, what a run is told of the ones before it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import polars as pl
import pytest

from pggit_analytics.analysis.incidents import Incidents, Thresholds
from pggit_analytics.errors import ConfigurationError, InvalidArgument, InvalidData
from pggit_analytics.frames import INCIDENT_OPERATIONS, INCIDENTS, SUPPRESSED
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_back import RunRecord
from pggit_analytics.postgres.write_incidents import (
    IncidentInputs,
    IncidentsWritten,
    extract_incident_inputs,
    write_incidents,
)

T0 = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ONSET = T0 - timedelta(hours=3)
TABLES = ("performance_incidents", "performance_incident_operations", "suppressed_findings")

Row = dict[str, Any]


def incident(key: str = "level:commit", as_of: datetime = T0, **values: Any) -> Row:
    nothing: Row = dict.fromkeys(INCIDENTS.columns)
    return (
        nothing
        | {
            "incident_key": key,
            "kind": "step",
            "state": "open",
            "severity": "WARNING",
            "operation_type": key.split(":")[1],
            "onset": ONSET,
            "onset_low": ONSET - MINUTE,
            "onset_high": ONSET + MINUTE,
            "opened_at": T0,
            "last_found_at": as_of,
            "missed_runs": 0,
            "lost_ms": 730.1,
            "lost_ms_per_hour": 0.1 + 0.2,
            "evidence": json.dumps({"kind": "step", "operation_types": ["commit"], "size_ratio": 2.1}),
            "detected_at": as_of,
        }
        | values
    )


def operation(key: str = "level:commit", name: str = "commit", as_of: datetime = T0, **values: Any) -> Row:
    nothing: Row = dict.fromkeys(INCIDENT_OPERATIONS.columns)
    return (
        nothing
        | {
            "incident_key": key,
            "operation_type": name,
            "kind": "step",
            "onset": ONSET,
            "onset_low": ONSET - MINUTE,
            "onset_high": ONSET + MINUTE,
            "size_ratio": 2.1,
            "opening_ratio": 2.0,
            "p": 1e-300,
            "calls_before": 1942,
            "calls": 73,
            "lost_ms": 730.1,
            "lost_ms_per_hour": 0.3,
            "detected_at": as_of,
        }
        | values
    )


def suppressed(name: str = "merge", as_of: datetime = T0, **values: Any) -> Row:
    return {
        "operation_type": name,
        "kind": "step",
        "onset": ONSET,
        "reason": "below_minimum",
        "detail": 'it changed by 9 %, a tab\t and "quotes" \\N',
        "incident_key": None,
        "detected_at": as_of,
    } | values


def found(
    *rows: Row, as_of: datetime = T0, why: tuple[Row, ...] = (), scope: tuple[str, ...] | None = None
) -> Incidents:
    members = [operation(row["incident_key"], row["operation_type"], as_of) for row in rows]
    return Incidents(
        INCIDENTS.frame(list(rows)), INCIDENT_OPERATIONS.frame(members), SUPPRESSED.frame(list(why)), scope
    )


def write(database: Database, incidents: Incidents, as_of: datetime = T0, *, notify: bool = True) -> IncidentsWritten:
    run = RunRecord("monitor_performance", as_of, as_of - timedelta(days=7), as_of, 1234, "9.8.7")
    with database.connect() as connection:
        return write_incidents(connection, incidents, run, notify=notify)


def inputs(database: Database, as_of: datetime) -> IncidentInputs:
    with database.connect() as connection:
        return extract_incident_inputs(connection, as_of)


def rows(database: Database, query: str) -> list[tuple]:
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def stored(database: Database) -> list[list[tuple]]:
    """Every result row with the transaction that wrote it, the alerts and the messages."""
    results = [rows(database, f"SELECT xmin::TEXT, * FROM {table} ORDER BY 2, 3, 4") for table in TABLES]
    others = ("performance_alerts", "alert_notification_queue")
    return results + [rows(database, f"SELECT * FROM {table} ORDER BY 1") for table in others]


def alerts(database: Database) -> list[tuple]:
    return rows(
        database,
        "SELECT alert_type, operation_type, severity, episode, resolved_at FROM performance_alerts ORDER BY alert_id",
    )


def said(database: Database) -> list[tuple[str, str]]:
    bodies = rows(database, "SELECT message_body FROM alert_notification_queue ORDER BY notification_queue_id")
    return [(body["alert_type"], body["transition"]) for body in (json.loads(text) for (text,) in bodies)]


def page_by_incidents(database: Database) -> None:
    """A webhook for all incidents and forecasts, which are what pages."""
    with database.connect() as connection:
        connection.execute("UPDATE analytics_settings SET value = 'incidents' WHERE name = 'alert_source'")
        connection.execute("INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'ops')")
        connection.execute(
            "INSERT INTO alert_notification_settings (alert_type, severity, webhook_id) "
            "SELECT alert_type, severity, webhook_id FROM alert_notification_webhooks, "
            "unnest(ARRAY['INCIDENT', 'FORECAST']) AS alert_type, "
            "unnest(ARRAY['INFO', 'WARNING', 'CRITICAL']) AS severity"
        )


# --- results per as_of ----------------------------------------------------------------------------------------------


def test_every_value_arrives_and_comes_back_exactly(database: Database) -> None:
    name = 'a, "b"\n\\N \\. é'
    key = f"level:{name}"
    incidents = found(
        incident(key, bottleneck="OBJECT_STORAGE_IO", bottleneck_support=1 / 3, first_mover=name, operation_type=name),
        why=(suppressed(), suppressed(reason="snoozed", incident_key=key)),
    )
    result = write(database, incidents)
    assert (result.rows_written, result.rows_deleted, result.alerts_opened) == (4, 0, 1)
    previous = inputs(database, T0 + MINUTE).previous
    without = pl.all().exclude("evidence")
    assert previous.incidents.select(without).rows() == incidents.incidents.select(without).rows()
    assert json.loads(previous.incidents["evidence"][0]) == json.loads(incidents.incidents["evidence"][0])
    assert previous.operations.rows() == incidents.operations.rows()
    columns = ", ".join(SUPPRESSED.columns)
    why = rows(database, f"SELECT {columns} FROM suppressed_findings ORDER BY reason")
    assert why == incidents.suppressed.sort("reason").rows()
    assert rows(database, "SELECT rows_written, status FROM analysis_runs") == [(4, "SUCCESS")]


def test_the_same_incidents_again_change_no_row_no_alert_and_no_message(database: Database) -> None:
    page_by_incidents(database)
    incidents = found(incident(), incident("level:merge"), why=(suppressed(),))
    write(database, incidents)
    before = stored(database)
    again = write(database, incidents)
    assert stored(database) == before
    assert (again.rows_written, again.rows_deleted, again.alerts_opened, again.messages_queued) == (0, 0, 0, 0)


def test_a_moment_analysed_again_has_what_was_found_last_and_others_stay(database: Database) -> None:
    later = T0 + MINUTE
    write(database, found(incident(), incident("level:merge"), why=(suppressed(),)))
    write(database, found(incident(as_of=later), as_of=later), later)
    result = write(database, found(incident(lost_ms=731.0)))
    # commit was replaced; merge, its operation and the suppressed finding are gone
    assert (result.rows_written, result.rows_deleted) == (1, 4)
    assert rows(
        database, "SELECT incident_key, detected_at, lost_ms FROM performance_incidents ORDER BY detected_at"
    ) == [("level:commit", T0, 731.0), ("level:commit", later, 730.1)]


def test_a_run_of_some_operations_leaves_the_rows_and_alerts_of_others(database: Database) -> None:
    write(database, found(incident(), incident("level:merge"), why=(suppressed("merge"), suppressed("commit"))))
    result = write(database, found(scope=("commit",)))
    assert result.rows_deleted == 3
    assert rows(database, "SELECT operation_type FROM performance_incidents") == [("merge",)]
    assert rows(database, "SELECT operation_type FROM suppressed_findings") == [("merge",)]


def test_a_run_takes_its_incidents_along_when_it_is_deleted(database: Database) -> None:
    result = write(database, found(incident(), why=(suppressed(),)))
    with database.connect() as connection:
        connection.execute("DELETE FROM analysis_runs WHERE run_id = %s", (result.run_id,))
    assert [rows(database, f"SELECT count(*) FROM {table}") for table in TABLES] == [[(0,)]] * 3


def test_incidents_may_be_part_of_a_run_that_was_written_already(database: Database) -> None:
    run = RunRecord("monitor_performance", T0, T0 - timedelta(days=7), T0, 1, "1")
    with database.connect() as connection:
        first = write_incidents(connection, found(), run)
        second = write_incidents(connection, found(incident()), run, run_id=first.run_id)
    assert rows(database, "SELECT run_id, rows_written FROM analysis_runs") == [(first.run_id, 2)]
    assert second.run_id == first.run_id


@pytest.mark.parametrize(
    ("incidents", "message"),
    [
        (found(incident(as_of=T0 + MINUTE)), "incidents: 1 rows are not of the as_of"),
        (replace(found(incident()), operations=INCIDENT_OPERATIONS.empty().drop("p")), "column p is missing"),
    ],
)
def test_frames_of_another_form_or_moment_are_refused(
    shared_database: Database, incidents: Incidents, message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        write(shared_database, incidents)


def test_autocommit_and_instants_without_a_zone_are_refused(shared_database: Database) -> None:
    with (
        shared_database.connect(autocommit=True) as connection,
        pytest.raises(InvalidArgument, match="autocommit"),
    ):
        extract_incident_inputs(connection, T0)
    with pytest.raises(InvalidArgument, match="time zone"):
        write(shared_database, found(), T0.replace(tzinfo=None))


# --- alerts ---------------------------------------------------------------------------------------------------------


def test_an_incident_is_told_when_it_opens_gets_worse_and_is_over(database: Database) -> None:
    page_by_incidents(database)
    write(database, found(incident()))
    second, third, fourth = (T0 + n * MINUTE for n in (1, 2, 3))
    write(database, found(incident(as_of=second, severity="CRITICAL"), as_of=second), second)
    missed = incident(as_of=third, last_found_at=second, missed_runs=1, severity="CRITICAL")
    write(database, found(missed, as_of=third), third)
    over = incident(as_of=fourth, state="recovered", ended_at=second, ended_because="recovered", severity="CRITICAL")
    result = write(database, found(over, as_of=fourth), fourth)
    assert result.alerts_resolved == 1
    assert alerts(database) == [("INCIDENT", "commit", "CRITICAL", 1, fourth)]
    assert said(database) == [("INCIDENT", "opened"), ("INCIDENT", "severity:CRITICAL"), ("INCIDENT", "resolved")]


def test_runs_that_miss_an_incident_leave_its_alert_until_it_is_over(database: Database) -> None:
    write(database, found(incident()))
    for run in range(1, 8):
        as_of = T0 + run * MINUTE
        write(database, found(incident(as_of=as_of, last_found_at=T0, missed_runs=run), as_of=as_of), as_of)
    assert alerts(database) == [("INCIDENT", "commit", "WARNING", 1, None)]


def test_an_alert_without_its_incident_is_resolved_after_three_runs(database: Database) -> None:
    write(database, found(incident(), incident("level:merge")))
    for run in range(1, 4):
        as_of = T0 + run * MINUTE
        write(database, found(incident("level:merge", as_of=as_of), as_of=as_of), as_of)
    assert alerts(database) == [
        ("INCIDENT", "commit", "WARNING", 1, T0 + 3 * MINUTE),
        ("INCIDENT", "merge", "WARNING", 1, None),
    ]


def test_what_was_over_when_it_was_found_is_told_once_unless_it_is_a_day_ago(database: Database) -> None:
    page_by_incidents(database)
    just, long_ago = T0 - timedelta(hours=1), T0 - timedelta(hours=25)
    over = {"state": "recovered", "ended_because": "recovered", "kind": "episode"}
    write(
        database,
        found(incident(ended_at=just, **over), incident("level:merge", ended_at=long_ago, **over)),
    )
    assert alerts(database) == [("INCIDENT", "commit", "WARNING", 1, T0)]
    assert said(database) == [("INCIDENT", "opened")]


@pytest.mark.parametrize("kind", ["calls", "improvement"])
def test_slow_calls_and_improvements_are_said_once(database: Database, kind: str) -> None:
    page_by_incidents(database)
    for run in range(3):
        as_of = T0 + run * MINUTE
        write(database, found(incident(as_of=as_of, kind=kind), as_of=as_of), as_of)
    assert alerts(database) == [("INCIDENT", "commit", "WARNING", 1, T0)]
    assert said(database) == [("INCIDENT", "opened")]


def test_an_incident_found_again_after_its_end_is_the_next_episode_of_its_alert(database: Database) -> None:
    second, third = T0 + MINUTE, T0 + 2 * MINUTE
    write(database, found(incident()))
    over = incident(as_of=second, state="recovered", ended_at=T0, ended_because="recovered")
    write(database, found(over, as_of=second), second)
    write(database, found(incident(as_of=third), as_of=third), third)
    assert [alert[3:] for alert in alerts(database)] == [(1, second), (2, None)]


def test_a_forecast_is_an_alert_of_its_own_type(database: Database) -> None:
    page_by_incidents(database)
    evidence = json.dumps({"sla_ms": 250.0, "expected_breach_at": "2026-03-04T02:30:00.000000Z"})
    write(database, found(incident("forecast:merge", kind="forecast", evidence=evidence)))
    ((text,),) = rows(database, "SELECT message_body::JSON ->> 'text' FROM alert_notification_queue")
    assert text.startswith("WARNING merge will exceed its limit of 250 ms about 2026-03-04 02:30 UTC, since")


def test_the_message_of_an_incident_says_what_how_much_and_with_how_many_others(database: Database) -> None:
    page_by_incidents(database)
    evidence = {
        "kind": "step",
        "size_ratio": 2.1,
        "operation_types": ["commit", "merge", "branch_create"],
        "before": {"p50_ms": 5.02},
        "now": {"p50_ms": 10.6},
    }
    write(database, found(incident(evidence=json.dumps(evidence))))
    ((text,),) = rows(database, "SELECT message_body::JSON ->> 'text' FROM alert_notification_queue")
    assert text == (
        "WARNING commit (with 2 more) is 2.1 times as slow: p50 went from 5.02 to 10.6 ms, since 2026-03-02 12:00 UTC"
    )


@pytest.mark.parametrize(
    ("evidence", "line"),
    [
        (
            {"kind": "calls", "calls": 3, "size_ratio": 30.25},
            "had 3 single slow calls, up to 30.25 times as slow as usual",
        ),
        (
            {"kind": "improvement", "before": {"p50_ms": 8}, "now": {"p50_ms": 2.5}},
            "became faster: p50 went from 8 to 2.5 ms",
        ),
        ({}, "is ? times as slow: p50 went from ? to ? ms"),
    ],
)
def test_the_line_for_people_says_what_kind_of_incident_it_is(
    shared_database: Database, evidence: Row, line: str
) -> None:
    with shared_database.connect() as connection:
        said = connection.execute("SELECT alert_headline('INCIDENT', 'commit', %s::JSONB)", (json.dumps(evidence),))
        assert said.fetchall() == [(f"commit {line}",)]


def test_while_the_plans_findings_page_incidents_are_only_recorded(database: Database) -> None:
    page_by_incidents(database)
    with database.connect() as connection:
        connection.execute("UPDATE analytics_settings SET value = 'plan' WHERE name = 'alert_source'")
    result = write(database, found(incident()))
    assert (result.alerts_opened, result.messages_queued) == (1, 0)


def test_an_old_moment_is_written_without_alerts(database: Database) -> None:
    result = write(database, found(incident()), notify=False)
    assert (result.rows_written, result.alerts_written, result.alerts_opened) == (2, False, 0)
    assert alerts(database) == []


def test_two_runs_of_one_moment_at_once_take_turns(database: Database) -> None:
    page_by_incidents(database)
    together = Barrier(2)

    def run(_: int) -> IncidentsWritten:
        together.wait()
        return write(database, found(incident()))

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    assert sorted(result.rows_written for result in results) == [0, 2]
    assert sorted(result.alerts_opened for result in results) == [0, 1]
    assert said(database) == [("INCIDENT", "opened")]


# --- what a run is told ---------------------------------------------------------------------------------------------


def test_a_run_knows_the_latest_state_before_its_moment_and_not_its_own(database: Database) -> None:
    later = T0 + MINUTE
    write(database, found(incident(), incident("level:merge")))
    write(database, found(incident(as_of=later, state="worsening"), as_of=later), later)
    known = inputs(database, later + MINUTE).previous
    assert known.incidents.select("incident_key", "state", "detected_at").rows() == [
        ("level:commit", "worsening", later),
        ("level:merge", "open", T0),
    ]
    assert known.operations.select("incident_key", "detected_at").rows() == [
        ("level:commit", later),
        ("level:merge", T0),
    ]
    assert inputs(database, later).previous.incidents["state"].to_list() == ["open", "open"]
    assert inputs(database, T0).previous.incidents.is_empty()
    assert inputs(database, T0 + timedelta(days=8)).previous.incidents.is_empty()


def test_settings_of_operations_and_thresholds_are_read(database: Database) -> None:
    assert inputs(database, T0).thresholds == Thresholds()
    with database.connect() as connection:
        connection.execute("INSERT INTO operation_settings (operation_type, sla_ms) VALUES ('merge', 250)")
        connection.execute("UPDATE analytics_settings SET value = '2' WHERE name = 'alert_resolve_after_runs'")
        connection.execute(
            "UPDATE analytics_settings SET value = '90' WHERE name = 'incident_warning_lost_seconds_per_hour'"
        )
    told = inputs(database, T0)
    assert told.settings.rows() == [("merge", "slower", None, None, None, None, 250.0)]
    assert told.thresholds == Thresholds(resolve_after_runs=2, warning_lost_ms_per_hour=90_000.0)


@pytest.mark.parametrize("value", ["", "much", "-1", "inf", "nan"])
def test_a_threshold_that_is_no_number_is_refused_by_name(database: Database, value: str) -> None:
    with database.connect() as connection:
        connection.execute("UPDATE analytics_settings SET value = %s WHERE name = 'incident_warning_times'", (value,))
    with pytest.raises(ConfigurationError, match=f"the setting incident_warning_times is '{value}', expected a number"):
        inputs(database, T0)


def test_snoozes_and_each_window_of_a_blackout_are_silences(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        connection.execute(
            "INSERT INTO alert_snooze (operation_type, snooze_until, created_at, reason) VALUES "
            "('commit', '2026-03-02 13:00+00', '2026-03-01+00', 'known'), "
            "('merge', '2026-02-01+00', '2026-01-01+00', 'over')"
        )
        # Sunday and Monday, from 23:00 for two hours; the window begins on a Monday and ends on one, both at noon
        connection.execute(
            "INSERT INTO alert_blackouts (days_of_week, start_time, duration, reason) "
            "VALUES ('{7,1}', '23:00', '2 hours', 'vacuum')"
        )
        told = extract_incident_inputs(connection, T0).silences
    ends = [datetime(2026, 2, 24, 1, tzinfo=UTC), datetime(2026, 3, 2, 1, tzinfo=UTC)]
    assert told.select("kind", "operation_type", "starts_at", "ends_at", "reason").rows() == [
        *(("maintenance", None, end - timedelta(hours=2), end, "vacuum") for end in ends),
        ("snoozed", "commit", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 13, tzinfo=UTC), "known"),
    ]


# --- what dashboards read -------------------------------------------------------------------------------------------


def test_the_view_shows_what_was_open_at_the_moment_the_most_severe_and_costly_first(database: Database) -> None:
    later = T0 + MINUTE
    write(
        database,
        found(
            incident(),
            incident("level:merge", lost_ms_per_hour=5.0),
            incident("level:rollback", severity="CRITICAL"),
        ),
    )
    over = incident("level:merge", as_of=later, state="recovered", ended_at=T0, ended_because="recovered")
    write(database, found(over, incident(as_of=later), as_of=later), later)

    def shown(at: datetime) -> list[tuple]:
        with database.connect() as connection:
            connection.execute("SELECT set_config('pggit.as_of', %s, TRUE)", (at.isoformat(),))
            return connection.execute(
                "SELECT operation_type, operation_types, size_ratio, detected_at FROM v_open_incidents"
            ).fetchall()

    assert [row[0] for row in shown(T0)] == ["rollback", "merge", "commit"]
    assert shown(later) == [("rollback", ["rollback"], 2.1, T0), ("commit", ["commit"], 2.1, later)]
    assert shown(T0 - MINUTE) == []
