"""Merges recorded from Python and from SQL: their rows, their phases, how they ended, and the dashboard of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest
from psycopg import conninfo, errors

from pggit_analytics.postgres.connection import Database
from pggit_analytics.recorder import Recorder

PHASES = ("merge_base_find", "merge_conflict_detect", "merge_auto_resolve")


class Failed(Exception):
    """What the merge under test raises."""


@pytest.fixture
def recorder(database: Database) -> Iterator[Recorder]:
    with Recorder(database) as recorder:
        yield recorder


def rows(database: Database, query: str, *parameters: object) -> list[tuple[object, ...]]:
    with database.connect() as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def merges(database: Database) -> list[tuple[object, ...]]:
    return rows(database, "SELECT branch_from, status, resolution_strategy FROM merge_relationships ORDER BY 1")


def test_merge_appears_with_its_phases_in_the_dashboard(database: Database, recorder: Recorder) -> None:
    with recorder.merge("feature", "main", metadata={"objects": 3}) as merge:
        merge_id = merge.merge_id
        for phase in PHASES:
            with merge.phase(phase, metadata={"of": phase}):
                pass
        merge.resolved("auto")
    assert recorder.flush()

    assert merges(database) == [("feature", "SUCCESS", "auto")]
    metrics = rows(
        database,
        "SELECT operation_type, duration_ms, distributed_trace_id, distributed_trace_parent_id, metadata"
        " FROM performance_metrics ORDER BY metric_id",
    )
    assert [(row[0], row[3]) for row in metrics] == [(phase, merge_id) for phase in PHASES] + [("merge_branches", None)]
    assert metrics[-1][2] == merge_id
    assert [row[4] for row in metrics] == [{"of": phase} for phase in PHASES] + [{"objects": 3}]
    (shown,) = rows(
        database,
        "SELECT merge_id, branch_from, branch_into, lca_find_ms, conflict_detect_ms, auto_resolve_ms, total_merge_ms"
        " FROM v_merge_bottleneck_analysis",
    )
    assert shown == (merge_id, "feature", "main", *(row[1] for row in metrics))
    assert rows(database, "SELECT DISTINCT phase FROM v_merge_phase_timeline ORDER BY 1") == [
        (p,) for p in sorted(PHASES)
    ]


def test_row_begins_when_the_merge_began_and_lasts_as_long_as_its_metric(
    database: Database, recorder: Recorder
) -> None:
    with recorder.merge("feature", "main"):
        pass
    assert recorder.flush()

    (found,) = rows(
        database,
        "SELECT r.duration_ms = m.duration_ms, r.created_at <= m.created_at"
        " FROM merge_relationships r JOIN performance_metrics m ON m.distributed_trace_id = r.merge_id",
    )
    assert found == (True, True)


def test_each_ending_is_told_apart(database: Database, recorder: Recorder) -> None:
    with recorder.merge("1 undecided", "main"):
        pass
    with recorder.merge("2 conflict by hand", "main") as merge:
        merge.conflict()
        merge.resolved("manual")
    with recorder.merge("3 rejected", "main") as merge:
        merge.conflict()
        merge.resolved("rejected")

    def fail() -> None:
        with recorder.merge("4 failed", "main") as merge:
            merge.conflict()
            with merge.phase("merge_conflict_detect"):
                raise Failed

    with pytest.raises(Failed):
        fail()
    assert recorder.flush()

    assert merges(database) == [
        ("1 undecided", "SUCCESS", None),
        ("2 conflict by hand", "CONFLICT", "manual"),
        ("3 rejected", "CONFLICT", "rejected"),
        ("4 failed", "FAILED", None),
    ]
    query = "SELECT operation_type FROM performance_metrics WHERE metadata ->> 'error' = 'Failed' ORDER BY 1"
    assert rows(database, query) == [("merge_branches",), ("merge_conflict_detect",)]


@pytest.mark.parametrize("branch", ["", "x" * 2001, "nul\0", None, 7])
def test_unusable_branch_costs_the_row_and_never_the_merge_or_its_timing(
    database: Database, recorder: Recorder, branch: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), recorder.merge(branch, "main") as merge, merge.phase("merge_base_find"):
        reached = True
    assert reached
    assert recorder.flush()

    assert recorder.last_error is not None
    assert "branch_from is" in recorder.last_error
    assert "a merge cannot be recorded" in caplog.text
    assert (merges(database), recorder.written, recorder.dropped) == ([], 2, 0)


def test_unknown_strategy_leaves_the_merge_undecided(database: Database, recorder: Recorder) -> None:
    with recorder.merge("feature", "main") as merge:
        merge.resolved("magic")
    assert recorder.flush()

    assert merges(database) == [("feature", "SUCCESS", None)]
    assert recorder.last_error == "strategy is 'magic', expected one of auto, manual, rejected"


def test_role_without_right_on_the_table_of_merges_loses_those_rows_alone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database.conninfo) as connection:
        connection.execute("REVOKE INSERT ON pggit.merge_relationships FROM pggit_pipeline")
    own = Database(conninfo.make_conninfo(database.conninfo, options="-c role=pggit_pipeline"))
    with Recorder(own) as recorder, caplog.at_level(logging.WARNING):
        for number in range(3):
            with recorder.merge(f"feature {number}", "main"):
                pass
        recorder.record("commit", 1)
        assert recorder.flush()
    assert (recorder.written, recorder.dropped) == (4, 0)
    assert "the database refused 3 merges: permission denied for table merge_relationships" in caplog.text
    assert merges(database) == []


def test_role_that_may_only_insert_records_merges(database: Database) -> None:
    role = f"only_insert_{conninfo.conninfo_to_dict(database.conninfo)['dbname']}"
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}".encode())
        connection.execute(f"GRANT USAGE ON SCHEMA pggit TO {role}".encode())
        tables = "pggit.performance_metrics, pggit.merge_relationships"
        connection.execute(f"GRANT INSERT ON {tables} TO {role}".encode())
        try:
            own = Database(conninfo.make_conninfo(database.conninfo, options=f"-c role={role}"))
            with Recorder(own) as recorder:
                with recorder.merge("feature", "main") as merge:
                    merge.resolved("auto")
                assert recorder.flush()
                assert recorder.last_error is None
        finally:
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())
    assert merges(database) == [("feature", "SUCCESS", "auto")]


def test_merges_wait_for_the_database_like_timings(database: Database) -> None:
    """The table is out of reach at first: the batch is kept and written whole when it is back."""
    with Recorder(database) as recorder:
        with psycopg.connect(database.conninfo) as maintenance:
            maintenance.execute("LOCK TABLE pggit.merge_relationships")
            with recorder.merge("feature", "main") as merge, merge.phase("merge_base_find"):
                pass
            assert not recorder.flush(timeout_s=0)
            assert rows(database, "SELECT count(*) FROM performance_metrics") == [(0,)]
        assert recorder.flush()
    assert merges(database) == [("feature", "SUCCESS", None)]
    assert rows(database, "SELECT count(*) FROM performance_metrics") == [(2,)]


def test_row_that_is_there_already_stays_as_it_is(database: Database, recorder: Recorder) -> None:
    with recorder.merge("feature", "main") as merge:
        with psycopg.connect(database.conninfo) as connection:
            connection.execute(
                "INSERT INTO pggit.merge_relationships (merge_id, branch_from, branch_into, status)"
                " VALUES (%s, 'first', 'main', 'CONFLICT')",
                (merge.merge_id,),
            )
        merge.resolved("auto")
    assert recorder.flush()

    assert merges(database) == [("first", "CONFLICT", None)]
    assert recorder.last_error is None


def test_decorated_functions_coroutines_and_threads_record_a_merge_for_each_call(
    database: Database, recorder: Recorder
) -> None:
    @recorder.merge("plain", "main")
    def merge_it() -> str:
        return "done"

    @recorder.merge("coroutine", "main")
    async def merge_later() -> str:
        return "done"

    threads = [threading.Thread(target=merge_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (merge_it(), asyncio.run(merge_later())) == ("done", "done")
    assert recorder.flush()

    query = "SELECT branch_from, count(DISTINCT merge_id) FROM merge_relationships GROUP BY 1 ORDER BY 1"
    assert rows(database, query) == [("coroutine", 1), ("plain", 4)]


def test_phase_in_another_thread_belongs_to_its_merge(database: Database, recorder: Recorder) -> None:
    with recorder.merge("feature", "main") as merge:

        def detect() -> None:
            with merge.phase("merge_conflict_detect"):
                pass

        worker = threading.Thread(target=detect)
        worker.start()
        worker.join()
    assert recorder.flush()

    query = "SELECT distributed_trace_parent_id FROM performance_metrics WHERE operation_type = 'merge_conflict_detect'"
    assert rows(database, query) == [(merge.merge_id,)]


def scalar(connection: psycopg.Connection, query: str, *parameters: object) -> object:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row
    return row[0]


def test_merge_recorded_in_sql_over_several_transactions_appears_in_the_dashboard(database: Database) -> None:
    with database.connect() as connection:
        merge_id = scalar(connection, "SELECT start_merge('feature', 'main', '{\"objects\": 3}')")
        connection.commit()
        trace = scalar(connection, "SELECT start_performance_trace('merge_base_find', %s)", merge_id)
        connection.execute("SELECT end_performance_trace(%s)", (trace,))
        connection.execute("SELECT record_merge_phase(%s, 'merge_conflict_detect', 12.5)", (merge_id,))
        connection.commit()
        metric = scalar(connection, "SELECT finish_merge(%s, 'CONFLICT', 'manual', '{\"by\": \"me\"}')", merge_id)
        connection.commit()
        assert scalar(connection, "SELECT finish_merge(%s, 'SUCCESS', 'auto')", merge_id) == metric

    assert merges(database) == [("feature", "CONFLICT", "manual")]
    (shown,) = rows(
        database,
        "SELECT merge_id, branch_into, conflict_detect_ms, auto_resolve_ms, lca_find_ms IS NOT NULL"
        " FROM v_merge_bottleneck_analysis",
    )
    assert shown == (merge_id, "main", Decimal("12.500"), None, True)
    (found,) = rows(
        database,
        "SELECT m.metadata, r.duration_ms = m.duration_ms,"
        " r.created_at = m.created_at - m.duration_ms * INTERVAL '1 millisecond'"
        " FROM merge_relationships r JOIN performance_metrics m ON m.distributed_trace_id = r.merge_id"
        " WHERE m.operation_type = 'merge_branches'",
    )
    expected = {"objects": 3, "by": "me", "branch_from": "feature", "branch_into": "main"}
    assert found == (expected, True, True)


def test_merge_that_is_never_finished_or_rolled_back_leaves_nothing(database: Database) -> None:
    with database.connect() as connection:
        merge_id = scalar(connection, "SELECT start_merge('feature', 'main')")
        connection.execute("SELECT finish_merge(%s)", (merge_id,))
        connection.rollback()
        assert merges(database) == []
        connection.execute("SELECT finish_merge(%s, 'FAILED')", (merge_id,))
    assert merges(database) == [("feature", "FAILED", None)]


def test_names_of_any_kind_travel_in_the_merge_id(database: Database) -> None:
    names = ["it's", 'a "b"', "ünï/cøde.é", "50%"]
    with database.connect() as connection:
        for name in names:
            merge_id = scalar(connection, "SELECT start_merge(%s, 'main')", name)
            connection.execute('SELECT finish_merge(%s, p_metadata => \'{"branch_from": "other"}\')', (merge_id,))
    assert {row[0] for row in merges(database)} == set(names)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("start_merge(NULL, 'main')", "p_branch_from is NULL"),
        ("start_merge('feature', '')", "p_branch_into is ''"),
        ("start_merge('feature', 'main', '[1]')", "JSON type array, expected an object"),
        ("start_merge(repeat('x', 2000), 'main')", "expected at most 2000"),
        ("record_merge_phase(NULL, 'merge_base_find', 1)", "p_merge_id is NULL"),
        ("record_merge_phase('m', NULL, 1)", "p_operation_type is NULL"),
        ("record_merge_phase('m', 'merge_base_find', -1)", "p_duration_ms is -1"),
        ("finish_merge('nonsense')", "expected a text that start_performance_trace returned"),
        ("finish_merge(start_performance_trace('commit'))", "expected a text that start_merge returned"),
        ("finish_merge(start_performance_trace('merge_branches'))", "expected a text that start_merge returned"),
        ("finish_merge(start_merge('f', 'm'), 'DONE')", "p_status is 'DONE'"),
        ("finish_merge(start_merge('f', 'm'), NULL)", "p_status is NULL"),
        ("finish_merge(start_merge('f', 'm'), 'SUCCESS', 'magic')", "p_resolution_strategy is 'magic'"),
        ("finish_merge(start_merge('f', 'm'), p_metadata => '7')", "."),
    ],
)
def test_bad_argument_raises_22023(shared_database: Database, call: str, said: str) -> None:
    with shared_database.connect() as connection:
        with pytest.raises(errors.InvalidParameterValue, match=said):
            connection.execute(f"SELECT {call}".encode())
        connection.rollback()
