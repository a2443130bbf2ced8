"""The flow that recalculates what is normal for each operation."""

from typing import Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from pggit_analytics import flow_runs, pipeline
from pggit_analytics.pipeline import BaselineParameters, BaselineResult, Target
from pggit_analytics.report.summary import milliseconds


def _headline(result: BaselineResult) -> str:
    counts = result.recalculations["status"].value_counts().sort("status").iter_rows()
    outcome = ", ".join(f"{status}: {count}" for status, count in counts) or "no operations"
    return f"{outcome}; timings read: {result.rows_read:,}; run {result.run_id}"


# One task: what it reads, and what it decides from that, must not change before it is written.
recalculate = flow_runs.step(
    pipeline.recalculate_baselines,
    name="recalculate",
    description="Read the timings, compute and adopt baselines in one transaction",
    describe=_headline,
)


def _run_name() -> str:
    return flow_runs.run_name("as_of")


@flow(
    name="recalculate-baselines",
    description="Recalculates the baselines that later timings are compared with.",
    flow_run_name=_run_name,
    persist_result=False,
)
def recalculate_baselines(
    as_of: flow_runs.like(BaselineParameters, "as_of") = None,  # type: ignore[valid-type]
    lookback_days: flow_runs.like(BaselineParameters, "lookback_days") = 7,  # type: ignore[valid-type]
    min_samples: flow_runs.like(BaselineParameters, "min_samples") = 10,  # type: ignore[valid-type]
    force: flow_runs.like(BaselineParameters, "force") = False,  # type: ignore[valid-type]
) -> State[BaselineResult]:
    """Recalculate the baselines in the database that PGGIT_DATABASE_URL or pggit.toml names.

    Args:
        as_of: Look back from this moment; empty = now
        lookback_days: Days of 24 hours
        min_samples: Operations with fewer rows keep their baseline
        force: Adopt changes under 5 % and rises during an open alert as well
    """
    parameters = BaselineParameters(as_of=as_of, lookback_days=lookback_days, min_samples=min_samples, force=force)
    return flow_runs.concluded(lambda: _recalculate(flow_runs.configured_target(), parameters), _headline)


def run(parameters: BaselineParameters) -> BaselineResult:
    """Run the flow in this process and return what the plain `pipeline.recalculate_baselines` would.

    Raises:
        PggitAnalyticsError: see `flow_runs.run_here`.
    """
    result: BaselineResult = flow_runs.run_here(recalculate_baselines, parameters)
    return result


def _recalculate(target: Target, parameters: BaselineParameters) -> BaselineResult:
    result = recalculate(target, parameters, flow_run_id=flow_run.id)
    create_table_artifact(baselines(result), key="baselines", description="What became of the baselines")
    return result


def baselines(result: BaselineResult) -> list[dict[str, Any]]:
    """One row per operation."""
    return [
        {
            "operation": row["operation_type"],
            "status": row["status"],
            "p99 before": milliseconds(row["p99_old_ms"]),
            "p99 now": milliseconds(row["p99_new_ms"]),
            "samples": row["sample_count"],
            "why": row["message"],
        }
        for row in result.recalculations.iter_rows(named=True)
    ]


if __name__ == "__main__":
    recalculate_baselines()
