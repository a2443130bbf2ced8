"""Short forms for tests of the outbox. Time passes by moving every instant of the outbox back: nothing waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from pggit_analytics.postgres import outbox
from pggit_analytics.postgres.outbox import Claimed, Finished, Outcome

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Outbox:
    """An outbox over one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, query: str, *parameters: object) -> list[tuple]:
        return self.connection.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        ((value,),) = self.rows(query, *parameters)
        return value

    def webhook(self, name: str = "ops", webhook_type: str = "webhook", **columns: object) -> int:
        names = ["name", "webhook_type", *columns]
        return self.value(
            f"INSERT INTO alert_notification_webhooks ({', '.join(names)}) "
            f"VALUES ({', '.join(['%s'] * len(names))}) RETURNING webhook_id",
            name,
            webhook_type,
            *columns.values(),
        )

    def alert(self, key: str, *, resolved: bool = False, **columns: object) -> int:
        values = {
            "alert_type": "DEGRADATION",
            "severity": "WARNING",
            "operation_type": "commit",
            "evidence": "{}",
            "dedup_key": key,
            **columns,
        }
        resolved_at = "'2026-03-02 13:00+00'" if resolved else "NULL"
        return self.value(
            f"INSERT INTO performance_alerts ({', '.join(values)}, opened_at, last_seen_at, resolved_at) "
            f"VALUES ({', '.join(['%s'] * len(values))}, '2026-03-02 12:00+00', '2026-03-02 12:00+00', {resolved_at}) "
            "RETURNING alert_id",
            *values.values(),
        )

    def queue(self, webhook_id: int, key: str = "test", **columns: object) -> int:
        """A row whose dedup_key ends in ``key``; about no alert unless told."""
        alert_id = columns.get("alert_id")
        values = {
            "webhook_id": webhook_id,
            "dedup_key": f"{alert_id or '0'}/{webhook_id}/{key}",
            "message_body": f'{{"text": "{key}"}}',
            **columns,
        }
        return self.value(
            f"INSERT INTO alert_notification_queue ({', '.join(values)}) "
            f"VALUES ({', '.join(['%s'] * len(values))}) RETURNING notification_queue_id",
            *values.values(),
        )

    def claim(self, **arguments: Any) -> list[Claimed]:
        return outbox.claim(self.connection, **arguments)

    def claim_one(self, **arguments: Any) -> Claimed:
        (claimed,) = self.claim(**arguments)
        return claimed

    def claimed_ids(self, **arguments: Any) -> list[list[int]]:
        return [claimed.queue_ids for claimed in self.claim(**arguments)]

    def finish(self, message: Claimed, outcome: Outcome, **arguments: Any) -> Finished:
        return outbox.finish(self.connection, message, outcome, **{"duration_ms": 250, **arguments})

    def time_passes(self, by: timedelta) -> None:
        self.connection.execute(
            "UPDATE alert_notification_queue SET created_at = created_at - %(by)s, "
            "next_retry_at = next_retry_at - %(by)s, leased_until = leased_until - %(by)s, "
            "redriven_at = redriven_at - %(by)s",
            {"by": by},
        )
        self.connection.execute(
            "UPDATE webhook_delivery_state SET next_send_at = next_send_at - %(by)s, "
            "blocked_until = blocked_until - %(by)s, breaker_opened_at = breaker_opened_at - %(by)s, "
            "breaker_probe_at = breaker_probe_at - %(by)s",
            {"by": by},
        )

    def log(self) -> list[str]:
        """Outcomes in the order written."""
        return [
            outcome
            for (outcome,) in self.rows("SELECT outcome FROM alert_notification_log ORDER BY started_at, log_id")
        ]

    def finished_at(self) -> datetime:
        """When the latest logged attempt ended, by the clock that set its consequences."""
        return self.value(
            "SELECT started_at + duration_ms * INTERVAL '1 millisecond' FROM alert_notification_log "
            "ORDER BY log_id DESC LIMIT 1"
        )

    def state(self, webhook_id: int, column: str) -> Any:
        return self.value(f"SELECT {column} FROM webhook_delivery_state WHERE webhook_id = %s", webhook_id)

    def row(self, queue_id: int, columns: str = "status, retry_count") -> tuple:
        (row,) = self.rows(f"SELECT {columns} FROM alert_notification_queue WHERE notification_queue_id = %s", queue_id)
        return row
