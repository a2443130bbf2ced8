"""The functions of ``import pggit_analytics as pa``: for notebooks and scripts.

Everything is read from the database that ``connect`` returns, and returned as Polars frames or small named results;
only ``tune(..., apply=True)`` writes. Durations are microseconds (``_us``) in metrics and milliseconds (``_ms``) in
results; instants are UTC and those given need a time zone. Errors are `pggit_analytics.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pggit_analytics import pipeline
from pggit_analytics.analysis.arguments import check_as_of, check_operation_types, check_whole, lookback
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.followed_levels import operation_levels
from pggit_analytics.analysis.incidents import WINDOW, Incidents
from pggit_analytics.analysis.operation_course import operation_course, slow_points
from pggit_analytics.analysis.spikes import slow_calls
from pggit_analytics.backtesting import Backtest, BacktestParameters
from pggit_analytics.backtesting import backtest as replay_history
from pggit_analytics.config import Settings, load_settings
from pggit_analytics.errors import ConfigurationError, InvalidArgument, InvalidSource
from pggit_analytics.pipeline import MonitorParameters, Target
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.embedded import embedded_url
from pggit_analytics.postgres.extract import extract_metrics, extract_operation_types
from pggit_analytics.postgres.extract_past import extract_runs, extract_spans, extract_written_incidents
from pggit_analytics.postgres.extract_wishes import NewSettings, default_span, extract_wishes
from pggit_analytics.postgres.sources import NATIVE
from pggit_analytics.results import Detections, Incident, IncidentList
from pggit_analytics.tuning import Tuning
from pggit_analytics.tuning import tune as propose_settings

if TYPE_CHECKING:
    from pggit_analytics.report.charts.operation import DrawnChart

#: longest look back, in hours: ten years
_MOST_HOURS = 87600
#: shortest and longest window of a plot, in hours
_PLOT_HOURS = (48, 62 * 24)


def connect(url: str | None = None, schema: str | None = None) -> Database:
    """The database to look at; it has to answer and to be deployed.

    Args:
        url: libpq URL; None = that of ``PGGIT_DATABASE_URL`` or ``pggit.toml``, else the embedded one that
            ``pggit-analytics demo`` has made in ``.pggit/`` here or in a directory above.
        schema: of the project's objects; None = that of ``PGGIT_SCHEMA``, else ``pggit``.

    Raises:
        ConfigurationError: there is no database, or the URL cannot be read.
        DatabaseUnavailable: the server is away or refuses the log-in.
        NotDeployed: ``pggit-analytics db deploy`` has not been run.
        PermissionDenied: the role may not use the schema.
    """
    settings = load_settings(database_url=url, schema_name=schema)
    address = settings.database_url
    database = Database(address.get_secret_value() if address else _embedded(settings), settings.schema_name)
    default_span(database, WINDOW)
    return database


def _embedded(settings: Settings) -> str:
    """The URL of the nearest embedded database; none is made here."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / settings.embedded_directory / "postgresql").is_dir():
            return embedded_url(directory / settings.embedded_directory)
    raise ConfigurationError(
        f"no database: give a url, set PGGIT_DATABASE_URL, or run pggit-analytics demo in {here} or a directory above"
    )


def runs(db: Database, *, limit: int = 20) -> pl.DataFrame:
    """What was analysed: the runs of flows, the latest moment first.

    Args:
        db: of ``connect``.
        limit: most rows, 1 to 10000.

    Returns:
        One row a run: run_id, flow, as_of (the moment looked back from), started_at, finished_at, status (SUCCESS or
        FAILED), rows_read, rows_written, error_message (NULL unless FAILED).

    Raises:
        InvalidArgument: ``limit`` is out of range.
        DatabaseError: see `connection.translated`.
    """
    return extract_runs(db, check_whole("limit", limit, 1, 10_000))


def metrics(
    db: Database,
    *,
    as_of: datetime | None = None,
    lookback_hours: int = 24,
    operations: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The timings of a window.

    Args:
        db: of ``connect``.
        as_of: end of the window, with a time zone; None = now, by the database's clock.
        lookback_hours: its length, 1 to 87600.
        operations: only these; None = all.

    Returns:
        `frames.METRICS`: metric_id, operation_type, duration_us (whole microseconds, Int64), created_at (when the call
        ended); by created_at. No NULL. The functions of `pggit_analytics.analysis` take it as it is.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, ``lookback_hours`` is out of range, an operation is not known.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    target = _target(db)
    end = _end(db, as_of)
    start = lookback(end, hours=check_whole("lookback_hours", lookback_hours, 1, _MOST_HOURS))
    names = _known(db, operations)
    with extract_metrics(target.source_database, target.source, start=start, end=end, operations=names) as read:
        return read.frame.lazy().sort("created_at", "metric_id").collect()


def detect(
    db: Database,
    *,
    as_of: datetime | None = None,
    lookback_hours: int = 24,
    operations: Sequence[str] | None = None,
) -> Detections:
    """What every detector finds: the plan's, and those whose findings make incidents. Nothing is written.

    Args:
        db: of ``connect``.
        as_of: the moment to look back from, with a time zone; None = now, by the database's clock.
        lookback_hours: window of outliers, thresholds and correlations, 1 to 87600; degradations take 7 days at least,
            changes, episodes, slow_calls, groups and forecasts 7 days.
        operations: show only these; None = all. All are read, for what is usual is learnt from all.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, ``lookback_hours`` is out of range, an operation is not known.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    check_whole("lookback_hours", lookback_hours, 1, _MOST_HOURS)
    end, names = _end(db, as_of), _known(db, operations)
    parameters = MonitorParameters(as_of=end, lookback_hours=lookback_hours)
    inputs = pipeline.gather(_target(db), parameters)
    with inputs.metrics as read:
        found = pipeline.correlate(inputs, parameters, pipeline.detect(inputs, parameters))
        engine = pipeline.followed(inputs, MonitorParameters())
        rows_read = read.rows
    shown = {
        "anomalies": found.anomalies,
        "degradations": found.degradations,
        "thresholds": found.thresholds,
        "correlations": found.correlations,
        "changes": engine.changes,
        "episodes": engine.episodes,
        "slow_calls": engine.slow_calls,
        "groups": engine.shared.groups,
        "forecasts": engine.forecasts,
    }
    return Detections(end, lookback_hours, rows_read, **{name: _only(frame, names) for name, frame in shown.items()})


def incidents(db: Database, *, as_of: datetime | None = None) -> IncidentList:
    """The incidents: as runs wrote them, or as they are found now for a moment.

    Args:
        db: of ``connect``.
        as_of: None = the latest state of each that runs of the last 7 days have written. A moment with a time zone =
            found in memory from the 7 days before it, with the settings of today and without what earlier runs knew:
            ``opened_at`` is then the moment itself. Nothing is written.

    Raises:
        InvalidArgument: ``as_of`` has no time zone.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    end = _end(db, as_of)
    if as_of is None:
        return IncidentList.of(extract_written_incidents(db, end), end, is_written=True)
    wishes = extract_wishes(db, end - WINDOW, end)
    inputs = pipeline.gather(_target(db), MonitorParameters(as_of=end))
    with inputs.metrics as read:
        found = engine_incidents(
            pipeline.followed(inputs, MonitorParameters()),
            Incidents(),
            as_of=end,
            metrics=pipeline.within(read.frame, end),
            settings=wishes.settings,
            silences=wishes.silences,
            thresholds=wishes.thresholds,
        )
    return IncidentList.of(found, end, is_written=False)


def traces(
    db: Database,
    about: Incident | str,
    *,
    as_of: datetime | None = None,
    lookback_hours: int = 24,
    slowest: int = 10,
) -> pl.DataFrame:
    """Where the time of slow calls went: the whole traces of the slowest ones.

    Args:
        db: of ``connect``.
        about: an incident = the calls of its operations from its onset to its end; or the name of an operation.
        as_of: of an operation: end of the window, with a time zone; None = now, by the database's clock.
        lookback_hours: of an operation: length of the window, 1 to 87600.
        slowest: of so many calls, 1 to 1000.

    Returns:
        `extract_past.SPANS`: trace, depth (0 = the root), operation_type, duration_ms, share_percent (of the time of
        the root; NULL where it is not known), created_at, metric_id, is_asked (one of the slowest calls asked about).
        The trace of the slowest call comes first, each from its root down. Empty where the calls belong to no trace.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, a number is out of range, the operation is not known.
        InvalidSource: timings are read from another table, which has no traces.
        DatabaseError: see `connection.translated`.
    """
    check_whole("slowest", slowest, 1, 1000)
    if (source := _target(db).source.name) != NATIVE:
        raise InvalidSource(f"source {source} has no traces; they are in the schema's own performance_metrics only")
    if isinstance(about, Incident):
        names = about.operations["operation_type"].to_list()
        start, end = about.onset, about.ended_at or about.as_of
    else:
        names, end = [about], _end(db, as_of)
        _known(db, names)
        start = lookback(end, hours=check_whole("lookback_hours", lookback_hours, 1, _MOST_HOURS))
    return extract_spans(db, names, start=start, end=end, calls=slowest)


def plot(
    db: Database,
    about: Incident | str,
    *,
    as_of: datetime | None = None,
    lookback_hours: int = 168,
    operation: str | None = None,
) -> DrawnChart:
    """A chart of an operation, or of an incident: what calls took beside what they usually take.

    The band is where 90 of 100 calls usually lie. From the onset of an incident on, usual is what was so before.

    Args:
        db: of ``connect``.
        about: an incident, or the name of an operation.
        as_of: end of the chart, with a time zone; None = the moment of the incident, else now.
        lookback_hours: its length, 48 to 1488.
        operation: another operation of the incident than the one it is about.

    Returns:
        An Altair chart. A notebook shows it as a drawing; ``altair.JupyterChart(chart)`` shows it with what the mouse
        points at, ``.save("chart.png")`` or ``.save("chart.svg")`` writes it.

    Raises:
        InvalidArgument: ``as_of`` has no time zone, ``lookback_hours`` is out of range, the operation is not known or
            was not called in the window.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    from pggit_analytics.report.charts.operation import operation_chart

    hours = check_whole("lookback_hours", lookback_hours, *_PLOT_HOURS)
    incident = about if isinstance(about, Incident) else None
    name = operation or (incident.operation_type if incident else str(about))
    _known(db, [name])
    end = incident.as_of if incident and as_of is None else _end(db, as_of)
    every = metrics(db, as_of=end, lookback_hours=hours)
    levels = operation_levels(every, end, lookback=timedelta(hours=hours))
    onset = incident.onset if incident else None
    return operation_chart(
        operation_course(levels, name, onset=onset),
        slow_points(levels, slow_calls(levels), name),
        title=name,
        subtitle=incident.sentence if incident else f"{hours} hours until {end:%Y-%m-%d %H:%M} UTC",
        onset=onset,
        ended_at=incident.ended_at if incident else None,
    )


def backtest(
    db: Database,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    step: timedelta = timedelta(hours=6),
    settings: NewSettings | None = None,
) -> Backtest:
    """History replayed as if live: what would have been said, and when. Nothing is written.

    Args:
        db: of ``connect``.
        start: first run, with a time zone; None = 7 days before the end. Timings are read from 7 days before it on.
        end: no run is later; None = now, by the database's clock.
        step: from run to run, 1 minute to 7 days.
        settings: of operations, to be tried instead of what operation_settings says:
            ``{"commit": {"sensitivity": 0.5}}``. Further ones: direction (slower, faster, both), minimum_effect_ms,
            minimum_effect_percent, expected_pages_per_week, sla_ms.

    Returns:
        ``events``: `backtesting.EVENTS`, one row a thing said; ``summary``: pages, critical_pages, days, operations,
        pages_per_operation_day; ``moments`` of the runs.

    Raises:
        InvalidArgument: a moment has no time zone, the start is not before the end, the step does not fit, a
            setting is not allowed.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    return replay_history(_target(db), _span(start, end, step), settings=settings)


def tune(
    db: Database,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    step: timedelta = timedelta(hours=6),
    settings: NewSettings | None = None,
    apply: bool = False,
) -> Tuning:
    """Proposals for the settings of operations, from verdicts on alerts and from a backtest.

    Args:
        db: of ``connect``.
        start, end, step: see ``backtest``.
        settings: see ``backtest``; ``{"commit": {"expected_pages_per_week": 1}}`` asks what to set for that.
        apply: write what is proposed to operation_settings; otherwise nothing is written.

    Returns:
        ``proposals``: `tuning.PROPOSALS`, one row an operation that was judged, has pages or expects some;
        ``applied``: the operations whose settings were written.

    Raises:
        InvalidArgument: see ``backtest``.
        PermissionDenied: the role may not write operation_settings.
        InvalidSource, InvalidData, DatabaseError: see `extract_metrics`.
    """
    return propose_settings(_target(db), _span(start, end, step), apply=apply, settings=settings)


def _target(db: Database) -> Target:
    """Where timings and results are, as the environment and ``pggit.toml`` say."""
    return Target.of(db, load_settings())


def _end(db: Database, as_of: datetime | None) -> datetime:
    return default_span(db, WINDOW)[1] if as_of is None else check_as_of(as_of)


def _known(db: Database, operations: Sequence[str] | None) -> list[str] | None:
    """The names, if all of them are known."""
    if operations is None:
        return None
    if isinstance(operations, str) or not operations:
        raise InvalidArgument(f"operations is {operations!r}, expected a list of names, or None for all")
    check_operation_types(operations, extract_operation_types(db)["operation_type"].to_list())
    return list(operations)


def _span(start: datetime | None, end: datetime | None, step: timedelta) -> BacktestParameters:
    for name, value in (("start", start), ("end", end)):
        if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
            raise InvalidArgument(f"{name} is {value}, expected a date, time and time zone such as 2026-01-31 12:00+00")
    least, most = timedelta(minutes=1), WINDOW
    if not isinstance(step, timedelta) or not least <= step <= most:
        raise InvalidArgument(f"step is {step}, expected a timedelta from {least} to {most}")
    utc = {"start": start and start.astimezone(UTC), "end": end and end.astimezone(UTC)}
    return BacktestParameters(**utc, step=step)


def _only(frame: pl.DataFrame, names: Sequence[str] | None) -> pl.DataFrame:
    """The rows about these operations alone."""
    if names is None:
        return frame
    if "members" in frame.columns:
        return frame.filter(pl.col("members").list.eval(pl.element().is_in(names)).list.all())
    return frame.filter(
        pl.col(name).is_in(names)
        for name in ("operation_type", "operation_type_1", "operation_type_2")
        if name in frame.columns
    )
