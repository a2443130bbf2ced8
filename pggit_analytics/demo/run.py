"""The demo from end to end: deploy, load a week, record real work, recalculate baselines, analyze."""

from __future__ import annotations

from datetime import timedelta

from pggit_analytics.demo.generator import generate_week
from pggit_analytics.demo.load import demo_loaded, load_week
from pggit_analytics.demo.workload import run_workload
from pggit_analytics.pipeline import (
    BaselineParameters,
    MonitorParameters,
    MonitorResult,
    Progress,
    Target,
    monitor,
    recalculate_baselines,
)
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.recorder import Recorder


def run_demo(target: Target, *, fresh: bool, progress: Progress) -> MonitorResult:
    """Make the demo's week unless it is there, then analyze it as of its end. Can be run any number of times.

    Baselines are those of the day before the last, so that the last day has something to be compared with.

    Raises:
        PggitAnalyticsError: see its hierarchy.
    """
    database = target.database
    progress("Deploying")
    deploy(database)
    with database.connect() as connection:
        as_of = None if fresh else demo_loaded(connection)
    if as_of is None:
        progress("Recording the timings of real work")
        with Recorder(database) as recorder:
            run_workload(database, recorder)
        with database.connect() as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None, "a SELECT without FROM returns one row"
            as_of = row[0]
            progress("Making up a week of timings")
            week = generate_week(as_of)
            progress(f"Loading {week.metrics.height:,} timings")
            load_week(connection, week)
        _vacuum(database)
        recalculate_baselines(
            target, BaselineParameters(as_of=as_of - timedelta(days=1), lookback_days=6), progress=progress
        )
    return monitor(target, MonitorParameters(as_of=as_of), progress=progress)


def _vacuum(database: Database) -> None:
    """Let index-only scans begin now instead of when autovacuum comes by."""
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) performance_metrics")
