"""Checks of what becomes of findings: which of them page, where messages go, whether they get there."""

from __future__ import annotations

import shlex
from pathlib import Path

from pggit_analytics.delivery.encryption import MasterKey, load_master_key
from pggit_analytics.doctor.checks import Answer, Patient, listed
from pggit_analytics.doctor.running import minute, span
from pggit_analytics.errors import ConfigurationError, DeliveryError, MissingKey

#: more rows than this that are due and not sent are a queue that is not worked off
MOST_PENDING = 100
#: more alerts than this that call for somebody at once, in a day, are not read any more
MOST_CRITICAL = 5

_NEW_KEY = "openssl rand -base64 32 > webhook.key && chmod 600 webhook.key"

#: alert_source -> what it raises
_RAISED_BY = {
    "plan": ("ANOMALY", "DEGRADATION", "CORRELATION", "THRESHOLD_EXCEEDED"),
    "incidents": ("INCIDENT", "FORECAST"),
}


def source(patient: Patient) -> Answer:
    """Which findings page; where pg_cron runs the jobs it is the plan's, as the database finds no incidents."""
    setting = patient.row("SELECT value FROM analytics_settings WHERE name = 'alert_source'")["value"]
    paging = patient.row(_PAGING)["source"]
    if setting not in _RAISED_BY:
        remedy = patient.psql(
            "UPDATE {}.analytics_settings SET value = 'incidents' WHERE name = 'alert_source'", patient.database.schema
        )
        return Answer("fail", f"alert_source is {setting!r}, expected plan or incidents", remedy)
    because = "" if paging == setting else f", as pg_cron runs the jobs; the setting is {setting}"
    return Answer("ok", f"what pages: {paging}{because}")


def routes(patient: Patient) -> Answer:
    """Whether what is CRITICAL goes anywhere."""
    webhooks = patient.rows("SELECT name, enabled FROM alert_notification_webhooks ORDER BY webhook_id")
    if not webhooks:
        return Answer("warn", "there is no webhook: nobody is told", patient.command("webhooks add ops --type slack"))
    enabled = [row["name"] for row in webhooks if row["enabled"]]
    if not enabled:
        name = shlex.quote(webhooks[0]["name"])
        return Answer("fail", "every webhook is disabled: nobody is told", patient.command(f"webhooks enable {name}"))
    wanted = (*_RAISED_BY.get(patient.row(_PAGING)["source"], ()), "SELF_HEALTH")
    routed = {
        row["alert_type"]
        for row in patient.rows(
            """
            SELECT DISTINCT s.alert_type
            FROM alert_notification_settings AS s
            JOIN alert_notification_webhooks AS w USING (webhook_id)
            WHERE w.enabled AND s.enabled AND s.severity = 'CRITICAL'
            """
        )
    }
    if unheard := [alert_type for alert_type in wanted if alert_type not in routed]:
        options = " ".join(f"--route {alert_type}:CRITICAL" for alert_type in unheard)
        return Answer(
            "fail",
            f"CRITICAL alerts go nowhere: {listed(unheard, 6)}",
            patient.command(f"webhooks route {shlex.quote(enabled[0])} {options}"),
        )
    return Answer("ok", f"CRITICAL alerts go to {listed(enabled)}")


_PAGING = "SELECT paging_source() AS source"


def key(patient: Patient) -> Answer:
    """Whether the master key is there, is kept private and opens every address."""
    secrets = patient.rows(
        """
        SELECT name, webhook_url_encrypted AS ciphertext, webhook_url_iv AS iv, encryption_key_id AS key_id
        FROM alert_notification_webhooks
        WHERE webhook_url_encrypted IS NOT NULL AND webhook_url_iv IS NOT NULL AND encryption_key_id IS NOT NULL
        ORDER BY webhook_id
        """
    )
    try:
        master = load_master_key(patient.settings)
    except MissingKey as exc:
        return _without_key(exc, len(secrets), patient.settings.webhook_key_file)
    except ConfigurationError as exc:
        file = patient.settings.webhook_key_file
        reason = str(exc).partition("; ")[0]
        is_open = file is not None and "has mode" in reason
        return Answer("fail", reason, f"chmod 600 {shlex.quote(str(file))}" if is_open else _NEW_KEY)
    closed = {row["name"]: why for row in secrets if (why := _closed_because(master, row)) is not None}
    if closed:
        name, why_closed = next(iter(closed.items()))
        others = f" (and {len(closed) - 1} more)" if len(closed) > 1 else ""
        return Answer(
            "fail",
            f"webhook {name}{others}: {why_closed}",
            patient.command(f"webhooks add {shlex.quote(name)} --replace --type {_type_of(patient, name)}"),
        )
    return Answer("ok", f"the key {master.key_id} opens all {len(secrets)} addresses")


def _without_key(exc: MissingKey, addresses: int, file: Path | None) -> Answer:
    reason = str(exc).partition("; ")[0]
    if file is not None:
        return Answer("fail", reason, f"ls -l {shlex.quote(str(file))}")
    if not addresses:
        return Answer("ok", "none is set, and there is no address to read with it")
    return Answer(
        "warn",
        f"none is set here: {addresses} addresses cannot be read, so this machine cannot deliver",
        "export PGGIT_WEBHOOK_KEY_FILE=/path/to/webhook.key",
    )


def _closed_because(master: MasterKey, row: dict[str, bytes | str]) -> str | None:
    try:
        master.decrypt(bytes(row["ciphertext"]), bytes(row["iv"]), str(row["key_id"]))  # type: ignore[arg-type]
    except DeliveryError as exc:
        return str(exc).partition("; ")[0]
    return None


def _type_of(patient: Patient, name: str) -> str:
    found = patient.row("SELECT webhook_type FROM alert_notification_webhooks WHERE name = %(name)s", name=name)
    return str(found["webhook_type"])


def queue(patient: Patient) -> Answer:
    """Whether what is due is sent: fewer than 100 rows wait that could go now."""
    waits = patient.row(
        """
        SELECT
            count(*) FILTER (WHERE coalesce(next_retry_at, created_at) <= clock_timestamp()) AS due,
            count(*) FILTER (WHERE coalesce(next_retry_at, created_at) > clock_timestamp()) AS later,
            clock_timestamp() - min(coalesce(next_retry_at, created_at)) AS oldest
        FROM (
            SELECT next_retry_at, created_at FROM alert_notification_queue WHERE status = 'pending' LIMIT 100000
        ) AS q
        """
    )
    later = f"; {waits['later']:,} wait for their time" if waits["later"] else ""
    if waits["due"] >= MOST_PENDING:
        return Answer(
            "fail",
            f"{waits['due']:,} rows are due, the oldest for {span(waits['oldest'])}{later}",
            patient.command("deliver"),
        )
    return Answer("ok", f"{waits['due']:,} rows are due, fewer than {MOST_PENDING}{later}")


def failed_messages(patient: Patient) -> Answer:
    """Whether messages were given up."""
    failed = patient.row(
        """
        SELECT count(*) AS number, (array_agg(last_error ORDER BY notification_queue_id DESC))[1] AS error
        FROM alert_notification_queue
        WHERE status = 'failed' AND created_at > now() - INTERVAL '7 days'
        """
    )
    if failed["number"]:
        return Answer(
            "warn",
            f"{failed['number']:,} were given up in the last 7 days, the latest: {failed['error'] or 'no reason'}",
            patient.command("deliver --redrive"),
        )
    return Answer("ok", "none was given up in the last 7 days")


def channels(patient: Patient) -> Answer:
    """Whether a channel does not answer."""
    broken = patient.rows(
        """
        SELECT w.name, s.breaker_opened_at
        FROM webhook_delivery_state AS s
        JOIN alert_notification_webhooks AS w USING (webhook_id)
        WHERE s.breaker_opened_at IS NOT NULL AND w.enabled
        ORDER BY s.breaker_opened_at
        """
    )
    if broken:
        name = broken[0]["name"]
        return Answer(
            "fail",
            f"not answering: {listed(row['name'] for row in broken)}, since {minute(broken[0]['breaker_opened_at'])}",
            patient.command(f"webhooks test {shlex.quote(name)}"),
        )
    return Answer("ok", "every channel answers")


def critical_rate(patient: Patient) -> Answer:
    """Whether so much is CRITICAL that nobody reads it: less than 5 a day."""
    opened = patient.row(
        """
        SELECT count(*) FILTER (WHERE opened_at > now() - INTERVAL '24 hours') AS day, count(*) / 7.0 AS mean
        FROM performance_alerts
        WHERE severity = 'CRITICAL' AND opened_at > now() - INTERVAL '168 hours' AND opened_at <= now()
          AND alert_source = paging_source()
        """
    )
    said = f"{opened['day']} in the last 24 hours, {float(opened['mean']):.1f} a day in the last week"
    if opened["day"] >= MOST_CRITICAL or opened["mean"] >= MOST_CRITICAL:
        return Answer("warn", f"{said}; {MOST_CRITICAL} a day are too many to be read", patient.command("tune"))
    return Answer("ok", said)
