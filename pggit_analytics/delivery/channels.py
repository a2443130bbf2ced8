"""One message to one channel: rendered in its format and sent the way it takes messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pggit_analytics.config import DeliverySettings
from pggit_analytics.delivery import email, mattermost, pagerduty, slack, smtp, webhook
from pggit_analytics.delivery.addresses import Address, parse_address
from pggit_analytics.delivery.encryption import MasterKey
from pggit_analytics.delivery.http import HttpSender
from pggit_analytics.delivery.message import Message
from pggit_analytics.delivery.reply import Reply
from pggit_analytics.delivery.sockets import Timeouts
from pggit_analytics.errors import InvalidAddress


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages of one webhook go."""

    name: str
    webhook_type: str
    #: recipients of mail, separated by commas; a remark for the others
    channel_or_recipient: str | None
    #: whether it may lie in a private network
    allow_private: bool
    address: Address

    @property
    def recipients(self) -> tuple[str, ...]:
        """The recipients of mail."""
        return recipients(self.channel_or_recipient)


def recipients(text: str | None) -> tuple[str, ...]:
    """The addresses of a list separated by commas."""
    return tuple(part for one in (text or "").split(",") if (part := one.strip()))


def open_channel(
    key: MasterKey,
    *,
    name: str,
    webhook_type: str,
    channel_or_recipient: str | None,
    allow_private: bool,
    ciphertext: bytes | None,
    iv: bytes | None,
    key_id: str | None,
) -> Channel:
    """The channel of a webhook, its address decrypted.

    Raises:
        InvalidAddress: it has none, or one that cannot be used.
        WrongKey, DamagedAddress: see `MasterKey.decrypt`.
    """
    if ciphertext is None or iv is None or key_id is None:
        raise InvalidAddress("the webhook has no address; store one with: pggit-analytics webhooks add --replace")
    text = key.decrypt(ciphertext, iv, key_id).get_secret_value()
    address = parse_address(webhook_type, text, allow_private=allow_private)
    return Channel(name, webhook_type, channel_or_recipient, allow_private, address)


class Senders:
    """Sends to channels of every type; used by many threads at once. A context manager."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._timeouts = Timeouts(settings.connect_timeout_s, settings.read_timeout_s, settings.total_timeout_s)
        self._http = HttpSender(
            settings.ca_file,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
            total_timeout_s=settings.total_timeout_s,
        )
        self._by_type: dict[str, Callable[[Channel, Message], Reply]] = {
            "slack": self._slack,
            "mattermost": self._mattermost,
            "pagerduty": self._pagerduty,
            "email": self._email,
            "webhook": self._webhook,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, channel: Channel, message: Message) -> Reply:
        """Send one message; faults of the network and of the channel are replies, not errors."""
        return self._by_type[channel.webhook_type](channel, message)

    def _slack(self, channel: Channel, message: Message) -> Reply:
        return self._post(channel, _json(slack.render(message)))

    def _mattermost(self, channel: Channel, message: Message) -> Reply:
        return self._post(channel, _json(mattermost.render(message)))

    def _pagerduty(self, channel: Channel, message: Message) -> Reply:
        routing_key = channel.address.secret or ""
        reply = self._post(channel, _json(pagerduty.render(message, routing_key, message.is_resolved)))
        if message.kind == "test" and reply.outcome == "delivered":
            # nobody is to be left with an incident to close
            return self._post(channel, _json(pagerduty.render(message, routing_key, True)))
        return reply

    def _webhook(self, channel: Channel, message: Message) -> Reply:
        body = _json(webhook.render(message))
        return self._post(channel, body, webhook.sign(channel.address.secret or "", int(time.time()), body))

    def _email(self, channel: Channel, message: Message) -> Reply:
        return smtp.send(
            channel.address,
            email.render(message, channel.address.sender or "", channel.recipients),
            channel.recipients,
            allow_private=channel.allow_private,
            ca_file=self._settings.ca_file,
            timeouts=self._timeouts,
        )

    def _post(self, channel: Channel, body: bytes, headers: dict[str, str] | None = None) -> Reply:
        headers = {"Content-Type": "application/json"} | (headers or {})
        return self._http.post(channel.address.url, body, headers, allow_private=channel.allow_private)


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
