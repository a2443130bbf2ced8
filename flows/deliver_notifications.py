"""The flow that sends the messages that are due."""

from typing import Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact

from pggit_analytics import deliver, flow_runs
from pggit_analytics.config import load_settings
from pggit_analytics.deliver import DeliveryParameters, DeliveryResult
from pggit_analytics.postgres.connection import Database

# One task: what is claimed is sent and recorded by the same worker.
send = flow_runs.step(
    deliver.deliver,
    name="send",
    description="Claim what is due, send it and record what became of each message",
    describe=DeliveryResult.headline,
)


@flow(
    name="deliver-notifications",
    description="Sends the messages that are due; what fails is tried again by a later run.",
    persist_result=False,
)
def deliver_notifications(
    batch_size: flow_runs.like(DeliveryParameters, "batch_size") = 50,  # type: ignore[valid-type]
    max_retries: flow_runs.like(DeliveryParameters, "max_retries") = 3,  # type: ignore[valid-type]
) -> State[DeliveryResult]:
    """Deliver from the database that PGGIT_DATABASE_URL or pggit.toml names.

    Args:
        batch_size: Messages of a webhook that are claimed at a time
        max_retries: Attempts after which a message fails; CRITICAL ones go on for 24 hours
    """
    parameters = DeliveryParameters(batch_size=batch_size, max_retries=max_retries)
    return flow_runs.concluded(
        lambda: _deliver(flow_runs.configured_target().database, parameters), DeliveryResult.headline
    )


def run(parameters: DeliveryParameters) -> DeliveryResult:
    """Run the flow in this process and return what the plain `deliver.deliver` would.

    Raises:
        PggitAnalyticsError: see `flow_runs.run_here`.
    """
    result: DeliveryResult = flow_runs.run_here(deliver_notifications, parameters)
    return result


def _deliver(database: Database, parameters: DeliveryParameters) -> DeliveryResult:
    settings = load_settings()
    result = send(database, settings, parameters)
    create_table_artifact(counts(result), key="delivery", description="What became of the messages")
    deliver.check_deliverable(result, settings)
    return result


def counts(result: DeliveryResult) -> list[dict[str, Any]]:
    """One row per kind of outcome."""
    return [
        {"outcome": "delivered", "messages": result.delivered},
        {"outcome": "failed for good", "messages": result.failed},
        {"outcome": "to be retried", "messages": result.retried},
        {"outcome": "rate limited", "messages": result.rate_limited},
        {"outcome": "sent, but recorded too late", "messages": result.late},
    ]


if __name__ == "__main__":
    deliver_notifications()
