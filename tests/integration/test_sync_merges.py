"""sync: pgGit 0.2.1's merges become rows of the dashboards, once, whatever is repeated or comes late."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.config import MergesSettings
from pggit_analytics.errors import ConfigurationError, InvalidSource, NotDeployed, PermissionDenied
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.sync_merges import sync_merges
from tests.commands import run_here
from tests.integration.test_roles import logged_in, user_of

SETTINGS = MergesSettings()

#: the columns, types and defaults of pgGit 0.2.1
PGGIT_0_2_1 = """
    CREATE SCHEMA pggit;
    CREATE TABLE pggit.merge_history (
        id                   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        source_branch        text NOT NULL,
        target_branch        text NOT NULL,
        initiated_by         text NOT NULL DEFAULT current_user,
        initiated_at         timestamp NOT NULL DEFAULT now(),
        completed_at         timestamp,
        status               text NOT NULL DEFAULT 'in_progress' CHECK (status IN (
            'in_progress', 'completed', 'failed', 'aborted', 'awaiting_resolution')),
        conflict_count       integer DEFAULT 0,
        resolved_conflicts   integer DEFAULT 0,
        unresolved_conflicts integer DEFAULT 0,
        merge_strategy       text DEFAULT 'auto',
        error_message        text,
        notes                jsonb DEFAULT '{}'
    );
    CREATE INDEX ON pggit.merge_history (status);
    CREATE INDEX ON pggit.merge_history (initiated_at DESC);
"""

MERGES = """
    INSERT INTO pggit.merge_history
        (id, source_branch, target_branch, initiated_at, completed_at, status, conflict_count, unresolved_conflicts)
    VALUES
        ('00000000-0000-0000-0000-000000000001', 'a', 'main', '2026-03-01 12:00', NULL, 'completed', 0, 0),
        ('00000000-0000-0000-0000-000000000002', 'b', 'main', '2026-03-01 12:01', '2026-03-01 12:01:00.25',
         'completed', NULL, NULL),
        ('00000000-0000-0000-0000-000000000003', 'c', 'main', '2026-03-01 12:02', NULL, 'awaiting_resolution', 2, 2),
        ('00000000-0000-0000-0000-000000000004', 'd', 'main', '2026-03-01 12:03', NULL, 'in_progress', 0, 0),
        ('00000000-0000-0000-0000-000000000005', 'e', 'main', '2026-03-01 12:04', '2026-03-01 12:05', 'aborted', 1, 1)
"""


def execute(database: Database, *statements: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(database: Database, query: str) -> list[tuple]:
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def merges(database: Database) -> list[tuple]:
    query = """
        SELECT right(merge_id, 1), branch_from, branch_into, created_at, resolution_strategy, status,
               duration_ms::FLOAT8, conflict_count, unresolved_count
        FROM merge_relationships ORDER BY merge_id
    """
    return rows(database, query)


def at(minute: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, 1, hour, minute, tzinfo=UTC)


@pytest.fixture
def beside(empty_database: Database) -> Database:
    """pgGit with five merges, and the project deployed beside it."""
    execute(empty_database, PGGIT_0_2_1, MERGES)
    database = Database(empty_database.conninfo, "pggit_analytics")
    deploy(database)
    return database


def test_merges_are_copied_with_their_meaning(beside: Database) -> None:
    done = sync_merges(beside, SETTINGS)

    assert merges(beside) == [
        ("1", "a", "main", at(0), "auto", "SUCCESS", None, 0, 0),
        ("2", "b", "main", at(1), "auto", "SUCCESS", 250.0, None, None),
        ("3", "c", "main", at(2), None, "CONFLICT", None, 2, 2),
        ("5", "e", "main", at(4), "rejected", "FAILED", 60000.0, 1, 1),
    ]
    assert (done.read, done.added, done.changed, done.still_open, done.metrics_added) == (5, 4, 0, 2, 1)


def test_a_merge_that_nobody_had_to_decide_becomes_a_timing_of_its_trace(beside: Database) -> None:
    sync_merges(beside, SETTINGS)

    query = """
        SELECT operation_type, duration_ms::FLOAT8, created_at, right(distributed_trace_id, 1), metadata ->> 'source'
        FROM performance_metrics
    """
    ended = datetime(2026, 3, 1, 12, 1, 0, 250_000, tzinfo=UTC)
    assert rows(beside, query) == [("merge_branches", 250.0, ended, "2", "pggit-0.2.1")]


def test_the_dashboards_of_merges_show_them(beside: Database) -> None:
    sync_merges(beside, SETTINGS)
    with beside.connect() as connection:
        connection.execute("SET pggit.as_of = '2026-03-01 13:00+00'")
        longest = connection.execute(
            "SELECT branch_from, total_merge_ms::FLOAT8 FROM v_merge_bottleneck_analysis LIMIT 2"
        ).fetchall()
        hotspots = connection.execute("SELECT branch_from, conflict_count FROM v_merge_conflict_hotspots").fetchall()
        rate = connection.execute(
            "SELECT total_attempts, auto_resolved, rejected, undecided FROM v_merge_success_rate_analysis"
        ).fetchall()
    assert (longest, hotspots, rate) == ([("e", 60000.0), ("b", 250.0)], [("c", 1)], [(4, 2, 1, 1)])


def test_repeating_it_changes_nothing(beside: Database) -> None:
    sync_merges(beside, SETTINGS)
    before = rows(beside, "SELECT ctid, xmin, m.* FROM merge_relationships AS m")

    for everything in (False, True):
        again = sync_merges(beside, SETTINGS, everything=everything)
        assert (again.added, again.changed, again.metrics_added) == (0, 0, 0)
    assert rows(beside, "SELECT ctid, xmin, m.* FROM merge_relationships AS m") == before


def test_merges_that_end_later_are_brought_up_to_date(beside: Database) -> None:
    sync_merges(beside, SETTINGS)
    execute(
        beside,
        # weeks of newer merges, so that these two are not read for their age
        "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, status) "
        "VALUES ('new', 'main', '2026-03-20 12:00', 'completed')",
    )
    sync_merges(beside, SETTINGS)
    execute(
        beside,
        "UPDATE pggit.merge_history SET status = 'completed', completed_at = '2026-03-20 13:00', "
        "resolved_conflicts = 2, unresolved_conflicts = 0 WHERE source_branch = 'c'",
        "UPDATE pggit.merge_history SET status = 'failed', completed_at = '2026-03-01 12:03:01' "
        "WHERE source_branch = 'd'",
    )
    done = sync_merges(beside, SETTINGS)

    # the two and the newest
    assert (done.read, done.added, done.changed, done.still_open, done.metrics_added) == (3, 1, 1, 0, 1)
    found = {row[1]: row[4:] for row in merges(beside)}
    # 19 days and 58 minutes
    assert found["c"] == ("manual", "CONFLICT", 1_645_080_000.0, 2, 0)
    assert found["d"] == (None, "FAILED", 1000.0, 0, 0)


def test_only_new_and_open_merges_are_read_again(beside: Database) -> None:
    execute(
        beside,
        "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, status) "
        "SELECT 'n', 'main', TIMESTAMP '2026-03-05' + n * INTERVAL '1 minute', 'completed' "
        "FROM generate_series(1, 5000) AS n",
    )
    assert sync_merges(beside, SETTINGS).read == 5005
    # a day of them, both ends included, and two that are not over
    assert sync_merges(beside, SETTINGS).read == 24 * 60 + 1 + 2


def test_a_merge_whose_transaction_commits_late_is_found(beside: Database) -> None:
    with psycopg.connect(beside.conninfo) as late:
        late.execute(
            "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, status) "
            "VALUES ('late', 'main', '2026-03-01 11:00', 'completed')"
        )
        assert sync_merges(beside, SETTINGS).added == 4
    assert sync_merges(beside, SETTINGS).added == 1


def test_a_merge_of_the_future_does_not_hide_those_of_the_present(beside: Database) -> None:
    insert = "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, status) VALUES "
    execute(beside, f"{insert} ('future', 'main', now() + INTERVAL '10 years', 'completed')")
    sync_merges(beside, SETTINGS)
    execute(beside, f"{insert} ('present', 'main', now() AT TIME ZONE 'UTC', 'completed')")

    assert sync_merges(beside, SETTINGS).added == 1


def test_merges_deleted_here_come_back_when_all_are_looked_at(beside: Database) -> None:
    sync_merges(beside, SETTINGS)
    execute(
        beside,
        "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, status) "
        "VALUES ('new', 'main', '2026-03-20 12:00', 'completed')",
        "DELETE FROM pggit_analytics.merge_relationships",
    )

    assert sync_merges(beside, SETTINGS).added == 5
    execute(beside, "DELETE FROM pggit_analytics.merge_relationships")
    assert sync_merges(beside, SETTINGS).added == 2  # the newest, and one that is not over
    assert sync_merges(beside, SETTINGS, everything=True).added == 3


@pytest.mark.parametrize(
    ("zone", "hour"), [("UTC", 12), ("Europe/Paris", 11), ("America/New_York", 17), ("Asia/Kolkata", 6)]
)
def test_timestamps_are_read_in_the_zone_of_the_settings_whatever_that_of_the_server(
    beside: Database, zone: str, hour: int
) -> None:
    name = conninfo.conninfo_to_dict(beside.conninfo)["dbname"]
    execute(beside, f"ALTER DATABASE {name} SET timezone TO 'Pacific/Auckland'")
    sync_merges(beside, MergesSettings(time_zone=zone))

    minute = 30 if zone == "Asia/Kolkata" else 0
    assert merges(beside)[0][3].astimezone(UTC) == at(minute, hour)


def test_a_zone_that_does_not_exist_is_refused(beside: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"time_zone in \[merges\] is 'Mars/Olympus'"):
        sync_merges(beside, MergesSettings(time_zone="Mars/Olympus"))
    assert merges(beside) == []


def test_instants_that_are_none_and_unknown_words_are_left_out_and_named(beside: Database) -> None:
    execute(
        beside,
        "ALTER TABLE pggit.merge_history DROP CONSTRAINT merge_history_status_check",
        "INSERT INTO pggit.merge_history (source_branch, target_branch, initiated_at, completed_at, status) VALUES "
        "('x', 'main', '-infinity', NULL, 'completed'), ('y', 'main', '2026-03-01 12:00', 'infinity', 'completed'), "
        "('z', 'main', '2026-03-01 12:00', NULL, 'pending')",
    )
    done = sync_merges(beside, SETTINGS)

    assert sorted(reason.split(" ", 2)[2] for reason in done.left_out) == [
        "has no usable initiated_at",
        "has the status 'pending'",
    ]
    assert [row[6] for row in merges(beside) if row[1] == "y"] == [None]


def test_two_at_once_copy_each_merge_once(beside: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: sync_merges(beside, SETTINGS), range(4)))

    assert sorted(each.added for each in done) == [0, 0, 0, 4]
    assert rows(beside, "SELECT count(*) FROM performance_metrics") == [(1,)]


def test_pggits_table_is_only_read_even_by_a_role_that_may_write_it(beside: Database) -> None:
    before = rows(beside, "SELECT ctid, xmin, m.* FROM pggit.merge_history AS m ORDER BY m.id")
    sync_merges(beside, SETTINGS)

    assert rows(beside, "SELECT ctid, xmin, m.* FROM pggit.merge_history AS m ORDER BY m.id") == before


def test_merges_can_be_in_another_database(beside: Database, database: Database) -> None:
    assert sync_merges(database, MergesSettings(database_url=beside.conninfo)).added == 4
    assert len(merges(database)) == 4


def test_the_pipeline_may_sync_once_it_may_read_pggits_table(beside: Database) -> None:
    with logged_in(beside, "pggit_pipeline") as pipeline:
        with pytest.raises(PermissionDenied, match=r"grant USAGE on the schema pggit and SELECT"):
            sync_merges(pipeline, SETTINGS)
        execute(beside, f"GRANT USAGE ON SCHEMA pggit TO {user_of(pipeline)}")
        execute(beside, f"GRANT SELECT ON pggit.merge_history TO {user_of(pipeline)}")
        assert sync_merges(pipeline, SETTINGS).added == 4


def test_without_pggit_the_setting_to_look_at_is_named(database: Database) -> None:
    with pytest.raises(InvalidSource, match=r"schema_name in \[merges\]"):
        sync_merges(database, SETTINGS)


def test_a_table_of_another_version_is_refused_by_the_column_it_lacks(beside: Database) -> None:
    execute(beside, "ALTER TABLE pggit.merge_history RENAME COLUMN initiated_at TO created_at")
    with pytest.raises(InvalidSource, match=r"column m\.initiated_at does not exist"):
        sync_merges(beside, SETTINGS)


def test_without_a_deployment_the_command_that_makes_one_is_named(empty_database: Database) -> None:
    execute(empty_database, PGGIT_0_2_1)
    with pytest.raises(NotDeployed, match="pggit-analytics db deploy --schema pggit_analytics"):
        sync_merges(Database(empty_database.conninfo, "pggit_analytics"), SETTINGS)


def test_the_command_says_what_it_did_in_words_and_json(beside: Database, run_directory: Path) -> None:
    (run_directory / "pggit.toml").write_text('[merges]\ntime_zone = "Europe/Paris"\n')
    database = {"PGGIT_DATABASE_URL": beside.conninfo, "PGGIT_SCHEMA": "pggit_analytics"}
    done = run_here("sync", **database)

    assert (done.returncode, done.stdout) == (
        0,
        "pggit.merge_history, its timestamps read as Europe/Paris: 5 merges looked at, 4 new, 0 changed, 2 not over; "
        "1 timings added\n",
    )
    answer = json.loads(run_here("sync", "--all", "--json", **database).stdout)
    assert (answer["read"], answer["added"], answer["time_zone"]) == (5, 0, "Europe/Paris")
