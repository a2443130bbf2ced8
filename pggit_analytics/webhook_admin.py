"""What the administrator of webhooks does: store an address, look at all, try one, change the master key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pggit_analytics.config import Settings
from pggit_analytics.delivery import preview
from pggit_analytics.delivery.addresses import parse_address
from pggit_analytics.delivery.channels import Channel, Senders, open_channel, recipients
from pggit_analytics.delivery.encryption import MasterKey, load_master_key
from pggit_analytics.delivery.message import UnreadableMessage, compose
from pggit_analytics.delivery.preview import Sample
from pggit_analytics.delivery.reply import Reply
from pggit_analytics.errors import InvalidArgument, MissingKey, PggitAnalyticsError
from pggit_analytics.postgres import webhooks
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.webhooks import NewWebhook, Route, Secret, WebhookRow, WebhookState

#: messages on the preview page
_PREVIEWED = 20


class NotDelivered(PggitAnalyticsError):
    """A test message did not arrive."""


@dataclass(frozen=True, slots=True)
class ListedWebhook:
    """A webhook as it may be shown."""

    name: str
    webhook_type: str
    #: of the address; None where the key at hand does not open it
    host: str | None
    channel_or_recipient: str | None
    enabled: bool
    allow_private: bool
    min_interval_ms: int | None
    #: closed | open
    breaker: str
    breaker_probe_at: datetime | None
    encryption_key_id: str | None
    last_tested_at: datetime | None
    test_status: str | None
    pending: int
    failed: int
    #: why the latest of these rows did not arrive; None where none was tried
    last_error: str | None


def add_webhook(
    database: Database,
    settings: Settings,
    new: NewWebhook,
    address: str,
    routes: Sequence[Route] | None,
    *,
    replace: bool = False,
) -> str:
    """Check, encrypt and store a webhook; the host of its address.

    Raises:
        InvalidAddress, InvalidArgument: see `parse_address` and `webhooks.add`; the address is never repeated.
        MissingKey: there is no master key.
        DatabaseError: see `connection.translated`.
    """
    parsed = parse_address(new.webhook_type, address, allow_private=new.allow_private)
    if new.webhook_type == "email":
        _check_recipients(new)
    secret = _encrypted(load_master_key(settings), address)
    webhooks.add(database, new, secret, routes, replace=replace)
    return parsed.host


def _check_recipients(new: NewWebhook) -> None:
    found = recipients(new.channel_or_recipient)
    for one in found:
        local, _, domain = one.rpartition("@")
        if not local or not domain or not one.isprintable() or any(c.isspace() or c in "<>,;" for c in one):
            raise InvalidArgument(f"the recipient is {one!r}; expected addresses such as ops@example.com, with commas")
    if not found:
        raise InvalidArgument("a webhook of type email needs recipients; give --to ops@example.com,dba@example.com")


def _encrypted(key: MasterKey, address: str) -> Secret:
    encrypted = key.encrypt(address.strip())
    return Secret(encrypted.ciphertext, encrypted.iv, encrypted.key_id)


def list_webhooks(database: Database, settings: Settings) -> list[ListedWebhook]:
    """Every webhook, by name; of its address the host alone.

    Raises:
        ConfigurationError: the master key is there but cannot be used.
        DatabaseError: see `connection.translated`.
    """
    try:
        key = load_master_key(settings)
    except MissingKey:
        key = None
    return [_listed(row, state, key) for row, state in webhooks.list_webhooks(database)]


def _listed(row: WebhookRow, state: WebhookState, key: MasterKey | None) -> ListedWebhook:
    return ListedWebhook(
        name=row.name,
        webhook_type=row.webhook_type,
        host=_host(row, key),
        channel_or_recipient=row.channel_or_recipient,
        enabled=row.enabled,
        allow_private=row.allow_private,
        min_interval_ms=row.min_interval_ms,
        breaker=state.breaker,
        breaker_probe_at=state.breaker_probe_at,
        encryption_key_id=row.encryption_key_id,
        last_tested_at=row.last_tested_at,
        test_status=row.test_status,
        pending=state.pending,
        failed=state.failed,
        last_error=state.last_error,
    )


def _host(row: WebhookRow, key: MasterKey | None) -> str | None:
    if key is None or row.encryption_key_id != key.key_id:
        return None
    try:
        return _opened(row, key).address.host
    except PggitAnalyticsError:
        return None


def _opened(row: WebhookRow, key: MasterKey) -> Channel:
    return open_channel(
        key,
        name=row.name,
        webhook_type=row.webhook_type,
        channel_or_recipient=row.channel_or_recipient,
        allow_private=row.allow_private,
        ciphertext=row.webhook_url_encrypted,
        iv=row.webhook_url_iv,
        key_id=row.encryption_key_id,
    )


def try_webhook(database: Database, settings: Settings, name: str) -> Reply:
    """Send a test message to a webhook now, enabled or not, and remember how that went.

    Raises:
        InvalidArgument: there is no webhook of that name.
        NotDelivered: it did not arrive; says why.
        MissingKey, WrongKey, DamagedAddress, InvalidAddress: the address cannot be used.
        DatabaseError: see `connection.translated`.
    """
    row = webhooks.find(database, name)
    key = load_master_key(settings)
    try:
        channel = _opened(row, key)
    except PggitAnalyticsError as exc:
        webhooks.record_test(database, name, f"failed: {exc}")
        raise
    body, now = webhooks.test_body(database)
    with Senders(settings.delivery) as senders:
        reply = senders.send(channel, compose([body], now=now))
    if reply.outcome == "delivered":
        webhooks.record_test(database, name, "delivered")
        return reply
    said = f"{reply.outcome}: {reply.error}"
    webhooks.record_test(database, name, f"failed: {said}")
    raise NotDelivered(f"the test message to {name} did not arrive; {said}")


def rotate_key(database: Database, settings: Settings, new_key_file: Path) -> tuple[int, str]:
    """Encrypt every address under the key of a file, all or none; how many changed and the id of that key.

    Addresses under the new key already stay as they are, so that the call can be repeated.

    Raises:
        ConfigurationError: a key is missing or cannot be used.
        WrongKey, DamagedAddress: an address opens with neither key; names its webhook.
        DatabaseError: see `connection.translated`.
    """
    old = load_master_key(settings)
    new = load_master_key(settings.model_copy(update={"webhook_key": None, "webhook_key_file": new_key_file}))

    def reencrypt(row: WebhookRow, secret: Secret) -> Secret:
        if secret.key_id == new.key_id:
            return secret
        try:
            address = old.decrypt(secret.ciphertext, secret.iv, secret.key_id)
        except PggitAnalyticsError as exc:
            raise type(exc)(f"{row.name}: {exc}; no address was changed") from exc
        return _encrypted(new, address.get_secret_value())

    return webhooks.rotate(database, reencrypt), new.key_id


def write_preview(database: Database, file: Path) -> int:
    """Write a page that shows the messages that wait, or samples when none does; how many wait.

    Nothing is sent or claimed.

    Raises:
        OSError: the file cannot be written.
        DatabaseError: see `connection.translated`.
    """
    waiting = _waiting(database)
    file.write_text(preview.page(waiting or preview.sample_messages()), encoding="utf-8")
    return len(waiting)


def _waiting(database: Database) -> list[Sample]:
    samples = []
    for waiting in webhooks.waiting_messages(database, limit=_PREVIEWED):
        is_digest = (waiting.bundle_key or "").startswith("digest:")
        try:
            message = compose(waiting.message_bodies, now=waiting.seen_at, is_digest=is_digest)
        except UnreadableMessage:
            continue  # the worker fails those, and says why
        samples.append(Sample(message.kind, f"Waits for {waiting.webhook_name}.", message))
    return samples
