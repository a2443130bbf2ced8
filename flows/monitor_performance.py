"""The flow that finds what got slow: extract, detect, correlate, write back."""

from datetime import datetime
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from pggit_analytics import flow_runs, pipeline
from pggit_analytics.analysis.engine_findings import EngineFindings
from pggit_analytics.pipeline import Applied, MonitorParameters, MonitorResult, Target
from pggit_analytics.report.summary import Summary, markdown, milliseconds, times
from pggit_analytics.scaleout import monitored_in_shares


def _followed(found: EngineFindings | None) -> str:
    if found is None:
        return "of a part of the operations nothing is followed"
    return (
        f"lasting changes: {found.changes.height}, episodes: {found.episodes.height}, "
        f"slow calls: {found.slow_calls.height:,}, groups slow together: {found.shared.groups.height}, "
        f"breaches to come: {found.forecasts.height}"
    )


def _applied(applied: Applied) -> str:
    written, told = applied.written, applied.incidents_written
    opened = written.alerts_opened + (told.alerts_opened if told else 0)
    queued = written.messages_queued + (told.messages_queued if told else 0)
    return (
        f"result rows written: {written.rows_written:,}, deleted: {written.rows_deleted:,}, "
        f"alerts opened: {opened}, messages queued: {queued}"
    )


extract = flow_runs.step(
    pipeline.gather,
    name="extract",
    description="Check the parameters against the database and read the timings",
    describe=lambda inputs: f"{inputs.metrics.rows:,} timings since {inputs.window_start:%Y-%m-%d %H:%M} UTC",
)
detect = flow_runs.step(
    pipeline.detect,
    name="detect",
    description="Find outliers, degradations and exceeded thresholds",
    describe=lambda found: (
        f"slower operations: {found.degradations.height}, anomalies: {found.anomalies.height:,}, "
        f"operations over their threshold: {found.thresholds.height}"
    ),
)
correlate = flow_runs.step(
    pipeline.correlate,
    name="correlate",
    description="Find operations that slow down in the same minutes",
    describe=lambda found: f"correlated pairs: {found.correlations.height}",
)
do_shares = flow_runs.steps_side_by_side(
    name="share",
    description="Read and detect a share of the operations on the Dask cluster",
    describe=lambda part: f"{part.rows:,} timings of {len(part.findings.seen_operation_types)} operations",
)
follow = flow_runs.step(
    pipeline.follow,
    name="follow",
    description="Follow levels: lasting changes, episodes, slow calls, causes in common",
    describe=lambda found: _followed(found.engine),
)
write_back = flow_runs.step(
    pipeline.apply,
    name="write-back",
    description="Write results, alerts and messages in one transaction",
    describe=_applied,
)


def _run_name() -> str:
    return flow_runs.run_name("as_of")


@flow(
    name="monitor-performance",
    description="Finds what got slow, since when and together with what; writes results and raises alerts.",
    flow_run_name=_run_name,
    persist_result=False,
)
def monitor_performance(
    as_of: flow_runs.like(MonitorParameters, "as_of") = None,  # type: ignore[valid-type]
    lookback_hours: flow_runs.like(MonitorParameters, "lookback_hours") = 24,  # type: ignore[valid-type]
    operations: flow_runs.like(MonitorParameters, "operations") = None,  # type: ignore[valid-type]
    correlation_threshold: flow_runs.like(MonitorParameters, "correlation_threshold") = 0.75,  # type: ignore[valid-type]
    notify: flow_runs.like(MonitorParameters, "notify") = False,  # type: ignore[valid-type]
) -> State[MonitorResult]:
    """Monitor the database that PGGIT_DATABASE_URL or pggit.toml names.

    Args:
        as_of: Look back from this moment (with a time zone); empty = now, by the database's clock
        lookback_hours: Hours of the outliers, thresholds and correlations; trends use 7 days
        operations: Only these operations; empty = all
        correlation_threshold: Pairs that correlate by more than this are reported
        notify: Raise alerts even for a moment that is old or not the newest one analysed
    """
    parameters = MonitorParameters(
        as_of=as_of,
        lookback_hours=lookback_hours,
        operations=operations,
        correlation_threshold=correlation_threshold,
        notify=notify,
    )
    return flow_runs.concluded(lambda: _monitor(flow_runs.configured_target(), parameters), _headline)


def run(parameters: MonitorParameters) -> MonitorResult:
    """Run the flow in this process and return what the plain `pipeline.monitor` would.

    Raises:
        PggitAnalyticsError: see `flow_runs.run_here`.
    """
    result: MonitorResult = flow_runs.run_here(monitor_performance, parameters)
    return result


def _monitor(target: Target, parameters: MonitorParameters) -> MonitorResult:
    """`pipeline.monitor` with each step a task."""
    flow_run_id, found = flow_run.id, None
    if target.scale.dask_address is None:
        inputs = extract(target, parameters)
    else:
        inputs, found = monitored_in_shares(target, parameters, each=do_shares)
    record = pipeline.monitor_run(inputs, flow_run_id)
    with inputs.metrics, pipeline.recorded_failure(target, record):
        findings = found or correlate(inputs, parameters, detect(inputs, parameters))
        findings = follow(inputs, parameters, findings)
        applied = write_back(target, inputs, parameters, findings, flow_run_id)
    result = MonitorResult(inputs.as_of, inputs.metrics.rows, findings, applied)
    _publish(pipeline.summary(result), pipeline.report_link(target))
    return result


def _headline(result: MonitorResult) -> str:
    summary = pipeline.summary(result)
    incidents = "" if summary.incidents is None else f"incidents: {len(summary.incidents)}, "
    opened = result.written.alerts_opened + (told.alerts_opened if (told := result.applied.incidents_written) else 0)
    return (
        f"{incidents}slower operations: {len(summary.slow_operations)}, "
        f"groups slow together: {len(summary.slow_groups)}, single slow calls: {summary.slow_call_count}; "
        f"timings read: {result.rows_read:,}, alerts opened: {opened}; run {result.written.run_id}"
    )


def _publish(summary: Summary, report: str | None) -> None:
    """The artifacts of the run: three tables, the summary as Markdown, and where the report is."""
    if report:
        create_link_artifact(report, key="report", link_text="The report", description="Where the report is published")
    create_table_artifact(incidents(summary), key="incidents", description="What is wrong now, the worst first")
    create_table_artifact(slow_operations(summary), key="slow-operations", description="Operations slower than before")
    create_table_artifact(slow_groups(summary), key="slow-groups", description="Operations slow in the same minutes")
    create_markdown_artifact(markdown(summary), key="performance-summary", description="What got slow")


def incidents(summary: Summary) -> list[dict[str, Any]]:
    """One row per incident that is open, or news."""
    return [
        {
            "operation": one.operation_type,
            "severity": one.severity,
            "what": one.what,
            "change": times(one.size_ratio),
            "since (UTC)": _minute(one.onset),
            "until": _minute(one.ended_at) or one.state,
            "p50 before": milliseconds(one.p50_before_ms),
            "p50 now": milliseconds(one.p50_now_ms),
            "lost an hour": milliseconds(one.lost_ms_per_hour),
            "together with": ", ".join(one.others),
        }
        for one in summary.incidents or ()
    ]


def slow_operations(summary: Summary) -> list[dict[str, Any]]:
    """One row per operation that got slower."""
    return [
        {
            "operation": slow.operation_type,
            "severity": slow.severity,
            "p99 before": milliseconds(slow.p99_old_ms),
            "p99 now": milliseconds(slow.p99_new_ms),
            "change": f"+{slow.degradation_percent:.0f} %",
            "trend": slow.trend,
            "since (UTC)": _minute(slow.since),
            "together with": ", ".join(slow.together_with),
        }
        for slow in summary.slow_operations
    ]


def slow_groups(summary: Summary) -> list[dict[str, Any]]:
    """One row per group of operations that slow down in the same minutes."""
    return [
        {
            "operations": ", ".join(group.operation_types),
            "lowest r": round(group.correlation[0], 2),
            "highest r": round(group.correlation[1], 2),
            "likely shared": ", ".join(group.shared_bottlenecks),
            "what to do": "; ".join(group.recommendations),
        }
        for group in summary.slow_groups
    ]


def _minute(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else ""


if __name__ == "__main__":
    monitor_performance()
