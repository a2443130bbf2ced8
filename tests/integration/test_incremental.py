"""Reading with a store: after anything that may happen to the table or the store, the rows are those of the table."""

from __future__ import annotations

import itertools
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import conninfo, errors

from pggit_analytics.config import StoreSettings
from pggit_analytics.frames import METRICS
from pggit_analytics.postgres import row_versions
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.postgres.sources import Source, native
from pggit_analytics.postgres.store import Store

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Rows = list[tuple[Any, ...]]


@pytest.fixture
def store(tmp_path: Path) -> StoreSettings:
    return StoreSettings(directory=tmp_path / "store")


def in_table(database: Database, start: datetime, end: datetime) -> Rows:
    """The rows of the window as the server itself tells them."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT metric_id, operation_type, (duration_ms * 1000)::bigint, created_at FROM performance_metrics "
            "WHERE created_at BETWEEN %s AND %s ORDER BY metric_id",
            (start, end),
        ).fetchall()


def read(database: Database, store: StoreSettings | None, **options: Any) -> tuple[Rows, int | None]:
    """The rows read, and how many of them came from the database."""
    arguments: dict[str, Any] = {"start": NOON - 7 * DAY, "end": NOON} | options
    source = arguments.pop("source", native(database.schema))
    with read_metrics(database, source, store=store, **arguments) as metrics:
        frame = METRICS.check(metrics.frame.lazy().collect().sort("metric_id"))
        assert metrics.rows == frame.height
        return frame.rows(), metrics.moved


def moved(database: Database, store: StoreSettings, **options: Any) -> int | None:
    """How many rows came from the database; the rows are right."""
    window = {"start": NOON - 7 * DAY, "end": NOON} | options
    rows, count = read(database, store, **options)
    assert rows == in_table(database, window["start"], window["end"])
    return count


def fill(database: Database, count: int, start: datetime = NOON - 7 * DAY, end: datetime = NOON) -> None:
    """Rows spread evenly over a time."""
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
            "SELECT 'op' || n %% 3, n %% 97, %s + n * (%s / %s::float8) FROM generate_series(0, %s - 1) AS n",
            (start, end - start, count, count),
        )


def execute(database: Database, statement: str, *values: object) -> None:
    with database.connect() as connection:
        connection.execute(statement.encode(), values)


@contextmanager
def reading_role(database: Database) -> Iterator[Database]:
    """The database as a role sees it that may read timings and nothing else."""
    execute(database, "CREATE ROLE incremental_reader LOGIN")
    try:
        execute(database, "GRANT USAGE ON SCHEMA pggit TO incremental_reader")
        execute(database, "GRANT SELECT ON performance_metrics TO incremental_reader")
        yield Database(conninfo.make_conninfo(database.conninfo, user="incremental_reader"))
    finally:
        execute(database, "DROP OWNED BY incremental_reader")
        execute(database, "DROP ROLE incremental_reader")


def files(store: StoreSettings) -> list[Path]:
    return sorted(store.directory.glob("*/*.parquet"))


# --- how much work it is -----------------------------------------------------------------------------------------


def test_a_run_without_anything_new_reads_no_row(database: Database, store: StoreSettings) -> None:
    fill(database, 1000)
    assert moved(database, store) == 1000
    assert moved(database, store) == 0


def test_one_percent_of_new_rows_moves_just_these(database: Database, store: StoreSettings) -> None:
    fill(database, 10_000)
    moved(database, store)
    fill(database, 100, NOON - HOUR)
    assert moved(database, store) == 100


def test_new_rows_of_any_age_move_just_these(database: Database, store: StoreSettings) -> None:
    fill(database, 10_000)
    moved(database, store)
    fill(database, 100)
    assert moved(database, store) == 100


def test_the_window_moves_on_and_only_new_rows_are_read(database: Database, store: StoreSettings) -> None:
    fill(database, 1000)
    moved(database, store)
    for run in range(1, 20):
        fill(database, 10, NOON + (run - 1) * HOUR, NOON + run * HOUR)
        assert moved(database, store, start=NOON + run * HOUR - 7 * DAY, end=NOON + run * HOUR) == 10


def test_deleted_rows_cost_the_reading_of_their_hours(database: Database, store: StoreSettings) -> None:
    fill(database, 1680)  # ten an hour
    moved(database, store)
    execute(database, "DELETE FROM performance_metrics WHERE metric_id IN (5, 6, 1000)")
    assert moved(database, store) == 8 + 9


def test_an_hour_that_went_as_a_whole_costs_nothing(database: Database, store: StoreSettings) -> None:
    fill(database, 1680)
    moved(database, store)
    execute(database, "DELETE FROM performance_metrics WHERE created_at < %s", NOON - 6 * DAY)
    assert moved(database, store) == 0


def test_rows_that_all_went_are_not_in_the_store_any_more(database: Database, store: StoreSettings) -> None:
    fill(database, 100)
    moved(database, store)
    execute(database, "DELETE FROM performance_metrics")
    assert moved(database, store) == 0


def test_a_re_written_row_is_read_and_its_hour_counted_again(database: Database, store: StoreSettings) -> None:
    fill(database, 1680)
    moved(database, store)
    execute(database, "UPDATE performance_metrics SET duration_ms = 12345 WHERE metric_id = 77")
    assert moved(database, store) == 1 + 10


def test_what_an_open_transaction_could_hide_is_read_again_until_it_ends(
    database: Database, store: StoreSettings
) -> None:
    fill(database, 1000)
    moved(database, store)
    with database.connect() as writer:
        writer.execute("INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
                       "VALUES ('late', 1, %s)", (NOON - 3 * DAY,))  # fmt: skip
        fill(database, 10, NOON - HOUR)
        assert moved(database, store) == 10
        assert moved(database, store) == 10
    assert moved(database, store) == 11
    assert moved(database, store) == 0


def test_a_longer_window_reads_only_what_lies_before(database: Database, store: StoreSettings) -> None:
    fill(database, 1000, NOON - 10 * DAY)
    before = len(in_table(database, NOON - 7 * DAY, NOON))
    assert moved(database, store) == before
    assert moved(database, store, start=NOON - 10 * DAY) == 1000 - before


def test_a_window_inside_and_chosen_operations_read_nothing(database: Database, store: StoreSettings) -> None:
    fill(database, 1000)
    moved(database, store)
    assert moved(database, store, start=NOON - 3 * DAY, end=NOON - DAY) == 0
    rows, count = read(database, store, operations=["op1"])
    assert count == 0
    assert rows == [row for row in in_table(database, NOON - 7 * DAY, NOON) if row[1] == "op1"]


def test_some_operations_alone_do_not_begin_a_store(database: Database, store: StoreSettings) -> None:
    fill(database, 99)
    rows, count = read(database, store, operations=["op1"])
    assert (len(rows), count) == (33, None)
    assert files(store) == []


def test_a_window_long_past_does_not_begin_a_store(database: Database, store: StoreSettings) -> None:
    fill(database, 5000)
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("ANALYZE pggit.performance_metrics")
    rows, count = read(database, store, end=NOON - 6 * DAY, held_rows=100, slice_rows=100)
    assert rows == in_table(database, NOON - 7 * DAY, NOON - 6 * DAY)
    assert count is None


def test_many_runs_leave_few_files(database: Database, store: StoreSettings) -> None:
    fill(database, 100, NOON - DAY)
    for _ in range(25):
        fill(database, 1, NOON - HOUR)
        assert moved(database, store) in {1, 101}
    assert len(files(store)) <= 16  # eight for each of two days


def test_days_that_no_run_needs_go(database: Database, store: StoreSettings) -> None:
    fill(database, 1000)
    moved(database, store)
    later = NOON + 30 * DAY
    assert moved(database, store, start=later - DAY, end=later) == 0
    assert files(store) == []
    assert moved(database, store) == 1000


def test_only_the_user_can_read_the_store(database: Database, store: StoreSettings) -> None:
    fill(database, 10)
    moved(database, store)
    everything = [store.directory, *store.directory.rglob("*")]
    assert {file.stat().st_mode & 0o777 for file in everything if file.is_dir()} == {0o700}
    assert {file.stat().st_mode & 0o077 for file in everything if file.suffix == ".parquet"} == {0}


def test_more_than_fits_into_memory_comes_as_a_lazy_frame_and_leaves_no_links(
    database: Database, store: StoreSettings
) -> None:
    fill(database, 1000)
    with read_metrics(
        database, native("pggit"), start=NOON - 7 * DAY, end=NOON, store=store, held_rows=100, slice_rows=100
    ) as metrics:
        assert isinstance(metrics.frame, pl.LazyFrame)
        moved(database, store, held_rows=100, slice_rows=100)
        shutil.rmtree(store.directory / "nothing", ignore_errors=True)
        execute(database, "TRUNCATE performance_metrics")
        assert moved(database, store) == 0  # the store is empty now, the loan is not
        assert metrics.frame.select(pl.len()).collect().item() == 1000
    assert list(store.directory.glob("*/runs/*")) == []


# --- when the store cannot be used -------------------------------------------------------------------------------


def whole(database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    """What is logged by a run that reads everything without the store; the rows are right."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "pggit_analytics"):
        assert moved(database, store, **options) is None
    return [record.getMessage() for record in caplog.records]


def test_a_run_beside_another_one_reads_without_the_store_and_says_so(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 100)
    moved(database, store)
    (directory,) = store.directory.iterdir()
    with Store(store.directory, directory.name):
        assert whole(database, store, caplog) == [f"reading without the store: another run is at work in {directory}"]
    assert moved(database, store) == 0


def test_a_directory_that_others_can_write_is_not_used(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store.directory.mkdir(mode=0o777)
    store.directory.chmod(0o777)
    assert whole(database, store, caplog) == [
        f"reading without the store: {store.directory} can be written by others; chmod 700 it or name another directory"
    ]


def test_a_directory_that_is_a_file_is_no_obstacle(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store.directory.write_text("not a directory")
    assert whole(database, store, caplog) == [f"reading without the store: {store.directory}: File exists"]


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 20_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # files cannot grow beyond, as on a full disk
    try:
        (line,) = whole(database, store, caplog)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert line.startswith(f"reading without the store: {store.directory}")
    assert "\n" not in line
    assert files(store) == []
    assert moved(database, store) == 20_000


def test_a_store_over_its_limit_is_not_kept(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 1000)
    small = store.model_copy(update={"max_gigabytes": 1e-6})
    with caplog.at_level(logging.WARNING):
        assert moved(database, small) == 1000
    assert [record.getMessage() for record in caplog.records] == [
        "the store of 0.0 GB is over max_gigabytes = 1e-06 and was not kept; raise it, or set enabled = false"
    ]
    assert files(store) == []


def test_what_a_query_yields_is_read_as_a_whole(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 100)
    assert whole(database, store, caplog, source=Source("query", native("pggit").query)) == [
        "reading without the store: nobody knows when what source query yields changes"
    ]
    assert files(store) == []


def test_rows_that_a_policy_chooses_are_read_as_a_whole(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 99)
    moved(database, store)
    execute(database, "CREATE POLICY chosen ON performance_metrics USING (operation_type = 'op1')")
    execute(database, "ALTER TABLE performance_metrics ENABLE ROW LEVEL SECURITY")
    execute(database, "ALTER TABLE performance_metrics FORCE ROW LEVEL SECURITY")
    with reading_role(database) as reader:
        assert len(in_table(reader, NOON - 7 * DAY, NOON)) == 33
        assert whole(reader, store, caplog) == [
            "reading without the store: row security chooses the rows of performance_metrics"
        ]


def test_too_much_in_open_transactions_is_read_without_the_store(
    database: Database, store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with database.connect() as writer:
        writer.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('open', 1)")
        fill(database, 50)
        said, *_ = whole(database, store, caplog, held_rows=10, slice_rows=10)
    assert said == "reading without the store: too many rows may be of transactions that have not ended"


# --- when what is stored cannot be compared any more -------------------------------------------------------------


def test_after_a_crash_everything_is_read_again(database: Database, store: StoreSettings) -> None:
    fill(database, 100)
    moved(database, store)
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_reset_shared('bgwriter')")  # as recovery from a crash does
    assert moved(database, store) == 100


def test_another_table_of_the_same_name_is_another_source(database: Database, store: StoreSettings) -> None:
    fill(database, 100)
    moved(database, store)
    execute(database, "ALTER TABLE performance_metrics RENAME TO before")
    execute(database, "CREATE TABLE performance_metrics (LIKE before INCLUDING ALL)")
    execute(database, "INSERT INTO performance_metrics SELECT * FROM before WHERE metric_id > 50")
    assert moved(database, store) == 50


def test_columns_that_change_places_are_read_again(database: Database, store: StoreSettings) -> None:
    fill(database, 100)
    execute(database, "ALTER TABLE performance_metrics ADD COLUMN other_ms NUMERIC(14, 3) DEFAULT 7")
    moved(database, store)
    execute(database, "ALTER TABLE performance_metrics RENAME COLUMN duration_ms TO old_ms")
    execute(database, "ALTER TABLE performance_metrics RENAME COLUMN other_ms TO duration_ms")
    assert moved(database, store) == 100


def test_two_databases_and_two_schemas_have_stores_of_their_own(
    database: Database, create_database: Callable[..., str], deployed_template: str, store: StoreSettings
) -> None:
    other = Database(create_database(deployed_template))
    fill(database, 10)
    fill(other, 20)
    assert [moved(database, store), moved(other, store), moved(database, store), moved(other, store)] == [10, 20, 0, 0]


def test_equal_rows_are_as_many_where_no_key_forbids_them(database: Database, store: StoreSettings) -> None:
    execute(database, "ALTER TABLE performance_metrics DROP CONSTRAINT performance_metrics_pkey")
    again = (
        "INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at) "
        "SELECT metric_id, operation_type, duration_ms, created_at FROM performance_metrics WHERE metric_id < 4"
    )
    fill(database, 9)
    with database.connect() as writer:
        writer.execute("INSERT INTO performance_metrics (operation_type, duration_ms) VALUES ('open', 1)")
        execute(database, again)
        assert moved(database, store) is not None
        execute(database, again)
        assert moved(database, store) is not None
    assert moved(database, store) is not None
    assert moved(database, store) == 0


def test_partitions_are_read_by_their_versions_and_anew_when_one_is_attached(
    empty_database: Database, store: StoreSettings
) -> None:
    columns = "metric_id BIGINT, operation_type TEXT, duration_ms NUMERIC(14, 3), created_at TIMESTAMPTZ"
    with psycopg.connect(empty_database.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA pggit")
        connection.execute("SET search_path TO pggit")
        connection.execute(f"CREATE TABLE performance_metrics ({columns}) PARTITION BY RANGE (created_at)".encode())
        for day in range(3, 11):
            connection.execute(
                f"CREATE TABLE day_{day} PARTITION OF performance_metrics "
                f"FOR VALUES FROM ('2026-03-{day:02}Z') TO ('2026-03-{day + 1:02}Z')".encode()
            )
        insert = (
            "INSERT INTO performance_metrics "
            "SELECT 1000 * {0} + n, 'a', n, timestamptz '2026-03-{0:02}Z' + n * interval '1 minute' "
            "FROM generate_series({1}) n"
        )
        for day in range(3, 10):
            connection.execute(insert.format(day, "0, 99").encode())
        expected = len(in_table(empty_database, NOON - 7 * DAY, NOON))
        assert moved(empty_database, store) == expected
        connection.execute(insert.format(8, "200, 204").encode())
        assert moved(empty_database, store) == 5
        connection.execute("ALTER TABLE performance_metrics DETACH PARTITION day_5")
        assert moved(empty_database, store) == expected + 5 - 100
        connection.execute("ALTER TABLE performance_metrics ATTACH PARTITION day_5 "
                           "FOR VALUES FROM ('2026-03-05Z') TO ('2026-03-06Z')")  # fmt: skip
        assert moved(empty_database, store) == expected + 5


@pytest.mark.parametrize("most_named", [0, 100])
@pytest.mark.parametrize(
    ("first", "following", "written", "others"),
    [
        (1000, 1003, [1000, 1001, 1002], [999, 1003, 2, 3, 2**32 - 1]),
        (2**32 - 2, 2**32 + 5, [2**32 - 2, 2**32 - 1, 3, 4], [2**32 - 3, 5, 2, 1, 0]),
        (5 * 2**32 + 7, 5 * 2**32 + 8, [7], [6, 8, 2**32 - 1]),
        (70, 70, [], [69, 70, 71, 2]),
    ],
)
def test_transactions_are_told_apart_over_the_end_of_their_numbers(
    *,
    shared_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    most_named: int,
    first: int,
    following: int,
    written: list[int],
    others: list[int],
) -> None:
    monkeypatch.setattr(row_versions, "MOST_NAMED", most_named)
    condition = row_versions.written_between(first, following).as_string(None)
    with shared_database.connect() as connection:
        rows = connection.execute(
            f"SELECT xmin::TEXT::BIGINT FROM (SELECT n::TEXT::XID AS xmin FROM unnest(%s::BIGINT[]) AS n) AS x "
            f"WHERE {condition}".encode(),
            ([*written, *others],),
        ).fetchall()
    assert sorted(row[0] for row in rows) == sorted(written)


# --- a process that dies -----------------------------------------------------------------------------------------

CHILD = """
import sys
from datetime import datetime
from pathlib import Path
from pggit_analytics.config import StoreSettings
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.postgres.sources import Source, native
from pggit_analytics.postgres.store import Store
database, store = Database(sys.argv[1]), StoreSettings(directory=Path(sys.argv[2]))
start, end = map(datetime.fromisoformat, sys.argv[3:5])
print("reading", flush=True)
read_metrics(database, native("pggit"), start=start, end=end, store=store, held_rows=50, slice_rows=50)
"""


@pytest.mark.parametrize("files_seen", [1, 5, 14])
def test_a_run_that_is_killed_leaves_nothing_that_counts(
    database: Database, store: StoreSettings, files_seen: int
) -> None:
    fill(database, 700)
    arguments = [database.conninfo, str(store.directory), str(NOON - 7 * DAY), str(NOON)]
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"reading\n"
        while len(files(store)) < files_seen and child.poll() is None:
            pass
        child.kill()
    fill(database, 7)
    assert moved(database, store) in {707, 7}
    assert moved(database, store) == 0
    assert list(store.directory.glob("*/runs/*")) == []


# --- what must not matter ----------------------------------------------------------------------------------------

INSERTS = {
    "now": "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES ('a', {n}, {at})",
    "with an id of its own": (
        "INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at) "
        "VALUES (-{n}, 'b', 1, {at})"
    ),
    "in a subtransaction": (
        "DO $$BEGIN BEGIN INSERT INTO performance_metrics (operation_type, duration_ms, created_at) "
        "VALUES ('c', {n}, {at}); EXCEPTION WHEN division_by_zero THEN NULL; END; END$$"
    ),
}
PICK = "SELECT metric_id FROM performance_metrics ORDER BY metric_id {way} LIMIT 2 FOR UPDATE SKIP LOCKED"
CHANGES = {
    "update": f"UPDATE performance_metrics SET duration_ms = {{n}} WHERE metric_id IN ({PICK})",
    "move": f"UPDATE performance_metrics SET created_at = {{at}} WHERE metric_id IN ({PICK})",
    "delete": f"DELETE FROM performance_metrics WHERE metric_id IN ({PICK})",
    "truncate": "TRUNCATE performance_metrics",
    "rewrite": "CLUSTER performance_metrics USING performance_metrics_pkey",
}

sessions = st.integers(0, 2)
moments = st.sampled_from([-200, -167.5, -100, -99.5, -30, -1, -0.5, 0, 3, 400])  # hours from noon
writes = st.tuples(st.just("write"), sessions, st.sampled_from(sorted(INSERTS)), moments)
changes = st.tuples(
    st.just("change"),
    sessions,
    st.sampled_from([*["delete", "move", "update"] * 4, "truncate", "rewrite"]),
    moments,
    st.sampled_from(["ASC", "DESC"]),
)
ends = st.tuples(st.just("end"), sessions, st.sampled_from(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
reads = st.tuples(
    st.just("read"), st.sampled_from([0, 0, 0, 0, -48, 2]), st.sampled_from([999, 999, 2]), st.sampled_from([0, 99])
)
damages = st.tuples(
    st.just("damage"), st.sampled_from(["checkpoint", "delete", "flip", "cut", "lose", "manifest", "leftovers"])
)
#: as often as they stand here: what makes the store anew or has rows counted is rare, lest nothing else be seen
steps = st.one_of(*[writes] * 4, *[changes] * 3, *[ends] * 6, *[reads] * 6, damages)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=20, max_size=60), st.booleans())
def test_whatever_happens_the_rows_are_those_of_the_table(
    shared_database: Database, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[Any, ...]], is_now: bool
) -> None:
    """With ``is_now`` the rows end about the present hour, so that some are late and some are not."""
    noon = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) if is_now else NOON
    execute(shared_database, "TRUNCATE performance_metrics")
    store = StoreSettings(directory=tmp_path_factory.mktemp("store"))
    store.directory.chmod(0o700)
    numbers = itertools.count(1)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        writers = [stack.enter_context(psycopg.connect(shared_database.conninfo)) for _ in range(3)]
        for writer in writers:
            writer.execute("SET search_path TO pggit")
            writer.execute("SET lock_timeout TO '5ms'")
            writer.commit()
        for step in [*script, ("end", 0, "COMMIT"), ("read", 0, 999, 99)]:
            kind, *details = step
            if kind in {"write", "change"}:
                number, what, hours, *way = details
                at = f"timestamptz '{noon + hours * HOUR}'"
                statement = (INSERTS | CHANGES)[what].format(n=next(numbers), at=at, way=way[0] if way else "")
                attempt(writers[number], statement)
            elif kind == "end":
                writers[details[0]].execute(details[1].encode())
            elif details == ["checkpoint"]:
                execute(shared_database, "CHECKPOINT")
            elif kind == "damage":
                damage(store.directory, details[0])
            else:
                hours, slice_rows, most_named = details
                patch.setattr(row_versions, "MOST_NAMED", most_named)
                end = noon + hours * HOUR
                rows, _ = read(
                    shared_database, store, start=end - 7 * DAY, end=end, held_rows=slice_rows, slice_rows=slice_rows
                )
                assert rows == in_table(shared_database, end - 7 * DAY, end)
        for writer in writers:
            writer.rollback()


def attempt(writer: psycopg.Connection, statement: str) -> None:
    """Run it in the writer's transaction; when another one is in the way, the transaction is given up."""
    try:
        writer.execute(statement.encode())
        if statement.startswith(("TRUNCATE", "CLUSTER")):
            writer.commit()  # nobody could read before
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        writer.rollback()


def damage(root: Path, how: str) -> None:
    """What may happen to files."""
    for directory in root.iterdir():
        manifest, segments = directory / "manifest.json", sorted(directory.glob("*.parquet"))
        if how == "delete":
            shutil.rmtree(directory)
        elif how == "leftovers":
            (directory / "leftover.parquet").write_bytes(b"half")
            (directory / "leftover.tmp").write_text("{")
        elif how == "manifest":
            if manifest.exists():
                manifest.write_text(manifest.read_text()[:-20])
        elif segments and how == "lose":
            segments[0].unlink()
        elif segments:
            content = bytearray(segments[0].read_bytes())
            content[len(content) // 2] ^= 1
            segments[0].write_bytes(content if how == "flip" else content[:-1])
