"""One page that shows messages as each channel would, and what would be sent."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from pggit_analytics.delivery import email, mattermost, pagerduty, slack, webhook
from pggit_analytics.delivery.message import Message, compose

#: stands for secrets and addresses, which no preview needs
_ROUTING_KEY = "R" * 32
_SENDER = "pggit@example.org"
_RECIPIENTS = ("oncall@example.org",)


@dataclass(frozen=True, slots=True)
class Sample:
    """A message to show."""

    name: str
    #: when such a message is sent
    explanation: str
    message: Message


def sample_messages() -> tuple[Sample, ...]:
    """A made-up message of every kind."""
    cases = json.loads((files("pggit_analytics.delivery") / "templates" / "samples.json").read_text(encoding="utf-8"))
    return tuple(Sample(case["name"], case["explanation"], composed(case)) for case in cases)


def composed(case: dict[str, Any]) -> Message:
    """The message of a sample as it is written: ``bodies``, ``now``, ``is_digest``, ``is_still_open``."""
    return compose(
        [json.dumps(body) for body in case["bodies"]],
        now=datetime.fromisoformat(case["now"]),
        is_digest=case["is_digest"],
        is_still_open=case["is_still_open"],
    )


def page(samples: Sequence[Sample]) -> str:
    """A self-contained HTML page: no script, nothing is fetched, no secret is in it.

    Args:
        samples: what to show, in this order; each once for every channel.
    """
    shown = [_shown(sample) for sample in samples]
    return email.templates.get_template("preview.html").render(samples=shown)


def _shown(sample: Sample) -> dict[str, Any]:
    message = sample.message
    event = pagerduty.render(message, _ROUTING_KEY, message.is_resolved)
    mail = email.render(message, _SENDER, _RECIPIENTS)
    posts = {"slack": slack.render(message), "mattermost": mattermost.render(message)}
    return {
        "sample": sample,
        "slack": _slack(posts["slack"]),
        "mattermost": _mattermost(posts["mattermost"]),
        "pagerduty": event,
        "mail": mail,
        "mail_html": Markup(_body(email.html(message))),  # noqa: S704 -- our own template, autoescaped
        "mail_text": mail.get_body(("plain",)).get_content(),  # type: ignore[union-attr]
        "payloads": {name: _json(payload) for name, payload in {**posts, "webhook": webhook.render(message)}.items()},
        "event": _json(event),
    }


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, indent=2, ensure_ascii=False)


def _body(page_of_mail: str) -> str:
    """Style and content of the e-mail, to stand inside another page."""
    style = re.search(r"<style>.*?</style>", page_of_mail, re.DOTALL)
    body = re.search(r"<body[^>]*>(.*)</body>", page_of_mail, re.DOTALL)
    return (style[0] if style else "") + (body[1] if body else "")


def _slack(payload: dict[str, Any]) -> dict[str, Any]:
    attachment = payload["attachments"][0]
    return {
        "colour": attachment["color"],
        "blocks": [_slack_block(block) for block in payload["blocks"]],
        "details": [_slack_block(block) for block in attachment["blocks"]],
    }


def _slack_block(block: dict[str, Any]) -> tuple[str, Markup]:
    text = block["elements"][0] if block["type"] == "context" else block["text"]
    # what Slack shows is unescaped text; _mrkdwn escapes for HTML again
    shown = html.escape(html.unescape(text["text"])) if text["type"] == "plain_text" else _mrkdwn(text["text"])
    return block["type"], Markup(shown)  # noqa: S704 -- escaped above


def _mrkdwn(text: str) -> str:
    """Slack's markup as HTML; its text is escaped the way HTML wants it, but for quotes."""
    pieces = re.split(r"```(.*?)```", text, flags=re.DOTALL)
    shown = [_mrkdwn_line(piece) if i % 2 == 0 else f"<pre>{_quotes(piece)}</pre>" for i, piece in enumerate(pieces)]
    return "".join(shown)


def _quotes(text: str) -> str:
    return text.replace('"', "&quot;")


def _mrkdwn_line(text: str) -> str:
    text = _quotes(text)
    text = re.sub(r"<!date\^(\d+)\^[^|]*\|[^>]*>", _own_time, text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]*)>", r'<a href="\1">\2</a>', text)
    text = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", text)
    return text.strip("\n").replace("\n", "<br>")


def _own_time(found: re.Match[str]) -> str:
    """As Slack writes it to a reader in UTC."""
    return f"{datetime.fromtimestamp(int(found[1]), UTC):%b %d, %Y %I:%M %p} your time"


def _mattermost(payload: dict[str, Any]) -> dict[str, Any]:
    attachment = payload["attachments"][0]
    return {
        "colour": attachment["color"],
        "text": Markup(_markdown(payload["text"])),  # noqa: S704 -- escaped by _markdown
        "link": attachment.get("title_link"),
        "body": Markup(_markdown(attachment["text"])),  # noqa: S704 -- escaped by _markdown
        "footer": attachment["footer"],
    }


def _markdown(text: str) -> str:
    """The little of Markdown that our messages use, as HTML."""
    pieces = re.split(r"```\w*\n(.*?)\n```", text, flags=re.DOTALL)
    shown = []
    for position, piece in enumerate(pieces):
        if position % 2:
            shown.append(f"<pre>{html.escape(piece)}</pre>")
        else:
            shown += [_paragraph(paragraph) for paragraph in piece.strip().split("\n\n") if paragraph.strip()]
    return "".join(shown)


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if lines[0].startswith("| "):
        rows = ["".join(f"<td>{_inline(cell)}</td>" for cell in line[2:-2].split(" | ")) for line in lines]
        return f"<table>{''.join(f'<tr>{row}</tr>' for i, row in enumerate(rows) if i != 1)}</table>"
    shown = (
        f'<div class="{"item" if line.lstrip().startswith("- ") else "line"}">{_inline(line)}</div>' for line in lines
    )
    return f'<div class="paragraph">{"".join(shown)}</div>'


def _inline(line: str) -> str:
    indent = "&emsp;" * ((len(line) - len(line.lstrip())) // 2)
    line = re.sub(r"^\s*- ", "• ", line)
    pieces = re.split(r"(`+)(.+?)\1", line)
    shown = []
    for position in range(0, len(pieces), 3):
        plain = html.escape(re.sub(r"\*\*(.+?)\*\*", "\x01\\1\x02", pieces[position]))
        plain = re.sub(r"\\([^a-zA-Z0-9\s&]|&#?\w+;)", r"\1", plain)
        shown.append(plain.replace("\x01", "<b>").replace("\x02", "</b>"))
        if position + 2 < len(pieces):
            shown.append(f"<code>{html.escape(pieces[position + 2].strip())}</code>")
    return indent + "".join(shown)
