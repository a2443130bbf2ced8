"""Webhooks that lead to servers on loopback, and rows that wait for them; for the tests of the worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from pggit_analytics.config import DeliverySettings, Settings
from pggit_analytics.deliver import DeliveryParameters, DeliveryResult, deliver
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.webhooks import NewWebhook
from pggit_analytics.webhook_admin import add_webhook

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()

#: what signs the messages of `Deliveries.webhook`, and is not to be found anywhere else
SECRET = "open-sesame-0123456789"


def settings(key: str = KEY, **delivery: Any) -> Settings:
    """Settings with a master key."""
    return Settings(webhook_key=key, delivery=DeliverySettings(**delivery))


def body(**fields: Any) -> str:
    """The body of a row: an operation that got slower, unless said otherwise."""
    said = {
        "transition": "opened",
        "alert_type": "DEGRADATION",
        "severity": "WARNING",
        "operation_type": "commit",
        "opened_at": "2026-01-31T00:00:00Z",
        "evidence": {"p99_old_ms": 5.1, "p99_new_ms": 16.4},
    }
    return json.dumps(said | fields)


class Deliveries:
    """The outbox of a database, its webhooks and a worker."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def clear(self) -> None:
        """Take out every webhook, message and alert, so that tests can share a database."""
        with self.database.connect() as connection:
            connection.execute(
                "TRUNCATE alert_notification_webhooks, alert_notification_log, performance_alerts, alert_snooze "
                "RESTART IDENTITY CASCADE"
            )

    def webhook(self, name: str, url: str, *, webhook_type: str = "webhook", **more: Any) -> None:
        """Store a webhook on loopback, without a pace and without routes unless given."""
        address = f"{url}#{SECRET}" if webhook_type == "webhook" else url
        key = more.pop("key", KEY)
        channel = more.pop("channel_or_recipient", None)
        interval = more.pop("min_interval_ms", 0)
        new = NewWebhook(name, webhook_type, channel, allow_private=True, min_interval_ms=interval)
        add_webhook(self.database, settings(key), new, address, more.pop("routes", ()), **more)

    def put(self, name: str, *bodies: str, bundle: str | None = None, priority: int = 1) -> None:
        """Queue rows for a webhook, due at once."""
        with self.database.connect() as connection:
            connection.cursor().executemany(
                """
                INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, bundle_key, priority)
                SELECT webhook_id, %s, gen_random_uuid()::TEXT, %s, %s
                FROM alert_notification_webhooks
                WHERE name = %s
                """,
                [(one, bundle, priority, name) for one in bodies],
            )

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.database.connect() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def queue(self, columns: str = "status, retry_count") -> list[tuple[Any, ...]]:
        """These columns of all rows, in their order."""
        return self.rows(f"SELECT {columns} FROM alert_notification_queue ORDER BY notification_queue_id")

    def log(self, columns: str = "outcome, http_status") -> list[tuple[Any, ...]]:
        """These columns of all attempts, in their order."""
        return self.rows(f"SELECT {columns} FROM alert_notification_log ORDER BY log_id")

    def run(self, batch_size: int = 50, **more: Any) -> DeliveryResult:
        """Deliver until nothing is left to do."""
        chosen = more.pop("settings", None) or settings()
        return deliver(self.database, chosen, DeliveryParameters(batch_size=batch_size), **more)


def operations(requests: Sequence[Any]) -> list[str]:
    """The operation that each request to a generic webhook is about."""
    return [request.json["findings"][0]["operation"] for request in requests]
