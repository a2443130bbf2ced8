"""Which scheduler runs the jobs of a database, and the windows it may run: the rules are functions in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal, LiteralString

import psycopg
from psycopg import conninfo
from psycopg.rows import class_row, scalar_row

from pggit_analytics.errors import ConfigurationError, DatabaseError, InvalidArgument, PermissionDenied
from pggit_analytics.postgres.connection import Database, first_line

Scheduler = Literal["pg_cron", "prefect", "crontab"]

_INSTALL = "pggit-analytics schedule install --scheduler crontab"


class ScheduleRefused(DatabaseError):
    """The schedule cannot be what was asked for: another scheduler is active, or pg_cron cannot be used."""


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """One job as `schedule_list` shows it; instants are None where there is none."""

    job: str
    description: str
    #: a cron line in UTC, or ``every <period>`` where no line can say it
    schedule: str
    #: the active scheduler of the database; None when none is
    scheduler: str | None
    #: active, paused, inactive, ``waiting for <function>`` or ``not in pg_cron``
    state: str
    last_window: datetime | None
    last_status: str | None
    last_finished_at: datetime | None
    last_message: str | None
    next_window: datetime | None


@dataclass(frozen=True, slots=True)
class JobTiming:
    """When a job's windows begin: every ``period``, counted from ``first_window``."""

    job: str
    description: str
    period: timedelta
    first_window: datetime
    #: the same as a cron line in UTC; None where no line can say it
    cron_line: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a scheduler that asks for a window."""

    job: str
    window_start: datetime
    #: None when refused
    job_run_id: int | None
    #: why not; None when the window is the caller's
    refusal: str | None


@dataclass(frozen=True, slots=True)
class _PgCronJob:
    name_in_pg_cron: str
    cron_line: str | None
    command: str
    database_name: str


def list_jobs(database: Database) -> list[ScheduledJob]:
    """Every job, the one with the longest period first.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        query = "SELECT * FROM schedule_list()"
        jobs = connection.cursor(row_factory=class_row(ScheduledJob)).execute(query).fetchall()
        known = _names_in_pg_cron(connection, database) if jobs and jobs[0].scheduler == "pg_cron" else None
        if known is None:
            return jobs
        names = dict(connection.execute("SELECT job, command FROM pg_cron_jobs()").fetchall())
    return [
        job if names[job.job] in known else ScheduledJob(**{**asdict(job), "state": "not in pg_cron"}) for job in jobs
    ]


def pg_cron_fault(database: Database) -> str | None:
    """Why pg_cron cannot run the jobs of this database; None when it can, and where one may not look.

    Raises:
        DatabaseUnavailable: see `connection.translated`.
    """
    with database.connect() as connection:
        try:
            with _pg_cron(connection, database):
                return None
        except ScheduleRefused as exc:
            return str(exc)
        except (psycopg.errors.InsufficientPrivilege, DatabaseError):
            return None


def job_timings(database: Database) -> list[JobTiming]:
    """When each job is due.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    query = """
        SELECT job, description, period, first_window, schedule_line(period, first_window) AS cron_line
        FROM scheduled_jobs
        ORDER BY job COLLATE "C"
    """
    with database.connect() as connection:
        return connection.cursor(row_factory=class_row(JobTiming)).execute(query).fetchall()


def install(database: Database, scheduler: Scheduler) -> None:
    """Make ``scheduler`` the active one, and tell pg_cron the jobs if that is it. Repeatable.

    Raises:
        ScheduleRefused: another scheduler is active, or pg_cron cannot be used.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection, _refusals():
        connection.execute("SELECT activate_scheduler(%s)", (scheduler,))
        if scheduler == "pg_cron":
            with _permission_explained():
                _tell_pg_cron(connection, database)


def remove(database: Database) -> str | None:
    """Let no scheduler be active, and take this schema's jobs out of pg_cron if that was it; which one it was.

    Raises:
        ScheduleRefused: pg_cron is active and cannot be reached.
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection, _refusals():
        cursor = connection.cursor(row_factory=scalar_row)
        active: str | None = cursor.execute("SELECT deactivate_scheduler()").fetchone()
        if active == "pg_cron":
            commands = [job.command for job in _pg_cron_jobs(connection)]
            here = cursor.execute("SELECT current_database()").fetchone()
            with _pg_cron(connection, database) as pg_cron:
                pg_cron.execute(
                    """
                    SELECT cron.unschedule(jobid)
                    FROM cron.job
                    WHERE database = %s AND command = ANY (%s) AND username = current_user
                    """,
                    (here, commands),
                )
    return active


def pause(database: Database, job: str | None) -> int:
    """Let a job, or with None every job, have no windows; how many this call paused.

    Raises:
        InvalidArgument: there is no such job.
        DatabaseError: see `connection.translated`.
    """
    return _set_pause(database, "SELECT schedule_pause(%s)", job)


def resume(database: Database, job: str | None) -> int:
    """End the pause of a job, or with None of every job; how many this call resumed.

    Raises:
        InvalidArgument: there is no such job.
        DatabaseError: see `connection.translated`.
    """
    return _set_pause(database, "SELECT schedule_resume(%s)", job)


@contextmanager
def claimed(
    database: Database, job: str, scheduler: Scheduler, *, again: bool = False, at: datetime | None = None
) -> Iterator[tuple[Claim, psycopg.Connection]]:
    """The job's window that ``at`` (None = now) lies in, if it may be run; held until the block ends.

    The connection yielded holds the claim: it must stay open, and takes `finish`. When the process dies, so does the
    claim, and the window can be claimed again.

    Raises:
        InvalidArgument: there is no such job.
        DatabaseError: see `connection.translated`.
    """
    query = """
        SELECT %(job)s AS job, window_start, job_run_id, refusal
        FROM claim_job_window(%(job)s, %(scheduler)s, coalesce(%(at)s, clock_timestamp()), TRUE, %(again)s)
    """
    with database.connect(autocommit=True) as connection, _refusals():
        connection.execute("SET idle_session_timeout TO 0")  # the claim ends with the session
        cursor = connection.cursor(row_factory=class_row(Claim))
        claim = cursor.execute(query, {"job": job, "scheduler": scheduler, "at": at, "again": again}).fetchone()
        assert claim is not None, "claim_job_window returns one row"
        yield claim, connection


def finish(connection: psycopg.Connection, claim: Claim, *, succeeded: bool, message: str) -> bool:
    """Record how the claimed run ended; False when the claim was lost meanwhile and the window claimed again."""
    row = connection.execute("SELECT finish_job_window(%s, %s, %s)", (claim.job_run_id, succeeded, message)).fetchone()
    return row == (True,)


def missed_jobs(database: Database) -> list[str]:
    """The jobs whose present window nobody has run, the one with the longest period first.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect() as connection:
        return connection.cursor(row_factory=scalar_row).execute("SELECT job FROM missed_jobs()").fetchall()


def run_in_database(database: Database, job: str) -> str:
    """Let the database do the work of a job, now and unconditionally; what it did, in one line.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with database.connect(autocommit=True) as connection:
        row = connection.execute("SELECT run_job(%s)", (job,)).fetchone()
    return str(row[0]) if row else ""


def _set_pause(database: Database, query: LiteralString, job: str | None) -> int:
    with database.connect() as connection, _refusals():
        row = connection.execute(query, (job,)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the schedule's functions refuse into errors of their own."""
    try:
        yield
    except psycopg.errors.InvalidParameterValue as exc:
        raise InvalidArgument(first_line(exc)) from exc
    except psycopg.errors.ObjectNotInPrerequisiteState as exc:
        raise ScheduleRefused(first_line(exc)) from exc


@contextmanager
def _permission_explained() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.InsufficientPrivilege, PermissionDenied) as exc:
        reason = first_line(exc) if isinstance(exc, psycopg.Error) else str(exc).split(";")[0]
        raise ScheduleRefused(
            f"{reason}; in the database of pg_cron have a superuser run GRANT USAGE ON SCHEMA cron TO <role>, and for "
            "jobs of another database GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cron TO <role>"
        ) from exc


def _pg_cron_jobs(connection: psycopg.Connection) -> list[_PgCronJob]:
    query = "SELECT name_in_pg_cron, cron_line, command, database_name FROM pg_cron_jobs()"
    return connection.cursor(row_factory=class_row(_PgCronJob)).execute(query).fetchall()


def _tell_pg_cron(connection: psycopg.Connection, database: Database) -> None:
    """The jobs, in pg_cron's database; within the caller's transaction only where that is the same."""
    row = connection.execute("SELECT current_setting('cron.database_name', TRUE) = current_database()").fetchone()
    if row == (True,):
        connection.execute("SELECT schedule_install()")
        return
    jobs = _pg_cron_jobs(connection)
    if without := [job.name_in_pg_cron for job in jobs if job.cron_line is None]:
        raise ScheduleRefused(f"the period of {without[0]} has no cron line, so pg_cron cannot run it; use {_INSTALL}")
    with _pg_cron(connection, database) as pg_cron:
        for job in jobs:
            pg_cron.execute(
                "SELECT cron.schedule_in_database(%s, %s, %s, %s)",
                (job.name_in_pg_cron, job.cron_line, job.command, job.database_name),
            )


@contextmanager
def _pg_cron(connection: psycopg.Connection, database: Database) -> Iterator[psycopg.Connection]:
    """A connection to the database that pg_cron lives in, as the same user.

    Raises:
        ScheduleRefused: there is no pg_cron, it is not installed there, or its time zone is not UTC.
    """
    row = connection.execute(
        "SELECT current_setting('cron.database_name', TRUE), coalesce(current_setting('cron.timezone', TRUE), 'GMT')"
    ).fetchone()
    home, time_zone = row or (None, "GMT")
    if home is None:
        raise ScheduleRefused(
            "pg_cron is not loaded; install it, add it to shared_preload_libraries and restart the server, "
            f"or use another scheduler: {_INSTALL}"
        )
    if time_zone.upper() not in {"GMT", "UTC", "ETC/UTC", "ETC/GMT"}:
        raise ScheduleRefused(f"cron.timezone is {time_zone}, but the schedules are in UTC; set it to GMT")
    there = Database(conninfo.make_conninfo(database.conninfo, dbname=home), "cron")
    with there.connect(own_path=False) as pg_cron:
        if not pg_cron.execute("SELECT FROM pg_extension WHERE extname = 'pg_cron'").rowcount:
            raise ScheduleRefused(
                f"pg_cron is loaded but not installed; have a superuser run CREATE EXTENSION pg_cron in the database "
                f"{home}, or use another scheduler: {_INSTALL}"
            )
        yield pg_cron


def _names_in_pg_cron(connection: psycopg.Connection, database: Database) -> set[str] | None:
    """The commands that pg_cron runs in this database; None where one may not look."""
    row = connection.execute("SELECT current_database()").fetchone()
    try:
        # where pg_cron lives is told to those who may read all settings; the refusal must not end the transaction
        with connection.transaction(), _pg_cron(connection, database) as pg_cron:
            rows = pg_cron.execute("SELECT command FROM cron.job WHERE database = %s AND active", row).fetchall()
    except (psycopg.errors.InsufficientPrivilege, DatabaseError, ConfigurationError):
        return None
    return {command for (command,) in rows}
