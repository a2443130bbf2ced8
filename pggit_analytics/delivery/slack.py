"""A message as Slack shows it: Block Kit for incoming webhooks."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from pggit_analytics.delivery import limits, parts
from pggit_analytics.delivery.message import Finding, Message
from pggit_analytics.delivery.wording import instant

_AFTER_AT = "\N{WORD JOINER}"
_LOOK_ALIKES = str.maketrans({"*": "∗", "~": "∼", "`": "ʼ"})  # noqa: RUF001


def render(message: Message) -> dict[str, Any]:
    """The JSON to post to an incoming webhook: ``text`` (notifications), ``blocks``, and a coloured attachment.

    Nothing in a name is markup or mentions anybody. What does not fit is counted in "+N more".
    """
    most = parts.most_findings(message)
    return limits.fitted(
        lambda count: _payload(message, count),
        [*range(most, -1, -1)],
        lambda payload: limits.utf16_units(json.dumps(payload, ensure_ascii=False)) <= limits.SLACK_TOTAL,
    )


def _payload(message: Message, most: int) -> dict[str, Any]:
    details = [block for block in (_reproduction(message), _footer(message)) if block]
    return {
        "text": limits.cut(message.title, limits.SLACK_TEXT, _escape),
        "blocks": [
            {"type": "header", "text": _plain(message.headline, limits.SLACK_HEADER)},
            *_findings(message, most),
            *_explanation(message),
        ],
        "attachments": [{"color": parts.colour(message), "fallback": _escape(message.source), "blocks": details}],
    }


def _escape(text: str) -> str:
    """The three characters Slack asks for; and an @ that cannot begin a mention."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("@", f"@{_AFTER_AT}")


def _code(text: str) -> str:
    """A name in which * _ ~ : are themselves; mrkdwn has no other way to say so."""
    return f"`{_escape(text.replace('`', _LOOK_ALIKES[ord('`')]))}`"


def _words(text: str) -> str:
    """Text outside of code: mrkdwn has no escape for its marks, so another character stands for each.

    An underscore inside a word is none.
    """
    return _escape(re.sub(r"(?<![^\W_])_|_(?![^\W_])", "ˍ", text.translate(_LOOK_ALIKES)))


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": limits.cut(text, limit, _escape), "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: no link, channel or person is made of anything but our own markup
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(lines: list[str]) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn("\n".join(line for line in lines if line))}


def _local(moment: datetime) -> str:
    """The moment in UTC, and in the reader's own time zone."""
    return f"{instant(moment)} ({_own_time(moment)})"


def _own_time(moment: datetime) -> str:
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}} your time|{instant(moment)}>"


def _findings(message: Message, most: int) -> list[dict[str, Any]]:
    found = parts.shown(message, most)
    is_alone = len(message.findings) == 1
    is_cut = limits.utf16_units(_escape(message.headline)) > limits.SLACK_HEADER
    lines = [_alone(finding, is_cut=is_cut) if is_alone else _among_others(finding) for finding in found]
    return [_section(block) for block in [*lines, [parts.more(message, most) or ""]] if any(block)]


def _alone(finding: Finding, *, is_cut: bool) -> list[str]:
    """The headline says what happened, unless it had to be cut: here is since when, and the table."""
    table = "\n".join(parts.text_table(finding))
    return [
        f"{_code(finding.operation)} {_words(finding.statement)}" if is_cut else "",
        f"Since {_local(finding.since)}" if finding.since and finding.is_live else "",
        f"```{_escape(table)}```" if table else "",
        *(f"• {_words(note)}" for note in parts.notes(finding)),
    ]


def _among_others(finding: Finding) -> list[str]:
    return [
        f"*{finding.severity}* {_code(finding.operation)} {_words(finding.statement)}",
        _words(", ".join(part for part in (parts.timing_line(finding), parts.since(finding)) if part)),
        *(f"• {_words(note)}" for note in parts.notes(finding)),
    ]


def _explanation(message: Message) -> list[dict[str, Any]]:
    lines = [_words(parts.together(message))]
    lines += [f"*{_words(label)}*: {_words(text)}" for label, text in parts.advice(message)]
    lines += [_words(aside) for aside in message.asides]
    return [_section(lines)] if any(lines) else []


def _reproduction(message: Message) -> dict[str, Any] | None:
    again = message.reproduction
    if again is None:
        return None
    return _section([f"*See it again*\n```{_escape(again.sql)}```", f"```{_escape(again.command)}```"])


def _footer(message: Message) -> dict[str, Any]:
    texts = [_escape(part) for part in parts.footer(message)]
    if message.detected_at:
        texts[-1] += f" ({_own_time(message.detected_at)})"
    if message.link:
        texts.append(f"<{_escape_url(message.link)}|Report>")
    return {"type": "context", "elements": [_mrkdwn(" · ".join(texts))]}


def _escape_url(url: str) -> str:
    return url.replace("&", "&amp;")
