"""The runs: gather inputs, decide, apply. Flows and the command line call these; nothing here needs a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pggit_analytics.analysis.arguments import check_as_of, check_operation_types, lookback
from pggit_analytics.analysis.detect_anomalies_statistical import detect_anomalies_statistical
from pggit_analytics.analysis.detect_combined_anomalies import combine, combined_days
from pggit_analytics.analysis.detect_correlated_degradation import detect_correlated_degradation
from pggit_analytics.analysis.detect_performance_degradation import detect_performance_degradation
from pggit_analytics.analysis.detect_threshold_exceeded import detect_threshold_exceeded
from pggit_analytics.analysis.engine_findings import EngineFindings, engine_findings
from pggit_analytics.analysis.engine_incidents import engine_incidents
from pggit_analytics.analysis.incidents import WINDOW, Incidents
from pggit_analytics.analysis.ordered_calls import Calls, ordered_calls
from pggit_analytics.analysis.recalculate_all_baselines_rolling import recalculate_all_baselines_rolling
from pggit_analytics.analysis.slow_since import slow_since
from pggit_analytics.analysis.windows import between
from pggit_analytics.config import ScaleSettings, Settings, StoreSettings
from pggit_analytics.delivery.said import web_link
from pggit_analytics.frames import CORRELATIONS
from pggit_analytics.parity import TWINS, Parameters
from pggit_analytics.parity import Inputs as EngineInputs
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.disk_columns import DiskColumns
from pggit_analytics.postgres.extract import (
    Metrics,
    extract_active_baselines,
    extract_baselines,
    extract_held_operations,
    extract_metrics,
    extract_operation_types,
)
from pggit_analytics.postgres.extract_dashboards import extract_dashboards
from pggit_analytics.postgres.extract_engine import extract_limits, extract_trace_parents
from pggit_analytics.postgres.incremental import read_metrics
from pggit_analytics.postgres.parity_check import Comparison, compare
from pggit_analytics.postgres.sources import Source, configured, native
from pggit_analytics.postgres.write_back import Findings, RunRecord, WriteResult, record_failed_run, write_back
from pggit_analytics.postgres.write_baselines import lock_baselines, write_baselines
from pggit_analytics.postgres.write_incidents import IncidentsWritten, extract_incident_inputs, write_incidents
from pggit_analytics.report.summary import Summary, summarise
from pggit_analytics.version import __version__

Progress = Callable[[str], None]

#: the calls of more rows are on disk while the engine looks at them, 32 bytes each
IN_MEMORY_ROWS = 20_000_000

MONITOR = "monitor_performance"
RECALCULATE = "recalculate_baselines"


AsOf = Annotated[datetime, AfterValidator(check_as_of)]


class MonitorParameters(BaseModel):
    """What one monitoring run looks at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: AsOf | None = Field(
        default=None, description="Look back from this moment (with a time zone); empty = now, by the database's clock"
    )
    lookback_hours: int = Field(
        default=24, ge=1, le=87600, description="Hours of the outliers, thresholds and correlations; trends use 7 days"
    )
    operations: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only these operations; empty = all"
    )
    correlation_threshold: float = Field(
        default=0.75, gt=0, le=1, allow_inf_nan=False, description="Pairs that correlate by more than this are reported"
    )
    notify: bool = Field(
        default=False, description="Raise alerts even for a moment that is old or not the newest one analysed"
    )


class BaselineParameters(BaseModel):
    """How baselines are recalculated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: AsOf | None = Field(default=None, description="Look back from this moment; empty = now")
    lookback_days: int = Field(default=7, ge=1, le=365, description="Days of 24 hours")
    min_samples: int = Field(default=10, ge=1, le=1000, description="Operations with fewer rows keep their baseline")
    force: bool = Field(default=False, description="Adopt changes under 5 % and rises during an open alert as well")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run reads and writes."""

    #: results, baselines and alerts
    database: Database
    #: the metrics; the same database unless the settings name another
    source_database: Database
    source: Source
    #: where timings are kept between runs; None = every run reads all of them
    store: StoreSettings | None = None
    #: who else does a part of the work
    scale: ScaleSettings = field(default_factory=ScaleSettings)

    @classmethod
    def of(cls, database: Database, settings: Settings) -> Target:
        """The target that the settings describe."""
        source_database, source = configured(settings.source, database)
        store = settings.store if settings.store.enabled else None
        return cls(database, source_database, source, store, settings.scale)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a monitoring run decides on. Close ``metrics`` afterwards."""

    as_of: datetime
    started_at: datetime
    window_start: datetime
    metrics: Metrics
    #: `frames.BASELINES`
    baselines: pl.DataFrame
    #: `frames.OPERATION_TYPES`
    operation_types: pl.DataFrame
    #: `breach_forecast.LIMITS`
    limits: pl.DataFrame
    #: `shared_causes.TRACE_PARENTS`
    parents: pl.DataFrame
    #: the calls that the engine looks at, where others have put them in order; ``metrics`` has no rows then
    calls: Calls | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the findings."""

    #: the result rows of the plan's detectors, and their alerts
    written: WriteResult
    #: how the incidents stand now; None where the engine did not run
    incidents: Incidents | None = None
    incidents_written: IncidentsWritten | None = None


@dataclass(frozen=True, slots=True)
class MonitorResult:
    """A finished monitoring run."""

    as_of: datetime
    rows_read: int
    findings: Findings
    applied: Applied

    @property
    def written(self) -> WriteResult:
        """What the run wrote of the plan's detectors."""
        return self.applied.written

    @property
    def slow_since(self) -> pl.DataFrame:
        """`frames.SLOW_SINCE` of the degraded operations."""
        return self.findings.slow_since


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """A finished recalculation."""

    as_of: datetime
    run_id: int
    rows_read: int
    #: `frames.BASELINE_RECALCULATIONS`
    recalculations: pl.DataFrame


def monitor(
    target: Target,
    parameters: MonitorParameters,
    *,
    progress: Progress = lambda _: None,
    flow_run_id: str | None = None,
) -> MonitorResult:
    """Read, detect, correlate and write back; all or nothing. Running it again changes nothing.

    Raises:
        PggitAnalyticsError: see its hierarchy; the failure is recorded in analysis_runs where the database allows.
    """
    found: Findings | None = None
    if target.scale.dask_address is None:
        progress("Reading the timings")
        inputs = gather(target, parameters)
    else:
        from pggit_analytics.scaleout import monitored_in_shares

        inputs, found = monitored_in_shares(target, parameters, progress=progress)
    with inputs.metrics, recorded_failure(target, monitor_run(inputs, flow_run_id)):
        progress(f"Looking for anomalies, for what changed and for causes in common in {inputs.metrics.described}")
        findings = find(inputs, parameters) if found is None else follow(inputs, parameters, found)
        progress("Writing the findings")
        applied = apply(target, inputs, parameters, findings, flow_run_id)
    return MonitorResult(inputs.as_of, inputs.metrics.rows, findings, applied)


def read_here(target: Target, start: datetime, end: datetime, operations: tuple[str, ...] | None) -> Metrics:
    """Read the metrics of a run into this process."""
    return read_metrics(
        target.source_database, target.source, start=start, end=end, operations=operations, store=target.store
    )


def gather(
    target: Target,
    parameters: MonitorParameters,
    *,
    read: Callable[[Target, datetime, datetime, tuple[str, ...] | None], Metrics] = read_here,
) -> Inputs:
    """Check the parameters against the database and read what the run needs, the metrics by ``read``.

    Raises:
        InvalidArgument: an operation is not known.
        DatabaseError, InvalidSource, InvalidData: see `extract_metrics`.
    """
    now, clock = _clock(target.database)
    as_of = parameters.as_of or clock
    operation_types = extract_operation_types(target.database)
    if parameters.operations:
        check_operation_types(parameters.operations, operation_types["operation_type"].to_list())
    baselines = extract_baselines(target.database, as_of)
    # the longer of the two windows
    start = lookback(as_of, hours=24 * combined_days(parameters.lookback_hours))
    limits = extract_limits(target.database)
    parents = extract_trace_parents(target.database, target.source, as_of - WINDOW, as_of)
    # last, as it may leave files that only the caller closes
    metrics = read(target, start, as_of, parameters.operations)
    return Inputs(as_of, now, start, metrics, baselines, operation_types, limits, parents)


def find(inputs: Inputs, parameters: MonitorParameters) -> Findings:
    """Everything to be found; pure. The engine works beside the detectors, as each leaves a processor idle at times.

    Rows that are read in streams are read for one after the other, so that memory stays what one of them takes.
    """
    if parameters.operations or isinstance(inputs.metrics.frame, pl.LazyFrame):
        return follow(inputs, parameters, correlate(inputs, parameters, detect(inputs, parameters)))
    with ThreadPoolExecutor(1) as beside:
        engine = beside.submit(followed, inputs, parameters)
        found = correlate(inputs, parameters, detect(inputs, parameters))
        return replace(found, engine=engine.result())


def detect(inputs: Inputs, parameters: MonitorParameters) -> Findings:
    """What the detectors say about each operation by itself; pure. Nothing is correlated yet."""
    metrics, as_of, hours = watched(inputs, parameters), inputs.as_of, parameters.lookback_hours
    degradations = detect_performance_degradation(metrics, as_of=as_of, lookback_days=combined_days(hours))
    outliers = detect_anomalies_statistical(metrics, inputs.baselines, as_of=as_of, lookback_hours=hours)
    return Findings(
        anomalies=combine(outliers, degradations),
        degradations=degradations,
        correlations=CORRELATIONS.empty(),
        thresholds=detect_threshold_exceeded(metrics, inputs.baselines, as_of=as_of, lookback_hours=hours),
        operations=parameters.operations,
        seen_operation_types=_seen(inputs.metrics.frame),
        slow_since=slow_since(inputs.metrics.frame, degradations),
    )


def watched(inputs: Inputs, parameters: MonitorParameters) -> pl.DataFrame | pl.LazyFrame:
    """The metrics of the tracked operations, or of those asked for by name."""
    untracked = inputs.operation_types.filter(~pl.col("is_tracked"))["operation_type"].to_list()
    if parameters.operations or not untracked:
        return inputs.metrics.frame
    return inputs.metrics.frame.filter(~pl.col("operation_type").is_in(untracked))


def correlate(inputs: Inputs, parameters: MonitorParameters, findings: Findings) -> Findings:
    """The findings with the operations that slow down together; pure."""
    correlations = detect_correlated_degradation(
        inputs.metrics.frame,
        inputs.operation_types,
        as_of=inputs.as_of,
        lookback_hours=parameters.lookback_hours,
        correlation_threshold=parameters.correlation_threshold,
    )
    return replace(findings, correlations=correlations)


def follow(inputs: Inputs, parameters: MonitorParameters, findings: Findings) -> Findings:
    """The findings with what the engine finds; pure. Of a part of the operations it says nothing.

    What operations do in common, and how much of all time one takes, is not known from a part of them.
    """
    if parameters.operations:
        return findings
    return replace(findings, engine=followed(inputs, parameters))


def followed(inputs: Inputs, parameters: MonitorParameters) -> EngineFindings:
    """What the engine finds in the operations that are watched; pure."""
    calls = _calls(inputs, parameters) if inputs.calls is None else inputs.calls
    return engine_findings(calls, inputs.as_of, limits=inputs.limits, parents=inputs.parents)


def _calls(inputs: Inputs, parameters: MonitorParameters) -> pl.DataFrame | pl.LazyFrame | Calls:
    """What the engine looks at; more calls than memory should hold are put in order on disk."""
    metrics = within(watched(inputs, parameters), inputs.as_of)
    return metrics if inputs.metrics.rows <= IN_MEMORY_ROWS else ordered_calls(metrics, DiskColumns())


def within(metrics: pl.DataFrame | pl.LazyFrame, as_of: datetime) -> pl.DataFrame | pl.LazyFrame:
    """The rows in the window of the engine, which ends at this moment."""
    window = between(metrics, as_of - WINDOW, as_of)
    return window if isinstance(metrics, pl.LazyFrame) else window.collect()


def apply(
    target: Target, inputs: Inputs, parameters: MonitorParameters, findings: Findings, flow_run_id: str | None
) -> Applied:
    """Write the run, its results, the incidents they make and what follows from them, in one transaction."""
    run = monitor_run(inputs, flow_run_id)
    with target.database.connect() as connection:
        # takes the lock of alerts: from here on no other run can write, so the incidents known are the latest
        written = write_back(connection, findings, run, notify=parameters.notify)
        if findings.engine is None:
            return Applied(written)
        wishes = extract_incident_inputs(connection, inputs.as_of)
        incidents = engine_incidents(
            findings.engine,
            wishes.previous,
            as_of=inputs.as_of,
            settings=wishes.settings,
            silences=wishes.silences,
            thresholds=wishes.thresholds,
        )
        told = write_incidents(connection, incidents, run, notify=parameters.notify, run_id=written.run_id)
        return Applied(written, incidents, told)


def monitor_run(inputs: Inputs, flow_run_id: str | None) -> RunRecord:
    """The run's row in analysis_runs."""
    return RunRecord(
        flow=MONITOR,
        as_of=inputs.as_of,
        window_start=inputs.window_start,
        started_at=inputs.started_at,
        rows_read=inputs.metrics.rows,
        package_version=__version__,
        prefect_flow_run_id=flow_run_id,
    )


def summary(result: MonitorResult) -> Summary:
    """What the run found, arranged for a reader."""
    findings = result.findings
    return summarise(
        as_of=result.as_of,
        rows_read=result.rows_read,
        anomalies=findings.anomalies,
        degradations=findings.degradations,
        correlations=findings.correlations,
        thresholds=findings.thresholds,
        slow_since=result.slow_since,
        incidents=result.applied.incidents,
    )


def report_link(target: Target) -> str | None:
    """Where people read the report: the setting report_url; None when it is empty or no address of the web.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    with target.database.connect() as connection:
        row = connection.execute("SELECT alert_setting('report_url')").fetchone()
    return web_link(row[0]) if row else None


def recalculate_baselines(
    target: Target,
    parameters: BaselineParameters,
    *,
    progress: Progress = lambda _: None,
    flow_run_id: str | None = None,
) -> BaselineResult:
    """Read, compute and adopt baselines; all or nothing.

    Raises:
        PggitAnalyticsError: see its hierarchy; the failure is recorded in analysis_runs where the database allows.
    """
    database = target.database
    started_at, clock = _clock(database)
    as_of = parameters.as_of or clock
    start = lookback(as_of, hours=24 * parameters.lookback_days)
    progress("Reading the timings")
    with read_metrics(target.source_database, target.source, start=start, end=as_of, store=target.store) as metrics:
        run = RunRecord(RECALCULATE, as_of, start, started_at, metrics.rows, __version__, flow_run_id)
        with recorded_failure(target, run), database.connect() as connection:
            progress(f"Computing baselines from {metrics.described}")
            # Under the lock nobody else changes what the decision rests on.
            lock_baselines(connection, _seen(metrics.frame))
            recalculations = recalculate_all_baselines_rolling(
                metrics.frame,
                extract_active_baselines(database, as_of),
                extract_operation_types(database),
                extract_held_operations(database),
                as_of=as_of,
                lookback_days=parameters.lookback_days,
                min_samples=parameters.min_samples,
                force=parameters.force,
            )
            run_id = write_baselines(
                connection,
                recalculations,
                run,
                lookback_days=parameters.lookback_days,
                reason="force" if parameters.force else "scheduled",
            )
    return BaselineResult(as_of, run_id, metrics.rows, recalculations)


@contextmanager
def recorded_failure(target: Target, run: RunRecord) -> Iterator[None]:
    """Record in analysis_runs that a run failed when the block raises, and let the error go on."""
    try:
        yield
    except Exception as exc:
        record_failed_run(target.database, run, exc)
        raise


def _clock(database: Database) -> tuple[datetime, datetime]:
    """Now by the database's clock, and the instant its analysis_time() looks back from."""
    with database.connect() as connection:
        row = connection.execute("SELECT clock_timestamp(), analysis_time()").fetchone()
    assert row is not None, "a SELECT without FROM returns one row"
    return row[0].astimezone(UTC), row[1].astimezone(UTC)


def _seen(metrics: pl.DataFrame | pl.LazyFrame) -> tuple[str, ...]:
    return tuple(metrics.lazy().select(pl.col("operation_type").unique().sort()).collect()["operation_type"])


def compare_engines(
    database: Database, as_of: datetime | None = None, *, progress: Progress = lambda _: None
) -> list[Comparison]:
    """Ask the SQL functions and the dataframes the same questions about the native table; nothing is written.

    Raises:
        DatabaseError: see `connection.translated`.
    """
    progress("Reading the timings")
    as_of = as_of or _clock(database)[1]
    operation_types = extract_operation_types(database)
    defaults = Parameters(as_of=as_of, operations=tuple(operation_types["operation_type"]))
    start = lookback(as_of, hours=24 * max(combined_days(defaults.lookback_hours), defaults.lookback_days))
    with extract_metrics(database, native(database.schema), start=start, end=as_of) as metrics:
        inputs = EngineInputs(
            metrics.frame,
            extract_baselines(database, as_of),
            operation_types,
            extract_active_baselines(database, as_of),
            extract_held_operations(database),
            **extract_dashboards(database, as_of)._asdict(),
        )
        progress("Comparing")
        with database.connect() as connection:
            return compare(connection, inputs, defaults, TWINS)
